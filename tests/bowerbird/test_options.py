"""The options of an evaluation are one record: the library and the command have each of its fields, by its default."""

import inspect
from dataclasses import MISSING, fields
from typing import Any

import pytest

import bowerbird
from bowerbird.commands.replay import evaluate as command
from bowerbird.judged_log import EvaluationRequest
from replay.evaluation.evaluate import Options

# How the command calls what is given several times.
REPEATED = {"estimators": "estimator", "expected_shares": "expected_share", "columns": "column", "segments": "segment"}
# The number of threads changes nothing but the time; what a file of settings is for only a command knows.
OF_NO_CALLER = {"threads"}
OF_THE_COMMAND = {"config"}

LIBRARY = inspect.signature(bowerbird.evaluate).parameters
COMMAND = inspect.signature(command).parameters


def default_of(kind: type[Any], name: str) -> Any:
    (field,) = [each for each in fields(kind) if each.name == name]
    return field.default if field.default_factory is MISSING else field.default_factory()


def plain(value: Any) -> Any:
    """Return a default; all that say "nothing" are one."""
    return value or None


FIELDS = [(kind, field.name) for kind in (Options, EvaluationRequest) for field in fields(kind)]


@pytest.mark.parametrize(("kind", "name"), [each for each in FIELDS if each[1] not in {*OF_NO_CALLER, "path"}])
def test_an_option_is_everywhere_with_one_default(kind: type[Any], name: str) -> None:
    default = plain(default_of(kind, name)) if default_of(kind, name) is not MISSING else None
    assert plain(COMMAND[REPEATED.get(name, name)].default) == default
    if name not in OF_THE_COMMAND:
        assert plain(LIBRARY[name].default) == default


def test_the_library_has_no_option_of_its_own() -> None:
    assert set(LIBRARY) - {name for _, name in FIELDS} == {"log"}
