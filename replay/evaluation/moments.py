"""Means of terms and how they vary together, in a state that adds up: what values and the delta method are made of."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from records.errors import BadInput
from replay.evaluation.rows import Floats

_TOGETHER = 256
"""Rows a matrix product: so few that no number of threads changes the order of its sums."""
_LARGEST = 1e140
"""So that the sum of the squares of as many as there may be is still a number."""


@dataclass(frozen=True, slots=True)
class Moments:
    """The first two moments of k columns, and their extremes.

    They are taken around the mean, never around 0, so that rewards of 1e9 and a little keep the little. ``a + b`` is
    the state of the rows of both. Its last bits depend on the order of the additions; where that matters, the order
    is that of :class:`~replay.evaluation.blocks.Blocks`.

    Attributes
    ----------
    names
        Of the columns: as many as k.
    rows
        How many there were.
    mean
        Shape (k,); zeros where there was no row.
    comoment
        The sums of products of deviations from the mean: shape (k, k). Divided by ``rows - 1`` it is the covariance.
    low, high
        The least and the largest value: shape (k,); inf and -inf where there was no row.

    References
    ----------
    Chan, Golub, LeVeque 1983, Algorithms for computing the sample variance: analysis and recommendations, The American
    Statistician 37:242: eq. 1.5 (the sum of two states) and the corrected two-pass algorithm (a block).

    Examples
    --------
    >>> left = Moments.of({"w": np.array([1.0, 2.0]), "w r": np.array([0.0, 2.0])})
    >>> both = left + Moments.of({"w": np.array([3.0]), "w r": np.array([4.0])})
    >>> both.means, both.comoment.tolist()
    ({'w': 2.0, 'w r': 2.0}, [[2.0, 4.0], [4.0, 8.0]])
    """

    names: tuple[str, ...]
    rows: int
    mean: Floats
    comoment: Floats
    low: Floats
    high: Floats

    @classmethod
    def of(cls, columns: Mapping[str, Floats]) -> "Moments":
        """Return the moments of some columns of equal length.

        Raises
        ------
        BadInput
            As :func:`stacked`.
        """
        names, values = stacked(columns, _TOGETHER)
        width, rows = len(names), len(columns[names[0]])
        if not rows:
            nothing = np.zeros(width)
            return cls(names, 0, nothing, np.zeros((width, width)), nothing + np.inf, nothing - np.inf)
        seen = values[:, :rows]
        low, high = seen.min(axis=1), seen.max(axis=1)
        mean = seen.mean(axis=1)
        seen -= mean[:, None]
        missed = seen.mean(axis=1)
        chunks = values.reshape(width, -1, _TOGETHER).swapaxes(0, 1)
        comoment = (chunks @ chunks.swapaxes(1, 2)).sum(axis=0) - rows * np.outer(missed, missed)
        return cls(names, rows, mean + missed, comoment, low, high)

    def __add__(self, other: "Moments") -> "Moments":
        if self.names != other.names:
            raise ValueError(f"expected moments of {', '.join(self.names)}; found those of {', '.join(other.names)}")
        if not self.rows or not other.rows:
            return self if self.rows else other
        rows = self.rows + other.rows
        apart = other.mean - self.mean
        return Moments(
            self.names,
            rows,
            self.mean + apart * (other.rows / rows),
            self.comoment + other.comoment + np.outer(apart, apart) * (self.rows / rows * other.rows),
            np.minimum(self.low, other.low),
            np.maximum(self.high, other.high),
        )

    @property
    def means(self) -> dict[str, float]:
        """Per column its mean: what :meth:`~replay.evaluation.estimators.estimator.Estimator.value` takes."""
        return dict(zip(self.names, self.mean.tolist(), strict=True))


def stacked(columns: Mapping[str, Floats], multiple: int) -> tuple[tuple[str, ...], Floats]:
    """Return the names of some columns, and their numbers: shape (k, rows), filled up with rows of zeros.

    Parameters
    ----------
    columns
        Each of the shape (rows,).
    multiple
        Of what the number of rows shall be a multiple.

    Raises
    ------
    BadInput
        There is no column, the lengths differ, or a number is not finite, or larger than 1e140.
    """
    names = tuple(columns)
    if not names:
        raise BadInput("no_columns", "columns", "none", "at least one")
    rows = len(columns[names[0]])
    values = np.zeros((len(names), -(-rows // multiple) * multiple))
    for number, (name, column) in enumerate(columns.items()):
        if np.shape(column) != (rows,):
            raise BadInput("wrong_shape", name, f"the shape {np.shape(column)}", f"one number a row: ({rows},)")
        values[number, :rows] = column
        # Written so that NaN is not usable.
        usable = np.abs(values[number]) <= _LARGEST
        if not usable.all():
            raise BadInput("not_finite", name, f"{values[number][~usable][0]}", f"finite numbers up to {_LARGEST:g}")
    return names, values
