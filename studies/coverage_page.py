"""The page of the coverage study, and its pictures."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from studies.coverage import ROWS, Cell
from studies.coverage_methods import ANALYSES, Kind
from studies.worlds import WORLDS

DOCS = Path(__file__).parent.parent / "docs"
_LEAST: dict[Kind, float] = {"fixed": 0.93, "finite": 0.95, "sequence": 0.95}
_BLUE, _RED, _GREY = "#1f5f8b", "#c0392b", "#8a8a8a"


_BOUNDED = "a mean weight of 1, bounded rewards"
_NEEDS = (
    ("delta", "intervals.delta", "any estimator", "`Moments` and `InfluenceBound`"),
    ("paired difference", "intervals.difference", "the same rows for both", "`Moments` and `InfluenceBound`"),
    (
        "segments, by Bonferroni's correction",
        "intervals.segments",
        "a number a row; `unit_hash`, where units return",
        "`Segments` (64 buckets a segment)",
    ),
    ("clustered", "intervals.clustered", "`unit_hash`", "`BucketSums` (4,096 buckets), `Moments`, `InfluenceBound`"),
    ("Cressie-Read", "intervals.cressie_read", _BOUNDED, "`WeightedSums`"),
    ("empirical Bernstein", "intervals.bernstein", "bounds of what a row adds, known before", "`Moments`"),
    ("saddlepoint", "intervals.saddlepoint", "all rows at hand", "no"),
    ("adaptive weights", "intervals.adaptive", "versions, whole pmfs", "`AdaptiveSums`, in the order of the log"),
    ("gamma-exponential", "intervals.gamma_exponential", _BOUNDED, "`LogSegments`, or `Progress` row by row"),
    ("by unit", "intervals.clustered", "`unit_hash`", "`BucketSums` and `Moments` so far"),
    ("asymptotic", "intervals.asymptotic", "100 effective positives", "`Moments` of blocks, in the order of the log"),
    ("betting", "intervals.betting", f"{_BOUNDED}, a value that does not change", "`Bettor`, row by row"),
)


def fails(cell: Cell) -> bool:
    """Whether a method covers less than it should, by more than chance would explain."""
    return cell.coverage + 2 * cell.error < _LEAST[cell.method.kind]


def page(cells: Sequence[Cell]) -> str:
    """Return the page as Markdown."""
    repetitions = cells[0].repetitions
    worlds = "\n".join(f"| {world.name} | {world.describe} | {world.truth:.4g} |" for world in WORLDS)
    return f"""# Coverage of the intervals

An interval of 95 % should hold the truth in 95 of 100 logs. Here that is counted: {repetitions:,} logs of {ROWS:,} rows
from each of six made-up worlds whose truth is known. `python -m studies.coverage --repetitions {repetitions} --write`
makes this page again; [`studies/worlds.py`](../studies/worlds.py) has the worlds.

| world | what is special | the target's value |
|---|---|---|
{worlds}

## In short

- **One analysis at the end:** `delta`, which every estimator has. Where few rows carry the value it is wider than the
  textbook's normal interval, on purpose: that one is too narrow there.
  {_delta_span(cells)}
- **Users who decide more than once:** `clustered`. Every other interval for a value takes their rows for
  independent, and is too narrow.
- **A log that is looked at while it grows:** the gamma-exponential sequence, made wider where rows of a unit are
  correlated. It needs no assumption but right propensities and bounded rewards, and it is wide.
- **A learning logger:** `delta`, or `clustered` where units return. Adaptive weights are narrower, but they miss the
  value over the log's period where rewards drift ([measured](reward-models.md#drift)).

## One analysis

In each cell: how often the interval held the truth, in %, with the standard error of the simulation; then its width,
over that of `delta` for `snips` on the same log (the median). **Bold** is below 93 % (below 95 % for a bound that
promises as much for every number of rows) by more than two standard errors.

{_table([cell for cell in cells if cell.method.kind != "sequence"])}

{_stood_in(cells)}

![Coverage at one analysis](coverage-fixed.png)

## At all times

In each cell: the share of logs whose running truth the sequence held at all of {ANALYSES} analyses, in %; then the
width at the last analysis, as above. A sequence that has not opened has no width; the share of logs on which it had is
in brackets.

{_table([cell for cell in cells if cell.method.kind == "sequence"])}

![Share of logs on which a sequence had missed](coverage-sequences.png)

## Where a method fails, and why

{_failures(cells)}

## What each needs, and how it streams

| interval | module | needs | adds up from blocks |
|---|---|---|---|
{_needs()}

## What this does not show

- A truth that no row could have shown: weights that were possible, but neither seen nor said to be possible.
- Wrong propensities. Every interval here takes them for right; the warnings look for such faults.
- "By unit" rests on the limit: it makes a sequence wider by the measured design effect. It is no bound for every
  number of rows, as the plain sequence is for independent rows.
- In the world of clustered users a plain sequence holds what *these users* were expected to do, which is what it
  promises; it is counted against the value for all users, which is what most readers want.
