"""The settings' definitions, read from the dataclasses of ``stream.config``: keys, types, limits, meanings.

What a validator, an environment variable and the documentation need to know of a setting comes from here, so that
each setting has one definition.
"""

import dataclasses
import inspect
import re
import types
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

from annotated_types import Interval, Len

from bowerbird.settings.toml_lines import KeyPath

PREFIX = "BOWERBIRD_"
NESTING = "__"

_WORDS = {str: "a text", int: "a whole number", float: "a number", bool: "true or false"}


@cache
def fields(record: type) -> dict[str, Any]:
    """Return the annotation of every setting of a dataclass, in the order of their definition."""
    hints = get_type_hints(record, include_extras=True)
    return {field.name: hints[field.name] for field in dataclasses.fields(record)}


def unwrapped(annotation: Any) -> tuple[Any, tuple[Any, ...], bool]:
    """Return an annotation's bare type, its limits, and whether None is allowed."""
    limits: tuple[Any, ...] = ()
    optional = False
    while True:
        origin = get_origin(annotation)
        if origin is Annotated:
            annotation, *more = get_args(annotation)
            limits = (*limits, *more)
        elif origin in (Union, types.UnionType):
            optional = True
            (annotation,) = (option for option in get_args(annotation) if option is not types.NoneType)
        else:
            return annotation, limits, optional


def inside(annotation: Any, key: str | int) -> Any | None:
    """Return the annotation of what lies under a key of a table or an array, or None for an unknown key."""
    bare, _, _ = unwrapped(annotation)
    if dataclasses.is_dataclass(bare) and isinstance(bare, type):
        return fields(bare).get(str(key))
    if get_origin(bare) is dict and isinstance(key, str):
        return get_args(bare)[1]
    if get_origin(bare) is tuple and isinstance(key, int):
        items = get_args(bare)
        return items[0] if items[-1] is Ellipsis or key >= len(items) else items[key]
    return None


def is_table(annotation: Any) -> bool:
    """Tell whether a setting is a table, with or without free names."""
    bare, _, _ = unwrapped(annotation)
    return dataclasses.is_dataclass(bare) or get_origin(bare) is dict


def is_text(annotation: Any) -> bool:
    """Tell whether a setting is a text, free or one of a few."""
    bare, _, _ = unwrapped(annotation)
    return bare is str or (get_origin(bare) is Literal and all(isinstance(each, str) for each in get_args(bare)))


def known_keys(annotation: Any) -> tuple[str, ...]:
    """Return the keys of a table; none where its names are free."""
    bare, _, _ = unwrapped(annotation)
    return tuple(fields(bare)) if dataclasses.is_dataclass(bare) and isinstance(bare, type) else ()


def setting(record: type, path: KeyPath) -> tuple[KeyPath, Any]:
    """Return the longest beginning of a path that a definition knows, and its annotation."""
    annotation: Any = record
    for depth, key in enumerate(path):
        below = inside(annotation, key)
        if below is None:
            return path[:depth], annotation
        annotation = below
    return path, annotation


def expectation(annotation: Any) -> str:
    """Say in words what a setting takes.

    >>> expectation(Annotated[int, Interval(ge=1, le=1024)])
    'a whole number from 1 to 1024'
    """
    bare, limits, _ = unwrapped(annotation)
    if is_table(annotation):
        return "a table"
    if get_origin(bare) is Literal:
        return "one of " + ", ".join(map(str, get_args(bare)))
    if get_origin(bare) is tuple:
        first, *rest = get_args(bare)
        many = _WORDS[unwrapped(first)[0]].removeprefix("a ") + "s"
        return f"an array of {many}" if rest == [Ellipsis] else f"an array of {1 + len(rest)} {many}"
    return " ".join((_WORDS[bare], *filter(None, map(_limit, limits))))


def _limit(limit: object) -> str:
    if isinstance(limit, Interval):
        above = f"from {_number(limit.ge)}" if limit.ge is not None else ""
        below = f"to {_number(limit.le)}" if limit.le is not None else ""
        return f"{above} {below}".strip() if above and below else f"of at least {_number(limit.ge)}"
    if isinstance(limit, Len):
        return f"of {limit.min_length} to {limit.max_length} characters"
    return ""


def _number(number: Any) -> str:
    return f"{number:g}" if isinstance(number, float) and number < 1e6 else f"{number:.0f}"


def variable(path: KeyPath) -> str:
    """Return the environment variable that overrides a setting.

    >>> variable(("placements", "front-page", "window_s"))
    'BOWERBIRD_PLACEMENTS__FRONT_PAGE__WINDOW_S'
    """
    return PREFIX + NESTING.join(str(key).upper().replace("-", "_") for key in path)


def paths(record: Any, rest: str, tree: object) -> Iterator[tuple[str, ...]]:
    """Return the settings that the rest of a variable's name (without the prefix) can mean.

    A free name stands for itself in upper case, with ``_`` for ``-``. One that holds ``--`` can only be meant where
    the file knows it, which ``tree`` tells; otherwise ``__`` goes into a table.
    """
    bare, _, _ = unwrapped(record)
    known = tree if isinstance(tree, dict) else {}
    if get_origin(bare) is dict:
        ends = [at.start() for at in re.finditer(f"(?={NESTING})", rest)]
        heads = [*((rest[:end], rest[end + 2 :]) for end in ends), (rest, None)]
        keys = [(head.lower().replace("_", "-"), tail) for head, tail in heads]
        readings = [(key, tail) for key, tail in keys if key and ("--" not in key or key in known)]
    else:
        readings = [(key, None) for key in known_keys(record) if rest == key.upper()]
        readings += [
            (key, rest[len(key) + 2 :]) for key in known_keys(record) if rest.startswith(key.upper() + NESTING)
        ]
    for key, tail in readings:
        if tail is None:
            yield (key,)
        elif (below := inside(record, key)) is not None:
            yield from ((key, *more) for more in paths(below, tail, known.get(key)))


def variables(record: Any, tree: Mapping[str, Any], above: tuple[str, ...] = ()) -> Iterator[str]:
    """Return every variable that could override something, given the names that the file uses."""
    names = known_keys(record) or tuple(tree)
    for name in names:
        annotation = inside(record, name)
        yield variable((*above, name))
        if is_table(annotation):
            table = tree.get(name)
            yield from variables(annotation, table if isinstance(table, dict) else {}, (*above, name))


@cache
def meanings(record: type) -> dict[str, str]:
    """Return the meaning of every setting, as the dataclass's numpydoc section "Attributes" tells it."""
    section = re.search(r"^Attributes\n-+\n(.*?)(?:\n\n|\Z)", inspect.getdoc(record) or "", re.DOTALL | re.MULTILINE)
    by_name: dict[str, str] = {}
    names: list[str] = []
    for line in section.group(1).split("\n") if section else ():
        if line.startswith(" "):
            by_name.update((name, f"{by_name.get(name, '')} {line.strip()}".strip()) for name in names)
        else:
            names = [name.strip() for name in line.split(":")[0].split(",")]
    return by_name
