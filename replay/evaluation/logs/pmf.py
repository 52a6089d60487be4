"""Columns derived from whole probability mass functions, beyond the probability of the logged action."""

import warnings
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from records.limits import PMF_EXACT, PMF_TOLERANCE
from replay.evaluation.rows import Flags, Floats

Numbers = NDArray[np.int64]


class RoundedProbabilities(UserWarning):
    """A log holds probabilities with fewer digits than they had."""


@dataclass(frozen=True, slots=True)
class Pmfs:
    """The probability mass functions of some rows, one after the other.

    Attributes
    ----------
    values
        All probabilities: shape (actions of all rows,).
    starts, counts
        Of each row: where its probabilities begin, and how many there are: shape (rows,). No row has none.
    """

    values: Floats
    starts: Numbers
    counts: Numbers

    @classmethod
    def of(cls, column: "pa.Array") -> "Pmfs":
        """Return the functions in a column of lists without nulls."""
        values, offsets = flat(column)
        return cls(np.asarray(values.cast(pa.float64()), dtype=np.float64), offsets[:-1], np.diff(offsets))

    @classmethod
    def matrix(cls, rows: Floats) -> "Pmfs":
        """Return the functions in an array of shape (rows, actions)."""
        count, actions = rows.shape
        starts = np.arange(0, count * actions, actions, dtype=np.int64)
        return cls(rows.ravel(), starts, np.full(count, actions, dtype=np.int64))

    def sums(self, values: Any) -> NDArray[Any]:
        """Return sums by row of values that stand as the probabilities do.

        A row's sum does not depend on which other rows are there.
        """
        if not len(self.starts):
            return np.zeros(0)
        return np.asarray(np.add.reduceat(values, self.starts))

    def at(self, chosen: Numbers) -> Floats:
        """Return each row's probability of the action of this index."""
        return np.asarray(self.values[self.starts + chosen])

    def each(self, column: NDArray[Any]) -> NDArray[Any]:
        """Repeat a value per row for each of its actions."""
        return np.repeat(column, self.counts)

    def honest(self) -> Flags:
        """Tell which rows have numbers from 0 to 1 with the sum 1; warn of those that were rounded."""
        apart = np.abs(self.sums(self.values) - 1)
        right: Flags = np.asarray(apart <= PMF_TOLERANCE)
        if (right & (apart > PMF_EXACT)).any():
            warnings.warn(
                "pmf: found probabilities that were rounded, their sum is 1 only to 1e-5; log all digits",
                RoundedProbabilities,
                stacklevel=2,
            )
        if self.values.size and not (self.values.min() >= 0 and self.values.max() <= 1):
            right &= self.sums(~((self.values >= 0) & (self.values <= 1))) == 0
        return right


class Whole(NamedTuple):
    """Columns of :class:`~replay.evaluation.rows.EvaluationRows` of the same names."""

    squared_weight: Floats
    unseen: Floats
    inverse: Floats
    squared_inverse: Floats


def whole(logged: Pmfs, target: Floats | None) -> Whole:
    """Return the columns derived from the logged functions and the target's.

    Parameters
    ----------
    target
        Its probabilities, as ``logged.values``; None: the target is the logging policy.

    Examples
    --------
    >>> logged = Pmfs.matrix(np.array([[0.5, 0.5, 0.0]]))
    >>> [column.tolist() for column in whole(logged, np.array([0.25, 0.25, 0.5]))]
    [[0.25], [0.5], [2.0], [4.0]]
    """
    seen = logged.values > 0
    inverses = np.divide(1.0, logged.values, out=np.zeros_like(logged.values), where=seen)
    counts, squared_inverse = logged.sums(seen.astype(np.float64)), logged.sums(inverses)
    if target is None:
        return Whole(logged.sums(logged.values), np.zeros(len(counts)), counts, squared_inverse)
    unseen = np.zeros(len(counts)) if seen.all() else logged.sums(np.where(seen, 0.0, target))
    return Whole(logged.sums(target * target * inverses), unseen, counts, squared_inverse)


def ranks(logged: Pmfs, chosen: Numbers) -> Floats:
    """Return the mass before the logged action, and half of its own.

    >>> ranks(Pmfs.matrix(np.array([[0.5, 0.25, 0.25]])), np.array([1])).tolist()
    [0.625]
    """
    before = np.arange(len(logged.values)) < logged.each(logged.starts + chosen)
    return np.asarray(logged.sums(logged.values * before) + logged.at(chosen) / 2)


def flat(column: "pa.Array") -> "tuple[pa.Array, Numbers]":
    """Return the values of a column of lists without nulls, and where each row's begin: shape (rows + 1,), from 0."""
    kind = column.type
    if pa.types.is_fixed_size_list(kind):
        offsets = np.arange(len(column) + 1, dtype=np.int64) * kind.list_size
    else:
        offsets = np.asarray(column.offsets).astype(np.int64)
    return column.flatten(), offsets - offsets[0]
