"""``bowerbird replay``: what can be told from a log alone."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bowerbird.commands.shared import (
    DOES_NOT_HOLD,
    WRONG_USE,
    AsJson,
    ConfigFile,
    answer,
    complain,
    say,
    settings,
)

if TYPE_CHECKING:
    from replay.archived_policy import Arguments
    from replay.evaluate import Evaluation

Progress = Callable[[int, int], None]

NEEDED = ("numpy", "pyarrow", "scipy")
"""What the extra ``evaluate`` brings."""

app = typer.Typer(
    no_args_is_help=True,
    help="""Judge policies on logs; no server has to run.

    Example: bowerbird replay evaluate archive --target front
    """,
)


class Format(StrEnum):
    """What a log is written in."""

    BOWERBIRD = "bowerbird"
    OPEN_BANDIT = "open-bandit"


@app.callback()
def _replay() -> None:
    pass


@app.command()
def evaluate(
    path: Annotated[str, typer.Argument(metavar="PATH", help="The archive; or the log, or its folder.")],
    target: Annotated[
        str,
        typer.Option(
            metavar="POLICY|uniform|FILE.npy",
            help="What is judged: front, front@12, uniform; for open-bandit uniform or an array (actions, positions).",
        ),
    ],
    format: Annotated[Format, typer.Option("--format", help="What the log is written in.")] = Format.BOWERBIRD,  # noqa: A002
    policy: Annotated[
        str | None, typer.Option(metavar="NAME", help="Judge it on the outcomes of this policy [default: the target]")
    ] = None,
    external: Annotated[
        bool, typer.Option("--external", help="Judge it on the decisions of another system, instead of ours.")
    ] = False,
    prefix: Annotated[str, typer.Option(help="The prefix of the service whose archive it is.")] = "",
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Tell what another policy would have been worth on a log, by importance weights, with 95 % intervals.

    Needs no server. Columns and words: docs/evaluation.md.

    Example: bowerbird replay evaluate archive --target front --json

    Example: bowerbird replay evaluate --format open-bandit random/all --target policy.npy
    """
    from policies.errors import BadInput, StateRefused, WrongConfiguration

    try:
        with _progress() as progress:
            if format is Format.OPEN_BANDIT:
                if policy is not None or external or prefix:
                    raise WrongConfiguration("--policy, --external, --prefix: expected none with --format open-bandit")
                found = _open_bandit(Path(path), target, progress)
            else:
                found = _archive(path, target, policy, external, prefix, config, progress)
    except (WrongConfiguration, StateRefused) as error:
        complain(str(error))
        raise typer.Exit(WRONG_USE) from None
    except BadInput as error:
        complain(str(error))
        raise typer.Exit(DOES_NOT_HOLD) from None
    except ModuleNotFoundError as error:
        if error.name not in NEEDED:
            raise
        complain(f"replay evaluate: {error.name} is not installed: pip install 'bowerbird[evaluate]'")
        raise typer.Exit(WRONG_USE) from None
    if as_json:
        import msgspec

        answer(msgspec.to_builtins(found))
    else:
        _show(found)


def _open_bandit(path: Path, target: str, progress: Progress) -> "Evaluation":
    from replay.evaluate import evaluate as evaluated
    from replay.judge_open_bandit import judge_open_bandit, read_target
    from replay.open_bandit_columns import log_at

    log = log_at(path)
    probabilities = None if target == "uniform" else read_target(Path(target))
    return evaluated(target, judge_open_bandit(log, probabilities, progress))


def _archive(
    path: str, target: str, of: str | None, external: bool, prefix: str, config: Path | None, progress: Progress
) -> "Evaluation":
    from policies.errors import WrongConfiguration
    from replay.archive import Archive
    from replay.archived_policy import archived_policy, uniform
    from replay.evaluate import evaluate as evaluated
    from replay.judge_archive import Judge

    if target.endswith(".npy"):
        raise WrongConfiguration(
            f"--target: found {target}, expected a policy: an array has no contexts; try open-bandit"
        )
    archive = Archive.at(path, prefix)
    judged = (
        uniform() if target == "uniform" else archived_policy(archive, target, lambda name: _configured(config, name))
    )
    try:
        judge = Judge(archive, judged, of or judged.learned_from, external)
        return evaluated(judged.name, judge.chunks(progress))
    finally:
        judged.policy.close()


def _configured(file: Path | None, name: str) -> "Arguments | None":
    from replay.archived_policy import Arguments

    told = settings(file).policies.get(name)
    return None if told is None else Arguments(told.kind, told.arguments)


def _show(found: "Evaluation") -> None:
    def line(name: str, value: float | None, ends: tuple[float | None, float | None] | None = None) -> None:
        between = "" if ends is None else f"  {_number(ends[0])} to {_number(ends[1])}"
        say(f"{name:<20} {_number(value)}{between}")

    say(f"{'target':<20} {found.target}")
    say(f"{'rows':<20} {found.rows}")
    line("value, ips", found.ips, found.ips_interval)
    line("value, snips", found.snips, found.snips_interval)
    line("value logged", found.value_logged, found.value_logged_interval)
    line("effective sample", found.ess)
    line("effective positives", found.effective_positives)
    line("largest weight", found.max_weight)
    line("mean weight", found.mean_weight)
    if found.left_out:
        told = ", ".join(f"{count} {reason}" for reason, count in found.left_out.items())
        say(f"{'left out':<20} {told}")
    if found.learned:
        say(f"the target has learned from {found.learned} of these rows: its value on them is too good")


def _number(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.6g}"


@contextmanager
def _progress() -> Iterator[Progress]:
    """Show how far the log has been read, on the standard error stream and only to a person."""
    from rich.console import Console
    from rich.progress import Progress as Bar

    with Bar(console=Console(stderr=True), transient=True, disable=not Console(stderr=True).is_terminal) as bar:
        task = bar.add_task("reading", total=None)
        yield lambda passed, of: bar.update(task, completed=passed, total=of)
