"""How many different hashes a log has, in bounded memory: a sample of the hashes with all their rows."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from records.splitmix import GOLDEN, MIX_1, MIX_2
from replay.evaluation.rows import Floats, Hashes

KEPT = 8_192


def mixed(numbers: Hashes) -> Hashes:
    """Return a pseudorandom number for each number (splitmix64: mix64variant13 of Steele, Lea, Flood 2014)."""
    with np.errstate(over="ignore"):
        z = numbers + np.uint64(GOLDEN)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(MIX_1)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(MIX_2)
    return z ^ (z >> np.uint64(31))


def uniform(numbers: Hashes) -> Floats:
    """Return a pseudorandom number from 0 to below 1 for each number."""
    return (mixed(numbers) >> np.uint64(11)).astype(np.float64) * 2.0**-53


@dataclass(frozen=True, slots=True)
class Sampled:
    """All hashes that lie below a threshold, with how often they came; ``a + b`` is the sample of both logs.

    The threshold is halved until at most 8,192 different ones are left (adaptive sampling: Flajolet 1990,
    Computing 43:391): which hashes are kept depends on nothing but themselves, so a sampled hash has all its rows.

    Attributes
    ----------
    halvings
        How often the threshold was halved: the sample holds one of ``2^halvings`` hashes.
    hashes, counts
        In rising order; shape (kept,) each.

    Examples
    --------
    >>> twice = Sampled.of(np.array([7, 8, 7], dtype=np.uint64))
    >>> round(twice.rows_each, 2)
    1.5
    """

    halvings: int
    hashes: Hashes
    counts: NDArray[np.int64]

    @staticmethod
    def of(hashes: Hashes) -> "Sampled":
        """Return the sample of a column of shape (rows,)."""
        numbers = mixed(hashes)
        # Unless hashes repeat, at least so many halvings will be needed: most hashes need not be sorted.
        halvings = max(0, int(np.log2(max(len(numbers), 1) / KEPT)) - 1)
        while True:
            found, counts = np.unique(numbers[numbers <= _highest(halvings)], return_counts=True)
            if not halvings or len(found) > KEPT:
                return Sampled(halvings, found, counts.astype(np.int64))._bounded()
            halvings -= 1

    def __add__(self, other: "Sampled") -> "Sampled":
        halvings = max(self.halvings, other.halvings)
        left, right = self._below(halvings), other._below(halvings)
        found, place = np.unique(np.concatenate([left.hashes, right.hashes]), return_inverse=True)
        counts = np.zeros(len(found), dtype=np.int64)
        np.add.at(counts, place, np.concatenate([left.counts, right.counts]))
        return Sampled(halvings, found, counts)._bounded()

    def _below(self, halvings: int) -> "Sampled":
        if halvings == self.halvings:
            return self
        end = int(np.searchsorted(self.hashes, _highest(halvings), side="right"))
        return Sampled(halvings, self.hashes[:end], self.counts[:end])

    def _bounded(self) -> "Sampled":
        kept = self
        while len(kept.hashes) > KEPT:
            kept = kept._below(kept.halvings + 1)
        return kept

    @property
    def rows_each(self) -> float | None:
        """Rows for each different hash, of those that were kept; None of no row."""
        return float(self.counts.sum()) / len(self.hashes) if len(self.hashes) else None

    def rows_each_of(self, rows: int) -> float | None:
        """Return the same of all ``rows``: a few hashes may have many of the rows, whether they were kept or not.

        How many hashes there are is known to some :data:`UNSURE` of them; within that, those kept say it better.
        """
        if self.rows_each is None:
            return None
        of_all = rows / (len(self.hashes) * 2.0**self.halvings)
        return self.rows_each if abs(of_all / self.rows_each - 1) <= UNSURE else of_all


UNSURE = 0.06
"""Three standard errors of the number of hashes by those kept, of which there are at least half of :data:`KEPT`."""


def _highest(halvings: int) -> np.uint64:
    return np.uint64(2 ** (64 - halvings) - 1)
