"""Options of a command from records of options, whose fields are annotated with their descriptions."""

import inspect
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import is_dataclass
from functools import wraps
from typing import Annotated, Any, get_type_hints

import typer

from bowerbird.option_pairs import columns_of, shares_of
from bowerbird.option_records import Field, fields_of

_PARSERS: Mapping[Any, Callable[[Sequence[str]], Any]] = {
    Sequence[str]: tuple,
    Mapping[str, str] | None: columns_of,
    Mapping[str, float] | None: shares_of,
}
"""What makes the value of an option that is given several times, by its type."""


def with_record_options(
    errors: Callable[[], AbstractContextManager[Any]] = nullcontext,
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Let a command take the options of the record that a parameter of its function is annotated with.

    Parameters
    ----------
    errors
        Returns the context in which the record is made and the command runs: it turns errors into messages and exit
        codes. By default none does.
    """

    def decorate(function: Callable[..., None]) -> Callable[..., None]:
        hints = get_type_hints(function, include_extras=True)
        types = {name: hint for name, hint in hints.items() if isinstance(hint, type) and is_dataclass(hint)}
        records = {name: fields_of(record) for name, record in types.items()}
        parameters: list[inspect.Parameter] = []
        for name, parameter in inspect.signature(function).parameters.items():
            own = [_option(each) for each in records[name]] if name in records else [parameter]
            parameters += [each.replace(kind=inspect.Parameter.KEYWORD_ONLY) for each in own]

        @wraps(function)
        def command(**given: Any) -> None:
            with errors():
                for name, options in records.items():
                    values = {each.name: _value(each, given.pop(_name(each))) for each in options}
                    given[name] = types[name](**values)
                function(**given)

        del command.__wrapped__
        command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        command.__annotations__ = {each.name: each.annotation for each in parameters}
        return command

    return decorate


def _name(option: Field) -> str:
    return option.described.each or option.name


def _option(option: Field) -> inspect.Parameter:
    """Return an option as the parameter of a command."""
    text, metavar = option.described.text, option.described.metavar
    parameter = option.parameter.replace(name=_name(option))
    if parameter.default is inspect.Parameter.empty:
        given = str if option.type is Any else option.type
        return parameter.replace(annotation=Annotated[given, typer.Argument(metavar=metavar, help=text)])
    shown: Any = typer.Argument(metavar=metavar, help=text)
    if not option.described.argument:
        # Named, so that a flag has no opposite.
        shown = typer.Option(f"--{_name(option).replace('_', '-')}", metavar=metavar, help=text)
    if option.type in _PARSERS:
        return parameter.replace(default=None, annotation=Annotated[list[str] | None, shown])
    return parameter.replace(annotation=Annotated[option.type, shown])


def _value(option: Field, given: Any) -> Any:
    if option.type not in _PARSERS:
        return given
    return _PARSERS[option.type](given) if given else option.parameter.default
