"""The law over all errors: our own sentence, no library's, and nothing that a terminal obeys."""

import re
from collections.abc import Sequence

from typer.testing import CliRunner, Result

from bowerbird.cli import app

LIBRARIES = (
    "Traceback",
    "Expected `",
    "msgspec",
    "pyarrow",
    "ArrowInvalid",
    "object at 0x",
    "<class '",
    "ComputeError",
    "line 1 column",
    "(at line",
    "JSON is malformed",
    "JSON parse error",
    "Parquet magic",
    "thrift",
    "codec can't decode",
    "UTF8",
    "Errno",
    "Failed to convert",
    "std::",
    "is not a valid choice",
    "Invalid value (",
    "got an unexpected keyword",
    "NoneType",
    "invalid literal",
    "could not convert",
    "embedded null",
    "Exception ignored",
)
"""Phrases that only a library says."""
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
RUNNER = CliRunner()


def broken(text: str) -> list[str]:
    """Return what of the law a text breaks."""
    offences = [f"a library's {phrase!r}" for phrase in LIBRARIES if phrase in text]
    if (control := _CONTROL.search(text)) is not None:
        offences.append(f"a control character, {control[0]!r}")
    return offences


def invoked(arguments: Sequence[str], stdin: str | bytes | None = None) -> Result:
    """Run a command in this process."""
    return RUNNER.invoke(app, [*arguments], stdin)


def obeys(result: Result, *, codes: Sequence[int] = (2,)) -> str:
    """Hold a command's end against the law, and return what it complained of."""
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    said = result.stderr
    assert result.exit_code in codes, (result.exit_code, result.output)
    if result.exit_code:
        assert said.strip() or result.stdout.strip(), "it ends with an error, and without a word"
        assert len(said) < 3000, said
    assert not broken(result.output), (broken(result.output), result.output[:600])
    return said
