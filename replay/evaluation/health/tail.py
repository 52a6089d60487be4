"""The largest weights of a log, and how heavy their tail is."""

import math
from dataclasses import dataclass

import numpy as np

from replay.evaluation.rows import Floats

KEPT = 8_192
"""So many weights are kept: all that is asked for up to 800,000 rows (one per cent) and 7 million (Pareto k)."""


@dataclass(frozen=True, slots=True)
class Largest:
    """The largest numbers of a column, in rising order; ``a + b`` has the largest of both.

    Examples
    --------
    >>> (Largest.of(np.array([3.0, 1.0])) + Largest.of(np.array([2.0]))).kept.tolist()
    [1.0, 2.0, 3.0]
    """

    kept: Floats

    @staticmethod
    def of(column: Floats) -> "Largest":
        """Return the largest of a column of shape (rows,)."""
        if len(column) > KEPT:
            column = np.partition(column, len(column) - KEPT)[-KEPT:]
        return Largest(np.sort(column))

    def __add__(self, other: "Largest") -> "Largest":
        return Largest.of(np.concatenate([self.kept, other.kept]))


def pareto_k(largest: Floats, rows: int) -> float | None:
    """Return the shape of the weights' tail: how many moments they seem to have is ``1 / k``.

    A generalised Pareto distribution is fitted to the largest weights (Zhang and Stephens 2009, Technometrics 51:316,
    with the prior of Vehtari, Simpson, Gelman, Yao, Gabry 2024, JMLR 25(72)); the tail is as long as they say in
    appendix H: ``3 sqrt(rows)``, or a fifth of up to 225 rows.

    Parameters
    ----------
    largest
        The largest weights in rising order; all of them, or at least one more than the tail. Where fewer are kept,
        the tail is as much shorter.
    rows
        The number of all weights.

    Returns
    -------
    float | None
        None for fewer than five weights in the tail, or if they are all equal.

    Examples
    --------
    >>> heavy = (np.arange(1, 1001) / 1001.0) ** -1.0
    >>> round(pareto_k(np.sort(heavy), 1000), 2)
    0.87
    """
    length = math.floor(3 * math.sqrt(rows)) if rows > 225 else rows // 5
    length = min(length, len(largest) - 1)
    if length < 5:
        return None
    above = largest[-length:] - largest[-length - 1]
    # Weights that equal the threshold are not beyond it.
    above = above[above > 0]
    if len(above) < 5 or above[-1] - above[0] <= 1e-12 * largest[-1]:
        return None
    count = len(above)
    grid = 30 + math.isqrt(count)
    steps = np.arange(1, grid + 1) - 0.5
    quartile = above[int(count / 4 + 0.5) - 1]
    slopes = 1 / above[-1] + (1 - np.sqrt(grid / steps)) / (3 * quartile)
    shapes = np.log1p(-slopes[:, None] * above).mean(axis=1)
    # Where the slope is 0 the tail is exponential, and the ratio has this limit.
    scales = np.divide(-slopes, shapes, out=np.full(grid, 1 / above.mean()), where=shapes != 0)
    likelihood = count * (np.log(scales) - shapes - 1)
    belief = np.exp(likelihood - likelihood.max())
    belief[belief < 10 * np.finfo(float).eps * belief.sum()] = 0.0
    slope = float(slopes @ belief / belief.sum())
    shape = float(np.log1p(-slope * above).mean())
    return (count * shape + 10 * 0.5) / (count + 10)


def largest_share(largest: Floats, rows: int, total: float) -> float | None:
    """Return what share of all weight the one per cent of rows with the largest weights has.

    None where all weights are 0, or where so many weights were not kept.
    """
    count = max(1, math.ceil(rows / 100))
    return float(largest[-count:].sum()) / total if total > 0 and count <= len(largest) else None


STEPS = 4
"""Bins for each doubling of a weight."""
LOWEST, HIGHEST = -64 * STEPS, 64 * STEPS


@dataclass(frozen=True, slots=True)
class Histogram:
    """How many numbers lie from ``2^(i/4)`` to below ``2^((i+1)/4)``, and their sums, from 2^-64 to 2^64.

    Attributes
    ----------
    counts, sums
        Shape (512,) each; smaller and larger numbers than those lie in the first and in the last bin.
    zeros
        How many numbers are 0.
    """

    counts: Floats
    sums: Floats
    zeros: int

    @staticmethod
    def of(column: Floats) -> "Histogram":
        """Return the histogram of a column of shape (rows,) without negative numbers."""
        some = column[column > 0]
        place = np.clip(np.floor(np.log2(some) * STEPS), LOWEST, HIGHEST - 1).astype(np.int64) - LOWEST
        size = HIGHEST - LOWEST
        return Histogram(
            np.bincount(place, minlength=size).astype(np.float64),
            np.bincount(place, weights=some, minlength=size).astype(np.float64),
            len(column) - len(some),
        )

    def __add__(self, other: "Histogram") -> "Histogram":
        return Histogram(self.counts + other.counts, self.sums + other.sums, self.zeros + other.zeros)

    def above(self, threshold: float) -> float:
        """Return the share of the numbers at or above the bin's edge that is nearest to a threshold (above 0)."""
        place = min(max(round(math.log2(threshold) * STEPS), LOWEST), HIGHEST) - LOWEST
        every = float(self.counts.sum()) + self.zeros
        return float(self.counts[place:].sum()) / every if every else 0.0
