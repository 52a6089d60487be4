"""Fits the scores of the warning to the runs of family A; `health.verdict` reads what comes out."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy.optimize import minimize

from replay.evaluation.health.missing import FILLED
from replay.evaluation.health.warning_statistics import WHOLE, WarningStatistic
from replay.evaluation.rows import Flags, Floats
from studies.flag_runs import BARE as _BARE
from studies.flag_runs import FAMILIES, Runs

BAD, GOOD = 0.80, 0.93
PENALTY = 1e-3
TRIMMED, ROUNDS = 0.05, 4
"""So many of the runs of either kind, those that fit the score the least, do not count: some situations are good for a
reason that no statistic shows, and would make the score blunt everywhere else."""
MISSED = 0.75
"""The cut of *reliable* misses so many times the share of bad runs that it flags of good ones."""
REFUSED_BAD = 0.8
"""Above the cut of *not reliable* lies this share of the runs of bad worlds of family A."""


def all_badness(runs: Runs, family: str, features: Sequence[WarningStatistic]) -> Floats:
    """Return the features of all runs, with the missing rows filled in: shape (worlds, runs, features)."""
    return np.stack([badness_of(runs, family, feature, bare=features is not WHOLE) for feature in features], axis=-1)


def badness_of(runs: Runs, family: str, feature: WarningStatistic, *, bare: bool) -> Floats:
    """Return a feature of all runs, the worse of that with and without the missing rows: shape (worlds, runs)."""
    name = feature.statistic(family)
    filled = f"{_BARE if bare else ''}{FILLED}{name}"
    columns = [runs.column(each) for each in (name, filled) if each in runs.names]
    found = [
        [feature.badness(None if math.isnan(value) else value) for value in column.ravel().tolist()]
        for column in columns
    ]
    worse: Floats = np.array(found).max(axis=0).reshape(runs.known.shape[:2])
    return worse


def kinds(runs: Runs, family: str) -> tuple[Flags, Flags]:
    """Return which worlds are bad for a family of estimators, and which are good: shape (worlds,) each."""
    return _kinds(runs.coverage[:, FAMILIES.index(family)])


def kinds_as_shown(runs: Runs, family: str) -> tuple[Flags, Flags]:
    """Return the same by the interval that the command shows: shape (worlds,) each."""
    return _kinds(runs.covers_shown[..., FAMILIES.index(family)].mean(axis=1))


def _kinds(coverage: Floats) -> tuple[Flags, Flags]:
    return coverage < BAD, coverage >= GOOD


def fit(runs: Runs, family: str, features: Sequence[WarningStatistic], wrong: Flags) -> dict[str, Any]:
    """Return a logistic score of which no weight is negative, so that every feature can be a reason.

    Bad and good worlds count the same, and so does every world of either kind. The cut of *reliable* misses
    :data:`MISSED` times the share of bad runs that it flags of good ones, together with what the checks call ``wrong``
    (shape (worlds, runs)).
    """
    bad, good = kinds(runs, family)
    measured = all_badness(runs, family, features)
    centre = measured[good].reshape(-1, len(features)).mean(axis=0)
    scale = measured[bad | good].reshape(-1, len(features)).std(axis=0)
    scale[scale < 1e-9] = 1.0
    inputs = (measured - centre) / scale
    both = np.concatenate([inputs[bad], inputs[good]]).reshape(-1, len(features))
    label = np.repeat([1.0, -1.0], [bad.sum() * measured.shape[1], good.sum() * measured.shape[1]])
    kept = np.ones(len(label), dtype=bool)
    for _ in range(ROUNDS):
        best = _logistic(both[kept], label[kept])
        margin = label * (best[0] + both @ best[1:])
        for kind in (1.0, -1.0):
            kept[label == kind] = margin[label == kind] >= np.quantile(margin[label == kind], TRIMMED)
    scores = best[0] + inputs @ best[1:]
    cuts = np.quantile(scores, np.linspace(0.05, 0.99, 500))
    flagged = [(scores > cut) | wrong for cut in cuts]
    care = min(
        zip(cuts, flagged, strict=True),
        key=lambda each: abs((1 - each[1][bad].mean()) - MISSED * each[1][good].mean()),
    )
    refuse = np.quantile(scores[bad], 1 - REFUSED_BAD)
    return {
        "features": [feature.name for feature in features],
        "centre": _rounded(centre),
        "scale": _rounded(scale),
        "weights": _rounded(best[1:]),
        "intercept": round(float(best[0]), 6),
        "care": round(float(care[0]), 6),
        "refuse": round(float(max(care[0], refuse)), 6),
    }


def _logistic(inputs: Floats, label: Floats) -> Floats:
    """Return intercept and weights, which are not negative."""
    weight = np.where(label > 0, 0.5 / (label > 0).sum(), 0.5 / (label < 0).sum())

    def loss(parameters: Floats) -> tuple[float, Floats]:
        margin = label * (parameters[0] + inputs @ parameters[1:])
        slope = -weight * label / (1 + np.exp(np.clip(margin, -50, 50)))
        penalty = PENALTY * float(parameters[1:] @ parameters[1:])
        value = float((weight * np.logaddexp(0, -margin)).sum()) + penalty
        return value, np.concatenate([[slope.sum()], slope @ inputs + 2 * PENALTY * parameters[1:]])

    bounds = [(None, None)] + [(0.0, None)] * inputs.shape[1]
    found: Floats = minimize(loss, np.zeros(1 + inputs.shape[1]), jac=True, bounds=bounds, method="L-BFGS-B").x
    return found


def _rounded(numbers: Floats) -> list[float]:
    return [round(float(number), 6) for number in numbers]
