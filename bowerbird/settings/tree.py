"""The settings as they were given: a tree of values, each with the line or the variable that it comes from."""

import datetime
import difflib
import itertools
import json
import math
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from bowerbird.settings.definitions import PREFIX, expectation, is_text, paths, setting, unwrapped, variables
from bowerbird.settings.toml_lines import KeyPath, key_lines
from records.errors import of_disk, printable, shorten
from stream.config import Config

FILE_VARIABLE = "BOWERBIRD_CONFIG"
NOT_SETTINGS = frozenset({FILE_VARIABLE, "BOWERBIRD_CACHE", "BOWERBIRD_REDIS_SERVER", "BOWERBIRD_TEST_DATA"})
"""Variables of ours that are no settings of a service."""

# Kubernetes gives these to every pod in the namespace of a service that is called bowerbird.
_FOREIGN = re.compile(r"BOWERBIRD_(SERVICE_(HOST|PORT(_\w+)?)|PORT(_\d+_(TCP|UDP|SCTP)(_\w+)?)?)")


class Problem(NamedTuple):
    """One thing that is wrong with the settings."""

    source: str
    line: int | None
    key: str
    found: str
    expected: str

    def __str__(self) -> str:
        place = self.source if self.line is None else f"{self.source}, line {self.line}"
        about = f"{self.key}: " if self.key else ""
        return printable(f"{place}: {about}found {self.found}, expected {self.expected}")


def elsewhere(file: Path, environment: Mapping[str, str]) -> str:
    """Say that a file which is not there was named by the environment; empty: it was not."""
    named = environment.get(FILE_VARIABLE) == str(file)
    return f"{FILE_VARIABLE} names it: unset that variable, or let it name another file" if named else ""


class SettingsTree:
    """File and environment, read and laid over each other; what cannot be read is a problem.

    Parameters
    ----------
    file
        The TOML file; None: only the environment tells.
    name
        How problems call the file.

    Attributes
    ----------
    values
        The tree; what is wrong in it is taken away by :meth:`drop`.
    problems
        What has been reported.
    dropped
        The paths that were taken away; the empty path where the file could not be read at all.
    """

    def __init__(self, file: Path | None, name: str, environment: Mapping[str, str]) -> None:
        self.problems: list[Problem] = []
        self.dropped: list[KeyPath] = []
        self._file = name
        self._overrides: dict[KeyPath, str] = {}
        self._lines: dict[KeyPath, int] = {}
        self.values: dict[str, Any] = self._parsed(file, environment) if file is not None else {}
        self._override(environment)

    def in_order(self) -> list[Problem]:
        """Return the problems: those of the file by line, then those of the environment; each once."""
        return sorted(set(self.problems), key=self._order)

    def at(self, path: KeyPath) -> Any:
        """Return the value that stands at a path."""
        at: Any = self.values
        for key in path:
            at = at[key]
        return at

    def present(self, path: KeyPath) -> KeyPath:
        """Return the longest beginning of a path that leads to a value."""
        at: Any = self.values
        for depth, key in enumerate(path):
            try:
                at = at[key]
            except (KeyError, IndexError, TypeError):
                return path[:depth]
        return path

    def shown(self, path: KeyPath) -> str:
        """Return the value at a path as a problem may show it."""
        at = self.at(path)
        return "a table" if isinstance(at, dict) else shorten(without_password(json.dumps(at, ensure_ascii=False)))

    def drop(self, path: KeyPath) -> None:
        """Take a value away, so that what else is wrong can be found."""
        # An array goes as a whole.
        path = tuple(itertools.takewhile(lambda key: isinstance(key, str), path))
        self.dropped.append(path)
        at: Any = self.values
        for key in path[:-1]:
            at = at.get(key) if isinstance(at, dict) else None
        if isinstance(at, dict):
            at.pop(path[-1], None)

    def report(self, path: KeyPath, found: str, expected: str) -> None:
        """Note a problem, with the line or the variable that the path comes from."""
        key = ".".join(map(str, path))
        for length in range(len(path), 0, -1):
            if (name := self._overrides.get(path[:length])) is not None:
                self.problems.append(Problem(name, None, key, found, expected))
                return
            if (line := self._lines.get(path[:length])) is not None:
                self.problems.append(Problem(self._file, line, key, found, expected))
                return
        self.problems.append(Problem(self._file, None, key, found, expected))

    def _order(self, problem: Problem) -> tuple[bool, bool, int, Problem]:
        return problem.source != self._file, problem.line is None, problem.line or 0, problem

    def _parsed(self, file: Path, environment: Mapping[str, str]) -> dict[str, Any]:
        try:
            document = file.read_text("utf-8")
            tree = tomllib.loads(document)
        except OSError as error:
            expected = "a readable file"
            if isinstance(error, FileNotFoundError):
                named = elsewhere(file, environment)
                expected = f"the settings of a service; {named or '`bowerbird up` shows where its own are'}"
            self.problems.append(Problem(self._file, None, "", of_disk(error), expected))
        except UnicodeDecodeError as error:
            self.problems.append(Problem(self._file, None, "", f"byte {error.start} that is no UTF-8", "UTF-8"))
        except tomllib.TOMLDecodeError as error:
            line = re.search(r"line (\d+)", str(error))
            number = int(line.group(1)) if line else document.count("\n") + 1
            self.problems.append(Problem(self._file, number, "", _syntax(str(error)), "TOML"))
        else:
            self._lines = key_lines(document)
            return tree
        self.dropped.append(())
        return {}

    def _override(self, environment: Mapping[str, str]) -> None:
        names = [name for name in environment if name.startswith(PREFIX) and name not in NOT_SETTINGS]
        read: list[tuple[tuple[str, ...], str]] = []
        for name in names:
            if _FOREIGN.fullmatch(name):
                continue
            readings = sorted(paths(Config, name.removeprefix(PREFIX), self.values), key=self._strangeness)
            if readings:
                read.append((readings[0], name))
            else:
                near = difflib.get_close_matches(name, [*variables(Config, self.values), *NOT_SETTINGS], 1, 0.75)
                hint = f"; did you mean {near[0]}?" if near else ""
                self.problems.append(Problem(name, None, "", "an unknown setting", f"a known one{hint}"))
        # A table first, then what replaces a part of it.
        for path, name in sorted(read, key=lambda each: len(each[0])):
            self._set(path, name, environment[name])

    def _strangeness(self, path: tuple[str, ...]) -> tuple[int, int]:
        """Order the readings of a variable: names that the file knows before new ones."""
        at: Any = self.values
        for depth, key in enumerate(path):
            if not isinstance(at, dict) or key not in at:
                return len(path) - depth, len(path)
            at = at[key]
        return 0, len(path)

    def _set(self, path: tuple[str, ...], name: str, text: str) -> None:
        _, annotation = setting(Config, path)
        _, _, optional = unwrapped(annotation)
        table = self.values
        for key in path[:-1]:
            below = table.setdefault(key, {})
            if not isinstance(below, dict):
                return
            table = below
        self._overrides[path] = name
        if optional and text == "":
            table.pop(path[-1], None)
        elif is_text(annotation):
            table[path[-1]] = text
        else:
            try:
                table[path[-1]] = _value(text)
            except ValueError:
                found = shorten(repr(text))
                self.problems.append(Problem(name, None, ".".join(path), found, expectation(annotation)))
                self.dropped.append(path)
                table.pop(path[-1], None)


