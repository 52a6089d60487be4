"""The value and its interval by empirical likelihood, with the Cressie-Read divergence that has a closed form."""

import math
import sys
from dataclasses import dataclass
from typing import NamedTuple

from scipy.special import fdtri

from records.errors import WrongConfiguration
from replay.evaluation.intervals.clopper_pearson import check_alpha, check_bounds
from replay.evaluation.intervals.interval import Interval
from replay.evaluation.intervals.weighted_sums import WeightedSums

REFERENCE = "Karampatziakis, Langford, Mineiro 2020 (Empirical likelihood for contextual bandits, NeurIPS)"
_ROUNDING = 8 * sys.float_info.epsilon


@dataclass(frozen=True)
class CressieRead:
    """The most likely value of a policy, given that the mean weight is 1.

    Rows get a probability each, as near to ``1 / rows`` as the mean weight of 1 allows; near is meant in the
    Cressie-Read divergence of power -2. One more weight, the largest or the smallest possible, stands for what was
    not seen. The interval holds the values whose divergence is below the quantile of F(1, rows).

    Assumes a mean weight of 1: wrong propensities make it wrong without a sign. It is asymptotic, for a number of rows
    that was fixed before. As ``cressieread`` of vw-estimators, from Karampatziakis, Langford, Mineiro 2020 (Empirical
    likelihood for contextual bandits, NeurIPS), with the divergence of Cressie and Read 1984 (JRSS B 46:440). There,
    rounding decides where what is 0 has a root (one row; all weights 0): an end moves by up to 1e-5 of the bounds'
    distance, or is lost and becomes ``-rmin``. Here it is 0.

    Parameters
    ----------
    wmin, wmax
        The smallest and the largest weight that is possible, below and above 1; true bounds make it narrower.
        Weights beyond them widen them.
    rmin, rmax
        The smallest and the largest reward that is possible; only the interval needs them.
    empirical_r_bounds
        Widen them to the rewards that were seen, rather than refuse these.

    Raises
    ------
    WrongConfiguration
        The bounds of the weights do not enclose 1, or there is no room between those of the rewards.

    Examples
    --------
    >>> sums = WeightedSums.of([2.0, 0.5, 1.0, 0.5], [1.0, 0.0, 1.0, 0.0])
    >>> interval = CressieRead().interval(sums)
    >>> round(interval.value, 3), round(interval.low, 3), interval.high
    (0.826, 0.0, 1.0)
    """

    wmin: float = 0.0
    wmax: float = math.inf
    rmin: float = 0.0
    rmax: float = 1.0
    empirical_r_bounds: bool = False

    def __post_init__(self) -> None:
        if not 0 <= self.wmin < 1 < self.wmax:
            found = f"{self.wmin!r} and {self.wmax!r}"
            raise WrongConfiguration(f"wmin and wmax: found {found}, expected 0 <= wmin < 1 < wmax")
        check_bounds(self.rmin, self.rmax)

    def value(self, sums: WeightedSums) -> float | None:
        """Return the most likely value; None of no rows.

        What the likelihood leaves over is given to rows like all others: their mean reward.
        """
        if not sums.rows:
            return None
        n = sums.rows
        unseen = self._unseen(sums)
        if math.isinf(unseen):
            gamma, beta = -(1 + n) / n, 0.0
        else:
            mean, square = (unseen + sums.w) / (1 + n), (unseen**2 + sums.ww) / (1 + n)
            spread = square - mean**2
            # Weights that are all the same leave nothing to choose.
            if spread <= 0:
                return sums.snips
            gamma, beta = (mean - square) / spread, (mean - 1) / spread
        likely = (-gamma * sums.wr - beta * sums.wwr) / (1 + n)
        missing = max(0.0, 1 - (-gamma * sums.w - beta * sums.ww) / (1 + n))
        return likely + missing * sums.r / n

    def interval(self, sums: WeightedSums, *, alpha: float = 0.05, atol: float = 1e-9) -> Interval:
        """Return the value and its interval, cut at the smallest and the largest reward.

        Parameters
        ----------
        sums
            Over the rows.
        alpha
            The chance of a miss.
        atol
            What is nearer to 0 counts as 0.

        Raises
        ------
        BadInput
            A reward lies outside of the bounds.
        WrongConfiguration
            ``alpha`` does not lie between 0 and 1.
        """
        check_alpha(alpha)
        rmin, rmax = self.rmin, self.rmax
        if self.empirical_r_bounds:
            rmin, rmax = min(rmin, sums.least_reward), max(rmax, sums.most_reward)
        else:
            sums.check_rewards(rmin, rmax)
        if not sums.rows:
            return Interval(None, None, None, "cressie-read", "no rows")
        n = sums.rows
        threshold = self._least_divergence(sums) - float(fdtri(1, n, 1 - alpha))
        phi = threshold / (2 * (1 + n))
        weights = self._bounds(sums)
        low, high = (
            bound.cut(min(_ends(sums, weights, bound, phi, atol), default=bound.sign * bound.reward), rmin, rmax)
            for bound in (_Bound(rmin, 1), _Bound(rmax, -1))
        )
        return Interval(self.value(sums), low, high, "cressie-read")

    def _bounds(self, sums: WeightedSums) -> tuple[float, float]:
        return min(self.wmin, sums.least_weight), max(self.wmax, sums.most_weight)

    def _unseen(self, sums: WeightedSums) -> float:
        # The weight that would bring the mean to 1.
        smallest, largest = self._bounds(sums)
        return largest if sums.w < sums.rows else smallest

    def _least_divergence(self, sums: WeightedSums) -> float:
        n, unseen = sums.rows, self._unseen(sums)
        if math.isinf(unseen):
            return -(1 + 1 / n)
        mean, square = (unseen + sums.w) / (1 + n), (unseen**2 + sums.ww) / (1 + n)
        if square <= mean**2:
            return 0.0
        return -(1 + n) * (mean - 1) ** 2 / (square - mean**2)


