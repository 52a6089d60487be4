"""``bowerbird log``: what a log holds, before anything is evaluated on it."""

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

import typer

from bowerbird.commands.record_options import with_record_options
from bowerbird.commands.shared import AsJson, answer, broker_in_words, log_errors_in_words, moment, reading
from bowerbird.evaluation_request import LogRequest

if TYPE_CHECKING:
    from rich.console import Console

    from replay.evaluation.logs.description import Description, Distribution, Group

Progress = Callable[[int, int], None]

SHOWN = 10
"""So many versions, actions and segments are shown; the JSON has all."""

app = typer.Typer(
    no_args_is_help=True,
    help="""Look at logs of decisions.

    Example: bowerbird log describe data/archive
    """,
)


@app.callback()
def _log() -> None:
    pass


@app.command()
@with_record_options(partial(log_errors_in_words, "log describe"))
def describe(request: LogRequest, as_json: AsJson = False) -> None:
    """Describe what a log holds, and whether it can be trusted: rows, versions, rewards, propensities, health.

    Formats and columns: docs/logs.md.

    Example: bowerbird log describe outcomes.jsonl --json

    Example: bowerbird log describe shown.parquet --column reward=click --column propensity=p
    """
    with broker_in_words(request), reading() as progress:
        description = _described(request, progress)
    if as_json:
        import msgspec

        answer(msgspec.to_builtins(description))
    else:
        from rich.console import Console

        _show(description, Console(highlight=False))


def _described(request: LogRequest, progress: Progress) -> "Description":
    from bowerbird.log_formats.log_format import format_for
    from replay.evaluation.logs.description import describe as described

    log = format_for(request).log(request, progress)
    return described(log, request.path, request.kind, progress)


def _show(description: "Description", console: "Console") -> None:
    from rich.markup import escape

    def line(name: str, value: str) -> None:
        console.print(f"{name:<20} {escape(value)}", soft_wrap=True)

    line("log", f"{description.log} ({description.format})")
    line("rows", f"{description.rows:,}")
    if description.left_out:
        line("left out", ", ".join(f"{count:,} {reason}" for reason, count in description.left_out.items()))
    if description.from_ms is not None and description.to_ms is not None:
        first, last = (moment(each, "%Y-%m-%d %H:%M:%S") for each in (description.from_ms, description.to_ms))
        line("time", f"{first} to {last} (UTC)")
    line("probabilities", "of all actions" if description.has_pmf else "of the logged action alone")
    if description.actions_a_decision is not None:
        line("actions a decision", f"{description.actions_a_decision:.4g} on average, with a probability above 0")
    line("reward", f"{_spread(description.rewards)}; {description.rewards.nonzero or 0:.2%} not 0")
    line("propensity", _spread(description.propensities))
    for title, groups in (
        ("version", description.versions),
        ("action", description.actions),
        *description.segments.items(),
    ):
        if groups:
            console.print(_table(title, groups))
    _show_health(description, console)


def _show_health(description: "Description", console: "Console") -> None:
    from rich.markup import escape

    notes = [each for each in description.health if each.name in ("open", "no_time")]
    checks = [each for each in description.health if each not in notes]
    wrong = [each for each in checks if each.wrong]
    for each in wrong:
        console.print(f"[bold red]wrong[/] {escape(each.says)}", soft_wrap=True)
    for each in notes:
        console.print(f"[yellow]note[/] {escape(each.says)}", soft_wrap=True)
    if any(each.name == "open" and each.value == 1 for each in notes):
        console.print("[yellow]too early[/] no decision can be evaluated yet")
    elif checks and not wrong:
        console.print(f"[green]healthy[/] {len(checks)} checks found nothing wrong")


def _spread(distribution: "Distribution") -> str:
    if distribution.mean is None:
        return "none"
    quantiles = ", ".join(f"{share} {_number(value)}" for share, value in distribution.quantiles.items())
    return (
        f"mean {_number(distribution.mean)}, {_number(distribution.least)} to {_number(distribution.most)}; {quantiles}"
    )


def _table(title: str, groups: "list[Group]") -> Any:
    from rich import box
    from rich.markup import escape
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column(title, overflow="fold")
    table.add_column("rows", justify="right")
    table.add_column("mean reward", justify="right")
    for group in groups[:SHOWN]:
        table.add_row(escape(_printable(group.name)), f"{group.rows:,}", _number(group.reward))
    if rest := groups[SHOWN:]:
        table.add_row(f"{len(rest):,} more", f"{sum(group.rows for group in rest):,}", "")
    return table


def _printable(name: str) -> str:
    return name if name.isprintable() else repr(name)


def _number(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.4g}"
