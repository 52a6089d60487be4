"""What all commands share: options, exit codes, and how an answer or an error is shown."""

import sys
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import orjson
import typer

if TYPE_CHECKING:
    from bowerbird.evaluation_request import LogRequest
    from stream.config import Config

DOES_NOT_HOLD = 1
"""The thing asked for does not hold."""
WRONG_USE = 2
"""Wrong use or configuration, also a state that may not be continued."""

ConfigFile = Annotated[
    Path | None,
    typer.Option("--config", metavar="FILE", help="Settings [default: $BOWERBIRD_CONFIG or bowerbird.toml]"),
]
ArchiveFolder = Annotated[
    str | None, typer.Option("--archive", metavar="DIR", help="Read from this archive what Kafka has forgotten.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Answer in JSON, for a machine.")]

Result = TypeVar("Result")


def settings(file: Path | None) -> "Config":
    """Return the settings; ends the command with 2 and every error where they are wrong."""
    from bowerbird.settings import WrongSettings, load

    try:
        return load(file)
    except WrongSettings as wrong:
        complain(str(wrong))
        raise typer.Exit(WRONG_USE) from None


@contextmanager
def errors_in_words(config: "Config") -> Iterator[None]:
    """End the command with a sentence and its exit code where something fails that is no fault of the code."""
    from records.errors import StateRefused, WrongConfiguration

    try:
        yield
    except (WrongConfiguration, StateRefused) as error:
        complain(str(error))
        raise typer.Exit(WRONG_USE) from None
    except typer.Exit:
        raise
    except Exception as error:
        from stream.preflight import explain

        if (explained := explain(error, config)) is None:
            raise
        complain(explained)
        raise typer.Exit(DOES_NOT_HOLD) from None


@contextmanager
def log_errors_in_words(command: str) -> Iterator[None]:
    """End a command that reads logs with a sentence and its exit code where the log, or what was asked, is wrong."""
    import warnings

    from bowerbird.interrupts import Heeded
    from records.errors import BadInput, StateRefused, WrongConfiguration, of_disk
    from records.extras import needed_by

    try:
        with Heeded(), needed_by(command, "evaluate"), warnings.catch_warnings():
            warnings.simplefilter("once", UserWarning)
            warnings.showwarning = lambda message, *_, **__: complain(f"warning: {message}")
            yield
    except (WrongConfiguration, StateRefused, BadInput) as error:
        complain(str(error))
        raise typer.Exit(WRONG_USE) from None
    except OSError as error:
        if error.errno is None or error.filename is None:
            raise
        complain(f"{error.filename}: found {of_disk(error)}, expected a file that can be read")
        raise typer.Exit(WRONG_USE) from None


@contextmanager
def broker_in_words(request: "LogRequest") -> Iterator[None]:
    """If the log is in Kafka and Kafka does not answer, end the command with a sentence."""
    import logging

    from bowerbird.settings import service_at
    from replay.evaluation.logs.formats import Format

    if request.kind is not Format.KAFKA:
        yield
        return
    # We report a broker that is away once; its client would report every attempt.
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
    with errors_in_words(settings(service_at(request.path))):
        yield


def run(config: "Config", work: Callable[[], Coroutine[Any, Any, Result]]) -> Result:
    """Run a coroutine to its end; see :func:`errors_in_words`."""
    import asyncio
    import logging

    # We report a broker that is away once; its client would report every attempt.
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
    with errors_in_words(config):
        return asyncio.run(work())


def answer(value: Any) -> None:
    """Write a value as JSON to the standard output."""
    sys.stdout.write(orjson.dumps(value, option=orjson.OPT_INDENT_2 | orjson.OPT_NON_STR_KEYS).decode() + "\n")


def say(text: str = "") -> None:
    """Write a line to the standard output."""
    from records.errors import printable

    sys.stdout.write(printable(text) + "\n")


def complain(text: str) -> None:
    """Write lines to the standard error stream."""
    from records.errors import printable

    sys.stderr.write(printable(text) + "\n")


def moment(time_ms: int, form: str) -> str:
    """Return a time in UTC; as it is where no calendar has it, as a producer may date a message.

    >>> moment(86_400_000, "%Y-%m-%d"), moment(10**18, "%Y-%m-%d")
    ('1970-01-02', '1000000000000000000 ms')
    """
    try:
        return datetime.fromtimestamp(time_ms / 1000, UTC).strftime(form)
    except (ValueError, OverflowError, OSError):
        return f"{time_ms} ms"


@contextmanager
def reading() -> Iterator[Callable[[int, int], None]]:
    """Show how much of how much has been read; see :func:`stages`."""
    with stages() as stage:
        yield stage("reading")


@contextmanager
def stages() -> Iterator[Callable[[str], Callable[[int, int], None]]]:
    """Show what is being done, a bar a stage: on the standard error stream, to a person, or in a notebook.

    In a notebook it takes ipywidgets.
    """
    from rich.console import Console
    from rich.progress import Progress as Bar

    console = Console(stderr=True)
    shown = find_spec("ipywidgets") is not None if console.is_jupyter else console.is_terminal
    with Bar(console=console, transient=True, disable=not shown) as bar:

        def stage(name: str) -> Callable[[int, int], None]:
            task = bar.add_task(name, total=None)
            return lambda passed, of: bar.update(task, completed=passed, total=of)

        yield stage
