"""The options of an evaluation are one record, from which the library's keywords and the command's options are made."""

import inspect
import re
from dataclasses import dataclass
from typing import Annotated, Any

import pytest
import typer
from typer.testing import CliRunner

import bowerbird
from bowerbird.cli import app
from bowerbird.commands.record_options import with_record_options
from bowerbird.commands.shared import log_errors_in_words
from bowerbird.evaluation_request import EvaluationRequest, LogRequest
from bowerbird.option_records import fields_of, takes
from replay.evaluation.options import Described

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
