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
        Why another method was used, or why an end is unknown; otherwise empty.

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
        """Whether the interval contains a value; an unknown end is not a bound."""
        return (self.low is None or self.low <= truth) and (self.high is None or truth <= self.high)

    @property
    def width(self) -> float | None:
        """From end to end; None where one of them is unknown."""
        return None if self.low is None or self.high is None else self.high - self.low


@dataclass(frozen=True, slots=True)
class Analyses:
    """Intervals after more and more rows, which hold all at once.

    Attributes
    ----------
    rows
        How many rows each analysis has seen: shape (analyses,), rising.
    value, low, high
        Shape (analyses,); the ends are -inf and inf where nothing is known yet, and a value is nan before any row.
    method
        As ``gamma-exponential``.
    """

    rows: NDArray[np.int64]
    value: Floats
    low: Floats
    high: Floats
    method: str

    def holds(self, truth: Floats | float) -> Flags:
        """Whether each analysis holds a value: one, or one an analysis; shape (analyses,)."""
        held: Flags = (self.low <= truth) & (truth <= self.high)
        return held

    def at(self, analysis: int) -> Interval:
        """Return one interim analysis as an interval."""
        ends = [float(each[analysis]) for each in (self.value, self.low, self.high)]
        value, low, high = (end if np.isfinite(end) else None for end in ends)
        return Interval(value, low, high, self.method, "" if low is not None else "not enough rows yet")


def analyses_at(rows: int, analyses: int) -> NDArray[np.int64]:
    """Return evenly spread numbers of rows of interim analyses, the last one after all rows; fewer for few rows.

    Examples
    --------
    >>> analyses_at(10, 4).tolist(), analyses_at(2, 60).tolist()
    ([2, 5, 8, 10], [1, 2])
    """
    ends = np.unique(np.rint(np.linspace(0, rows, analyses + 1)).astype(np.int64))
    return ends[ends > 0]
