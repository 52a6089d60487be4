"""Reads the settings from one TOML file and the environment; every error at once, each with its place.

A variable ``BOWERBIRD_<KEY>`` overrides a key of the file; ``__`` goes into a table
(``BOWERBIRD_POLICIES__FRONT__WINDOW_S``), a free name is written in upper case with ``_`` for ``-``. The value of a
text is taken as it is, any other is a TOML or JSON value. An empty value takes away a setting that may be absent.
"""

import datetime
import difflib
import itertools
import json
import math
import os
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import TypeAdapter, ValidationError

from bowerbird.contradictions import contradictions
from bowerbird.definitions import (
    PREFIX,
    expectation,
    inside,
    is_table,
    is_text,
    known_keys,
    paths,
    setting,
    unwrapped,
    variables,
)
from bowerbird.toml_lines import KeyPath, key_lines
from policies.errors import WrongConfiguration, shorten
from stream.config import Config

DEFAULT_FILE = "bowerbird.toml"
FILE_VARIABLE = "BOWERBIRD_CONFIG"
NOT_SETTINGS = frozenset({FILE_VARIABLE, "BOWERBIRD_CACHE", "BOWERBIRD_REDIS_SERVER", "BOWERBIRD_TEST_DATA"})
"""Variables of ours that are no settings of a service."""

# Kubernetes gives these to every pod beside a service that is called bowerbird.
_FOREIGN = re.compile(r"BOWERBIRD_(SERVICE_(HOST|PORT(_\w+)?)|PORT(_\d+_(TCP|UDP|SCTP)(_\w+)?)?)")
_config = TypeAdapter(Config)


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
        return f"{place}: {about}found {self.found}, expected {self.expected}"


class WrongSettings(WrongConfiguration):
    """The settings cannot be used; the message tells everything that is wrong, a line each."""

    def __init__(self, problems: list[Problem]) -> None:
        super().__init__("\n".join(map(str, problems)))
        self.problems = problems


def load(file: Path | None = None, environment: Mapping[str, str] | None = None) -> Config:
    """Return the settings of a file, overridden by the environment.

    Parameters
    ----------
    file
        The TOML file. None: the one that ``BOWERBIRD_CONFIG`` names, else ``bowerbird.toml`` in the current folder
        where there is one, else none.
    environment
        The variables; those of the process unless given.

    Raises
    ------
    WrongSettings
        With everything that is wrong, in the order of the lines.
    """
    environment = os.environ if environment is None else environment
    found = find_file(file, environment)
    return _Reading(found, environment).config()


def find_file(file: Path | None, environment: Mapping[str, str]) -> Path | None:
    """Return the file that holds the settings; None where only the environment tells them."""
    if file is not None:
        return file
    if named := environment.get(FILE_VARIABLE):
        return Path(named)
    return Path(DEFAULT_FILE) if Path(DEFAULT_FILE).exists() else None


def without_password(url: str) -> str:
    """Return a URL that may be shown and logged.

    >>> without_password("redis://user:secret@host:6379/0")
    'redis://***@host:6379/0'
    """
    return re.sub(r"//.*@", "//***@", url)