class _Bound(NamedTuple):
    """The possible reward at an end of the interval, and the sign by which the end is the lower one."""

    reward: float
    sign: int

    def cut(self, end: float, least: float, largest: float) -> float:
        """Return an end, times the sign, as a possible value."""
        return min(max(self.sign * end, least), largest)


def _ends(sums: WeightedSums, weights: tuple[float, float], bound: _Bound, phi: float, atol: float) -> list[float]:
    """Return the ends that each unseen weight gives, of the value times the sign; those that exist."""
    n, ends, (reward, sign) = sums.rows, [], bound
    for unseen in weights:
        if math.isinf(unseen):
            x = sign * (reward + (sums.wr - sums.w * reward) / n)
            y = (reward * sums.w - sums.wr) ** 2 / (n * (1 + n))
            y -= (reward**2 * sums.ww - 2 * reward * sums.wwr + sums.wwrr) / (1 + n)
            size = (abs(reward) * sums.w + abs(sums.wr)) ** 2 / (n * (1 + n))
            size += (reward**2 * sums.ww + 2 * abs(reward * sums.wwr) + sums.wwrr) / (1 + n)
            z = phi + 1 / (2 * n)
        else:
            w, ww = (unseen + sums.w) / (1 + n), (unseen**2 + sums.ww) / (1 + n)
            spread = ww - w**2
            if spread <= 0:
                continue
            wr, wwr = sign * (unseen * reward + sums.wr) / (1 + n), sign * (unseen**2 * reward + sums.wwr) / (1 + n)
            wwrr = (unseen**2 * reward**2 + sums.wwrr) / (1 + n)
            x = wr + (1 - w) * (wwr - w * wr) / spread
            y = (wwr - w * wr) ** 2 / spread - (wwrr - wr**2)
            size = (abs(wwr) + abs(w * wr)) ** 2 / spread + wwrr + wr**2
            z = phi + (1 - w) ** 2 / (2 * spread)
        # Never above 0 (Cauchy and Schwarz) but for rounding, whose root must not move an end or take it away.
        if y > -_ROUNDING * size:
            y = 0.0
        if abs(y * z) <= atol**2:
            ends.append(x - math.sqrt(2) * atol)
        elif z <= 0 <= y * z:
            ends.append(x - math.sqrt(2 * y * z))
    return ends
