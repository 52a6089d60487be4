"""At which line of a TOML document a key stands, so that an error can name it."""

import tomllib
from collections.abc import Iterator
from typing import Any

KeyPath = tuple[str | int, ...]
"""Keys from the document's root; an int is the index of an array's item."""


def key_lines(document: str) -> dict[KeyPath, int]:
    r"""Return the line, from 1, of every key and table of a TOML document; what is inside a value has its key's line.

    Parameters
    ----------
    document
        Valid TOML: ``tomllib`` has parsed it. It gives no positions, so it parses each statement again, alone.

    Examples
    --------
    >>> key_lines('prefix = ""\n[placements.front]\nwindow_s = 600\n')[("placements", "front", "window_s")]
    3
    """
    lines: dict[KeyPath, int] = {}
    last_items: dict[KeyPath, int] = {}
    table: KeyPath = ()
    statement, begins = "", 1
    for number, line in enumerate(document.split("\n"), 1):
        statement += line + "\n"
        try:
            tree = tomllib.loads(statement)
        except tomllib.TOMLDecodeError:
            # A value goes on in the next line.
            continue
        if statement.lstrip(" \t").startswith("["):
            table = _header(tree, last_items)
            paths = [table[:length] for length in range(1, len(table) + 1)]
        else:
            paths = [(*table, *path) for path in _paths(tree)]
        for path in paths:
            lines.setdefault(path, begins)
        statement, begins = "", number + 1
    return lines


def _header(tree: Any, last_items: dict[KeyPath, int]) -> KeyPath:
    """Return the path of a table's header, and count the items of arrays of tables."""
    path: KeyPath = ()
    while tree:
        ((key, tree),) = tree.items()
        path = (*path, key)
        if isinstance(tree, list):
            last_items[path] = last_items.get(path, -1) + 1
            (tree,) = tree
        if path in last_items:
            path = (*path, last_items[path])
    return path


def _paths(tree: Any) -> Iterator[KeyPath]:
    """Yield the path of every value."""
    pairs = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    for key, value in pairs:
        yield (key,)
        yield from ((key, *path) for path in _paths(value))
