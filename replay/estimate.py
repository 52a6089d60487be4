"""What another policy would have been worth on a log, judged by importance weights.

A row of the log has the weight ``pi(a|x) / p``: how much more often the policy that is judged would have taken the
logged action than the one that logged it did. Everything here is a function of weights and rewards.
"""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import gammaincinv, ndtri

from policies.features import Action, Features


@dataclass(frozen=True, slots=True)
class Interval:
    """An estimate, and the ends of its interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Estimates:
    """The value of a policy on a log, and how far to trust it.

    Attributes
    ----------
    rows
        How many decisions the log holds.
    ips
        The mean of weight times reward (inverse propensity score).
    snips
        The same divided by the mean weight (self-normalised).
    mean_weight
        1 but for chance where the logged propensities are right.
    max_weight
        The largest weight: what one row can move.
    effective_sample_size
        ``(sum w)^2 / sum w^2`` (Kong 1992): how many equally weighted rows tell as much.
    effective_positives
        ``(sum wr)^2 / sum (wr)^2``: the same of the rows that have a reward. Below some ten, only the width of the
        interval says anything.
    """

    rows: int
    ips: Interval
    snips: Interval
    mean_weight: float
    max_weight: float
    effective_sample_size: float
    effective_positives: float


def estimate(
    weights: ArrayLike, rewards: ArrayLike, *, confidence: float = 0.95, largest_reward: float = 1.0
) -> Estimates:
    """Return the value of a policy by IPS and SNIPS, with intervals.

    The interval is the wider, at each end, of two. One is the delta method's: for IPS the normal interval of a mean,
    for SNIPS that of a ratio (Owen 2013, Monte Carlo theory, eq. 9.8). Where few rows have a reward it is too
    narrow; there the other one rules, the gamma interval for a weighted sum of Poisson counts
    (Fay and Feuer 1997, Statistics in Medicine 16:791, section 2), which takes the largest possible weight for what
    was not seen yet. It needs rewards that are not negative, and is left out otherwise.

    Parameters
    ----------
    weights
        Importance weights, one a row, not negative: shape (rows,).
    rewards
        The rewards of the rows: shape (rows,).
    confidence
        How often the interval shall hold the truth.
    largest_reward
        The largest reward that a row may have, if none so large was seen.

    Raises
    ------
    ValueError
        There is no row, the lengths differ, or a weight is negative or not finite.

    Examples
    --------
    A log of 1,000 rows with 50 clicks, judged for the policy that wrote it:

    >>> clicks = [1.0] * 50 + [0.0] * 950
    >>> found = estimate([1.0] * 1000, clicks)
    >>> found.ips.value, round(found.ips.low, 3), round(found.ips.high, 3)
    (0.05, 0.036, 0.066)
    """
    sums = Sums()
    sums.add(weights, rewards)
    return sums.estimates(confidence=confidence, largest_reward=largest_reward)


class Sums:
    """What :func:`estimate` is computed from, added up while the rows pass by; its memory does not grow with them.

    Squares are taken around the values of the first rows, since sums of squares around zero would lose the
    digits that an interval is made of.

    Examples
    --------
    >>> sums = Sums()
    >>> sums.add([1.0, 2.0], [0.0, 1.0])
    >>> sums.add([1.0], [1.0])
    >>> sums.estimates().ips.value, sums.estimates().snips.value
    (1.0, 0.75)
    """

    def __init__(self) -> None:
        self.rows = 0
        self._weight = self._squared_weight = self._worth = self._squared_worth = 0.0
        self._max_weight, self._max_reward = 0.0, -np.inf
        self._negative = False
        # Where squares are taken around: a mean worth and a ratio.
        self._mean = self._ratio = 0.0
        self._off_mean = self._squared_off_mean = 0.0
        self._weighted_off_ratio = self._squared_off_ratio = 0.0

    def add(self, weights: ArrayLike, rewards: ArrayLike) -> None:
        """Add rows, of which there may be none; parameters and errors are those of :func:`estimate`."""
        w, r = np.asarray(weights, dtype=np.float64), np.asarray(rewards, dtype=np.float64)
        if w.ndim != 1 or w.shape != r.shape:
            raise ValueError(f"expected as many weights as rewards; found {w.shape} and {r.shape}")
        if not (np.isfinite(w).all() and np.isfinite(r).all() and (w >= 0).all()):
            raise ValueError("expected finite rewards and finite weights that are not negative")
        if not w.size:
            return
        worths = w * r
        weight, worth = float(w.sum()), float(worths.sum())
        if not self.rows:
            self._mean = worth / w.size
            self._ratio = worth / weight if weight else 0.0
        self.rows += w.size
        self._weight += weight
        self._squared_weight += float(w @ w)
        self._worth += worth
        self._squared_worth += float(worths @ worths)
        self._max_weight = max(self._max_weight, float(w.max()))
        self._max_reward = max(self._max_reward, float(r.max()))
        self._negative = self._negative or bool(worths.min() < 0)
        off_mean = worths - self._mean
        self._off_mean += float(off_mean.sum())
        self._squared_off_mean += float(off_mean @ off_mean)
        off_ratio = w * (r - self._ratio)
        self._weighted_off_ratio += float(w @ off_ratio)
        self._squared_off_ratio += float(off_ratio @ off_ratio)

    def estimates(self, *, confidence: float = 0.95, largest_reward: float = 1.0) -> Estimates:
        """Return the estimates from all rows so far; parameters and errors are those of :func:`estimate`."""
        n, total = self.rows, self._weight
        if not n:
            raise ValueError("expected at least one row, found none")
        ips = self._worth / n
        # A policy that never takes what was logged has no ratio; every value is possible, and nothing is known.
        snips = self._worth / total if total else 0.0
        z = float(ndtri(0.5 + confidence / 2))
        spread = max(n - 1, 1)
        moved = snips - self._ratio
        ips_squares = self._squared_off_mean - self._off_mean**2 / n
        snips_squares = self._squared_off_ratio - 2 * moved * self._weighted_off_ratio + moved**2 * self._squared_weight
        ips_error = z * math.sqrt(max(ips_squares, 0.0) / spread / n)
        snips_error = z * math.sqrt(max(snips_squares, 0.0) * n / spread) / total if total else np.inf
        gamma = self._gamma_interval(self._max_weight * max(self._max_reward, largest_reward), 1 - confidence)
        return Estimates(
            rows=n,
            ips=_wider(ips, ips_error, gamma, n),
            snips=_wider(snips, snips_error, gamma, total),
            mean_weight=total / n,
            max_weight=self._max_weight,
            effective_sample_size=_effective(total, self._squared_weight),
            effective_positives=_effective(self._worth, self._squared_worth),
        )

    def _gamma_interval(self, largest: float, miss: float) -> tuple[float, float] | None:
        """Return the ends for the expected *sum* of the worths, or None where one is negative."""
        if self._negative:
            return None
        total, variance = self._worth, self._squared_worth
        low = variance / total * float(gammaincinv(total**2 / variance, miss / 2)) if total else 0.0
        total, variance = total + largest, variance + largest**2
        if not total:
            return low, 0.0
        return low, variance / total * float(gammaincinv(total**2 / variance, 1 - miss / 2))


def _effective(total: float, squares: float) -> float:
    return total**2 / squares if squares else 0.0


def _wider(value: float, error: float, gamma: tuple[float, float] | None, divisor: float) -> Interval:
    low, high = value - error, value + error
    if gamma is None:
        return Interval(value, low, high)
    if not divisor:
        return Interval(value, 0.0, np.inf)
    # No reward is negative, so no value is.
    return Interval(value, max(0.0, min(low, gamma[0] / divisor)), max(high, gamma[1] / divisor))


class Predicts(Protocol):
    """What is asked of a policy: its probability mass function, in the order of the actions."""

    def predict(self, context: Features, actions: Sequence[Action]) -> list[float]:
        """Return the probability of each action."""


class Row(NamedTuple):
    """A logged decision and its reward.

    ``offset`` is where its outcome lies in ``rewards``, ``chosen`` the index of the logged action, ``propensity`` the
    logged probability of it.
    """

    offset: int
    context: Features
    actions: Sequence[Action]
    chosen: int
    propensity: float
    reward: float


class Weighted(NamedTuple):
    """A row's importance weight and reward, and the cut of the version that it was weighted by."""

    weight: float
    reward: float
    cut: int


