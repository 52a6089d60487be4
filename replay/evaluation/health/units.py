"""What the checks sum up by unit: rows of one unit are correlated, as where a user keeps the action drawn first.

A sum of rows then varies more than if each row were drawn anew. How much more is the design effect (Kish 1965, Survey
sampling): the variance between units (Liang and Zeger 1986, Biometrika 73:13) over that of independent rows. Buckets
hold units by their hash; units that share one by chance leave the variance unbiased.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import chdtrc, fdtrc, stdtr

from records.splitmix import GOLDEN
from replay.evaluation.rows import EvaluationRows, Floats

BUCKETS = 1_024
CLASSES = 16
"""Actions, and versions, beyond so many share their sums: number modulo 16."""


@dataclass(frozen=True, slots=True)
class Column:
    """Sums of one or several columns x: by bucket, and over all rows those of ``x^2`` and ``x size``.

    Attributes
    ----------
    sums
        Shape (buckets, columns).
    squares, crossed
        Shape (columns,).
    """

    sums: Floats
    squares: Floats
    crossed: Floats

    def __add__(self, other: "Column") -> "Column":
        return Column(self.sums + other.sums, self.squares + other.squares, self.crossed + other.crossed)


@dataclass(frozen=True, slots=True)
class ByUnit:
    """Sums of the checks by bucket of units; ``a + b`` is that of the rows of both.

    Attributes
    ----------
    sizes, size_squares
        The rows of each bucket, or the decisions by sample weights: shape (buckets,); and the sum of squares of rows'.
    weight
        Of the weight less its expectation.
    inverse
        Of ``1 / propensity`` less its expectation.
    actions
        Of ``1 / propensity`` for each class of actions.
    ranks, versions
        Numbers of rows: shape (buckets, 16) each.
    """

    sizes: Floats
    size_squares: float
    weight: Column
    inverse: Column | None
    actions: Column | None
    ranks: Floats | None
    versions: Floats | None

    @staticmethod
    def of(rows: EvaluationRows, ranks: NDArray[np.int64] | None, sizes: Floats | None) -> "ByUnit | None":
        """Return the sums of some rows; None if they have no units.

        Parameters
        ----------
        rows
            The rows, whose weights include the sample weights.
        ranks
            The sixteenth in which each row's rank lies.
        sizes
            How many rows each row counts as; 1 without sample weights.
        """
        if rows.unit_hash is None:
            return None
        shift = np.uint64(64 - (BUCKETS.bit_length() - 1))
        bucket = ((rows.unit_hash * np.uint64(GOLDEN)) >> shift).astype(np.intp)
        size = np.ones(len(rows)) if sizes is None else sizes
        inverse = 1 / rows.propensity

        def column(x: Floats) -> Column:
            return Column(_by(bucket, x)[:, None], np.array([(x * x).sum()]), np.array([(x * size).sum()]))

        return ByUnit(
            sizes=_by(bucket, size),
            size_squares=float((size * size).sum()),
            weight=column(rows.weight + (0.0 if rows.unseen is None else rows.unseen) - size),
            inverse=None if rows.inverse is None else column(inverse - rows.inverse),
            actions=None if rows.inverse is None or rows.action is None else _classes(bucket, rows.action, inverse),
            ranks=None if ranks is None else _crossed(bucket, ranks),
            versions=None if sizes is not None or rows.version is None else _crossed(bucket, rows.version),
        )

    def __add__(self, other: "ByUnit") -> "ByUnit":
        def both(name: str) -> Any:
            left, right = getattr(self, name), getattr(other, name)
            return None if left is None or right is None else left + right

        return ByUnit(*(both(name) for name in ByUnit.__slots__))

    @property
    def used(self) -> int:
        """How many buckets have rows."""
        return int(np.count_nonzero(self.sizes))

    @property
    def freedom(self) -> float:
        """The degrees of freedom of a variance between units: the number of buckets of equal size, less 1."""
        return max(float(self.sizes.sum() ** 2 / (self.sizes**2).sum()) - 1, 1.0)

    def effect(self, column: Column, at: int = 0, *, unknown: float = 1.0) -> float:
        """Return the design effect of a column: at least 1; ``unknown`` if all of its rows are alike."""
        sums, size = column.sums[:, at], float(self.sizes.sum())
        mean = float(sums.sum()) / size
        alone = float(column.squares[at] - 2 * mean * column.crossed[at]) + mean**2 * self.size_squares
        if alone <= 1e-9 * float(column.squares[at]) or self.used < 2:
            return unknown
        return max(float(self._between(sums - self.sizes * mean).sum()) / alone, 1.0)

    def of_mean(self, counts: Floats, expected_variance: float) -> float:
        """Return the p-value of a sum that should be 0, from its sums by bucket; by Student's t."""
        off = float(counts.sum())
        between = float(self._between(counts - self.sizes * (off / float(self.sizes.sum()))).sum())
        error = float(np.sqrt(max(between, expected_variance)))
        return 2 * float(stdtr(self.freedom, -abs(off) / error))

    def of_counts(self, counts: Floats, expected: Floats) -> float:
        """Return the p-value of numbers of rows, by their Pearson statistic.

        Its distribution is that of a sum of chi-squares, approximated by their first two moments (Rao and Scott 1984,
        Annals of Statistics 12:46, the second-order correction, as an F test).

        Parameters
        ----------
        counts
            By bucket: shape (buckets, numbers).
        expected
            What the sums should be: shape (numbers,), all above 0.
        """
        observed, size = counts.sum(axis=0), float(expected.sum())
        pearson = float(((observed - expected) ** 2 / expected).sum())
        off = (counts - np.outer(self.sizes, observed / size)) / np.sqrt(expected)
        known = (off * np.sqrt(self.used / (self.used - 1))).T
        # Not by BLAS, whose last bits depend on its number of threads.
        covariance = np.array([[float((one * other).sum()) for other in known] for one in known])
        trace, squares = float(np.trace(covariance)), float((covariance**2).sum())
        plain = len(expected) - 1
        if trace <= plain:
            return float(chdtrc(plain, pearson))
        freedom = trace**2 / squares
        return float(fdtrc(freedom, freedom * self.freedom, pearson / trace))

    def _between(self, off: Floats) -> Floats:
        return off * off * (self.used / (self.used - 1))


def _by(bucket: Any, column: Floats) -> Floats:
    sums: Floats = np.bincount(bucket, weights=column, minlength=BUCKETS).astype(np.float64)
    return sums


def _crossed(bucket: Any, number: Any, column: Floats | None = None) -> Floats:
    cell = bucket * CLASSES + number % CLASSES
    sums: Floats = np.bincount(cell, weights=column, minlength=BUCKETS * CLASSES).astype(np.float64)
    return sums.reshape(BUCKETS, CLASSES)


def _classes(bucket: Any, action: Any, inverse: Floats) -> Column:
    classes = action % CLASSES
    squares, crossed = (
        np.bincount(classes, weights=column, minlength=CLASSES).astype(np.float64)
        for column in (inverse * inverse, inverse)
    )
    return Column(_crossed(bucket, action, inverse), squares, crossed)
