"""The ends of an interval where few rows carry the value, so that it is not normal."""

import math
from typing import NamedTuple

from scipy.special import gammaincinv, ndtri


class Bound(NamedTuple):
    """A bound of a value: how far away it is, and how far one more row could move the value away from it."""

    distance: float
    step: float = 0.0


UNBOUNDED = Bound(math.inf)


def skewed_ends(
    value: float,
    variance: float,
    *,
    confidence: float = 0.95,
    floor: Bound = UNBOUNDED,
    ceiling: Bound = UNBOUNDED,
) -> tuple[float, float]:
    """Return the wider, at each end, of the normal interval and the gamma interval.

    A value that cannot fall below a floor, and is made of few and large pieces, is more often too low than too high.
    Its upper end is that of a gamma distribution over the floor, which has the value's own mean and variance after one
    more piece of the largest size. With equal pieces and a floor of 0 it is Garwood's exact limit for a Poisson count;
    Fay and Feuer 1997 (Statistics in Medicine 16:791) have it for unequal ones. Unlike theirs, the variance is that of
    the value, taken around its mean: so that where rewards are common the normal interval is left as it is. The lower
    end is the same, seen from a ceiling.

    Parameters
    ----------
    value
        The value.
    variance
        Its variance, not that of a row.
    confidence
        How often the interval shall hold the truth.
    floor, ceiling
        The least and the largest that the value can be.

    Examples
    --------
    Three clicks in 1,000 rows, and Garwood's limit for a count of 3, which is 8.77:

    >>> low, high = skewed_ends(0.003, 0.003 / 1000, floor=Bound(0.003, 0.001))
    >>> round(high * 1000, 2)
    8.77

    Half a million clicks in a million rows: nothing but the normal interval.

    >>> half = Bound(0.5, 1e-6)
    >>> [round(end, 5) for end in skewed_ends(0.5, 0.25e-6, floor=half, ceiling=half)]
    [0.49902, 0.50098]
    """
    miss = (1 - confidence) / 2
    error = -float(ndtri(miss)) * math.sqrt(variance)
    return (
        value - max(error, _reach(ceiling, variance, miss)),
        value + max(error, _reach(floor, variance, miss)),
    )


def _reach(bound: Bound, variance: float, miss: float) -> float:
    """Return how far the gamma interval goes beyond the value, away from a bound."""
    step = bound.step
    distance, variance = bound.distance + step, variance + step**2
    if not (math.isfinite(distance) and distance > 0 and variance > 0):
        return 0.0
    shape = distance**2 / variance
    return variance / distance * float(gammaincinv(shape, 1 - miss)) - (distance - step)
