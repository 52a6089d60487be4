"""The options of an evaluation are one record, from which the library's keywords and the command's options are made."""

import inspect
import re
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
import pytest
import typer
import typer.rich_utils  # It takes its width from the environment when it is imported.
from typer.testing import CliRunner

import bowerbird
from bowerbird.cli import app
from bowerbird.commands.record_options import with_record_options
from bowerbird.commands.shared import log_errors_in_words
from bowerbird.evaluation_request import EvaluationRequest, LogRequest
from bowerbird.option_records import fields_of, takes
from records.described import Described
from records.errors import BowerbirdError
from replay.evaluation.option_values import KINDS

FIELDS = {each.name: each for each in fields_of(EvaluationRequest)}


def text_of(output: str) -> str:
    """Return what a help page says, without its frame."""
    return " ".join(re.sub(r"[│╭╮╰╯─]", " ", re.sub(r"\x1b\[[0-9;]*m", "", output)).split())


def test_the_library_takes_every_option_by_its_type_and_default() -> None:
    signature = inspect.signature(bowerbird.evaluate)
    assert list(signature.parameters) == list(FIELDS)
    for name, parameter in signature.parameters.items():
        assert (parameter.default, parameter.annotation) == (FIELDS[name].parameter.default, FIELDS[name].type)
    assert [each.name for each in signature.parameters.values() if each.kind is each.POSITIONAL_OR_KEYWORD] == [
        "log",
        "target",
    ]


def test_the_librarys_documentation_describes_every_option() -> None:
    text = " ".join((bowerbird.evaluate.__doc__ or "").split())
    for name, field in FIELDS.items():
        assert f"{name} {field.described.text}" in text
    assert "evaluate" in dir(bowerbird)


def test_an_unknown_keyword_is_named() -> None:
    with pytest.raises(TypeError, match="evaluate: found the keyword estimator, expected one of log, target, format"):
        bowerbird.evaluate({}, estimator="ips")  # type: ignore[call-arg]


@pytest.mark.parametrize(
    ("record", "path"), [(EvaluationRequest, ["replay", "evaluate"]), (LogRequest, ["log", "describe"])]
)
def test_the_command_takes_and_describes_every_option(record: type[Any], path: list[str]) -> None:
    result = CliRunner().invoke(app, [*path, "--help"], env={"COLUMNS": "1000", "TERMINAL_WIDTH": "1000"})
    text = text_of(result.output)
    for field in fields_of(record):
        name = field.described.each or field.name
        assert ("PATH" if name == "log" else f"--{name.replace('_', '-')} ") in text
        assert " ".join(field.described.text.split()) in text


# An option that is added to a record is everywhere.


@dataclass(frozen=True)
class Record:
    much: Annotated[int, Described("How much.", "N")]
    parts: Annotated[tuple[float, float] | None, Described("Two.")] = None
    loud: Annotated[bool, Described("Whether loud.")] = False


@takes(Record)
def library(record: Record) -> Record:
    """Do something.

    {parameters}
    """
    return record


def test_an_option_is_added_in_one_place() -> None:
    assert library(1, loud=True) == Record(1, None, True)
    assert "parts\n    Two." in (library.__doc__ or "")
    made: list[Record] = []
    several = typer.Typer()

    @several.command()
    @with_record_options(lambda: log_errors_in_words("it"))
    def command(record: Record, again: int = 1) -> None:
        made.extend([record] * again)

    result = CliRunner().invoke(several, ["3", "--parts", "1", "2", "--loud", "--again", "2"])
    assert result.exit_code == 0, result.output
    assert made == [Record(3, (1.0, 2.0), True)] * 2


ODD: list[Any] = [
    *(None, 3, -1, 1.5, True, b"x", "x", "01", "", 2**70, 10**400, float("nan"), object()),
    *((1,), (None, 1), (0, float("inf")), (0.0, 1.0, 2.0), [1], [None], ["ips"], np.array([0.0, 1.0]), np.int64(3)),
    *({1: 2}, {"reward": 3}, {"a": 0.6, "b": 0.6}, {"a": -1.0, "b": 2.0}, {"a": "x"}, {"a": float("nan"), "b": 1.0}),
]


def raised_by(**options: Any) -> Exception | None:
    log = {"reward": [1, 0] * 20, "propensity": [0.5] * 40, "target": [0.5] * 40, "version": ["a", "b"] * 20}
    try:
        bowerbird.evaluate(log, **options)
    except Exception as error:
        return error
    return None


@pytest.mark.parametrize("name", [name for name in FIELDS if name != "log"])
def test_no_value_of_an_option_is_an_error_of_python(name: str) -> None:
    found = [raised_by(**{name: value}) for value in ODD]
    assert [repr(each) for each in found if not isinstance(each, BowerbirdError | None)] == []
    assert sum(each is not None for each in found) >= len(ODD) / 2


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"reward_range": "01"}, "reward_range: found '01', expected two finite numbers"),
        ({"reward_range": (None, 1)}, "reward_range: found (None, 1), expected two finite numbers"),
        ({"target": 3}, "target: found 3, expected a text"),
        ({"segments": None}, "segments: found None, expected a text or several"),
        ({"columns": ["a"]}, "columns: found ['a'], expected texts by name"),
        ({"resamples": 1.5}, "resamples: found 1.5, expected a whole number"),
        ({"resamples": 2**70}, "resamples: found 1180591620717411303424, expected 0 to 1,000,000"),
        ({"largest_weight": "4"}, "largest_weight: found '4', expected a finite number"),
        ({"expected_shares": {"a": 0.6, "b": 0.6}}, "expected share: found 1.2 of all, expected the sum 1"),
        ({"expected_shares": {"a": 1.2, "b": -0.2}}, "expected_shares: found {'a': 1.2, 'b': -0.2}, expected numbers"),
    ],
)
def test_an_odd_value_of_an_option_is_named(options: dict[str, Any], message: str) -> None:
    error = raised_by(**options)
    assert isinstance(error, BowerbirdError), repr(error)
    assert str(error).startswith(message)


def test_every_option_has_a_kind() -> None:
    assert {name for name, field in FIELDS.items() if field.type not in KINDS} == {"log"}


def test_numbers_of_numpy_are_numbers() -> None:
    values: dict[str, Any] = {
        "resamples": np.int64(3),
        "largest_weight": np.float32(4),
        "reward_range": np.array([0.0, 2.0]),
        "fixed_loggers": np.bool_(1),
        "segments": "day",
    }
    request = EvaluationRequest("log", **values)
    assert (request.resamples, request.largest_weight, request.reward_range) == (3, 4.0, (0.0, 2.0))
    assert {type(each) for each in (request.resamples, request.largest_weight)} == {int, float}
    assert (request.fixed_loggers, request.segments) == (True, ("day",))
