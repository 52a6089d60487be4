"""The empirical Bernstein interval: no assumption but bounds, and it holds for any number of rows."""

import math
from typing import Any

from records.errors import BadInput
from replay.evaluation.estimators.estimator import Estimator
from replay.evaluation.intervals.delta import slopes_at, variance_of
from replay.evaluation.intervals.interval import Interval
from replay.evaluation.moments import Moments

METHOD = "empirical Bernstein"


def bernstein(
    estimator: Estimator[Any], moments: Moments, *, low: float, high: float, confidence: float = 0.95
) -> Interval:
    """Return the value of an estimator that is a mean (ips, dr, dm), with an interval that is never too narrow.

    ``mean -+ (sqrt(2 v log(4/d) / n) + 7 (high - low) log(4/d) / (3 (n - 1)))``, each end with half of the chance d
    to miss (Maurer and Pontil 2009, Empirical Bernstein bounds and sample variance penalization, COLT, theorem 4). The
    rows must be independent.

    Parameters
    ----------
    estimator
        Whose value; it must add its terms up, as a ratio does not.
    moments
        Of its terms.
    low, high
        Bounds of the contribution of a row to the mean, *fixed before the log was analysed*: for ``ips`` and rewards
        from 0 to 1 that is 0 and the largest possible weight.
    confidence
        How often the interval shall hold the truth, at least.

    Raises
    ------
    BadInput
        The estimator is not a mean, the bounds are invalid, or a row is outside of them.

    Examples
    --------
    >>> import numpy as np
    >>> from replay.evaluation.estimators.importance import InversePropensity
    >>> found = bernstein(InversePropensity(), Moments.of({"w r": np.tile([0.0, 1.0], 5000)}), low=0.0, high=1.0)
    >>> round(found.low, 3), round(found.high, 3)
    (0.484, 0.516)
    """
    if not low < high or not math.isfinite(high - low):
        raise BadInput("wrong_bounds", "low and high", f"{low} and {high}", "two finite numbers, the first one smaller")
    if not moments.rows:
        return Interval(None, None, None, METHOD, "no rows")
    value, slopes = slopes_at(estimator, moments.means)
    used = [number for number, name in enumerate(moments.names) if slopes.get(name)]
    added = sum(slopes[moments.names[number]] * float(moments.mean[number]) for number in used)
    doubled = estimator.value({name: 2 * mean + 1 for name, mean in moments.means.items()})
    linear = value + sum(slopes[moments.names[number]] * (float(moments.mean[number]) + 1) for number in used)
    if not (math.isclose(value, added, abs_tol=1e-12) and math.isclose(doubled, linear, rel_tol=1e-9, abs_tol=1e-12)):
        raise BadInput("no_mean", "estimator", estimator.name, "one whose value is a mean, such as ips or dr")
    if len(used) == 1:
        slope, number = slopes[moments.names[used[0]]], used[0]
        seen = sorted((slope * float(moments.low[number]), slope * float(moments.high[number])))
        if seen[0] < low or seen[1] > high:
            raise BadInput("outside_bounds", "low and high", f"a row that adds {seen[1]}", f"{low} to {high}")
    variance = variance_of(slopes, moments)
    if variance is None:
        return Interval(value, low, high, METHOD, "a single row gives no more than the bounds")
    chance = math.log(4 / (1 - confidence))
    error = math.sqrt(2 * variance * chance) + 7 * (high - low) * chance / (3 * (moments.rows - 1))
    return Interval(value, max(low, value - error), min(high, value + error), METHOD)
