"""``bowerbird replay``: estimate a policy's value from a log alone."""

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bowerbird.commands.shared import (
    DOES_NOT_HOLD,
    WRONG_USE,
    AsJson,
    ConfigFile,
    answer,
    broker_in_words,
    complain,
    log_errors_in_words,
    say,
    stages,
)
from replay.evaluation.logs.formats import Format

if TYPE_CHECKING:
    from bowerbird.judged_log import EvaluationRequest
    from replay.evaluation.answer import Answer
    from replay.evaluation.evaluate import Options

app = typer.Typer(
    no_args_is_help=True,
    help="""Judge policies on logs; no server has to run.

    Example: bowerbird replay evaluate data/archive --target front
    """,
)


@app.callback()
def _replay() -> None:
    pass


@app.command()
def evaluate(
    path: Annotated[str, typer.Argument(metavar="PATH", help="An archive, a file or its folder; or bowerbird.toml.")],
    target: Annotated[
        str | None,
        typer.Option(
            metavar="POLICY|uniform|FILE.npy",
            help="The policy to evaluate: front, front@12, uniform; for open-bandit uniform or an array (actions, "
            "positions). A table has it in its columns.",
        ),
    ] = None,
    against: Annotated[
        str | None,
        typer.Option(metavar="POLICY", help="Compare it with this policy on the same rows [default: the one that ran]"),
    ] = None,
    format: Annotated[  # noqa: A002
        str | None,
        typer.Option(
            "--format",
            metavar="|".join(Format),
            help="What the log is written in [default: as the path tells]",
        ),
    ] = None,
    placement: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Judge it on the outcomes of this placement [default: the target's]"),
    ] = None,
    external: Annotated[
        bool, typer.Option("--external", help="Judge it on the decisions of another system, instead of ours.")
    ] = False,
    prefix: Annotated[str, typer.Option(help="The prefix of the service whose archive it is.")] = "",
    column: Annotated[
        list[str] | None,
        typer.Option(metavar="FIELD=COLUMN", help="Of a table: which is reward, propensity, target, … (docs/logs.md)"),
    ] = None,
    estimator: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME", help="These in addition to ips and snips (docs/estimators.md) [default: what fits]"
        ),
    ] = None,
    model: Annotated[
        str, typer.Option(metavar="NAME", help="The reward model: none, action-means, vw, ridge, … or auto.")
    ] = "auto",
    folds: Annotated[
        str,
        typer.Option(metavar="past|unit|time", help="Rows that the model of a row must not have seen."),
    ] = "auto",
    fixed_loggers: Annotated[
        bool,
        typer.Option(
            "--fixed-loggers", help="The versions are the arms of a test, not one learner's; weights are balanced."
        ),
    ] = False,
    expected_share: Annotated[
        list[str] | None,
        typer.Option(metavar="VERSION=SHARE", help="What share of the rows a version, or arm of a test, should have."),
    ] = None,
    segment: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="Each segment's value too: day, context.user.country, …")
    ] = None,
    resamples: Annotated[int, typer.Option(metavar="N", help="Bootstrap resamples; 0 disables the bootstrap.")] = 0,
    seed: Annotated[int, typer.Option(metavar="N", help="Random seed of the bootstrap.")] = 0,
    interval: Annotated[
        str, typer.Option(metavar="NAME", help="The intervals: saddlepoint, betting, … (docs/evaluation.md) or auto.")
    ] = "auto",
    largest_weight: Annotated[
        float | None, typer.Option(metavar="X", help="The largest possible weight, for intervals that use it.")
    ] = None,
    reward_range: Annotated[
        tuple[float, float] | None,
        typer.Option(metavar="LEAST MOST", help="What a decision can earn, where that is not 0 to 1."),
    ] = None,
    workers: Annotated[
        int, typer.Option(metavar="N", min=1, help="Number of processes that share the log; the answer is the same.")
    ] = 1,
    html: Annotated[Path | None, typer.Option(metavar="FILE", help="Write the report, one page, to this file.")] = None,
    strict: Annotated[bool, typer.Option("--strict", help="Exit with 1 unless the answer is reliable.")] = False,
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Estimate another policy's value from a log; the first line says whether to trust it.

    Needs no server. Estimators, intervals, warnings: docs/evaluation.md.

    Example: bowerbird replay evaluate data/archive --target front@12 --html report.html

    Example: bowerbird replay evaluate --format open-bandit random/men --target policy.npy --json
    """
    from bowerbird.judged_log import EvaluationRequest
    from bowerbird.pairs import columns_of, shares_of

    with log_errors_in_words("replay evaluate"):
        from replay.evaluation.evaluate import Options

        request = EvaluationRequest(
            path=path,
            format=format,
            target=target,
            against=against,
            placement=placement,
            external=external,
            prefix=prefix,
            columns=columns_of(column or ()),
            segments=segment or (),
            config=config,
        )
        if html is not None and not html.absolute().parent.is_dir():
            complain(f"--html: found no folder {html.absolute().parent}, expected one that is there")
            raise typer.Exit(WRONG_USE)
        options = Options(
            estimators=tuple(estimator or ()),
            model=model,
            folds=folds,
            resamples=resamples,
            seed=seed,
            interval=interval,
            largest_weight=largest_weight,
            reward_range=reward_range,
            fixed_loggers=fixed_loggers,
            expected_shares=shares_of(expected_share or ()),
        )
        result = _evaluated(request, options, workers)
        if html is not None:
            _write(html, result)
        _tell(result, as_json=as_json)
    if strict and result.verdict.level != "reliable":
        raise typer.Exit(DOES_NOT_HOLD)


def _evaluated(request: "EvaluationRequest", options: "Options", workers: int) -> "Answer":
    from bowerbird.evaluating import evaluated

    with broker_in_words(request), stages() as stage:
        return evaluated(request, options, shlex.join(["bowerbird", *sys.argv[1:]]), stage, workers)


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
