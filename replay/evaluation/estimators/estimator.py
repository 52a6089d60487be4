"""The interface of estimators: smooth functions of the means of some terms, which have one number per row.

So one pass over a log serves all estimators, on any number of processes: terms are summed, sums are added. The same
means, taken over resampled rows, give the bootstrap; their derivatives give the delta method.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence, Sized
from typing import Any, ClassVar, Generic

import numpy as np
from numpy.typing import NDArray
from typing_extensions import TypeVar

from records.errors import BadInput
from replay.evaluation.rows import EvaluationRows, Floats
from replay.evaluation.sample_weights import means_of, sized, unsized

Rows = TypeVar("Rows", bound=Sized, default=EvaluationRows)
"""Input of an estimator: evaluation rows by default; slates or continuous actions if it states so."""

Column = TypeVar("Column")

Means = Mapping[str, Any]
"""Per term its mean over the rows: a number, or one a resample (shape (resamples,))."""


class Estimator(ABC, Generic[Rows]):
    """The value of a policy on a log.

    Attributes
    ----------
    name
        As people and JSON call it.
    reference
        Paper and equation.
    needs
        Columns of :class:`~replay.evaluation.rows.EvaluationRows` that must not be None.
    """

    name: ClassVar[str]
    reference: ClassVar[str]
    needs: ClassVar[tuple[str, ...]] = ()

    @abstractmethod
    def terms(self, rows: Rows) -> dict[str, Floats]:
        """Return the terms of the value: for each a column of shape (rows,); a name means the same everywhere."""

    @abstractmethod
    def value(self, means: Means) -> Any:
        """Return the value from the terms' means; elementwise over resamples, and for complex numbers too."""

    def estimate(self, rows: Rows) -> float:
        """Return the value on rows in memory; NaN if they do not determine it.

        Raises
        ------
        BadInput
            There is no row, a column of ``needs`` is missing, or a number is not finite.
        """
        if not len(rows):
            raise BadInput("no_rows", "rows", "none at all", "at least one")
        for name in self.needs:
            need(getattr(rows, name), name)
        with np.errstate(invalid="ignore", over="ignore"):
            means = means_of({name: column.mean() for name, column in all_terms([self], rows).items()})
        for name, mean in means.items():
            if not np.isfinite(mean):
                raise BadInput("not_finite", name, f"a mean of {mean}", "finite rewards, weights and models")
        return float(self.value(means))


def need(column: Column | None, name: str) -> Column:
    """Return a required column.

    Raises
    ------
    BadInput
        It is None.
    """
    if column is None:
        raise BadInput("no_column", name, "none", "a column of the rows, which the estimator needs")
    return column


def gradient(estimator: Estimator[Any], means: Mapping[str, float]) -> dict[str, float]:
    """Return the derivative of the value by each mean.

    By a complex step (Squire and Trapp 1998, SIAM Review 40:110), which is exact to the last digits.
    """
    step = 1e-100
    return {
        name: complex(estimator.value({**means, name: complex(mean, step)})).imag / step for name, mean in means.items()
    }


def influence(estimator: Estimator[Rows], rows: Rows) -> Floats:
    """Return the influence of each row on the value: shape (rows,), with the mean 0, as in the delta method."""
    if isinstance(rows, EvaluationRows):
        unsized(rows)
    terms = estimator.terms(rows)
    means = {name: float(column.mean()) for name, column in terms.items()}
    slopes = gradient(estimator, means)
    total: NDArray[np.float64] = np.zeros(len(rows))
    for name, column in terms.items():
        total += slopes[name] * (column - means[name])
    return total


def all_terms(estimators: Sequence[Estimator[Rows]], rows: Rows) -> dict[str, Floats]:
    """Return the terms of several estimators, each once; multiplied by sample weights where the rows have some."""
    terms: dict[str, Floats] = {}
    for estimator in estimators:
        terms.update(estimator.terms(rows))
    return terms if not isinstance(rows, EvaluationRows) else sized(terms, rows)
