"""The ends of an interval where few rows carry the value, so that it is not normal."""

import math

from scipy.special import gammaincinv, ndtri


def skewed_ends(
    value: float,
    variance: float,
    *,
    confidence: float = 0.95,
    above_floor: float = math.inf,
    below_ceiling: float = math.inf,
    up: float = 0.0,
    down: float = 0.0,
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
    above_floor, below_ceiling
        How far the value lies above the least, and below the largest that it can be.
    up, down
        How far one more row could lift it and lower it.

    Examples
    --------
    Three clicks in 1,000 rows, and Garwood's limit for a count of 3, which is 8.77:

    >>> low, high = skewed_ends(0.003, 0.003 / 1000, above_floor=0.003, up=0.001)
    >>> round(high * 1000, 2)
    8.77

    Half a million clicks in a million rows: nothing but the normal interval.

    >>> [round(end, 5) for end in skewed_ends(0.5, 0.25e-6, above_floor=0.5, below_ceiling=0.5, up=1e-6, down=1e-6)]
    [0.49902, 0.50098]
    """
    miss = (1 - confidence) / 2
    error = -float(ndtri(miss)) * math.sqrt(variance)
    return (
        value - max(error, _reach(below_ceiling, variance, down, miss)),
        value + max(error, _reach(above_floor, variance, up, miss)),
    )


def _reach(distance: float, variance: float, step: float, miss: float) -> float:
    """Return how far the gamma interval goes beyond the value, away from a bound at some distance."""
    distance, variance = distance + step, variance + step**2
    if not (math.isfinite(distance) and distance > 0 and variance > 0):
        return 0.0
    shape = distance**2 / variance
    return variance / distance * float(gammaincinv(shape, 1 - miss)) - (distance - step)
