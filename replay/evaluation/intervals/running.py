"""Moments at interim analyses, for intervals while a log grows."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from operator import add
from typing import Any

import numpy as np
from numpy.typing import NDArray

from records.errors import BadInput
from replay.evaluation.estimators.estimator import Estimator
from replay.evaluation.moments import Moments
from replay.evaluation.rows import Floats


@dataclass(frozen=True, slots=True)
class Running:
    """Moments at several analyses; the shapes begin with (analyses,).

    It streams: the moments of the blocks of a log, which any number of processes may make, are added up in the order of
    the log (:meth:`after`).

    Attributes
    ----------
    names
        Of the terms: as many as k.
    rows
        How many rows each analysis has seen, rising: shape (analyses,).
    mean, comoment
        As in :class:`~replay.evaluation.moments.Moments`: shapes (analyses, k) and (analyses, k, k).

    Examples
    --------
    >>> running = Running.of({"r": np.array([1.0, 0.0, 1.0, 0.0])}, np.array([2, 4]))
    >>> running.mean.tolist(), running.comoment.tolist()
    ([[0.5], [0.5]], [[[0.5]], [[1.0]]])
    """

    names: tuple[str, ...]
    rows: NDArray[np.int64]
    mean: Floats
    comoment: Floats

    @classmethod
    def of(cls, columns: Mapping[str, Floats], analyses: NDArray[np.int64]) -> "Running":
        """Return the moments after some numbers of rows of columns at hand.

        Raises
        ------
        BadInput
            ``analyses`` does not increase, or exceeds the rows.
        """
        rows = len(next(iter(columns.values())))
        if not len(analyses) or analyses[0] < 1 or analyses[-1] > rows or (np.diff(analyses) < 1).any():
            raise BadInput("wrong_analyses", "analyses", f"{analyses[:5]}", f"rising numbers from 1 to {rows}")
        spans = pairwise([0, *analyses.tolist()])
        return cls.after([Moments.of({name: column[a:b] for name, column in columns.items()}) for a, b in spans])

    @classmethod
    def after(cls, blocks: Sequence[Moments]) -> "Running":
        """Return the moments after each block of a log, in its order."""
        states = [state for state in accumulate(blocks, add) if state.rows]
        if not states:
            raise BadInput("no_rows", "blocks", "none", "a block that has rows")
        return cls(
            states[0].names,
            np.array([state.rows for state in states]),
            np.stack([state.mean for state in states]),
            np.stack([state.comoment for state in states]),
        )

    def value(self, estimator: Estimator[Any]) -> Floats:
        """Return the value at each interim analysis: shape (analyses,); NaN if undefined."""
        return np.asarray(estimator.value(self._means()), dtype=np.float64)

    def variance(self, estimator: Estimator[Any]) -> Floats:
        """Return the variance of one row's influence at each analysis: shape (analyses,)."""
        means = self._means()
        step = 1e-100
        slopes = np.stack(
            [
                np.broadcast_to(np.imag(estimator.value({**means, name: mean + 1j * step})) / step, self.rows.shape)
                for name, mean in means.items()
            ],
            axis=1,
        )
        squares = np.einsum("lj,ljk,lk->l", slopes, self.comoment, slopes)
        found: Floats = np.maximum(squares, 0.0) / self.rows
        return found

    def effective(self, name: str) -> Floats:
        """Return (sum x)^2 / sum x^2 of a term at each analysis, of ``w r`` the effective positives."""
        number = self.names.index(name)
        mean = self.mean[:, number]
        squares = self.comoment[:, number, number] + self.rows * mean**2
        return np.divide((self.rows * mean) ** 2, squares, out=np.zeros(len(self.rows)), where=squares > 0)

    def _means(self) -> dict[str, Floats]:
        return {name: self.mean[:, number] for number, name in enumerate(self.names)}
