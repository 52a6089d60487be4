"""Sums over log segments, from which a confidence sequence is computed; any process may read any block."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from records.errors import BadInput
from replay.evaluation.blocks import BLOCK_ROWS
from replay.evaluation.intervals.gamma_exponential import GammaExponential
from replay.evaluation.intervals.gamma_mixture import MixtureSums, bounds
from replay.evaluation.intervals.interval import Analyses
from replay.evaluation.intervals.weighted_sums import checked
from replay.evaluation.rows import Floats

GROWTH = 8
"""A log segment has at most an eighth of the rows before it, so that its guess is never much older than its rows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LogSegments:
    """Sums over segments of a log; ``a + b`` joins a part of the log with the next one.

    The ends of log segments depend only on numbers of rows. So a guess made before a segment, from all rows before it,
    is as valid for the proof as one guess per row. The sums do not depend on the guesses, so a block needs nothing
    from earlier ones; :meth:`analyses` adds them. A block of 65,536 rows has 89 segments; joined parts have longer
    ones, about ten more for each doubling of the rows.

    Added in the order of :mod:`replay.evaluation.blocks`, the result has the same bits for any number of processes.

    Attributes
    ----------
    rows
        Number of rows of each log segment: shape (segments,), as all columns.
    w, ww, wr, wwr, wwrr
        Sums over its rows, as in :class:`~replay.evaluation.intervals.weighted_sums.WeightedSums`.
    time_ms
        Time of its last row; 0 if unknown.
    least_reward, most_reward
        Range of its rewards.
    """

    rows: NDArray[np.int64]
    w: Floats
    ww: Floats
    wr: Floats
    wwr: Floats
    wwrr: Floats
    least_reward: Floats
    most_reward: Floats
    time_ms: NDArray[np.int64]

    @classmethod
    def of(cls, weight: ArrayLike, reward: ArrayLike, time_ms: ArrayLike | None = None) -> "LogSegments":
        """Return the log segments of a block of rows, in the order of the log: shape (rows,) each.

        Raises
        ------
        BadInput
            The lengths differ, a number is not finite, or a weight is negative.
        """
        w, r, _ = checked(weight, reward)
        times = np.zeros(w.shape, dtype=np.int64) if time_ms is None else np.asarray(time_ms, dtype=np.int64)
        if times.shape != w.shape:
            raise BadInput("wrong_shape", "time_ms", f"the shape {times.shape}", f"one number a row: {w.shape}")
        starts = _STARTS[: np.searchsorted(_STARTS, len(w))] if len(w) <= BLOCK_ROWS else _starts(len(w))
        square = w * w
        sums = (w, square, w * r, square * r, square * r * r)
        return cls(
            rows=np.diff(np.append(starts, len(w))),
            **dict(
                zip(("w", "ww", "wr", "wwr", "wwrr"), (_reduce(np.add, each, starts) for each in sums), strict=True)
            ),
            least_reward=_reduce(np.minimum, r, starts),
            most_reward=_reduce(np.maximum, r, starts),
            time_ms=_reduce(np.maximum, times, starts),
        )

    def __len__(self) -> int:
        return len(self.rows)

    def __add__(self, other: "LogSegments") -> "LogSegments":
        before = int(self.rows.sum())
        if not before or not len(other):
            return self if before else other
        longest, length = before // GROWTH, 0
        starts: list[int] = []
        for index, rows in enumerate(other.rows.tolist()):
            if not starts or length + rows > longest:
                starts.append(index)
                length = 0
            length += rows
        at = np.array(starts)
        return LogSegments(
            **{
                name: np.concatenate([getattr(self, name), _reduce(function, getattr(other, name), at)])
                for name, function in _FUNCTIONS.items()
            }
        )

    def analyses(self, sequence: GammaExponential | None = None, *, alpha: float = 0.05) -> Analyses:
        """Return the bounds after each log segment, the last one after all rows.

        Parameters
        ----------
        sequence
            Its ``rmin``, ``rmax`` and ``rho``; guesses are always truncated. The default one if None.
        alpha
            Probability that any interval misses.

        Raises
        ------
        BadInput
            A reward lies outside of the bounds.
        WrongConfiguration
            ``alpha`` does not lie between 0 and 1.

        Examples
        --------
        >>> first, then = np.tile([1.0, 0.0], 300), np.tile([0.0, 1.0], 300)
        >>> found = (LogSegments.of(np.ones(600), first) + LogSegments.of(np.ones(600), then)).analyses()
        >>> int(found.rows[-1]), round(float(found.low[-1]), 3), round(float(found.high[-1]), 3)
        (1200, 0.446, 0.554)
        """
        sequence = sequence or GammaExponential()
        rmin, rmax = sequence.rmin, sequence.rmax
        if len(self) and not (rmin <= self.least_reward.min() and self.most_reward.max() <= rmax):
            found = f"rewards from {self.least_reward.min()} to {self.most_reward.max()}"
            raise BadInput("reward_out_of_bounds", "reward", found, f"rewards from {rmin!r} to {rmax!r}")
        span = rmax - rmin
        rows = np.cumsum(self.rows).astype(np.float64)
        worths, spreads = [], []
        for bound, sign in ((rmin, 1.0), (rmax, -1.0)):
            worth = sign * (self.wr - bound * self.w) / span
            squared = (self.wwrr - 2 * bound * self.wwr + bound**2 * self.ww) / span**2
            total = np.cumsum(worth)
            guess = np.minimum((total - worth + 0.5) / (rows - self.rows + 1), 1.0)
            worths.append(total)
            spreads.append(np.cumsum(squared - 2 * guess * worth + guess**2 * self.rows))
        sums = MixtureSums(
            rows,
            np.cumsum(self.wr),
            np.stack(worths, axis=1),
            np.stack(spreads, axis=1),
            np.full(len(self), rmin),
            np.full(len(self), rmax),
        )
        return bounds(sums, rho=sequence.rho, alpha=alpha)


_FUNCTIONS = {
    "rows": np.add,
    "w": np.add,
    "ww": np.add,
    "wr": np.add,
    "wwr": np.add,
    "wwrr": np.add,
    "least_reward": np.minimum,
    "most_reward": np.maximum,
    "time_ms": np.maximum,
}


def _reduce(function: np.ufunc, column: NDArray[Any], starts: NDArray[np.int64]) -> Any:
    return function.reduceat(column, starts) if len(starts) else column[:0]


def _starts(rows: int) -> NDArray[np.int64]:
    starts, start = [], 0
    while start < rows:
        starts.append(start)
        start += max(1, start // GROWTH)
    return np.array(starts, dtype=np.int64)


_STARTS = _starts(BLOCK_ROWS)
