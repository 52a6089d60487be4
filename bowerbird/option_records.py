"""Keywords of a function from a record of options, whose fields are annotated with their descriptions."""

import inspect
import textwrap
from collections.abc import Callable
from functools import wraps
from typing import Annotated, Any, NamedTuple, ParamSpec, TypeVar, get_args, get_origin, get_type_hints

from records.described import Described

Keywords = ParamSpec("Keywords")
Record = TypeVar("Record")
Returned = TypeVar("Returned")
PARAMETERS = "{parameters}"
"""Where the docstring of a function gets the description of its parameters."""
LINE = 116


class Field(NamedTuple):
    """An option: the parameter of its record's constructor, its type, and its description."""

    parameter: inspect.Parameter
    type: Any
    described: Described

    @property
    def name(self) -> str:
        """The name of the option."""
        return self.parameter.name


def fields_of(record: Callable[..., Any]) -> list[Field]:
    """Return the options of a record, those that can be given by position first."""
    hints = get_type_hints(record, include_extras=True)
    return [
        Field(parameter.replace(annotation=get_args(hints[name])[0]), *get_args(hints[name]))
        for name, parameter in inspect.signature(record).parameters.items()
        if get_origin(hints[name]) is Annotated
    ]


def takes(
    record: Callable[Keywords, Record],
) -> Callable[[Callable[[Record], Returned]], Callable[Keywords, Returned]]:
    """Let a function of a record take the record's fields; ``{parameters}`` in its docstring becomes their texts."""
    fields = fields_of(record)

    def decorate(function: Callable[[Record], Returned]) -> Callable[Keywords, Returned]:
        returned = inspect.signature(function).return_annotation
        signature = inspect.Signature([each.parameter for each in fields], return_annotation=returned)

        @wraps(function)
        def call(*args: Keywords.args, **kwargs: Keywords.kwargs) -> Returned:
            if unknown := [name for name in kwargs if name not in signature.parameters]:
                known = ", ".join(signature.parameters)
                raise TypeError(f"{function.__name__}: found the keyword {unknown[0]}, expected one of {known}")
            return function(record(*args, **kwargs))

        call.__signature__ = signature  # type: ignore[attr-defined]
        call.__doc__ = inspect.cleandoc(function.__doc__ or "").replace(PARAMETERS, _parameters(fields))
        return call

    return decorate


def _parameters(fields: list[Field]) -> str:
    lines = []
    for each in fields:
        text = f"{each.described.text} {each.described.in_python}"
        lines += [each.name, *textwrap.wrap(text, LINE, initial_indent="    ", subsequent_indent="    ")]
    return "\n".join(lines)
