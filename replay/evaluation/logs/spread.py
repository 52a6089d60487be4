"""How numbers are spread: quantiles in bounded memory, from one pass."""

import numpy as np
from numpy.typing import NDArray

from replay.evaluation.rows import Floats

_BITS = 18
"""A sign, eleven bits of exponent and six of the fraction: a bin is at most a 64th of its numbers wide."""


class Spread:
    """Numbers in bins of equal relative width.

    A quantile is wrong by at most 1.6 %, and not at all where its bin has but one number in it, as those of a log with
    a few propensities have.

    Examples
    --------
    >>> spread = Spread()
    >>> spread.add(np.array([0.1, 0.5, 0.25, -3.0]))
    >>> spread.quantile(0.0), spread.quantile(0.5), spread.quantile(1.0), spread.rows
    (-3.0, 0.1, 0.5, 4)
    """

    def __init__(self) -> None:
        self._counts = np.zeros(2**_BITS, dtype=np.int64)
        self._low = np.full(2**_BITS, np.inf)
        self._high = np.full(2**_BITS, -np.inf)
        self.rows = 0

    def add(self, values: Floats) -> None:
        """Take in numbers, which are finite."""
        keys = _keys(values)
        self._counts += np.bincount(keys, minlength=2**_BITS)
        np.minimum.at(self._low, keys, values)
        np.maximum.at(self._high, keys, values)
        self.rows += len(values)

    def quantile(self, share: float) -> float | None:
        """Return the smallest number that this share of all reaches at most; None of none."""
        if not self.rows:
            return None
        rank = max(int(np.ceil(share * self.rows)), 1)
        ends = np.cumsum(self._counts)
        bin_ = int(np.searchsorted(ends, rank))
        low, high, count = float(self._low[bin_]), float(self._high[bin_]), int(self._counts[bin_])
        if low == high:
            return low
        return low + (high - low) * (rank - int(ends[bin_]) + count - 1) / max(count - 1, 1)


def _keys(values: Floats) -> NDArray[np.int64]:
    # The bits of doubles, read as whole numbers, are in the order of the numbers, but for the sign.
    bits = (values + 0.0).view(np.uint64)
    bits = np.where(bits >> np.uint64(63), ~bits, bits | np.uint64(2**63))
    return (bits >> np.uint64(64 - _BITS)).astype(np.int64)
