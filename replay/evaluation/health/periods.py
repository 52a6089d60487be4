"""Rewards and propensities by time, in bounded memory, to detect drift within a log."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import chdtrc

from records.limits import HOUR_MS
from replay.evaluation.rows import Floats

KEPT = 1_024


@dataclass(frozen=True, slots=True)
class Periods:
    """For each hour the count, mean and squared deviations of some columns; ``a + b`` is that of both logs.

    Where there would be more than 1,024 periods, two neighbours become one, as often as needed.

    Attributes
    ----------
    doublings
        A period has ``2^doublings`` hours.
    places
        The periods with rows, as their number since 1970, in rising order: shape (periods,).
    counts
        Rows of each: shape (periods,).
    means, squares
        The mean of each column, and the sum of squares around it: shape (periods, columns).

    Examples
    --------
    >>> hours = Periods.of(np.array([0, 0, HOUR_MS]), np.array([[1.0], [3.0], [5.0]]))
    >>> hours.means.tolist(), hours.squares.tolist()
    ([[2.0], [5.0]], [[2.0], [0.0]])
    """

    doublings: int
    places: NDArray[np.int64]
    counts: NDArray[np.int64]
    means: Floats
    squares: Floats

    @staticmethod
    def of(time_ms: NDArray[np.int64], columns: Floats) -> "Periods":
        """Return the periods of columns of the shape (rows, columns)."""
        hours = time_ms // HOUR_MS
        doublings = 0
        places, place = np.unique(hours, return_inverse=True)
        while len(np.unique(places >> doublings)) > KEPT:
            doublings += 1
        places, place = np.unique(hours >> doublings, return_inverse=True)
        counts = np.bincount(place, minlength=len(places))
        sums = [np.bincount(place, weights=column, minlength=len(places)) for column in columns.T]
        means = np.stack(sums, axis=1) / counts[:, None]
        off = columns - means[place]
        squares: Floats = np.stack(
            [np.bincount(place, weights=column * column, minlength=len(places)) for column in off.T], axis=1
        )
        return Periods(doublings, places, counts.astype(np.int64), means, squares)

    def __add__(self, other: "Periods") -> "Periods":
        doublings = max(self.doublings, other.doublings)
        left, right = self._doubled(doublings), other._doubled(doublings)
        both = _added(left, right)
        while len(both.places) > KEPT:
            both = both._doubled(both.doublings + 1)
        return both

    def _doubled(self, doublings: int) -> "Periods":
        periods = self
        while periods.doublings < doublings:
            late = (periods.places & 1).astype(bool)
            early, late_ones = (
                Periods(
                    periods.doublings + 1,
                    periods.places[half] >> 1,
                    periods.counts[half],
                    periods.means[half],
                    periods.squares[half],
                )
                for half in (~late, late)
            )
            periods = _added(early, late_ones)
        return periods

    def drift(self, column: int, groups: int = 10) -> float | None:
        """Return how likely chance alone makes means of consecutive periods differ so much (one-way analysis).

        None where there is only one period, or where the column never changes.
        """
        rows = int(self.counts.sum())
        # Whole periods only, so groups have about the same number of rows.
        group = np.minimum((self.counts.cumsum() - 1) * groups // max(rows, 1), groups - 1)
        _, group = np.unique(group, return_inverse=True)
        if not len(group) or group[-1] == 0:
            return None
        counts = np.bincount(group, weights=self.counts)
        mean = float(self.counts @ self.means[:, column]) / rows
        off = self.means[:, column] - mean
        total = float(self.squares[:, column].sum() + self.counts @ (off * off))
        between = float(((np.bincount(group, weights=self.counts * off)) ** 2 / counts).sum())
        within = total - between
        free = rows - len(counts)
        if free <= 0 or total <= 1e-12 * rows * max(mean * mean, 1e-300):
            return None
        return float(chdtrc(len(counts) - 1, between * free / within)) if within > 0 else 0.0


def _added(left: Periods, right: Periods) -> Periods:
    """Add periods of the same length by Chan, Golub, LeVeque 1983, The American Statistician 37:242, eq. 1.5."""
    places = np.union1d(left.places, right.places)

    def spread(periods: Periods) -> tuple[NDArray[np.int64], Floats, Floats]:
        at = np.searchsorted(places, periods.places)
        counts = np.zeros(len(places), dtype=np.int64)
        means, squares = np.zeros((2, len(places), periods.means.shape[1]))
        counts[at], means[at], squares[at] = periods.counts, periods.means, periods.squares
        return counts, means, squares

    (a, mean_a, square_a), (b, mean_b, square_b) = spread(left), spread(right)
    counts = a + b
    # A mean of no rows weighs nothing.
    share = (b / counts)[:, None]
    apart = np.where((a > 0)[:, None] & (b > 0)[:, None], mean_b - mean_a, 0.0)
    means = np.where((a > 0)[:, None], mean_a, mean_b) + apart * share
    return Periods(left.doublings, places, counts, means, square_a + square_b + apart * apart * a[:, None] * share)
