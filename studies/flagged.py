"""What the warning, and the rules of others, say of the runs of :mod:`studies.flag_runs`."""

from dataclasses import dataclass

import numpy as np
from scipy.stats import rankdata

from replay.evaluation.health.verdict import FEWEST_OF, LEAST_SHOWN, MOST_SHOWN, Score
from replay.evaluation.health.warning_statistics import BARE, WHOLE
from replay.evaluation.rows import Flags, Floats
from studies.flag_fit import all_badness, badness_of, kinds
from studies.flag_runs import Runs

SETS = {"whole": WHOLE, "bare": BARE}


@dataclass(frozen=True, slots=True)
class Told:
    """What the warning says of the runs of a family, for one family of estimators.

    Attributes
    ----------
    scores
        Shape (worlds, runs).
    flagged
        Which are not called *reliable*; ``refused``: which are called *not reliable*; shape (worlds, runs).
    bad, good
        Which worlds are: shape (worlds,).
    """

    scores: Floats
    flagged: Flags
    refused: Flags
    bad: Flags
    good: Flags


def told(runs: Runs, family: str, kind: str, score: Score) -> Told:
    """Return what is said of runs: by score, checks of the log's health, and the rules that no score may overrule."""
    parts = all_badness(runs, family, SETS[kind])
    scores = score.intercept + ((parts - score.centre) / score.scale) @ score.weights
    wrong = runs.wrong[:, :, list(SETS).index(kind)]
    bad, good = kinds(runs, family)
    few = np.zeros_like(wrong)
    for each, fewest in FEWEST_OF:
        few |= badness_of(runs, family, each, bare=kind == "bare") > each.badness(fewest)
    shown = runs.column("mean_weight")
    flagged = (scores > score.care) | wrong | few | (shown < MOST_SHOWN)
    return Told(scores, flagged, (scores > score.refuse) | wrong | (shown < LEAST_SHOWN), bad, good)


def area(found: Told) -> float:
    """Return the area under the ROC curve of the score: bad worlds against good ones."""
    bad, good = found.scores[found.bad].ravel(), found.scores[found.good].ravel()
    ranks = rankdata(np.concatenate([bad, good]))
    return float((ranks[: len(bad)].sum() - len(bad) * (len(bad) + 1) / 2) / (len(bad) * len(good)))


def rivals(runs: Runs) -> dict[str, Flags]:
    """Return which runs other people's rules flag: shape (worlds, runs) each."""
    shape, share = np.nan_to_num(runs.column("pareto_k"), nan=0.0), np.nan_to_num(runs.column("ess_share"), nan=0.0)
    rows = runs.column("rows")
    return {
        "effective sample size < 10 % (Kong)": share < 0.1,
        "Pareto k > 0.7": shape > 0.7,
        "skdr-eval 0.12: caution or high risk": runs.skdr >= 1,
        "skdr-eval 0.12: high risk": runs.skdr == 2,
        "Pareto k > min(1 - 1 / log10 n, 0.7)": shape > np.minimum(1 - 1 / np.log10(rows), 0.7),
    }
