"""What a value and its interval are made of, where rows are independent and where those of a unit are correlated."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, cast

import numpy as np

from replay.evaluation.estimators.estimator import Estimator
from replay.evaluation.intervals.clustered import BUCKETS, BucketSums, clustered, design_effect
from replay.evaluation.intervals.delta import delta, slopes_at
from replay.evaluation.intervals.influence_bound import InfluenceBound
from replay.evaluation.intervals.interval import Interval
from replay.evaluation.moments import Moments
from replay.evaluation.rows import Floats, Hashes
from replay.evaluation.sample_weights import SIZE


@dataclass(frozen=True, slots=True)
class Sums:
    """Terms, their influence bound, and their sums by unit; ``a + b`` is the state of the rows of both.

    ``buckets`` is None if a row has no unit.
    """

    moments: Moments
    bound: InfluenceBound
    buckets: BucketSums | None

    @classmethod
    def of(
        cls, terms: Mapping[str, Floats], bound: InfluenceBound, unit_hash: Hashes | None, *, buckets: int = BUCKETS
    ) -> "Sums":
        """Return the sums of some rows; the parameters are those of the parts."""
        by_unit = None if unit_hash is None else BucketSums.of(terms, unit_hash, buckets=buckets)
        return cls(Moments.of(terms), bound, by_unit)

    def __add__(self, other: "Sums") -> "Sums":
        both_known = self.buckets is not None and other.buckets is not None
        return Sums(
            self.moments + other.moments,
            self.bound + other.bound,
            cast(BucketSums, self.buckets) + cast(BucketSums, other.buckets) if both_known else None,
        )

    def interval(self, estimator: Estimator[Any], *, by_unit: bool, confidence: float = 0.95) -> Interval:
        """Return an estimator's value and interval: by unit, if requested and known, else by the delta method.

        Parameters
        ----------
        estimator
            Whose terms are among these.
        by_unit
            Whether rows of a unit are correlated.
        confidence
            How often the interval shall hold the truth.
        """
        if by_unit and self.buckets is not None:
            return clustered(estimator, self.buckets, self.moments, self.bound, confidence=confidence)
        return delta(estimator, self.moments, self.bound, confidence=confidence)

    def effect_of_units(self, estimator: Estimator[Any], *, by_unit: bool) -> float:
        """Return the design effect, the number of rows that count as one; 1 if not requested or unknown.

        All rows of a single unit count as one.
        """
        if not by_unit or self.buckets is None:
            return 1.0
        if self.of_one_unit:
            return float(self.moments.rows)
        return design_effect(estimator, self.buckets, self.moments)

    def rows_that_tell_as_one(self, estimator: Estimator[Any], *, by_unit: bool, confidence: float = 0.95) -> float:
        """Return the same where few units also make the design effect itself unsure: by Student's quantile, squared."""
        effect = self.effect_of_units(estimator, by_unit=by_unit)
        if not by_unit or self.buckets is None or self.of_one_unit:
            return effect
        _, slopes = slopes_at(estimator, self.moments.means)
        return min(effect * self.buckets.student(confidence, slopes) ** 2, float(self.moments.rows))

    @property
    def of_one_unit(self) -> bool:
        """Whether all rows are known to be of one unit, or as good as."""
        return self.buckets is not None and self.buckets.used == 1


def a_decision(sums: Sums) -> Sums:
    """Return sums of :func:`sized` terms as those of the terms a decision; sums without sample weights as they are.

    Examples
    --------
    >>> from replay.evaluation.estimators.importance import InversePropensity
    >>> from replay.evaluation.rows import EvaluationRows
    >>> from replay.evaluation.sample_weights import sized
    >>> half, many = np.full(2, 0.5), np.array([3.0, 1.0])
    >>> rows = EvaluationRows(reward=np.array([1.0, 0.0]), propensity=half, target=half, sample_weight=many)
    >>> estimator = InversePropensity()
    >>> sums = Sums.of(sized(estimator.terms(rows), rows), InfluenceBound.of([estimator], rows), None)
    >>> a_decision(sums).interval(estimator, by_unit=False).value
    0.75
    """
    moments, bound, buckets = sums.moments, sums.bound, sums.buckets
    if SIZE not in moments.names or not moments.rows:
        return sums
    at = moments.names.index(SIZE)
    others = [place for place in range(len(moments.names)) if place != at]
    names, size = tuple(moments.names[place] for place in others), float(moments.mean[at])
    mean = moments.mean[others] / size
    # What a row adds to the ratio, from what it adds to the sums.
    change = np.eye(len(moments.names))[others] / size
    change[:, at] = -mean / size
    unknown = np.full(len(others), np.nan)
    return replace(
        sums,
        moments=Moments(names, moments.rows, mean, change @ moments.comoment @ change.T, unknown, unknown),
        bound=replace(bound, names=names, rows=bound.rows @ change.T + mean),
        buckets=None
        if buckets is None
        else replace(buckets, names=names, rows=buckets.sums[:, at] / size, sums=buckets.sums[:, others] / size),
    )
