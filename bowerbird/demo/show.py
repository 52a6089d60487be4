"""What the demo shows while it runs, and the table at its end."""

import math
import time
from collections.abc import Iterator, Sequence

from rich.console import Console, ConsoleOptions, Group, RenderResult
from rich.live import Live
from rich.markup import escape
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from bowerbird.demo.figures import Figures
from bowerbird.demo.live import POLICY, Point
from replay.evaluation.intervals.interval import Interval

POLICY_COLOUR, UNIFORM_COLOUR, BEST_COLOUR, MARK_COLOUR = "dodger_blue2", "dark_orange", "green", "red"
CHART_ROWS = 9
CHART_TOP = 0.45
BLOCKS = " ▁▂▃▄▅▆▇█"


class Show:
    """A list of parts, each with a line of its own, and the chart of the live world. A context manager.

    Where the output is no terminal, a line is printed when a part begins and when it is done.
    """

    def __init__(self, console: Console, seed: int) -> None:
        self.console = console
        self._seed = seed
        self._began_s = time.monotonic()
        self.seconds: dict[str, float] = {}
        """How long each part took until it was done."""
        self._parts: dict[str, tuple[str, str]] = {}
        self._part_began_s: dict[str, float] = {}
        self._curve: Sequence[Point] = ()
        self._columns = 0
        self._marks: dict[int, str] = {}
        self._live = Live(console=console, get_renderable=self._picture, refresh_per_second=8, transient=True)

    def __enter__(self) -> "Show":
        if self.console.is_terminal:
            self._live.start()
        return self

    def __exit__(self, *error: object) -> None:
        if self.console.is_terminal:
            self._live.stop()
            self.console.print(self._picture())

    def goes_on(self, part: str, text: str) -> None:
        """Say how far a part is."""
        if part not in self._parts and not self.console.is_terminal:
            self.console.print(f"● {part}: {text}", highlight=False, soft_wrap=True)
        self._parts[part] = "●", text
        self._part_began_s.setdefault(part, time.monotonic())

    def done(self, part: str, text: str, *, good: bool = True) -> None:
        """Say how a part ended."""
        self._parts[part] = "✓" if good else "✗", text
        self.seconds[part] = round(time.monotonic() - self._part_began_s.get(part, time.monotonic()), 1)
        if not self.console.is_terminal:
            self.console.print(f"{self._parts[part][0]} {part}: {text}", highlight=False, soft_wrap=True)

    def chart(self, curve: Sequence[Point], columns: int) -> None:
        """Show click rates, of ``columns`` that there will be."""
        self._curve, self._columns = curve, columns

    def mark(self, column: int, text: str) -> None:
        """Mark a column of the chart."""
        self._marks[column] = text

    def _picture(self) -> Panel:
        lines = Table.grid(padding=(0, 1))
        lines.add_column(no_wrap=True)
        lines.add_column(no_wrap=True, style="bold")
        lines.add_column()
        colours = {"✓": "green", "✗": "red", "●": "cyan"}
        for part, (state, text) in self._parts.items():
            lines.add_row(Text(state, style=colours[state]), part, Text.from_markup(text))
        rows: list[Table | Chart | Text] = [lines]
        if self._columns:
            rows += [Text(), Chart(self._curve, self._columns, self._marks)]
        title = f"[bold]Bowerbird[/] · seed {self._seed} · {time.monotonic() - self._began_s:.0f} s"
        return Panel(Group(*rows), title=title, border_style="grey50", padding=(1, 2))


class Chart:
    """Click rates as a curve of blocks: the policy's as an area, those of uniform and of the best possible as lines."""

    def __init__(self, curve: Sequence[Point], columns: int, marks: dict[int, str]) -> None:
        self._curve, self._columns, self._marks = curve, columns, marks

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        width = min(self._columns, options.max_width - 8)
        columns = _resampled(self._curve, self._columns, width)
        legend = Text("click rate   ")
        for name, colour in (("policy", POLICY_COLOUR), ("uniform", UNIFORM_COLOUR), ("best possible", BEST_COLOUR)):
            legend.append("━━ ", style=colour).append(f"{name}   ")
        if columns:
            now = columns[-1]
            legend.append(f"now {now.policy:.0%} · {now.uniform:.0%} · {now.best:.0%}", style="bold")
        yield legend
        for row in reversed(range(CHART_ROWS)):
            line = Text(f"{CHART_TOP * (row + 1) / CHART_ROWS:5.0%} ", style="grey50")
            for point in columns:
                line.append_text(_cell(row, point))
            yield line
        yield Text("      " + "─" * width, style="grey50")
        if self._marks:
            yield self._marked(width)

    def _marked(self, width: int) -> Text:
        line = Text("      ")
        for column, text in sorted(self._marks.items()):
            at = 6 + column * width // self._columns
            line.append(" " * max(0, at - line.cell_len)).append(f"▲ {text} ", style=MARK_COLOUR)
        return line


def _cell(row: int, point: Point) -> Text:
    def height(rate: float) -> float:
        return rate / CHART_TOP * CHART_ROWS

    full = BLOCKS[round(8 * min(max(height(point.policy) - row, 0.0), 1.0))]
    for rate, colour in ((point.best, BEST_COLOUR), (point.uniform, UNIFORM_COLOUR)):
        if row <= height(rate) < row + 1:
            return Text("━", style=f"{colour} on {POLICY_COLOUR}" if full == "█" else colour)
    return Text(full, style=POLICY_COLOUR)


