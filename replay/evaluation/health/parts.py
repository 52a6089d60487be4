"""The mean weight within parts of a log: draws that depend on a context whose propensities do not."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from scipy.special import ndtr

from replay.evaluation.estimators.estimator import Estimator, Means
from replay.evaluation.intervals.segments import Segments
from replay.evaluation.moments import Moments
from replay.evaluation.result import Finding
from replay.evaluation.rows import EvaluationRows, Floats

NAME = "segment_weights"
FEWEST = 50.0
"""The effective sample size from which on the mean weight of a segment is tested."""
RARE = 0.01
_WEIGHT = "w"


@dataclass(frozen=True)
class MeanWeight(Estimator):
    """The mean of the weights, which is 1 in each segment if the propensities are right."""

    name = "mean-weight"
    reference = "Li, Chu, Langford, Wang 2011, WSDM"

    def terms(self, rows: EvaluationRows) -> dict[str, Floats]:
        """Return the weights."""
        return {_WEIGHT: rows.weight}

    def value(self, means: Means) -> Any:
        """Return their mean."""
        return means[_WEIGHT]


def segment_weights(
    segments: Mapping[str, Segments], names: Mapping[str, Sequence[str]], largest: float
) -> Finding | None:
    """Return the segment whose mean weight differs most from 1; None if chance explains all (Bonferroni).

    Parameters
    ----------
    segments, names
        The sums of each kind of segment, and the names of its parts.
    largest
        The largest weight in the log: a sum may lack a row of this weight by chance.
    """
    looked_at = sum(len(each.parts) for each in segments.values())
    found = [
        (p_value * looked_at, mean, kind, names[kind][code])
        for kind, parts in segments.items()
        for code, sums in parts.parts.items()
        for mean, p_value in [_test(sums.moments, largest)]
        if p_value is not None
    ]
    p_value, mean, kind, name = min(found, default=(1.0, 1.0, "", ""))
    if p_value >= RARE:
        return None
    return Finding(
        name=NAME,
        value=mean,
        expected=1.0,
        p_value=p_value,
        wrong=True,
        says=f"the mean weight where {kind} is {name} is {mean:.3g}, where right propensities give 1: the draws depend "
        f"on {kind} and the propensities do not, or {kind} depends on the draw",
    )


def _test(moments: Moments, largest: float) -> tuple[float, float | None]:
    at = moments.names.index(_WEIGHT)
    rows, mean = moments.rows, float(moments.mean[at])
    second = float(moments.comoment[at, at])
    squares = second + rows * mean**2
    if not squares or (rows * mean) ** 2 / squares < FEWEST:
        return mean, None
    variance = second + (largest**2 if mean < 1 else 0.0)
    error = math.sqrt(variance) / rows
    return mean, 2 * float(ndtr(-abs(mean - 1) / error)) if error else float(abs(mean - 1) < 1e-9)