class _Reading:
    """One reading of file and environment; collects problems until the end."""

    def __init__(self, file: Path | None, environment: Mapping[str, str]) -> None:
        self.file = str(file) if file is not None else DEFAULT_FILE
        self.problems: list[Problem] = []
        self.dropped: list[KeyPath] = []
        self.overrides: dict[KeyPath, str] = {}
        self.lines: dict[KeyPath, int] = {}
        self.tree: dict[str, Any] = self._parsed(file) if file is not None else {}
        self._override(environment)

    def config(self) -> Config:
        self._refuse_unknown(self.tree, Config, ())
        config = self._validated()
        for key, found, expected, others in contradictions(config):
            involved = [key, *others]
            if not any(path[: len(dropped)] == dropped for path in involved for dropped in self.dropped):
                self._report(key, found, expected)
        if self.problems:
            raise WrongSettings(sorted(set(self.problems), key=self._order))
        return config

    def _order(self, problem: Problem) -> tuple[bool, bool, int, Problem]:
        return problem.source != self.file, problem.line is None, problem.line or 0, problem

    def _parsed(self, file: Path) -> dict[str, Any]:
        try:
            document = file.read_text("utf-8")
            tree = tomllib.loads(document)
        except OSError as error:
            self.problems.append(Problem(self.file, None, "", error.strerror or "no file", "a readable file"))
        except UnicodeDecodeError as error:
            self.problems.append(Problem(self.file, None, "", f"byte {error.start} that is no UTF-8", "UTF-8"))
        except tomllib.TOMLDecodeError as error:
            line = re.search(r"line (\d+)", str(error))
            number = int(line.group(1)) if line else document.count("\n") + 1
            self.problems.append(Problem(self.file, number, "", _syntax(str(error)), "TOML"))
        else:
            self.lines = key_lines(document)
            return tree
        raise WrongSettings(self.problems)

    def _override(self, environment: Mapping[str, str]) -> None:
        names = [name for name in environment if name.startswith(PREFIX) and name not in NOT_SETTINGS]
        told: list[tuple[tuple[str, ...], str]] = []
        for name in names:
            if _FOREIGN.fullmatch(name):
                continue
            readings = sorted(paths(Config, name.removeprefix(PREFIX), self.tree), key=self._strangeness)
            if readings:
                told.append((readings[0], name))
            else:
                near = difflib.get_close_matches(name, variables(Config, self.tree), 1, 0.75)
                hint = f"; did you mean {near[0]}?" if near else ""
                self.problems.append(Problem(name, None, "", "an unknown setting", f"a known one{hint}"))
        # A table first, then what replaces a part of it.
        for path, name in sorted(told, key=lambda each: len(each[0])):
            self._set(path, name, environment[name])

    def _strangeness(self, path: tuple[str, ...]) -> tuple[int, int]:
        """Order the readings of a variable: names that the file knows before new ones."""
        at: Any = self.tree
        for depth, key in enumerate(path):
            if not isinstance(at, dict) or key not in at:
                return len(path) - depth, len(path)
            at = at[key]
        return 0, len(path)

    def _set(self, path: tuple[str, ...], name: str, text: str) -> None:
        _, annotation = setting(Config, path)
        _, _, optional = unwrapped(annotation)
        table = self.tree
        for key in path[:-1]:
            below = table.setdefault(key, {})
            if not isinstance(below, dict):
                return
            table = below
        self.overrides[path] = name
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

    def _refuse_unknown(self, table: dict[str, Any], record: Any, above: KeyPath) -> None:
        """Report and take away keys that no definition knows, and values that no setting can have."""
        for key in list(table):
            path = (*above, key)
            annotation = inside(record, key)
            if annotation is None:
                near = difflib.get_close_matches(key, known_keys(record), 1)
                wanted = f"a known one; did you mean {near[0]}?" if near else "one of " + ", ".join(known_keys(record))
                self._report(path, "an unknown key", wanted)
                del table[key]
            elif is_table(annotation) and isinstance(table[key], dict):
                self._refuse_unknown(table[key], annotation, path)
            elif _unusual(table[key]):
                self._report(path, str(table[key]), expectation(annotation))
                self.dropped.append(path)
                del table[key]

    def _validated(self) -> Config:
        """Return the settings; what is wrong is reported and replaced by its default, to find what else is."""
        while True:
            try:
                return _config.validate_json(json.dumps(self.tree), strict=True)
            except ValidationError as error:
                wrong: list[KeyPath] = []
                for each in error.errors(include_url=False):
                    path, annotation = setting(Config, self._present(each["loc"]))
                    if each["type"] == "value_error":
                        wrong += self._contradicting(path, each["msg"].removeprefix("Value error, "))
                    else:
                        self._report(path, self._shown(path), expectation(annotation))
                        wrong.append(path)
                for path in wrong:
                    self._drop(path)

    def _contradicting(self, path: KeyPath, message: str) -> list[KeyPath]:
        """Report a table that its own dataclass refuses, and return the keys of it that the message names."""
        words = set(re.findall(r"\w+", message))
        table = self._at(path)
        named = [(*path, key) for key in table if key in words]
        if not any(_related(path, dropped) and dropped[-1] in words for dropped in self.dropped):
            expected, _, found = message.partition(", found ")
            expected = re.sub(r"^\w+ must be | is expected$", "", expected)
            self._report(named[0] if len(named) == 1 else path, found or "a table", expected)
        return named or [path]

    def _present(self, path: KeyPath) -> KeyPath:
        """Return the longest beginning of a path that leads to a value."""
        at: Any = self.tree
        for depth, key in enumerate(path):
            try:
                at = at[key]
            except (KeyError, IndexError, TypeError):
                return path[:depth]
        return path

    def _drop(self, path: KeyPath) -> None:
        # An array goes as a whole.
        path = tuple(itertools.takewhile(lambda key: isinstance(key, str), path))
        self.dropped.append(path)
        at: Any = self.tree
        for key in path[:-1]:
            at = at.get(key) if isinstance(at, dict) else None
        if isinstance(at, dict):
            at.pop(path[-1], None)

    def _shown(self, path: KeyPath) -> str:
        at = self._at(path)
        return "a table" if isinstance(at, dict) else shorten(without_password(json.dumps(at, ensure_ascii=False)))

    def _at(self, path: KeyPath) -> Any:
        at: Any = self.tree
        for key in path:
            at = at[key]
        return at

    def _report(self, path: KeyPath, found: str, expected: str) -> None:
        key = ".".join(map(str, path))
        for length in range(len(path), 0, -1):
            if (name := self.overrides.get(path[:length])) is not None:
                self.problems.append(Problem(name, None, key, found, expected))
                return
            if (line := self.lines.get(path[:length])) is not None:
                self.problems.append(Problem(self.file, line, key, found, expected))
                return
        self.problems.append(Problem(self.file, None, key, found, expected))


def _related(one: KeyPath, other: KeyPath) -> bool:
    shorter = min(len(one), len(other))
    return one[:shorter] == other[:shorter]


def _unusual(value: object) -> bool:
    """Tell whether a TOML value holds something that no setting takes and JSON does not know."""
    if isinstance(value, list):
        return any(map(_unusual, value))
    if isinstance(value, dict):
        return any(map(_unusual, value.values()))
    if isinstance(value, float):
        return not math.isfinite(value)
    return isinstance(value, datetime.date | datetime.time)


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


def _syntax(message: str) -> str:
    problem = re.sub(r" \(at .*\)$", "", message)
    return problem[:1].lower() + problem[1:]
