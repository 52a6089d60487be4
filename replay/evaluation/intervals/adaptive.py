"""Intervals of values by adaptive weights, where rewards are rare and where rows of a unit (a user) are correlated.

Adaptive weights follow from the log so far (:mod:`replay.evaluation.estimators.adaptive`), which no block of it knows
alone. How much units matter, and how far one row could move the value, is measured on a mean that is nearly the same
and adds up: :class:`StableMean`.
"""

from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np

from replay.evaluation.estimators.adaptive import Pieces, adaptive_value, scores, weights
from replay.evaluation.estimators.estimator import Estimator, Means, need
from replay.evaluation.intervals.clustered import ONE_UNIT
from replay.evaluation.intervals.delta import Linear, Method, interval_around, slopes_at
from replay.evaluation.intervals.difference import Difference, LoggedMean, paired, paired_bound
from replay.evaluation.intervals.interval import Interval
from replay.evaluation.intervals.sums import Sums
from replay.evaluation.rows import EvaluationRows, Floats
from replay.evaluation.sample_weights import unsized

METHOD = "adaptive"
CLUSTERED = "adaptive, clustered"


@dataclass(frozen=True)
class StableMean(Estimator):
    """The mean of the scores, each weighted by ``1 / sqrt(s)`` of its *own* pmf, ``s = sum_a pi(a|x)^2 / mu(a|x)``.

    Adaptive weights take what was known before of the version's mean s instead.
    """

    name = "stable-mean"
    reference = "Zhan et al. 2021 (StableVar), with each row's own probabilities"
    needs = ("squared_weight",)

    def terms(self, rows: EvaluationRows) -> dict[str, Floats]:
        """Return the weight h, and h times the score."""
        h = 1 / np.sqrt(np.maximum(need(rows.squared_weight, "squared_weight"), 1.0))
        return {"h": h, "h G": h * scores(rows)}

    def value(self, means: Means) -> Any:
        """Return the ratio of their means."""
        return means["h G"] / means["h"]


_STABLE, _PAIR = StableMean(), Difference(StableMean(), LoggedMean())


@dataclass(frozen=True, slots=True)
class AdaptiveSums:
    """What a value by adaptive weights and its intervals are made of; ``a + b`` is a part of the log, and the next.

    Attributes
    ----------
    target, logged, apart
        Of the scores, of the rewards, and of the one less the other.
    stable
        The terms of :class:`StableMean` and of the mean reward.
    """

    target: Pieces
    logged: Pieces
    apart: Pieces
    stable: Sums

    @classmethod
    def of(cls, rows: EvaluationRows, *, least: float = 0.0, largest: float | None = None) -> "AdaptiveSums":
        """Return those of a block of rows, which are in the order of the log.

        Parameters
        ----------
        rows
            The block.
        least, largest
            As for :meth:`~replay.evaluation.intervals.influence_bound.InfluenceBound.of`.

        Raises
        ------
        BadInput
            As :meth:`~replay.evaluation.estimators.adaptive.Pieces.of`.
        """
        score = scores(unsized(rows))
        plain = replace(rows, weight=np.ones(len(rows)), model_logged=None, model_target=None)
        return cls(
            target=Pieces.of(replace(plain, reward=score)),
            logged=Pieces.of(replace(plain, reward=rows.reward)),
            apart=Pieces.of(replace(plain, reward=score - rows.reward)),
            stable=Sums.of(
                _PAIR.terms(rows), paired_bound(_PAIR, rows, rows, least=least, largest=largest), rows.unit_hash
            ),
        )

    def __add__(self, other: "AdaptiveSums") -> "AdaptiveSums":
        return AdaptiveSums(
            self.target + other.target,
            self.logged + other.logged,
            self.apart + other.apart,
            self.stable + other.stable,
        )


def adaptive_interval(sums: AdaptiveSums, *, by_unit: bool = False, confidence: float = 0.95) -> Interval:
    """Return the value by adaptive weights and its interval.

    The studentised one of Hadad et al. 2021, wider where few rows carry the value, as that of
    :func:`~replay.evaluation.intervals.delta.delta`, and by unit by the design effect.

    Parameters
    ----------
    sums
        Of the whole log.
    by_unit
        Whether rows of a unit are correlated.
    confidence
        How often the interval shall hold the truth.
    """
    adaptive = adaptive_value(sums.target)
    if adaptive.value is None or adaptive.standard_error is None:
        return Interval(adaptive.value, None, None, METHOD, "fewer than two rows that adaptive weights count")
    return _around(_STABLE, _Value(adaptive.value, adaptive.standard_error**2), sums.stable, by_unit, confidence)


def adaptive_difference(sums: AdaptiveSums, *, by_unit: bool = False, confidence: float = 0.95) -> Interval:
    """Return the value by adaptive weights less the mean reward, on the same rows.

    With the variance of ``sum_t a_t (G_t - value) - (r_t - mean)``, where ``a_t = n h_t / sum h``, and otherwise as
    :func:`adaptive_interval`, whose parameters it has.
    """
    target, logged, apart = sums.target, sums.logged, sums.apart
    h, rows = weights(target), target.rows
    total, count = float((h * rows).sum()), int(rows.sum())
    if not total or count < 2:
        return paired(Interval(None, None, None, METHOD, "no rows that adaptive weights count"))
    value = float((h * rows * target.mean).sum() / total)
    mean = float((rows * logged.mean).sum() / count)
    a, g, r = count * h / total, target.mean - value, logged.mean - mean
    # What two columns share follows from the squares of both and of their difference.
    shared = (target.squares + logged.squares - apart.squares) / 2
    squares = a**2 * (target.squares + rows * g**2) - 2 * a * (shared + rows * g * r) + logged.squares + rows * r**2
    variance = max(float(squares.sum()), 0.0) / count**2
    return paired(_around(_PAIR, _Value(value - mean, variance), sums.stable, by_unit, confidence))


class _Value(NamedTuple):
    value: float
    variance: float


def _around(estimator: Estimator[Any], found: _Value, sums: Sums, by_unit: bool, confidence: float) -> Interval:
    value, variance = found
    if by_unit and sums.of_one_unit:
        return Interval(value, None, None, CLUSTERED, ONE_UNIT)
    effect = sums.effect_of_units(estimator, by_unit=by_unit)
    buckets = sums.buckets if by_unit else None
    _, slopes = slopes_at(estimator, sums.moments.means)
    student = 1.0 if buckets is None else buckets.student(confidence, slopes)
    linear = Linear(value, variance * effect * student**2, slopes)
    method = Method(METHOD if buckets is None else CLUSTERED, confidence, effect)
    return interval_around(estimator, linear, sums.moments, sums.bound, method)
