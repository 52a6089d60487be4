"""The mean weight within parts of a log: draws that depend on a context whose propensities do not."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from scipy.special import ndtr, stdtr

from replay.evaluation.estimators.estimator import Estimator, Means
from replay.evaluation.intervals.clustered import design_effect
from replay.evaluation.intervals.segments import Segments
from replay.evaluation.intervals.sums import Sums
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
    segments: Mapping[str, Segments], names: Mapping[str, Sequence[str]], largest: float, *, by_unit: bool = False
) -> Finding | None:
    """Return the segment whose mean weight differs most from 1; None if chance explains all (Bonferroni).

    Parameters
    ----------
    segments, names
        The sums of each kind of segment, and the names of its parts.
    largest
        The largest weight in the log: a sum may lack a row of this weight by chance.
    by_unit
        Whether rows of a unit are correlated, so that the variance is that between units.
    """
    looked_at = sum(len(each.parts) for each in segments.values())
    found = [
        (p_value * looked_at, mean, kind, names[kind][code])
        for kind, parts in segments.items()
        for code, sums in parts.parts.items()
        for mean, p_value in [_test(sums, largest, by_unit)]
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


def _test(sums: Sums, largest: float, by_unit: bool) -> tuple[float, float | None]:
    moments, units = sums.moments, sums.buckets if by_unit else None
    at = moments.names.index(_WEIGHT)
    rows, mean = moments.rows, float(moments.mean[at])
    second = float(moments.comoment[at, at])
    squares = second + rows * mean**2
    if units is not None and units.used < 2:
        return mean, None
    effect = 1.0 if units is None else design_effect(MeanWeight(), units, moments)
    if not squares or (rows * mean) ** 2 / squares < FEWEST * effect:
        return mean, None
    variance = effect * second + ((effect * largest) ** 2 if mean < 1 else 0.0)
    error = math.sqrt(variance) / rows
    if not error:
        return mean, float(abs(mean - 1) < 1e-9)
    off = -abs(mean - 1) / error
    return mean, 2 * float(ndtr(off) if units is None else stdtr(max(units.effective() - 1, 1.0), off))
