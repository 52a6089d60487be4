"""The gamma-exponential mixture: how much a gambler owns who bets on a mean, and the means that this excludes."""

import math
from typing import NamedTuple

import numpy as np
from scipy.special import gammainc, gammaln

from replay.evaluation.intervals.clopper_pearson import check_alpha
from replay.evaluation.intervals.interval import Analyses
from replay.evaluation.rows import Floats

METHOD = "gamma-exponential"


class MixtureSums(NamedTuple):
    """Sums up to each of some interim analyses.

    Attributes
    ----------
    rows, total
        The number of rows, and the sum of weight times reward: shape (analyses,).
    worths
        The sums of weight times scaled reward and of its mirror image: shape (analyses, 2).
    spreads
        The sums of their squared distances from the guesses: shape (analyses, 2).
    rmin, rmax
        The bounds of the rewards: shape (analyses,).
    """

    rows: Floats
    total: Floats
    worths: Floats
    spreads: Floats
    rmin: Floats
    rmax: Floats


def bounds(sums: MixtureSums, *, rho: float, alpha: float) -> Analyses:
    """Return the bounds at some interim analyses.

    Parameters
    ----------
    sums
        Up to each of them.
    rho
        Of the stakes' distribution.
    alpha
        Probability that any interval misses.

    Raises
    ------
    WrongConfiguration
        ``alpha`` does not lie between 0 and 1.
    """
    check_alpha(alpha)
    rows, total, worths, spreads, rmin, rmax = sums
    low, high = np.full(len(rows), -math.inf), np.full(len(rows), math.inf)
    value = np.full(len(rows), math.nan)
    known = rows > 0
    value[known] = total[known] / rows[known]
    span = (rmax - rmin)[known]
    ends = [lower_bound(rows[known], worths[known, side], spreads[known, side], rho, alpha / 2) for side in (0, 1)]
    low[known] = rmin[known] + ends[0] * span
    high[known] = rmin[known] + (1 - ends[1]) * span
    return Analyses(rows=np.rint(rows).astype(np.int64), value=value, low=low, high=high, method=METHOD)


def lower_bound(rows: Floats, worth: Floats, spread: Floats, rho: float, alpha: float) -> Floats:
    """Return the smallest mean, from 0 to 1, by which the gambler's wealth stays at or below ``1 / alpha``.

    By Newton's method from the right: the log wealth grows and is convex in what was won, so no step goes too far.

    Parameters
    ----------
    rows, worth, spread
        The number of rows, the sum of what they are worth and of their squared distances from the guesses; shape
        (analyses,) each.
    rho
        Of the stakes' distribution.
    alpha
        The chance of a miss.
    """
    goal = -math.log(alpha)
    spread = np.maximum(spread, 0.0)
    end = np.maximum(worth - rows, 0.0)
    won = worth.copy()
    nothing, everything = log_wealth(worth, spread, rho) <= goal, log_wealth(end, spread, rho) >= goal
    for _ in range(100):
        step = np.where(nothing | everything, 0.0, (log_wealth(won, spread, rho) - goal) / _slope(won, spread, rho))
        won = np.maximum(won - step, end)
        if (np.abs(step) <= 1e-13 * rows).all():
            break
    mean = np.where(everything, np.minimum(1.0, worth / rows), (worth - won) / rows)
    return np.where(nothing, 0.0, mean)


def log_wealth(won: Floats, spread: Floats, rho: float) -> Floats:
    """Return the logarithm of the mixture's wealth, shape (analyses,): Howard et al. 2021, proposition 9, with c = 1.

    With Stirling's series, since the difference of the large terms of long logs would keep few digits.
    """
    shape = spread + rho
    wealth: Floats = shape * _minus_log1p(won / shape) - 0.5 * np.log(shape) + _stirling(shape)
    wealth += np.log(gammainc(shape, won + shape)) + 0.5 * math.log(2 * math.pi)
    return wealth + rho * math.log(rho) - rho - math.log(gammainc(rho, rho)) - math.lgamma(rho)


def _slope(won: Floats, spread: Floats, rho: float) -> Floats:
    shape = spread + rho
    reach = won + shape
    # The gamma density at what was reached, over its mass below.
    density = np.exp(-shape * _minus_log1p(won / shape) - _stirling(shape)) * np.sqrt(shape / (2 * math.pi)) / reach
    slope: Floats = won / reach + density / gammainc(shape, reach)
    return slope


def _minus_log1p(u: Floats) -> Floats:
    """Return ``u - log(1 + u)``, for u above -1, to the last digits where u is small, too."""
    ratio = u / (2 + u)
    square, series = ratio**2, np.zeros_like(u)
    for odd in range(23, 2, -2):
        series = series * square + 1 / odd
    difference: Floats = np.where(np.abs(u) < 0.5, ratio * (u - 2 * square * series), u - np.log1p(u))
    return difference


def _stirling(shape: Floats) -> Floats:
    """Return ``log(gamma(a)) - (a - 1/2) log(a) + a - log(2 pi) / 2``."""
    large = np.maximum(shape, 20.0)
    series = (1 / 12 - (1 / 360 - (1 / 1260 - 1 / (1680 * large**2)) / large**2) / large**2) / large
    small = np.minimum(shape, 20.0)
    difference = gammaln(small) - (small - 0.5) * np.log(small) + small - 0.5 * math.log(2 * math.pi)
    rest: Floats = np.where(shape < 20, difference, series)
    return rest
