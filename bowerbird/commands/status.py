"""``bowerbird status``: is it learning, and if not, why and what to do."""

import sys
import time
from typing import TYPE_CHECKING, Annotated

import typer

from bowerbird.commands.shared import DOES_NOT_HOLD, AsJson, ConfigFile, run, say, settings
from bowerbird.commands.tables import Fitted

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import RenderableType

    from bowerbird.status.records import Backlog, PolicyStatus, Status
    from stream.config import Config

BETWEEN_LOOKS_S = 2.0
"""Rates are taken between two looks."""
MOST_REASONS = 6


def status(
    watch: Annotated[bool, typer.Option("--watch", "-w", help="Look again every two seconds, until Ctrl-C.")] = False,
    minutes: Annotated[float, typer.Option(min=0.1, max=1440, help="Count over so many minutes.")] = 5.0,
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Show whether the service learns, what holds it back, and what to do.

    It asks Kafka and Redis alone, in no consumer group, and changes nothing. Of each partition it reads the newest
    2,000 messages at most. The exit code is 1 where something is wrong. With --watch into a file or a pipe: plain lines
    each look; with --watch and --json: a line of JSON.

    Example: bowerbird status --watch
    """
    service = settings(config)
    fine = run(service, lambda: _looked(service, minutes, watch, as_json))
    raise typer.Exit(0 if fine else DOES_NOT_HOLD)


async def _looked(config: "Config", minutes: float, watch: bool, as_json: bool) -> bool:
    """Show the service, once or until Ctrl-C; return whether all is well."""
    import asyncio
    import contextlib

    from rich.console import Console
    from rich.live import Live

    from bowerbird.status.alarms import alarms
    from bowerbird.status.observer import Observer
    from stream.preflight import explain

    console = Console()
    with contextlib.ExitStack() as shown:
        on_screen = watch and not as_json and console.is_terminal
        live = shown.enter_context(Live(console=console, screen=True)) if on_screen else None
        while True:
            try:
                async with Observer(config, minutes) as observer:
                    await observer.look()
                    while True:
                        await asyncio.sleep(BETWEEN_LOOKS_S)
                        status = await observer.look()
                        wrong = alarms(config, status)
                        if as_json:
                            _write(config, status, wrong, in_one_line=watch)
                        elif live is not None:
                            live.update(screen(config, status), refresh=True)
                        elif watch:
                            _write_lines(lines(config, status))
                        else:
                            console.print(screen(config, status))
                        if not watch:
                            return not wrong
            except asyncio.CancelledError:
                if not watch:
                    raise
                return True  # Ctrl-C is how a person ends it
            except Exception as error:
                if not watch or as_json or (explained := explain(error, config)) is None:
                    raise
                if live is not None:
                    live.update(_away(explained), refresh=True)
                else:
                    _write_lines([f"{time.strftime('%H:%M:%S', time.gmtime())}  {explained}"])
                await asyncio.sleep(BETWEEN_LOOKS_S)


def _write(config: "Config", status: "Status", wrong: list[str], in_one_line: bool) -> None:
    import msgspec

    from bowerbird.status.alarms import notes

    content = msgspec.to_builtins(status) | {"alarms": wrong, "notes": notes(config, status)}
    encoded = msgspec.json.encode(content)
    sys.stdout.write((encoded if in_one_line else msgspec.json.format(encoded, indent=2)).decode() + "\n")
    sys.stdout.flush()


def _write_lines(texts: list[str]) -> None:
    for line in texts:
        say(line)
    sys.stdout.flush()


def lines(config: "Config", status: "Status") -> list[str]:
    """Return what a file or a pipe gets of a look: a line for each policy, and one for each thing to do or to know."""
    from bowerbird.status.alarms import alarms, notes

    moment = time.strftime("%H:%M:%S", time.gmtime(status.now_ms / 1000))
    shown = [
        f"{moment}  {policy.name}: {_state(config, status, policy)[0]}, version {policy.version},"
        f" {policy.decisions} decisions, {policy.outcomes} closed, {policy.joined} with feedback,"
        f" mean reward {'-' if policy.reward is None else f'{policy.reward:.4f}'}, {policy.pending} open"
        for policy in status.policies
    ]
    shown += [f"{moment}  to do: {each}" for each in alarms(config, status)]
    return shown + [f"{moment}  note: {each}" for each in notes(config, status)]


def screen(config: "Config", status: "Status") -> "RenderableType":
    """Return what a person sees."""
    from rich.console import Group
    from rich.panel import Panel
    from rich.text import Text

    from bowerbird.status.alarms import alarms, duration, notes

    wrong, noted = alarms(config, status), notes(config, status)
    moment = time.strftime("%H:%M:%S", time.gmtime(status.now_ms / 1000))
    head = Text.assemble(
        ("bowerbird", "bold"), f"  {moment} UTC  ·  figures of the last {duration(status.looked_at_s)}", style="default"
    )
    parts: list[RenderableType] = [head, Text()]
    if wrong:
        words = Text("\n\n").join(Text(each) for each in wrong)
        parts.append(Panel(words, title=f"{len(wrong)} to do" if len(wrong) > 1 else "To do", border_style="bold red"))
    else:
        parts.append(Text("All is well.", style="bold green"))
    parts += [Text(f"• {each}", style="yellow") for each in noted]
    parts += [Text(), _policies(config, status), _roles(status), Text()]
    parts += [_watermark(status), _dead_letters(config, status)]
    return Group(*parts)


def _policies(config: "Config", status: "Status") -> "Fitted":
    from bowerbird.status.alarms import age

    rows: list[Sequence[str]] = []
    for policy in status.policies:
        state, style = _state(config, status, policy)
        joined = f"{100 * policy.joined / policy.outcomes:.1f} %" if policy.outcomes else "-"
        row = (
            policy.name,
            f"[{style}]{state}[/]",
            policy.version,
            age(status, policy.published_ms),
            f"{policy.decisions:,}",
            f"{policy.outcomes:,}",
            joined,
            f"{policy.reward:.4f}" if policy.reward is not None else "-",
            f"{policy.pending:,}",
        )
        rows.append(row)
    columns = ("policy", "state", "version", "age", *_NUMBERS)
    return Fitted(columns, rows, ("with feedback", "open", "age", "decisions", "closed"))


_NUMBERS = (">decisions", ">closed", ">with feedback", ">mean reward", ">open")


_STYLES = {
    **dict.fromkeys(["stopped", "NOT learning"], "bold red"),
    **dict.fromkeys(["frozen", "uniform"], "bold yellow"),
    "learning": "green",
}


def _state(config: "Config", status: "Status", policy: "PolicyStatus") -> tuple[str, str]:
    from bowerbird.status.alarms import state

    said = state(config, status, policy)
    return said, _STYLES.get(said, "default")


def _roles(status: "Status") -> "Fitted":
    stopped = {one.role for one in status.stopped}
    rows = [
        (
            one.role,
            str(one.workers) if one.workers else "[bold red]none[/]",
            f"{one.messages:,}",
            one.topic or "-",
            f"{one.done_per_s:,.0f}" if one.done_per_s is not None else "-",
            "[bold red]stands still[/]" if one.role in stopped and one.messages else _gone(one),
        )
        for one in status.backlogs
    ]
    columns = ("role", ">workers", ">backlog", "most of it in", ">done a second", "gone")
    return Fitted(columns, rows, ("most of it in", "done a second"))


def _gone(one: "Backlog") -> str:
    from bowerbird.status.alarms import duration

    if one.messages <= max(one.done_per_s or 0, 10):
        return "now"  # less than a second's work is what is on its way
    if one.growth_per_s is None:
        return "-"
    if one.gone_in_s is not None:
        return f"in {duration(one.gone_in_s)}"
    if one.growth_per_s:
        return f"[yellow]grows by {one.growth_per_s:,.0f} a second[/]"
    # It acknowledges with each file, after archive.max_s.
    return "with the next file" if one.role == "archive" and one.workers else "[yellow]stands[/]"


def _watermark(status: "Status") -> "RenderableType":
    from rich.text import Text

    from bowerbird.status.alarms import age, named

    oldest = min(status.watermarks, key=lambda one: one.watermark_ms, default=None)
    if oldest is None or not oldest.watermark_ms:
        held_by = named(oldest.held_by) if oldest is not None and oldest.held_by != "*" else "every input"
        return Text(f"windows       none closes: nothing of {held_by} has been read")
    what = "the list of inputs" if oldest.held_by == "*" else named(oldest.held_by)
    return Text(f"windows       close {age(status, oldest.watermark_ms)} behind now (furthest behind: {what})")


def _dead_letters(config: "Config", status: "Status") -> "RenderableType":
    from rich.text import Text

    harmless = {f"late of {stream}": " (worth 0: nothing is lost)" for stream in config.weightless}
    shown = list(status.dead_letters.items())[:MOST_REASONS]
    text = "  ·  ".join(f"{count:,} {what}{harmless.get(what, '')}" for what, count in shown)
    if (more := len(status.dead_letters) - MOST_REASONS) > 0:
        text += f"  ·  {more} other reasons"
    return Text(f"dead letters  {text or 'none'}")


def _away(explained: str) -> "RenderableType":
    from rich.panel import Panel

    return Panel(explained, title="To do", border_style="bold red")
