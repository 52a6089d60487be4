"""``bowerbird log``: what a log holds, before anything is judged on it."""

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bowerbird.commands.shared import (
    DOES_NOT_HOLD,
    WRONG_USE,
    AsJson,
    ConfigFile,
    answer,
    complain,
    errors_in_words,
    reading,
    settings,
)

if TYPE_CHECKING:
    from rich.console import Console

    from replay.logs.chunk import Log
    from replay.logs.description import Description, Distribution, Group
    from replay.logs.outcomes import Outcomes

Progress = Callable[[int, int], None]

NEEDED = ("numpy", "pyarrow", "scipy")
"""What the extra ``evaluate`` brings."""
SHOWN = 10
"""So many versions, actions and segments are shown; the JSON has all."""
FORMATS = ("bowerbird", "json-lines", "open-bandit", "table", "kafka")

app = typer.Typer(
    no_args_is_help=True,
    help="""Look at logs of decisions.

    Example: bowerbird log describe archive
    """,
)


@app.callback()
def _log() -> None:
    pass


@app.command()
def describe(
    path: Annotated[
        str, typer.Argument(metavar="PATH", help="An archive, a file or its folder; for kafka: bowerbird.toml.")
    ],
    format: Annotated[  # noqa: A002
        str | None, typer.Option("--format", metavar="|".join(FORMATS), help="[default: as the path tells]")
    ] = None,
    policy: Annotated[str | None, typer.Option(metavar="NAME", help="Only the outcomes of this policy.")] = None,
    prefix: Annotated[str, typer.Option(help="The prefix of the service whose archive it is.")] = "",
    column: Annotated[
        list[str] | None,
        typer.Option(metavar="FIELD=COLUMN", help="Of a table: which is reward, propensity, pmf, … (docs/logs.md)"),
    ] = None,
    segment: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="Cut it by this too: day, chosen, context.user.country, …")
    ] = None,
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Tell what a log holds, and whether it can be trusted: rows, versions, rewards, propensities, health.

    Formats and columns: docs/logs.md.

    Example: bowerbird log describe outcomes.jsonl --json

    Example: bowerbird log describe shown.parquet --column reward=click --column propensity=p
    """
    from policies.errors import BadInput, StateRefused, WrongConfiguration

    try:
        with reading() as progress:
            found = _described(path, format, policy, prefix, column or [], segment or [], config, progress)
    except (WrongConfiguration, StateRefused) as error:
        complain(str(error))
        raise typer.Exit(WRONG_USE) from None
    except BadInput as error:
        complain(str(error))
        raise typer.Exit(DOES_NOT_HOLD) from None
    except ModuleNotFoundError as error:
        if error.name not in NEEDED:
            raise
        complain(f"log describe: {error.name} is not installed: pip install 'bowerbird[evaluate]'")
        raise typer.Exit(WRONG_USE) from None
    if as_json:
        import msgspec

        answer(msgspec.to_builtins(found))
    else:
        from rich.console import Console

        _show(found, Console(highlight=False))


def _described(
    path: str,
    wanted: str | None,
    policy: str | None,
    prefix: str,
    columns: list[str],
    segments: list[str],
    config: Path | None,
    progress: Progress,
) -> "Description":
    from policies.errors import WrongConfiguration
    from replay.logs.description import describe as described
    from replay.logs.formats import Format, format_of

    if wanted is not None and wanted not in FORMATS:
        raise WrongConfiguration(f"--format: found {wanted}, expected one of {', '.join(FORMATS)}")
    kind = format_of(path) if wanted is None else Format(wanted)
    if columns and kind is not Format.TABLE:
        raise WrongConfiguration(f"--column: expected none with --format {kind}, whose fields have their names")
    if policy is not None and kind in (Format.TABLE, Format.OPEN_BANDIT):
        raise WrongConfiguration(f"--policy: expected none with --format {kind}")
    if prefix and kind is not Format.BOWERBIRD:
        raise WrongConfiguration(f"--prefix: expected none with --format {kind}")
    if kind is Format.KAFKA:
        return _live(Path(path) if config is None else config, policy, segments, progress)
    log: Log
    if kind is Format.TABLE:
        from replay.logs.table_files import table_log

        log = table_log(Path(path), _columns(columns, segments), progress)
    elif kind is Format.OPEN_BANDIT:
        from replay.logs.judge_open_bandit import OpenBanditLog
        from replay.logs.open_bandit_columns import log_at

        log = OpenBanditLog(log_at(Path(path)), itself=True, segments=segments)
    else:
        log = _outcomes(_read(path, kind == Format.JSON_LINES, prefix), policy, segments)
    blocks = log.blocks(progress)
    return described(blocks, log.names, log=path, written_in=kind, has_target=getattr(log, "has_target", False))


def _read(path: str, lines: bool, prefix: str) -> "Outcomes":
    if lines:
        from replay.logs.json_outcomes import JsonLines

        return JsonLines(Path(path))
    from replay.archive import Archive
    from replay.logs.archive import ArchivedOutcomes

    return ArchivedOutcomes(Archive.at(path, prefix))


def _outcomes(outcomes: "Outcomes", policy: str | None, segments: list[str]) -> "Log":
    from replay.logs.outcomes import Judge

    # A log with holes is described all the same: how many outcomes are missing is part of what it is.
    return Judge(outcomes, None, policy, external=None, mixed=policy is None, segments=segments, count_missing=True)


def _live(file: Path, policy: str | None, segments: list[str], progress: Progress) -> "Description":
    import logging

    from bowerbird.live_log import live_outcomes
    from replay.logs.chunk import silent
    from replay.logs.description import describe as described
    from replay.logs.message_outcomes import MessageOutcomes

    # A broker that is away is told once, by us.
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
    config = settings(file)
    with errors_in_words(config):
        log = _outcomes(MessageOutcomes(live_outcomes(config, progress)), policy, segments)
        return described(log.blocks(silent), log.names, log=config.topic("rewards"), written_in="kafka")


def _columns(told: list[str], segments: list[str]) -> Any:
    from bowerbird.judged_log import columns_of, table_columns

    return table_columns(columns_of(told), segments)[0]


def _show(found: "Description", console: "Console") -> None:
    from rich.markup import escape

    def line(name: str, value: str) -> None:
        console.print(f"{name:<20} {escape(value)}", soft_wrap=True)

    line("log", f"{found.log} ({found.format})")
    line("rows", f"{found.rows:,}")
    if found.left_out:
        line("left out", ", ".join(f"{count:,} {reason}" for reason, count in found.left_out.items()))
    if found.from_ms is not None and found.to_ms is not None:
        line("time", f"{_time(found.from_ms)} to {_time(found.to_ms)} (UTC)")
    line("probabilities", "of all actions" if found.has_pmf else "of the logged action alone")
    if found.actions_a_decision is not None:
        line("actions a decision", f"{found.actions_a_decision:.4g} on average, with a probability above 0")
    line("reward", f"{_spread(found.rewards)}; {found.rewards.nonzero or 0:.2%} not 0")
    line("propensity", _spread(found.propensities))
    for title, groups in (("version", found.versions), ("action", found.actions), *found.segments.items()):
        if groups:
            console.print(_table(title, groups))
    _show_health(found, console)


def _show_health(found: "Description", console: "Console") -> None:
    from rich.markup import escape

    wrong = [each for each in found.health if each.wrong]
    for each in wrong:
        console.print(f"[bold red]wrong[/] {escape(each.says)}", soft_wrap=True)
    if found.health and not wrong:
        console.print(f"[green]healthy[/] {len(found.health)} checks found nothing wrong")


def _spread(found: "Distribution") -> str:
    if found.mean is None:
        return "none"
    quantiles = ", ".join(f"{share} {_number(value)}" for share, value in found.quantiles.items())
    return f"mean {_number(found.mean)}, {_number(found.least)} to {_number(found.most)}; {quantiles}"


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


def _time(time_ms: int) -> str:
    try:
        return f"{datetime.fromtimestamp(time_ms / 1000, UTC):%Y-%m-%d %H:%M:%S}"
    except (OverflowError, OSError, ValueError):
        return f"{time_ms} ms"