"""


def _needs() -> str:
    return "\n".join(f"| {name} | `replay.{module}` | {needs} | {state} |" for name, module, needs, state in _NEEDS)


def _table(cells: Sequence[Cell]) -> str:
    names = [world.name for world in WORLDS if any(cell.world.name == world.name for cell in cells)]
    lines = [f"| method | of | {' | '.join(names)} |", f"|---|---|{'---|' * len(names)}"]
    methods = list(dict.fromkeys((cell.method.name, cell.method.estimator) for cell in cells))
    for name, estimator in methods:
        row = {
            cell.world.name: cell for cell in cells if (cell.method.name, cell.method.estimator) == (name, estimator)
        }
        lines.append(f"| {name} | {estimator} | {' | '.join(_cell(row[world]) for world in names)} |")
    return "\n".join(lines)


def _cell(cell: Cell) -> str:
    covered = f"{cell.coverage * 100:.1f} ± {cell.error * 100:.1f}"
    wide = f"{cell.relative:.2f} x" if np.isfinite(cell.relative) else "not open"
    some = f" ({cell.bounded * 100:.0f} %)" if 0 < cell.bounded < 1 else ""
    return f"{f'**{covered}**' if fails(cell) else covered}; {wide}{some}"


def _failures(cells: Sequence[Cell]) -> str:
    found: dict[str, dict[str, list[str]]] = {}
    for cell in cells:
        if fails(cell):
            why = cell.method.assumes_not.get(cell.world.name, "what it assumes holds; this is not explained")
            name = f"{cell.method.name} ({cell.method.estimator}) {cell.coverage * 100:.0f} %"
            found.setdefault(why, {}).setdefault(cell.world.name, []).append(name)
    lines = [
        f"- **{world}**: {', '.join(names)}. The reason: {why}."
        for why, worlds in found.items()
        for world, names in worlds.items()
    ]
    return "\n".join(lines) or "- Nowhere."


def _stood_in(cells: Sequence[Cell]) -> str:
    """Say where a method gave way to another one by itself."""
    some = [f"{cell.replaced * 100:.0f} % of the logs of {cell.world.name}" for cell in cells if cell.replaced > 0]
    return f"`saddlepoint` gives way to `delta`, and says so, where few rows carry the value: {', '.join(some)}."


def _delta_span(cells: Sequence[Cell]) -> str:
    """Say how often delta holds the truth where many rows carry the value, and where few do."""
    spans = []
    for worlds in (("easy", "drifting"), ("rare rewards", "heavy weights", "learning logger")):
        found = [cell.coverage * 100 for cell in cells if cell.method.name == "delta" and cell.world.name in worlds]
        spans.append(f"{min(found):.1f} to {max(found):.1f} %" if found else "unknown")
    return f"It holds the truth in {spans[0]} of logs where many rows carry the value, in {spans[1]} where few do."


def write(cells: Sequence[Cell], folder: Path = DOCS) -> None:
    """Write the page and its pictures."""
    (folder / "coverage.md").write_text(page(cells), encoding="utf-8")
    _draw_fixed([cell for cell in cells if cell.method.kind != "sequence"], folder / "coverage-fixed.png")
    _draw_sequences([cell for cell in cells if cell.method.kind == "sequence"], folder / "coverage-sequences.png")


def _panels(sharey: bool) -> tuple[Any, list[Any]]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12, 7), dpi=110, layout="constrained")
    axes = list(figure.subplots(2, 3, sharex=True, sharey=sharey).flat)
    for axis, world in zip(axes, WORLDS, strict=True):
        axis.set_title(world.name, fontsize=11, loc="left")
        axis.spines[["top", "right"]].set_visible(False)
    return figure, axes


def _draw_fixed(cells: Sequence[Cell], path: Path) -> None:
    figure, axes = _panels(sharey=True)
    for axis, world in zip(axes, WORLDS, strict=True):
        here = [cell for cell in cells if cell.world.name == world.name]
        axis.axvspan(93, 97, color="#e4efe4", zorder=0)
        axis.axvline(95, color=_GREY, linewidth=0.8)
        for place, cell in enumerate(here):
            colour = _RED if fails(cell) else _BLUE
            marker = "X" if fails(cell) else "o"
            axis.errorbar(
                cell.coverage * 100, place, xerr=200 * cell.error, fmt=marker, color=colour, markersize=6, linewidth=1.2
            )
        axis.set_yticks(range(len(here)), [f"{cell.method.name}, {cell.method.estimator}" for cell in here], fontsize=8)
        axis.set_xlim(50, 101)
    axes[0].invert_yaxis()
    for axis in axes[3:]:
        axis.set_xlabel("holds the truth, % of logs (± 2 standard errors)", fontsize=9)
    figure.savefig(path)


def _draw_sequences(cells: Sequence[Cell], path: Path) -> None:
    figure, axes = _panels(sharey=True)
    rows = np.linspace(0, ROWS, ANALYSES + 1)[1:]
    styles = [("#5fa8d3", "--"), (_BLUE, "-"), ("#2e7d32", "-."), ("#b8860b", ":"), (_RED, "-")]
    for axis, world in zip(axes, WORLDS, strict=True):
        here = [cell for cell in cells if cell.world.name == world.name]
        axis.axhline(5, color=_GREY, linewidth=0.8)
        for cell, (colour, style) in zip(here, styles, strict=True):
            axis.plot(rows, cell.missed_by * 100, style, color=colour, linewidth=1.8, label=cell.method.name)
        axis.set_ylim(-1, 100)
    axes[0].text(ROWS, 6, "5 % allowed", ha="right", fontsize=8, color=_GREY)
    for axis in axes[3:]:
        axis.set_xlabel("rows seen", fontsize=9)
    for axis in (axes[0], axes[3]):
        axis.set_ylabel("missed at some analysis by then, % of logs", fontsize=9)
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=5, frameon=False, fontsize=9)
    figure.savefig(path)