def progressive(rows: Iterable[Row], versions: Iterable[tuple[int, Predicts]]) -> Iterator[Weighted]:
    """Weight each row by the newest version that has not learned from it (Blum, Kalai, Langford 1999).

    So a policy that learns is judged on what it had not seen, and no row is kept from learning.

    Parameters
    ----------
    rows
        In the order of the log.
    versions
        Each version's cut and policy, in the order of the cuts. A version has learned all rows below its cut;
        the first one's must lie at or below the first row.

    Raises
    ------
    ValueError
        Rows or cuts are not in order, or there is no version before the first row.
    """
    waiting = iter(versions)
    upcoming = next(waiting, None)
    cut, policy, last = -1, None, -1
    for row in rows:
        if row.offset < last:
            raise ValueError(f"expected rows in the order of the log, found offset {row.offset} after {last}")
        last = row.offset
        while upcoming is not None and upcoming[0] <= row.offset:
            if upcoming[0] < cut:
                raise ValueError(f"expected rising cuts, found {upcoming[0]} after {cut}")
            cut, policy = upcoming
            upcoming = next(waiting, None)
        if policy is None:
            raise ValueError(f"expected a version with a cut at or below offset {row.offset}, found none")
        pmf = policy.predict(row.context, row.actions)
        yield Weighted(pmf[row.chosen] / row.propensity, row.reward, cut)
