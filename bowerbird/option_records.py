"""Parameters of a function from the fields of a record of options, each defined once.

The fields may be annotated with their descriptions (:class:`records.described.Described`).
"""

import inspect
import textwrap
from collections.abc import Callable
from functools import wraps
from typing import (
    Annotated,
    Any,
    NamedTuple,
    ParamSpec,
    TypeVar,
    get_args,
    get_origin,
    get_type_hints,
)

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
        make = _maker(record, function.__name__)

        @wraps(function)
        def call(*args: Keywords.args, **kwargs: Keywords.kwargs) -> Returned:
            return function(make(*args, **kwargs))

        call.__signature__ = signature  # type: ignore[attr-defined]
        call.__doc__ = inspect.cleandoc(function.__doc__ or "").replace(PARAMETERS, _parameters(fields))
        return call

    return decorate


def _maker(record: Callable[Keywords, Record], function: str) -> Callable[Keywords, Record]:
    """Return what makes the record for a function, whose name is in the error about wrong keywords."""
    signature = inspect.signature(record)

    def make(*args: Keywords.args, **kwargs: Keywords.kwargs) -> Record:
        try:
            return record(*args, **kwargs)
        except TypeError:
            known = ", ".join(signature.parameters)
            if unknown := [name for name in kwargs if name not in signature.parameters]:
                raise TypeError(f"{function}: found the keyword {unknown[0]}, expected one of {known}") from None
            try:
                signature.bind(*args, **kwargs)
            except TypeError:
                raise TypeError(f"{function}: found too few or too many arguments, expected {known}") from None
            raise

    return make


def _parameters(fields: list[Field]) -> str:
    lines = []
    for each in fields:
        text = f"{each.described.text} {each.described.in_python}"
        lines += [each.name, *textwrap.wrap(text, LINE, initial_indent="    ", subsequent_indent="    ")]
    return "\n".join(lines)
