"""``bowerbird replay``: estimate a policy's value from a log alone."""

import shlex
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bowerbird.commands import replay_learn
from bowerbird.commands.record_options import with_record_options
from bowerbird.commands.shared import (
    DOES_NOT_HOLD,
    WRONG_USE,
    AsJson,
    answer,
    broker_in_words,
    complain,
    log_errors_in_words,
    say,
    stages,
)
from bowerbird.evaluation_request import EvaluationRequest

if TYPE_CHECKING:
    from replay.evaluation.answer import Answer

app = typer.Typer(
    no_args_is_help=True,
    help="""Evaluate policies on logs; no server has to run.

    Example: bowerbird replay evaluate data/archive --target front
    """,
)


app.command()(replay_learn.learn)


@app.callback()
def _replay() -> None:
    pass


@app.command()
@with_record_options(partial(log_errors_in_words, "replay evaluate"))
def evaluate(
    request: EvaluationRequest,
    workers: Annotated[
        int, typer.Option(metavar="N", min=1, help="Number of processes that share the log; the answer is the same.")
    ] = 1,
    html: Annotated[Path | None, typer.Option(metavar="FILE", help="Write the report, one page, to this file.")] = None,
    strict: Annotated[bool, typer.Option("--strict", help="Exit with 1 unless the answer is reliable.")] = False,
    as_json: AsJson = False,
) -> None:
    """Estimate another policy's value from a log; the first line says whether to trust it.

    Needs no server. Estimators, intervals, warnings: docs/evaluation.md.

    Example: bowerbird replay evaluate data/archive --target front@12 --html report.html

    Example: bowerbird replay evaluate --format open-bandit random/men --target policy.npy --json
    """
    from bowerbird.evaluating import evaluated

    if html is not None and not html.absolute().parent.is_dir():
        complain(f"--html: found no folder {html.absolute().parent}, expected one that is there")
        raise typer.Exit(WRONG_USE)
    with broker_in_words(request), stages() as stage:
        result = evaluated(request, shlex.join(["bowerbird", *sys.argv[1:]]), stage, workers)
    if html is not None:
        _write(html, result)
    _tell(result, as_json=as_json)
    if strict and result.verdict.level != "reliable":
        raise typer.Exit(DOES_NOT_HOLD)


def _write(file: Path, result: "Answer") -> None:
    from records.errors import of_disk
    from replay.evaluation.report.page import html

    page = html(result)
    try:
        file.write_text(page, encoding="utf-8")
    except OSError as error:
        complain(f"--html {file}: found {of_disk(error)}, expected a file that can be written")
        raise typer.Exit(WRONG_USE) from None


def _tell(result: "Answer", *, as_json: bool) -> None:
    import msgspec

    if as_json:
        answer(msgspec.to_builtins(result))
        return
    from records.extras import extra_of

    try:
        from replay.evaluation.report.table import show
    except ModuleNotFoundError as error:
        if extra_of(error, "report") != "report":
            raise
        say(result.verdict.sentence)
        return
    from rich.console import Console

    show(result, Console())
