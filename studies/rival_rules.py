"""Warnings that others use, as they are documented: for comparison in :mod:`studies.flags`.

The rules of skdr-eval 0.12.0 are those of its ``SupportHealthThresholds`` (defaults), on the clip that its
``dr_value_with_clip`` chooses; written again here, since it wants the pmf of every row and a model of scikit-learn.
"""

import numpy as np

from replay.evaluation.health.tail import pareto_k
from replay.evaluation.rows import EvaluationRows

CLIPS = (2.0, 5.0, 10.0, 20.0, 50.0, np.inf)
LEAST_ESS_SHARE = 0.02


def skdr_severity(rows: EvaluationRows) -> int:
    """Return 0 (ok), 1 (caution) or 2 (high risk) for the doubly robust value of some rows."""
    count = len(rows)
    matched = rows.target > 0
    if not matched.any():
        return 2
    assert rows.model_logged is not None
    assert rows.model_target is not None
    ess, tail, error = [], [], []
    off = rows.reward - rows.model_logged
    for clip in CLIPS:
        weight = np.minimum(rows.weight, clip)
        squares = float((weight * weight).sum())
        ess.append(float(weight.sum()) ** 2 / squares if squares else 0.0)
        tail.append(float((rows.weight[matched] > clip).mean()))
        error.append(float((rows.model_target + weight * off).var()))
    allowed = [place for place in range(len(CLIPS)) if ess[place] >= LEAST_ESS_SHARE * count]
    chosen = min(allowed, key=lambda place: error[place]) if allowed else int(np.argmax(ess))
    weights = np.sort(rows.weight[matched])
    shape = pareto_k(weights, len(weights)) if len(weights) >= 25 else None
    severities = [
        _below(ess[chosen] / count, 0.10, 0.05),
        _above(tail[chosen], 0.05, 0.10),
        _below(float(matched.mean()), 0.50, 0.25),
        2 if float(rows.propensity[matched].min()) < 1 / count else 0,
        0 if shape is None else (2 if shape >= 0.7 else int(shape >= 0.5)),
    ]
    return 2 if max(severities) == 2 or severities.count(1) >= 2 else max(severities)


def _below(value: float, caution: float, high: float) -> int:
    return 2 if value < high else int(value < caution)


def _above(value: float, caution: float, high: float) -> int:
    return 2 if value > high else int(value > caution)
