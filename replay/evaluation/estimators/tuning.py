"""Choosing ``lambda_`` by the data, in two steps: choose among candidates, then evaluate by the one that was chosen.

::

    candidates = ladder(OptimisticDoublyRobust)
    chosen = slope(candidates, rows)
    chosen.estimator.estimate(rows)

Instead of rows, both choices take the :class:`~replay.evaluation.moments.Moments` of :func:`choosing_terms`, so that a
log of any length is read once for all candidates and for the value. An interval around the chosen value does not know
that there was a choice.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import stdtrit

from records.errors import WrongConfiguration
from replay.evaluation.estimators.estimator import Estimator, all_terms, gradient
from replay.evaluation.estimators.shrinkage import Shrunk
from replay.evaluation.moments import Moments
from replay.evaluation.rows import EvaluationRows, Floats
from replay.evaluation.sample_weights import unsized

_ACROSS = math.sqrt(6) - 1
"""How much wider than its own half-width two estimates may lie apart: Tucker and Lee 2021 (SLOPE++)."""


@dataclass(frozen=True, slots=True)
class Tried:
    """A candidate, its value, and its score: the half-width of its interval or its mean squared error."""

    estimator: Estimator
    value: float
    score: float


@dataclass(frozen=True, slots=True)
class Chosen:
    """The candidate that was chosen, and all that were tried, in their order."""

    estimator: Estimator
    tried: tuple[Tried, ...]


def ladder(kind: type[Shrunk], lambdas: Sequence[float] | None = None) -> tuple[Shrunk, ...]:
    """Return an estimator by each of some ``lambda_``, which are those of its class where none are given."""
    return tuple(kind(each) for each in (kind.lambdas if lambdas is None else lambdas))


def choosing_terms(candidates: Sequence[Estimator], rows: EvaluationRows) -> dict[str, Floats]:
    """Return the terms that the choice is made by; the values of the candidates and of ``plain`` are among them."""
    plain = [each.plain for each in candidates if isinstance(each, Shrunk)]
    return {**all_terms([*candidates, *plain], unsized(rows)), "w": rows.weight}


def slope(candidates: Sequence[Estimator], data: EvaluationRows | Moments, *, delta: float = 0.1) -> Chosen:
    """Choose the narrowest candidate that agrees with all wider ones (SLOPE; Su, Srinath, Krishnamurthy 2020, ICML).

    From the widest on, a candidate is taken as long as it lies within its half-width, plus sqrt(6) - 1 times that of
    each wider one, of all of them (Tucker and Lee 2021, Improved estimator selection for off-policy evaluation,
    workshop on reinforcement learning theory at ICML); the last that was taken is chosen. It wants candidates that are
    the more biased the narrower they are.

    Parameters
    ----------
    candidates
        Any estimators, not only shrunk ones: half-widths are the delta method's.
    data
        The rows, or the moments of their :func:`choosing_terms`.
    delta
        What a half-width misses on one side, by Student's distribution.

    Raises
    ------
    WrongConfiguration
        There is no candidate, or ``delta`` is no probability.
    """
    _check(candidates, delta)
    moments = _moments(candidates, data)
    tried = tuple(
        Tried(each, _value(each, moments), _standard_error(each, moments) * student(moments.rows, delta))
        for each in candidates
    )
    chosen = agreeing([each.value for each in tried], [each.score for each in tried])
    return Chosen(candidates[chosen], tried)


def least_error(
    candidates: Sequence[Shrunk], data: EvaluationRows | Moments, *, bound: bool = True, delta: float = 0.1
) -> Chosen:
    """Choose the candidate of the least estimated mean squared error: variance plus squared bias.

    Wang, Agarwal, Dudik 2017, ICML, eq. 8; Su, Dimakopoulou, Krishnamurthy, Dudik 2020, ICML, section 5. The bias is
    how far the candidate lies from the plain estimator on the same rows.

    Parameters
    ----------
    candidates
        Shrunk estimators.
    data
        The rows, or the moments of their :func:`choosing_terms`.
    bound
        Whether to add to the bias what it may be more by chance (Bernstein's inequality).
    delta
        How often that may be too little.

    Raises
    ------
    WrongConfiguration
        There is no candidate, or ``delta`` is no probability.
    """
    _check(candidates, delta)
    moments = _moments(candidates, data)
    by_chance = _bernstein(moments, delta) if bound else 0.0
    tried = []
    for each in candidates:
        value = _value(each, moments)
        bias = abs(_value(each.plain, moments) - value) + by_chance
        # The variance of the mean around its own mean, as in the paper: n, and not n - 1.
        variance = _squares(each, moments) / moments.rows**2
        tried.append(Tried(each, value, variance + bias**2))
    scores = np.array([each.score for each in tried])
    return Chosen(candidates[int(np.argmin(np.where(np.isnan(scores), np.inf, scores)))], tuple(tried))


def agreeing(values: ArrayLike, half_widths: ArrayLike) -> int:
    """Return the place of the narrowest estimate that agrees with all wider ones; of equal widths, the first.

    An estimate that is unknown (NaN) is passed over; if all are, the first is returned.

    Parameters
    ----------
    values, half_widths
        Shape (estimates,) each.

    Examples
    --------
    >>> agreeing([0.50, 0.48, 0.20], [0.10, 0.05, 0.01])
    1
    """
    value, half_width = np.asarray(values, dtype=np.float64), np.asarray(half_widths, dtype=np.float64)
    order = np.argsort(half_width, kind="stable")[::-1]
    order = order[~np.isnan(value[order])]
    if not order.size:
        return 0
    taken = order[:1]
    for place in order[1:]:
        if not agrees(value[place], half_width[place], value[taken], half_width[taken]):
            break
        taken = np.append(taken, place)
    return int(taken[-1])


def agrees(value: float, half_width: float, values: Floats, half_widths: Floats) -> bool:
    """Return whether an estimate lies within reach of all others, which are wider: shape (others,) each."""
    return bool((np.abs(values - value) <= half_width + _ACROSS * half_widths).all())


def student(rows: int, delta: float) -> float:
    """Return how many standard errors a mean of so many rows lies off with the probability ``delta`` on one side."""
    return float(stdtrit(rows - 1, 1 - delta)) if rows > 1 else math.inf


def _check(candidates: Sequence[Estimator], delta: float) -> None:
    if not candidates:
        raise WrongConfiguration("candidates: found none, expected at least one estimator")
    if not 0 < delta < 1:
        raise WrongConfiguration(f"delta: found {delta!r}, expected a number between 0 and 1")


def _moments(candidates: Sequence[Estimator], data: EvaluationRows | Moments) -> Moments:
    return Moments.of(choosing_terms(candidates, data)) if isinstance(data, EvaluationRows) else data


def _value(estimator: Estimator, moments: Moments) -> float:
    return float(estimator.value(moments.means))


def _squares(estimator: Estimator, moments: Moments) -> float:
    """Return the sum of the squared influences of the rows."""
    slopes = _slopes(estimator, moments)
    squares = float(slopes @ moments.comoment @ slopes)
    return max(squares, 0.0)


def _slopes(estimator: Estimator, moments: Moments) -> Floats:
    slopes = gradient(estimator, moments.means)
    return np.array([slopes[name] for name in moments.names])


def _standard_error(estimator: Estimator, moments: Moments) -> float:
    if moments.rows < 2:
        return 1.0
    return math.sqrt(_squares(estimator, moments) / moments.rows / (moments.rows - 1))


def _bernstein(moments: Moments, delta: float) -> float:
    place = moments.names.index("w")
    squared = float(moments.comoment[place, place]) / moments.rows + float(moments.mean[place]) ** 2
    largest = float(moments.high[place])
    odds = math.log(2 / delta) / moments.rows
    return math.sqrt(2 * squared * odds) + 2 * largest * odds / 3
