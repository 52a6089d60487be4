"""The estimates as a picture of matplotlib's, for notebooks and slides."""

import io
import math
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure
from matplotlib.font_manager import findfont, get_font
from matplotlib.layout_engine import ConstrainedLayoutEngine

from replay.evaluation.report import pictures, words
from replay.evaluation.report.axis import Axis
from replay.evaluation.report.numbers import brief, number
from replay.evaluation.result import Result

INK, MUTED, GRID = "#1b2430", "#55606d", "#dde2e9"
COLOURS = {"target": "#1b5fd1", "logged": "#a85a06", "other": "#4d5a69"}
FONT = "DejaVu Sans"
STYLE: dict[Any, Any] = {
    "axes.edgecolor": GRID,
    "axes.labelcolor": MUTED,
    "font.family": FONT,
    "font.size": 10,
    "text.color": INK,
    "text.parse_math": False,
    "xtick.color": MUTED,
    "ytick.color": INK,
}


class Picture(Figure):
    """A figure that a notebook shows by itself; others are shown only once pyplot was imported."""

    def _repr_png_(self) -> bytes:
        file = io.BytesIO()
        self.savefig(file, format="png", dpi=110)
        return file.getvalue()


def figure(answer: Result) -> Figure:
    """Return the estimates with their intervals, and the value of the logging policy.

    It is a figure of its own: nothing of matplotlib's global state is changed.

    Parameters
    ----------
    answer
        What an evaluation found.
    """
    answer = words.cleaned(answer)
    forest = pictures.estimates(answer)
    rows = forest.rows
    with mpl.rc_context(STYLE):
        drawn = Picture(figsize=(8.5, 1.5 + 0.42 * len(rows)), layout=ConstrainedLayoutEngine(w_pad=0.1, h_pad=0.1))
        axes = drawn.subplots()
        axes.set_title(
            _known(f"{brief(answer.target, 40)}: {answer.verdict.level}"),
            loc="left",
            fontweight="bold",
        )
        axes.axvline(answer.value_logged, color=COLOURS["logged"], linewidth=1.2, linestyle=(0, (2, 3)), zorder=0)
        for height, row in zip(range(len(rows), 0, -1), rows, strict=True):
            _interval(axes, forest.axis, row, height)
        axes.set_yticks(range(len(rows), 0, -1), [_known(brief(row.name, 30)) for row in rows])
        axes.set_ylim(0.4, len(rows) + 0.6)
        axes.set_xlim(forest.axis.low, forest.axis.high)
        axes.set_xticks(forest.axis.ticks, [forest.axis.label(tick) for tick in forest.axis.ticks])
        axes.set_xlabel("reward per decision, with 95 % intervals; dotted: the logged policy")
        axes.grid(axis="x", color=GRID, linewidth=0.8, zorder=-1)
        axes.tick_params(length=0)
        axes.spines[["top", "right", "left"]].set_visible(False)
    return drawn


def _interval(axes: Any, axis: Axis, row: pictures.Row, height: int) -> None:
    colour = COLOURS[row.tone] if row.value is not None else MUTED
    text = number(row.value, row.places)
    axes.text(1.02, height, text, transform=axes.get_yaxis_transform(), va="center", color=colour, fontweight="bold")
    if row.mark is None:
        return
    low = axis.low if row.low is None else max(row.low, axis.low)
    high = axis.high if row.high is None else min(row.high, axis.high)
    axes.plot([low, high], [height, height], color=colour, linewidth=7, alpha=0.28, solid_capstyle="round")
    for cut, end, marker in ((row.mark.cut_low, axis.low, "<"), (row.mark.cut_high, axis.high, ">")):
        if cut:
            axes.plot([end], [height], marker=marker, color=colour, markersize=6, clip_on=False)
    if row.value is not None and math.isfinite(row.value) and axis.inside(row.value):
        axes.plot([row.value], [height], marker="o", color=colour, markersize=7, markeredgecolor="white")


def _known(text: str) -> str:
    """Return a text whose letters the font has: matplotlib warns of others whenever the figure is drawn."""
    letters = get_font(findfont(FONT)).get_charmap()
    return "".join(each if ord(each) in letters else "\N{WHITE SQUARE}" for each in text)
