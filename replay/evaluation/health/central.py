"""Sums that are added without losing digits: central moments up to the fourth, and powers around a ratio."""

import math
from dataclasses import dataclass

from replay.evaluation.rows import Floats


@dataclass(frozen=True, slots=True)
class Central:
    """A column's count, mean, and sums of powers around the mean; ``a + b`` is that of both columns.

    Added by the pairwise formulas of Pébay 2008, Formulas for robust, one-pass parallel computation of covariances and
    arbitrary-order statistical moments, Sandia report SAND2008-6212: exact but for rounding, however large the mean is.

    Examples
    --------
    >>> import numpy as np
    >>> both = Central.of(np.array([1.0, 2.0])) + Central.of(np.array([6.0]))
    >>> both.count, both.mean, both.second
    (3, 3.0, 14.0)
    """

    count: float
    mean: float
    second: float
    third: float
    fourth: float

    @staticmethod
    def of(column: Floats, sizes: Floats | None = None) -> "Central":
        """Return the moments of a column of shape (rows,), which may be empty; ``sizes``: what each row counts as."""
        if not column.size:
            return Central(0, 0.0, 0.0, 0.0, 0.0)
        if sizes is not None:
            count = float(sizes.sum())
            mean = _dot(sizes, column) / count
            off = column - mean
            squares = off * off
            return Central(
                count,
                mean,
                _dot(sizes, squares),
                _dot(sizes, squares * off),
                _dot(sizes, squares * squares),
            )
        mean = float(column.mean())
        off = column - mean
        squares = off * off
        return Central(len(column), mean, float(squares.sum()), _dot(squares, off), _dot(squares, squares))

    def __add__(self, other: "Central") -> "Central":
        if not self.count or not other.count:
            return self if self.count else other
        a, b = self.count, other.count
        n = a + b
        apart = other.mean - self.mean
        return Central(
            n,
            self.mean + apart * b / n,
            self.second + other.second + apart**2 * a * b / n,
            self.third
            + other.third
            + apart**3 * a * b * (a - b) / n**2
            + 3 * apart * (a * other.second - b * self.second) / n,
            self.fourth
            + other.fourth
            + apart**4 * a * b * (a * a - a * b + b * b) / n**3
            + 6 * apart**2 * (a * a * other.second + b * b * self.second) / n**2
            + 4 * apart * (a * other.third - b * self.third) / n,
        )

    @property
    def total(self) -> float:
        """The sum of the column."""
        return self.count * self.mean

    @property
    def squares(self) -> float:
        """The sum of the squares of the column, around zero."""
        return self.second + self.count * self.mean**2

    @property
    def error(self) -> float | None:
        """The standard error of the mean; None below two rows."""
        return math.sqrt(self.second / (self.count - 1) / self.count) if self.count > 1 else None


@dataclass(frozen=True, slots=True)
class AroundRatio:
    """Sums of ``w^j (r - ratio)^k`` where the ratio is ``sum w r / sum w``: what a self-normalised value spreads by.

    Attributes
    ----------
    ratio
        The self-normalised value; the mean reward where all weights are 0.
    weight
        The sum of the weights; ``count``: the number of rows.
    second
        With j = 2 and k = 0, 1, 2; ``fourth``: with j = 4 and k = 0 to 4.

    Examples
    --------
    >>> import numpy as np
    >>> one = AroundRatio.of(np.array([1.0, 3.0]), np.array([4.0, 0.0]))
    >>> one.ratio, one.second[2]
    (1.0, 18.0)
    """

    count: int
    ratio: float
    weight: float
    second: tuple[float, ...]
    fourth: tuple[float, ...]

    @staticmethod
    def of(weight: Floats, reward: Floats) -> "AroundRatio":
        """Return the sums of two columns of shape (rows,), which may be empty."""
        if not weight.size:
            return AroundRatio(0, 0.0, 0.0, (0.0,) * 3, (0.0,) * 5)
        total = float(weight.sum())
        ratio = _dot(weight, reward) / total if total else float(reward.mean())
        off, squared = reward - ratio, weight * weight
        off2, quadrupled = off * off, squared * squared
        powers = (None, off, off2, off2 * off, off2 * off2)

        def sums(column: Floats, highest: int) -> tuple[float, ...]:
            return tuple(float(column.sum()) if each is None else _dot(column, each) for each in powers[: highest + 1])

        return AroundRatio(len(weight), ratio, total, sums(squared, 2), sums(quadrupled, 4))

    def __add__(self, other: "AroundRatio") -> "AroundRatio":
        if not self.count or not other.count:
            return self if self.count else other
        # Without any weight the ratio is the mean reward, so the rows count instead.
        a, b = (self.weight, other.weight) if self.weight or other.weight else (self.count, other.count)
        ratio = self.ratio + (other.ratio - self.ratio) * (b / (a + b))
        left, right = self._moved(ratio), other._moved(ratio)
        return AroundRatio(
            self.count + other.count,
            ratio,
            self.weight + other.weight,
            *(tuple(x + y for x, y in zip(*each, strict=True)) for each in zip(left, right, strict=True)),
        )

    def _moved(self, ratio: float) -> list[tuple[float, ...]]:
        by = self.ratio - ratio
        return [_shifted(sums, by) for sums in (self.second, self.fourth)]


def _dot(left: Floats, right: Floats) -> float:
    # Not by BLAS, whose last bits depend on its number of threads.
    return float((left * right).sum())


def _shifted(sums: tuple[float, ...], by: float) -> tuple[float, ...]:
    """Return sums of powers of ``x + by``, given those of x, by the binomial theorem."""
    return tuple(
        sum(math.comb(power, lower) * sums[lower] * by ** (power - lower) for lower in range(power + 1))
        for power in range(len(sums))
    )


def effective(total: float, squares: float) -> float | None:
    """Return ``total^2 / squares``: how many equal numbers have this sum and this sum of squares; None of zeros."""
    return total**2 / squares if squares > 0 else None