def is_unusual(value: object) -> bool:
    """Tell whether a TOML value holds something that no setting takes and JSON does not know."""
    if isinstance(value, list):
        return any(map(is_unusual, value))
    if isinstance(value, dict):
        return any(map(is_unusual, value.values()))
    if isinstance(value, float):
        return not math.isfinite(value)
    return isinstance(value, datetime.date | datetime.time)


def without_password(url: str) -> str:
    """Return a URL that may be shown and logged.

    >>> without_password("redis://user:secret@host:6379/0")
    'redis://***@host:6379/0'
    """
    return re.sub(r"//.*@", "//***@", url)


def _value(text: str) -> Any:
    """Return a TOML or JSON value.

    >>> _value('["clicks"]'), _value('{clicks = {weight = 1}}'), _value('{"clicks": {"weight": 1}}')
    (['clicks'], {'clicks': {'weight': 1}}, {'clicks': {'weight': 1}})
    """
    try:
        parsed = tomllib.loads(f"value = {text}")
        if list(parsed) == ["value"]:
            return parsed["value"]
    except tomllib.TOMLDecodeError:
        pass
    return json.loads(text)


_SYNTAX = (
    ("Expected '=' after a key", "a key without ="),
    ("Invalid statement", "neither a key nor a table"),
    ("Invalid value", "a value that TOML has not (a text needs quotation marks)"),
    ("Cannot ", "a key or a table twice"),
    ("Duplicate ", "a key or a table twice"),
    ("Unclosed array", "a [ that is never closed"),
    ("Unclosed inline table", "a { that is never closed"),
    ("Unterminated string", "a text that never ends"),
    ("Illegal character", "a text that goes over the end of its line, or a control character"),
    ("Found invalid character", "a control character"),
    ("Expected newline or end of document", "more than one value on the line"),
    ("Unescaped '\\\\'", "a backslash that begins no escape (write two, or the text in '…')"),
    ("Expected ']", "a table's name that is not closed"),
    ("Invalid date or datetime", "an invalid date or time"),
    ("Invalid initial character for a key part", "a key that needs quotation marks"),
    ("Invalid hex value", "an escape that is no character"),
    ("Escaped character is not", "an escape that is no character"),
)


def _syntax(message: str) -> str:
    """Return what is wrong with a document, in words.

    >>> _syntax("Invalid value (at line 1, column 5)")
    'a value that TOML has not (a text needs quotation marks)'
    """
    return next((words for begin, words in _SYNTAX if message.startswith(begin)), "text that is no TOML")
