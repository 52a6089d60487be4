"""What an interval is, and a sequence of them."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from replay.evaluation.rows import Flags, Floats


@dataclass(frozen=True, slots=True)
class Interval:
    """A value, and the ends of its interval.

    Attributes
    ----------
    value, low, high
        None stands for unknown, and at an end for no bound.
    method
        As ``delta`` or ``saddlepoint``: what the ends were really computed by.
    note
        Why it is not the method that was asked for, or why an end is unknown; empty where there is nothing to say.

    Examples
    --------
    >>> Interval(0.5, 0.4, None, "delta").holds(0.9)
    True
    """

    value: float | None
    low: float | None
    high: float | None
    method: str
    note: str = ""

    def holds(self, truth: float) -> bool:
        """Whether a value lies in the interval; an end that is unknown bounds nothing."""
        return (self.low is None or self.low <= truth) and (self.high is None or truth <= self.high)

    @property
    def width(self) -> float | None:
        """From end to end; None where one of them is unknown."""
        return None if self.low is None or self.high is None else self.high - self.low


@dataclass(frozen=True, slots=True)
class Looks:
    """Intervals after more and more rows, which hold all at once.

    Attributes
    ----------
    rows
        How many rows each look has seen: shape (looks,), rising.
    value, low, high
        Shape (looks,); the ends are -inf and inf where a look says nothing yet, and a value is nan before any row.
    method
        As ``gamma-exponential``.
    """

    rows: NDArray[np.int64]
    value: Floats
    low: Floats
    high: Floats
    method: str

    def holds(self, truth: Floats | float) -> Flags:
        """Whether each look holds a value: one, or one a look; shape (looks,)."""
        held: Flags = (self.low <= truth) & (truth <= self.high)
        return held

    def at(self, look: int) -> Interval:
        """Return one look as an interval."""
        ends = [float(each[look]) for each in (self.value, self.low, self.high)]
        value, low, high = (end if np.isfinite(end) else None for end in ends)
        return Interval(value, low, high, self.method, "" if low is not None else "not enough rows yet")


def looks_at(rows: int, looks: int) -> NDArray[np.int64]:
    """Return after how many rows to look, evenly spread, the last one after all of them; fewer if there are fewer rows.

    Examples
    --------
    >>> looks_at(10, 4).tolist(), looks_at(2, 60).tolist()
    ([2, 5, 8, 10], [1, 2])
    """
    ends = np.unique(np.rint(np.linspace(0, rows, looks + 1)).astype(np.int64))
    return ends[ends > 0]
