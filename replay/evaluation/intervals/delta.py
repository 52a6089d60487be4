"""The interval of the delta method, for every estimator, from sums that stream."""

import math
from collections.abc import Mapping
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from replay.evaluation.estimators.estimator import Estimator, gradient
from replay.evaluation.intervals.influence_bound import InfluenceBound
from replay.evaluation.intervals.interval import Interval
from replay.evaluation.intervals.skewed import Bound, skewed_ends
from replay.evaluation.moments import Moments
from replay.evaluation.rows import EvaluationRows
from replay.evaluation.sample_weights import unsized

METHOD = "delta"
NO_INTERVAL = "none"
"""The start of the method of a value without an interval."""


def slopes_at(estimator: Estimator[Any], means: Mapping[str, float]) -> tuple[float, dict[str, float]]:
    """Return the value and its derivative by each mean; NaN and no derivatives if it is undefined."""
    value = float(estimator.value(means))
    return (value, gradient(estimator, means)) if math.isfinite(value) else (math.nan, {})


def variance_of(slopes: Mapping[str, float], moments: Moments) -> float | None:
    """Return the variance of a value: slopes' comoment slopes / (n (n - 1)); None of fewer than two rows."""
    if moments.rows < 2:
        return None
    slope: NDArray[np.float64] = np.array([slopes[name] for name in moments.names])
    return max(float(slope @ moments.comoment @ slope), 0.0) / (moments.rows * (moments.rows - 1))


def delta(
    estimator: Estimator[Any], moments: Moments, bound: InfluenceBound | None = None, *, confidence: float = 0.95
) -> Interval:
    """Return the value of an estimator and its interval.

    The variance of a smooth function of means is that of its linear part (Owen 2013, Monte Carlo theory, methods and
    examples, chapter 9, for the ratio). Where few rows carry the value the normal interval is too narrow; given the
    bound of the rows, the ends are those of :func:`~replay.evaluation.intervals.skewed.skewed_ends`.

    Parameters
    ----------
    estimator
        Whose value.
    moments
        Of its terms, and of others if that is convenient.
    bound
        Of the same rows; without it the interval is the normal one.
    confidence
        How often the interval shall hold the truth.

    Returns
    -------
    Interval
        Unknown, with the reason as its note, if there is no value or no estimate of its variance.

    Examples
    --------
    >>> from replay.evaluation.estimators.importance import InversePropensity
    >>> clicks = EvaluationRows(reward=np.repeat([1.0, 0.0], [50, 950]), propensity=np.ones(1000), target=np.ones(1000))
    >>> found = delta_of_rows(InversePropensity(), clicks)
    >>> round(found.value, 3), round(found.low, 3), round(found.high, 3)
    (0.05, 0.036, 0.065)
    """
    if not moments.rows:
        return Interval(None, None, None, METHOD, "no rows")
    value, slopes = slopes_at(estimator, moments.means)
    if math.isnan(value):
        return Interval(None, None, None, METHOD, "no value: the target never takes what was logged")
    variance = variance_of(slopes, moments)
    if variance is None:
        return Interval(value, None, None, METHOD, "the variance is unknown for a single row")
    return interval_around(estimator, Linear(value, variance, slopes), moments, bound, Method(METHOD, confidence))


@runtime_checkable
class Sided(Protocol):
    """An estimator whose value is bounded otherwise than the rewards are, as a difference is."""

    def distances(
        self, slopes: Mapping[str, float], moments: Moments, bound: InfluenceBound, variance: float
    ) -> tuple[float, float]:
        """Return how far the value lies above its floor and below its ceiling."""


def only_reward(reward: float) -> str:
    """Return what is unknown if every reward is the same."""
    return f"every reward is {reward:.6g}, and what else one can be is unknown without a reward range"


class Linear(NamedTuple):
    """A value, its variance and its derivatives by the means of terms."""

    value: float
    variance: float
    slopes: Mapping[str, float]


class Method(NamedTuple):
    """The name of an interval, how often it shall hold, and how many rows move together: the design effect of units."""

    name: str
    confidence: float
    rows_at_once: float = 1.0


def interval_around(
    estimator: Estimator[Any], found: Linear, moments: Moments, bound: InfluenceBound | None, method: Method
) -> Interval:
    """Return the interval of a value whose variance and derivatives are known."""
    (value, variance, slopes), (name, confidence, rows_at_once) = found, method
    if bound is None:
        if not variance:
            return Interval(value, None, None, name, "all rows are alike, and what else they could be is not known")
        return Interval(value, *skewed_ends(value, variance, confidence=confidence), name)
    if bound.constant is not None:
        return Interval(value, None, None, f"{NO_INTERVAL}: {only_reward(bound.constant)}")
    up, down = (step * rows_at_once for step in bound.steps(slopes, moments.means, moments.rows))
    if isinstance(estimator, Sided):
        above, below = estimator.distances(slopes, moments, bound, variance)
    else:
        above, below = value - bound.least, bound.largest - value
    floor, ceiling = Bound(above, up), Bound(below, down)
    low, high = skewed_ends(value, variance, confidence=confidence, floor=floor, ceiling=ceiling)
    # No reward is below the floor, so no value is; the estimate itself may be.
    least = -math.inf if isinstance(estimator, Sided) else min(bound.least, value)
    return Interval(value, max(low, least), high, name)


def delta_of_rows(
    estimator: Estimator,
    rows: EvaluationRows,
    *,
    least: float = 0.0,
    largest: float | None = None,
    confidence: float = 0.95,
) -> Interval:
    """Return :func:`delta` of rows at hand; a reward may be ``least`` to ``largest``, if none beyond was seen."""
    if not len(rows):
        return Interval(None, None, None, METHOD, "no rows")
    bound = InfluenceBound.of([estimator], rows, least=least, largest=largest)
    return delta(estimator, Moments.of(estimator.terms(unsized(rows))), bound, confidence=confidence)