def _resampled(curve: Sequence[Point], columns: int, width: int) -> list[Point]:
    if width >= columns:
        return list(curve)
    groups: dict[int, list[Point]] = {}
    for index, point in enumerate(curve):
        groups.setdefault(index * width // columns, []).append(point)
    return [
        Point(*(math.fsum(values) / len(values) for values in zip(*points, strict=True))) for points in groups.values()
    ]


Row = tuple[str, str]


def summary(figures: Figures) -> Table:
    """Return the table at the end of the demo."""
    table = Table(title="What the demo showed", title_style="bold", show_header=False, padding=(0, 2))
    table.add_column(style="bold", no_wrap=True)
    table.add_column()
    for section in (_real_log, _live_world, _learner, _proof, _archive):
        for row in section(figures):
            table.add_row(*row)
        table.add_section()
    return table


def _real_log(figures: Figures) -> Iterator[Row]:
    log = figures.real_log
    yield (
        "1  A real log",
        f"{log.rows:,} decisions of a fashion site, {log.clicks} clicks joined, {log.learned:,} learned,"
        f" {log.versions} versions",
    )
    yield "   clicks per 1,000", f"uniform        {per_thousand(log.uniform.ips)}  (what was logged)"
    yield "", f"learned, IPS   {per_thousand(log.value.ips)}"
    yield "", f"learned, SNIPS {per_thousand(log.value.snips)}"
    apart = "tell the two apart" if log.apart else "are too few to tell the two apart"
    yield "", f"[grey50]95 % intervals: {log.clicks} clicks {apart}[/]"


def _live_world(figures: Figures) -> Iterator[Row]:
    live, front = figures.live, figures.proof[POLICY]
    yield (
        "2  A live world",
        f"{live.visits:,} visits over Kafka, {live.events:,} events: {live.repeated} sent twice, {live.ahead} before"
        f" their decision, {live.late} late",
    )
    yield (
        "",
        f"{figures.dead_letters.get('late', 0)} events came when the window had closed, and are in the dead letters;"
        f" {front.outcomes - front.learned} decisions were seen by nobody, and taught nothing",
    )
    for name, rates in live.rates.items():
        yield (
            f"   {name}",
            f"[{POLICY_COLOUR}]policy {rates.policy:6.1%}[/]   [{UNIFORM_COLOUR}]uniform {rates.uniform:6.1%}[/]"
            f"   [{BEST_COLOUR}]best possible {rates.best:6.1%}[/]",
        )


def _learner(figures: Figures) -> Iterator[Row]:
    learner = figures.learner
    yield (
        "3  The learner",
        f"killed with -9 (process {learner.killed_pid}); another one ran after {learner.back_after_s:.1f} s and had"
        f" published after {learner.learned_after_s:.1f} s",
    )


def _proof(figures: Figures) -> Iterator[Row]:
    for name, proof in figures.proof.items():
        good = "[green]identical[/]" if proof.identical else "[red]different[/]"
        yield (
            f"4  Proof: {name}",
            f"{proof.decisions:,} decisions, {proof.outcomes:,} outcomes, {proof.learned:,} learned;"
            f" {proof.missing} missing, {proof.doubled} doubled, {proof.wrong} wrong",
        )
        yield "", f"live digest {proof.live_digest[:16]}…, recomputed {proof.recomputed_digest[:16]}…: {good}"
    decision = figures.decision
    same = "[green]bit for bit[/]" if decision.ok else f"[red]not the same: {decision.reason}[/]"
    yield (
        "   one decision",
        f"{decision.event_id}, by version {decision.policy_version}: pmf and draw recomputed, {same}",
    )


def _archive(figures: Figures) -> Iterator[Row]:
    archive = figures.archive
    lacking = f"; [red]it lacks the end of {', '.join(archive.lacking)}[/]" if archive.lacking else ""
    yield "5  The archive", f"{archive.rows:,} rows in {archive.files} files{lacking}"
    first = archive.evaluations[0]
    left_out = ", ".join(f"{count} {reason}" for reason, count in first.left_out.items())
    yield (
        "   reward a decision",
        f"logged          {worth(first.value_logged, first.value_logged_interval)}"
        f"  ({first.rows:,} of {POLICY}; left out: {left_out or 'none'})",
    )
    for evaluation in archive.evaluations:
        learned = (
            "  [grey50](it knows these rows; the tastes of half of them are gone)[/]" if evaluation.learned else ""
        )
        name = evaluation.target.partition("-")[0]
        yield "", f"{name}, IPS".ljust(16) + worth(evaluation.ips, evaluation.ips_interval)
        yield "", f"{name}, SNIPS".ljust(16) + worth(evaluation.snips, evaluation.snips_interval) + learned
        yield "", f"{name}: {escape(evaluation.verdict.sentence)}"


def worth(value: float | None, ends: tuple[float | None, float | None]) -> str:
    """Return an estimate of a reward and its ends, of which each may be unknown."""
    texts = ["?" if each is None else f"{each:.3f}" for each in (value, *ends)]
    return f"{texts[0]}  [{texts[1]}, {texts[2]}]"


def per_thousand(interval: Interval) -> str:
    """Return an estimate and its ends, in clicks per thousand; each may be unknown."""
    value, low, high = (
        "?" if end is None else f"{1000 * end:.1f}" for end in (interval.value, interval.low, interval.high)
    )
    return f"{value:>5}  [{low}, {high}]"
