"""Two plain intervals from weighted sums: of normal means, and of binomial counts."""

import math

from scipy.special import betaincinv, ndtri

from records.errors import WrongConfiguration
from replay.evaluation.intervals.interval import Interval
from replay.evaluation.intervals.weighted_sums import WeightedSums


def gaussian(sums: WeightedSums, *, alpha: float = 0.05) -> Interval:
    """Return the normal interval of the mean of weight times reward.

    Too narrow where few rows carry the value. As ``gaussian`` of vw-estimators, whose dropped rows count as zeros.

    Examples
    --------
    >>> found = gaussian(WeightedSums.of([1.0, 1.0], [0.0, 1.0]))
    >>> found.value, round(found.high, 4)
    (0.5, 1.48)
    """
    return of_mean(sums.rows, sums.wr, sums.wwrr, alpha=alpha)


def of_mean(rows: float, total: float, squares: float, *, alpha: float, method: str = "gaussian") -> Interval:
    """Return the normal interval of a mean, from the sum of its terms and that of their squares; unbounded of one row.

    Raises
    ------
    WrongConfiguration
        ``alpha``, the chance of a miss, does not lie between 0 and 1.
    """
    check_alpha(alpha)
    if not rows:
        return Interval(None, None, None, method, "no rows")
    value = total / rows
    if rows <= 1:
        return Interval(value, None, None, method, "one row has no spread")
    variance = max(0.0, squares - total**2 / rows) / (rows - 1)
    error = float(ndtri(1 - alpha / 2)) * math.sqrt(variance / rows)
    return Interval(value, value - error, value + error, method)


def clopper_pearson(sums: WeightedSums, *, rmin: float = 0.0, rmax: float = 1.0, alpha: float = 0.05) -> Interval:
    """Return the binomial interval, as if ``sum(w r)`` were counts of the largest weight each.

    Assumes a mean weight of 1, if ``rmin`` is not 0, and that no weight is larger than those that were seen. As
    ``clopper_pearson`` of vw-estimators (Clopper and Pearson 1934, Biometrika 26:404).

    Parameters
    ----------
    sums
        Over the rows.
    rmin, rmax
        The smallest and the largest reward that a row may have.
    alpha
        The chance of a miss.

    Raises
    ------
    BadInput
        A reward lies outside of the bounds.
    WrongConfiguration
        There is no room between the bounds, or ``alpha`` does not lie between 0 and 1.

    Examples
    --------
    >>> found = clopper_pearson(WeightedSums.of([1.0] * 10, [1.0] + [0.0] * 9))
    >>> found.value, round(found.low, 4), round(found.high, 4)
    (0.1, 0.0025, 0.445)
    """
    check_alpha(alpha)
    check_bounds(rmin, rmax)
    sums.check_rewards(rmin, rmax)
    method, span = "clopper-pearson", rmax - rmin
    if not (sums.rows and sums.most_weight > 0):
        return Interval(sums.ips, None, None, method, "no row has a weight")
    trials = sums.rows / sums.most_weight
    low, high = binomial((sums.wr - rmin * sums.w) / span / sums.most_weight, trials, alpha=alpha)
    note = "" if low is not None else "the weights' mean is so far above 1 that there are more successes than trials"
    return Interval(sums.ips, None if low is None else rmin + low * span, rmin + high * span, method, note)


def binomial(successes: float, trials: float, *, alpha: float) -> tuple[float | None, float]:
    """Return the ends for a probability, from counts that need not be whole; the lower one may be unknown.

    That is where there are more successes than trials by one or more, which no coin can do.
    """
    low: float | None = 0.0
    if successes > 0:
        low = float(betaincinv(successes, trials - successes + 1, alpha / 2)) if trials - successes > -1 else None
    high = float(betaincinv(successes + 1, trials - successes, 1 - alpha / 2)) if successes < trials else 1.0
    return low, high


def check_alpha(alpha: float) -> None:
    """Raise if the error probability is invalid.

    Raises
    ------
    WrongConfiguration
        It does not lie between 0 and 1.
    """
    if not 0 < alpha < 1:
        raise WrongConfiguration(f"alpha: found {alpha!r}, expected a number between 0 and 1")


def check_bounds(rmin: float, rmax: float) -> None:
    """Raise if the bounds of rewards are invalid.

    Raises
    ------
    WrongConfiguration
        There is no room between them, or one is not finite.
    """
    if not (math.isfinite(rmin) and math.isfinite(rmax) and rmin < rmax):
        raise WrongConfiguration(f"rmin and rmax: found {rmin!r} and {rmax!r}, expected finite numbers, rmin < rmax")
