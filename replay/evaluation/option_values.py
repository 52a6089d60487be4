"""The values of options: each has the type of its field, or one sentence names the option and what was found."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from numbers import Integral, Real
from os import PathLike
from pathlib import Path
from typing import Any, NamedTuple, get_type_hints

from records.errors import WrongConfiguration, shorten


class _Kind(NamedTuple):
    """What a value becomes, by a function that raises ValueError if it is of another kind, and what is expected."""

    read: Callable[[Any], Any]
    expected: str


def check_options(record: Any) -> None:
    """Check the values of a record of options, and give each the type of its field.

    Raises
    ------
    WrongConfiguration
        A value is of another kind.
    """
    for name, hint in get_type_hints(type(record)).items():
        if (kind := KINDS.get(hint)) is None:
            continue
        value = getattr(record, name)
        try:
            object.__setattr__(record, name, kind.read(value))
        except (ValueError, TypeError, OverflowError):
            raise WrongConfiguration(f"{name}: found {shorten(repr(value))}, expected {kind.expected}") from None


def _text(value: Any) -> str:
    text: str = _of(str, value)
    return text


def _of(kind: Any, value: Any) -> Any:
    if not isinstance(value, kind):
        raise ValueError
    return value


def _flag(value: Any) -> bool:
    # Also of numpy, which calls it bool or bool_.
    if type(value).__name__ not in ("bool", "bool_"):
        raise ValueError
    return bool(value)


def _whole(value: Any) -> int:
    if isinstance(value, bool):
        raise ValueError
    return int(_of(Integral, value))


def _number(value: Any) -> float:
    if isinstance(value, bool) or not math.isfinite(number := float(_of(Real, value))):
        raise ValueError
    return number


def _several(value: Any) -> list[Any]:
    if isinstance(value, str | bytes | Mapping):
        raise ValueError
    return list(_of(Iterable, value))


def _texts(value: Any) -> tuple[str, ...]:
    return (value,) if isinstance(value, str) else tuple(map(_text, _several(value)))


def _pair(value: Any) -> tuple[float, float]:
    least, most = map(_number, _several(value))
    return least, most


def _by_name(read: Callable[[Any], Any]) -> Callable[[Any], dict[str, Any]]:
    return lambda value: {_text(name): read(each) for name, each in _of(Mapping, value).items()}


def _share(value: Any) -> float:
    if not 0 <= (share := _number(value)) <= 1:
        raise ValueError
    return share


def _or_none(read: Callable[[Any], Any]) -> Callable[[Any], Any]:
    return lambda value: None if value is None else read(value)


KINDS: Mapping[Any, _Kind] = {
    str: _Kind(_text, "a text"),
    str | None: _Kind(_or_none(_text), "a text"),
    bool: _Kind(_flag, "True or False"),
    int: _Kind(_whole, "a whole number"),
    float | None: _Kind(_or_none(_number), "a finite number"),
    tuple[float, float] | None: _Kind(_or_none(_pair), "two finite numbers"),
    Sequence[str]: _Kind(_texts, "a text or several"),
    Mapping[str, float] | None: _Kind(_or_none(_by_name(_share)), "numbers from 0 to 1 by name"),
    Mapping[str, str] | None: _Kind(_or_none(_by_name(_text)), "texts by name"),
    Path | None: _Kind(_or_none(lambda value: _of((str, PathLike), value)), "a path"),
}
"""By the type of the field."""
