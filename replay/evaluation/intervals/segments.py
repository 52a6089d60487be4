"""A value within each part of a log, with intervals that hold for all parts at once."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from replay.evaluation.estimators.balanced import with_balanced_weights
from replay.evaluation.estimators.estimator import Estimator, Means, all_terms
from replay.evaluation.health.central import effective
from replay.evaluation.intervals.influence_bound import InfluenceBound
from replay.evaluation.intervals.interval import Interval
from replay.evaluation.intervals.sums import Sums
from replay.evaluation.moments import Moments
from replay.evaluation.rows import Codes, EvaluationRows, Floats

CORRECTION = "Bonferroni"
"""Holm's correction is for tests; there are no simple intervals that go with it. Bonferroni's also holds for segments
that overlap and for users who are in several."""
_SIZE = "|w r|"
BUCKETS = 64
"""Fewer than a whole log has, since there may be many segments: intervals by unit are 3 % wider, and vary by 9 %."""


@dataclass(frozen=True)
class Positives(Estimator):
    """The mean size of weight times reward: how many effective rows with a reward a segment has.

    Parameters
    ----------
    balanced
        Whether by balanced weights.
    """

    balanced: bool = False

    name = "positives"
    reference = "Kong 1992, A note on importance sampling, of weight times reward"

    def terms(self, rows: EvaluationRows) -> dict[str, Floats]:
        """Return the size of weight times reward."""
        weight = with_balanced_weights(rows).weight if self.balanced else rows.weight
        return {_SIZE: np.abs(weight * rows.reward)}

    def value(self, means: Means) -> Any:
        """Return its mean."""
        return means[_SIZE]

    @staticmethod
    def effective(moments: Moments) -> float:
        """Return ``(sum |w r|)^2 / sum (w r)^2``."""
        at = moments.names.index(_SIZE)
        total = float(moments.rows * moments.mean[at])
        squares = float(moments.comoment[at, at]) + total * float(moments.mean[at])
        return effective(total, squares) or 0.0


@dataclass(frozen=True, slots=True)
class Segments:
    """The sums of each segment, by its code; ``a + b`` is the state of the rows of both.

    Memory grows with the number of segments, not with the rows.
    """

    parts: Mapping[int, Sums]

    @classmethod
    def of(
        cls,
        estimators: Sequence[Estimator],
        rows: EvaluationRows,
        codes: Codes,
        *,
        least: float = 0.0,
        largest: float | None = None,
    ) -> "Segments":
        """Return the state of some rows, each in the segment of its code; rows of a code below 0 are in none.

        The other parameters are those of :meth:`~replay.evaluation.intervals.influence_bound.InfluenceBound.of`.
        """
        if not len(codes):
            return cls({})
        order = np.argsort(codes, kind="stable")
        found, starts = np.unique(codes[order], return_index=True)
        parts = {}
        for code, which in zip(found.tolist(), np.split(order, starts[1:]), strict=True):
            if code >= 0:
                some = rows.where(which)
                bound = InfluenceBound.of(estimators, some, least=least, largest=largest)
                parts[code] = Sums.of(all_terms(estimators, some), bound, some.unit_hash, buckets=BUCKETS)
        return cls(parts)

    def __add__(self, other: "Segments") -> "Segments":
        parts = dict(self.parts)
        for code, sums in other.parts.items():
            parts[code] = parts[code] + sums if code in parts else sums
        return Segments(dict(sorted(parts.items())))


@dataclass(frozen=True, slots=True)
class SegmentInterval:
    """A segment's code, its rows, and its value with an interval that is corrected for all segments."""

    code: int
    rows: int
    interval: Interval


def segments(
    estimator: Estimator[Any],
    state: Segments,
    *,
    by_unit: bool = False,
    confidence: float = 0.95,
    looked_at: int | None = None,
) -> list[SegmentInterval]:
    """Return the value in each segment; all intervals together hold with the confidence.

    By Bonferroni's correction: each of m may miss with the m-th part of the chance (Dunn 1961, JASA 56:52).

    Parameters
    ----------
    estimator
        Whose value.
    state
        Of all rows.
    by_unit
        Whether rows of a unit are correlated.
    confidence
        How often *all* intervals shall hold.
    looked_at
        Number of segments to correct for, if more than are in this state (as with several kinds).

    Examples
    --------
    >>> from replay.evaluation.estimators.importance import InversePropensity
    >>> rows = EvaluationRows(reward=np.tile([0.0, 1.0], 500), propensity=np.ones(1000), target=np.ones(1000))
    >>> state = Segments.of([InversePropensity()], rows, np.repeat([0, 1], 500).astype(np.int32))
    >>> [(each.code, each.rows, each.interval.value) for each in segments(InversePropensity(), state)]
    [(0, 500, 0.5), (1, 500, 0.5)]
    """
    many = max(looked_at or 0, len(state.parts))
    of_each = 1 - (1 - confidence) / max(many, 1)
    return [
        SegmentInterval(code, sums.moments.rows, sums.interval(estimator, by_unit=by_unit, confidence=of_each))
        for code, sums in state.parts.items()
    ]
