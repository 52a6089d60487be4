"""Reads the settings from one TOML file and the environment; every error at once, each with its place.

A variable ``BOWERBIRD_<KEY>`` overrides a key of the file; ``__`` goes into a table
(``BOWERBIRD_PLACEMENTS__FRONT__WINDOW_S``), a free name is written in upper case with ``_`` for ``-``. The value of a
text is taken as it is, any other is a TOML or JSON value. An empty value takes away a setting that may be absent.
"""

import difflib
import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from bowerbird.settings.contradictions import contradictions
from bowerbird.settings.definitions import expectation, inside, is_table, known_keys, setting
from bowerbird.settings.toml_lines import KeyPath
from bowerbird.settings.tree import FILE_VARIABLE, Problem, SettingsTree, is_unusual, without_password
from records.errors import WrongConfiguration, shorten
from stream.config import Config

DEFAULT_FILE = "bowerbird.toml"

_config = TypeAdapter(Config)


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
    settings_file = find_file(file, environment)
    tree = SettingsTree(settings_file, str(settings_file or DEFAULT_FILE), environment)
    _refuse_unknown(tree, tree.values, Config, ())
    config = _validated(tree)
    for key, shown, expected, others in contradictions(config):
        if settings_file is None and key == ("policies",):
            expected += f"; {Path.cwd()} has no {DEFAULT_FILE}: name a file by --config or {FILE_VARIABLE}"
        involved = [key, *others]
        if not any(path[: len(dropped)] == dropped for path in involved for dropped in tree.dropped):
            tree.report(key, shown, expected)
    if tree.problems:
        raise WrongSettings(tree.in_order())
    return config


def find_file(file: Path | None, environment: Mapping[str, str]) -> Path | None:
    """Return the file that holds the settings; None where only the environment tells them."""
    if file is not None:
        return file
    if named := environment.get(FILE_VARIABLE):
        return Path(named)
    return Path(DEFAULT_FILE) if Path(DEFAULT_FILE).exists() else None


def service_at(path: str) -> Path | None:
    """Return the settings of the service whose Kafka is a log; None: those that ``BOWERBIRD_CONFIG`` names.

    So ``bowerbird.toml`` is the log also where only that variable says where it is.
    """
    file = Path(path)
    elsewhere = file == Path(DEFAULT_FILE) and not file.exists() and os.environ.get(FILE_VARIABLE)
    return None if elsewhere else file


def _refuse_unknown(tree: SettingsTree, table: dict[str, Any], record: Any, above: KeyPath) -> None:
    """Report and take away keys that no definition knows, and values that no setting can have."""
    for key in list(table):
        path = (*above, key)
        annotation = inside(record, key)
        if annotation is None:
            near = difflib.get_close_matches(key, known_keys(record), 1)
            wanted = f"a known one; did you mean {near[0]}?" if near else "one of " + ", ".join(known_keys(record))
            tree.report(path, "an unknown key", wanted)
            del table[key]
        elif is_table(annotation) and isinstance(table[key], dict):
            _refuse_unknown(tree, table[key], annotation, path)
        elif is_unusual(table[key]):
            tree.report(path, shorten(without_password(str(table[key]))), expectation(annotation))
            tree.dropped.append(path)
            del table[key]


def _validated(tree: SettingsTree) -> Config:
    """Return the settings; what is wrong is reported and replaced by its default, to find what else is."""
    while True:
        try:
            return _config.validate_json(json.dumps(tree.values), strict=True)
        except ValidationError as error:
            wrong: list[KeyPath] = []
            for each in error.errors(include_url=False):
                path, annotation = setting(Config, tree.present(each["loc"]))
                if each["type"] == "value_error":
                    wrong += _contradicting(tree, path, each["msg"].removeprefix("Value error, "))
                else:
                    tree.report(path, tree.shown(path), expectation(annotation))
                    wrong.append(path)
            for path in wrong:
                tree.drop(path)


def _contradicting(tree: SettingsTree, path: KeyPath, message: str) -> list[KeyPath]:
    """Report a table that its own dataclass refuses, and return the keys of it that the message names."""
    words = set(re.findall(r"\w+", message))
    table = tree.at(path)
    named = [(*path, key) for key in table if key in words]
    if not any(_related(path, dropped) and words & set(dropped[-1:]) for dropped in tree.dropped):
        expected, _, found = message.partition(", found ")
        expected = re.sub(r"^\w+ must be | is expected$", "", expected)
        tree.report(named[0] if len(named) == 1 else path, found or "a table", expected)
    return named or [path]


def _related(one: KeyPath, other: KeyPath) -> bool:
    shorter = min(len(one), len(other))
    return one[:shorter] == other[:shorter]
