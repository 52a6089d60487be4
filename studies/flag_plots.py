"""Pictures of the warning: ROC curves, and how often is warned by what an interval truly covers."""

from pathlib import Path
from typing import Any

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np

from replay.evaluation.health.verdict import score_of
from studies.flag_fit import BAD, GOOD
from studies.flag_runs import FAMILIES, Runs
from studies.flagged import rivals, told

LOOK: Any = {
    "svg.hashsalt": "bowerbird",
    "svg.fonttype": "path",
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "figure.facecolor": "white",
}
OURS, THEIRS = "#1f5fa8", ("#b5541c", "#7a7a7a", "#3c8d5a", "#c49a1a")
MARKS = "os^v"


def draw(runs: Runs, folder: Path) -> None:
    """Write ``warnings-roc.svg`` and ``warnings-coverage.svg`` of the runs of family B."""
    with mpl.rc_context(LOOK):
        found = [told(runs, family, "whole", score_of(family, whole=True)) for family in FAMILIES]
        figure, panels = plt.subplots(1, 3, figsize=(9, 3.6), sharey=True, layout="constrained")
        for family, each, panel in zip(FAMILIES, found, panels, strict=True):
            bad, good = each.scores[each.bad].ravel(), each.scores[each.good].ravel()
            cuts = np.quantile(np.concatenate([bad, good]), np.linspace(0, 1, 400))
            panel.plot(_above(good, cuts), _above(bad, cuts), color=OURS, label="Bowerbird's score")
            here = (each.flagged[each.good].mean(), each.flagged[each.bad].mean())
            panel.plot(*here, "*", color=OURS, markersize=12, label="as shipped, with the checks")
            for (name, flagged), mark, colour in zip(list(rivals(runs).items())[:4], MARKS, THEIRS, strict=True):
                at = (flagged[each.good].mean(), flagged[each.bad].mean())
                panel.plot(*at, mark, color=colour, markersize=6, label=name)
            panel.set(title=family, xlabel="good worlds' logs flagged", xlim=(-0.02, 1), ylim=(0, 1.03))
            panel.grid(alpha=0.25)
        panels[0].set_ylabel("bad worlds' logs flagged")
        handles, labels = panels[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=3, frameon=False, fontsize=8)
        _save(figure, folder / "warnings-roc.svg")
        figure, panels = plt.subplots(1, 3, figsize=(9, 3.2), sharey=True, layout="constrained")
        for place, (family, each, panel) in enumerate(zip(FAMILIES, found, panels, strict=True)):
            panel.axvspan(BAD, GOOD, color="#e8e8e8", zorder=0, label="grey zone")
            panel.plot(
                runs.coverage[:, place],
                each.flagged.mean(axis=1),
                "o",
                color=OURS,
                alpha=0.45,
                markersize=4,
                label="a world",
            )
            panel.set(title=family, xlabel="true coverage of the interval", xlim=(-0.03, 1.03), ylim=(-0.03, 1.03))
        panels[0].set_ylabel("share of logs flagged")
        figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=2, frameon=False)
        _save(figure, folder / "warnings-coverage.svg")


def _above(scores: Any, cuts: Any) -> Any:
    return 1 - np.searchsorted(np.sort(scores), cuts, side="right") / len(scores)


def _save(figure: Any, path: Path) -> None:
    figure.savefig(path, metadata={"Date": None})
    plt.close(figure)
