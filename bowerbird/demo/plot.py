"""The demo's picture: how the policy learned, and what the real log says of it."""

import math
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine

from bowerbird.demo.figures import Figures

INK, MUTED, POLICY, UNIFORM, BEST, MARK = "#1b2430", "#7b8794", "#1f6feb", "#d97706", "#2e8b57", "#c0392b"
STYLE: dict[Any, Any] = {
    "font.family": "DejaVu Sans",
    "font.size": 10.5,
    "axes.edgecolor": "#cbd2d9",
    "axes.labelcolor": INK,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "text.color": INK,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.titlepad": 26,
}


def draw(figures: Figures, file: Path) -> None:
    """Write the picture as PNG."""
    # A Figure of its own, without pyplot: no window system is asked for, and no global state is left behind.
    with mpl.rc_context(STYLE):
        picture = Figure(figsize=(13, 4.9), dpi=150, layout=ConstrainedLayoutEngine(w_pad=0.15, h_pad=0.12))
        left, right = picture.subplots(1, 2, width_ratios=(2.3, 1))
        _live(left, figures)
        _values(right, figures)
        picture.savefig(file, facecolor="white")


def _live(axes: Axes, figures: Figures) -> None:
    live, learner = figures.live, figures.learner
    visits = [point.visit for point in live.curve]
    policy = [point.policy for point in live.curve]
    uniform = [point.uniform for point in live.curve]
    change = sum(visit < live.change_visit for visit in visits)
    axes.set_title("A live world: the policy learns, is surprised, and learns again")
    axes.text(
        0,
        1.035,
        f"{live.visits:,} visits over Kafka; each point is the click rate of 100 of them",
        transform=axes.transAxes,
        color=MUTED,
    )
    axes.fill_between(visits, uniform, policy, color=POLICY, alpha=0.09, linewidth=0)
    lines = (
        ("best possible", [point.best for point in live.curve], BEST, 1.6),
        ("uniform", uniform, UNIFORM, 1.6),
    )
    for name, rates, colour, width in lines:
        smooth = _smoothed(rates, change)
        axes.plot(visits, smooth, color=colour, linewidth=width)
        _name(axes, (visits[-1], smooth[-1]), name, color=colour)
    axes.plot(visits, policy, color=POLICY, linewidth=0.9, alpha=0.35)
    smooth = _smoothed(policy, change)
    axes.plot(visits, smooth, color=POLICY, linewidth=2.6, solid_capstyle="round")
    _name(axes, (visits[-1], smooth[-1]), "Bowerbird", color=POLICY, fontweight="bold")
    top = 1.18 * max(max(policy), *(point.best for point in live.curve))
    axes.set_ylim(0, top)
    axes.set_xlim(0, live.visits)
    _mark(axes, live.change_visit, top, "the visitors' tastes change", INK)
    if learner.killed_pid:
        _mark(axes, learner.killed_visit, top, "learner killed -9", MARK)
        if learner.learned_visit > learner.killed_visit:
            axes.axvspan(learner.killed_visit, learner.learned_visit, color=MARK, alpha=0.08, linewidth=0)
    axes.yaxis.set_major_formatter(lambda rate, _: f"{rate:.0%}")
    axes.xaxis.set_major_formatter(lambda visit, _: f"{visit:,.0f}")
    axes.set_xlabel("visit")
    axes.set_ylabel("click rate")


def _values(axes: Axes, figures: Figures) -> None:
    log = figures.real_log
    axes.set_title("A real log: what it can tell")
    axes.text(
        0,
        1.035,
        f"{log.rows:,} decisions of a fashion site, {log.clicks} clicks",
        transform=axes.transAxes,
        color=MUTED,
    )
    rows = (
        ("uniform\n(as logged)", log.uniform.ips, UNIFORM),
        ("learned\nIPS", log.value.ips, POLICY),
        ("learned\nSNIPS", log.value.snips, POLICY),
    )
    for height, (_, interval, colour) in enumerate(reversed(rows)):
        low, value, high = (1000 * (end or 0.0) for end in (interval.low, interval.value, interval.high))
        axes.plot([low, high], [height, height], color=colour, linewidth=7, alpha=0.22, solid_capstyle="round")
        axes.plot(value, height, "o", color=colour, markersize=9, markeredgecolor="white", markeredgewidth=1.5)
        axes.annotate(
            f"{value:.1f}  [{low:.1f}, {high:.1f}]",
            (value, height),
            xytext=(0, 13),
            textcoords="offset points",
            ha="left",
            color=colour,
            fontsize=9.5,
        )
    axes.axvline(1000 * (log.uniform.ips.value or 0.0), color=UNIFORM, linewidth=1, linestyle=":", zorder=0)
    axes.set_yticks(range(len(rows)), [name for name, _, _ in reversed(rows)])
    axes.tick_params(axis="y", length=0, labelcolor=INK)
    axes.set_ylim(-0.5, len(rows) - 0.35)
    axes.set_xlim(left=0)
    axes.set_xlabel("clicks per 1,000, with 95 % interval")


def _mark(axes: Axes, visit: float, top: float, text: str, colour: str) -> None:
    axes.axvline(visit, color=colour, linewidth=1.1, linestyle=(0, (4, 3)))
    axes.annotate(text, (visit, top), xytext=(5, -4), textcoords="offset points", va="top", color=colour, fontsize=9.5)


def _name(axes: Axes, at: tuple[float, float], name: str, **style: Any) -> None:
    axes.annotate(
        name,
        at,
        xytext=(8, 0),
        textcoords="offset points",
        va="center",
        annotation_clip=False,
        **style,
    )


def _smoothed(rates: list[float], change: int, half: int = 2) -> list[float]:
    """Return means over neighbours, none of them over the change of tastes."""
    means: list[float] = []
    for part in (rates[:change], rates[change:]):
        windows = [part[max(0, index - half) : index + half + 1] for index in range(len(part))]
        means += [math.fsum(window) / len(window) for window in windows]
    return means
