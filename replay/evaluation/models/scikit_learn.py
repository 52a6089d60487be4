"""Reward models by scikit-learn, on hashed features."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import sklearn
from scipy import sparse
from sklearn.ensemble import HistGradientBoostingRegressor
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MaxAbsScaler
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from replay.evaluation.models.hashed import Hasher, mixed
from replay.evaluation.models.model import Predicts, RewardModel, Same, check_binary
from replay.evaluation.models.rows import Indices, ModelRows
from replay.evaluation.rows import Codes, Floats, Hashes


@dataclass(frozen=True, slots=True, kw_only=True)
class Hashed:
    """The columns of a model by scikit-learn, and the rows that it keeps.

    Attributes
    ----------
    bits
        Features are hashed to 2^bits columns.
    crossed
        Whether pairs of context and action have columns; see :mod:`replay.evaluation.models.hashed`.
    dense
        Whether the model wants numbers for all columns, not only those that are not 0.
    most_rows
        How many rows it keeps.
    seed
        Of the sample of rows.
    """

    bits: int = 18
    crossed: bool = True
    dense: bool = False
    most_rows: int = 50_000
    seed: int = 0


HASHED = Hashed()
FEW_COLUMNS = Hashed(bits=7, crossed=False, dense=True)


class ScikitLearn(RewardModel):
    """A regressor or a classifier of scikit-learn.

    They fit all rows at once, so it keeps rows: of a longer log a sample without replacement, which depends on the seed
    and the rows' places alone, not on how they were cut into batches. It is computed by one thread, or sums, and so
    predictions, would differ by the number of processors.

    Parameters
    ----------
    make
        Makes the regressor or classifier, one that was not fitted. A classifier learns rewards of 0 and 1.
    options
        Its columns, and the rows that it keeps.
    """

    name: ClassVar[str] = "scikit-learn"

    def __init__(self, make: Callable[[], Any], options: Hashed = HASHED) -> None:
        super().__init__()
        self._make, self._options = make, options
        self._hasher = Hasher(options.bits, options.crossed)
        self._binary = hasattr(make(), "predict_proba")
        nothing = sparse.csr_matrix((0, 1 << options.bits))
        self._kept = _Sample(nothing, np.empty(0), np.empty(0, dtype=np.uint64))

    @property
    def text(self) -> str:
        """The model in a few words, with scikit-learn's version."""
        return f"{self.name} on 2^{self._hasher.bits} hashed columns, scikit-learn {sklearn.__version__}"

    def _learn(self, rows: ModelRows) -> None:
        if self._binary:
            check_binary(rows, self.name)
        places = np.arange(self.learned, self.learned + len(rows), dtype=np.uint64)
        lots = mixed(places + mixed(np.array([self._options.seed], dtype=np.uint64)))
        new = _Sample(self._hasher.matrix(rows, rows.logged), rows.reward, lots)
        self._kept = self._kept.with_others(new)
        # Cut seldom, since a cut copies the whole sample.
        if len(self._kept.lots) > 1.5 * self._options.most_rows:
            self._kept = self._kept.of_lowest(self._options.most_rows)

    def _fit(self) -> Predicts:
        kept = self._kept = self._kept.of_lowest(self._options.most_rows)
        if (kept.reward == kept.reward[0]).all():
            return Same(float(kept.reward[0]))
        model = self._make()
        # Columns without a value in any kept row cost time and have no effect.
        used = np.unique(kept.matrix.indices)
        matrix = kept.matrix[:, used]
        with threadpool_limits(1):
            model.fit(matrix.toarray() if self._options.dense else matrix, kept.reward)
        return _Predicts(model, used, self._options, self._binary)


class RidgeRegression(ScikitLearn):
    """Least squares with a squared penalty, on columns scaled to at most 1."""

    name = "ridge"

    def __init__(self, penalty: float = 1.0, options: Hashed = HASHED) -> None:
        super().__init__(_Ridge(penalty), options)


class Logistic(ScikitLearn):
    """Logistic regression, for rewards of 0 and 1, on columns scaled to at most 1."""

    name = "logistic"

    def __init__(self, penalty: float = 1.0, options: Hashed = HASHED) -> None:
        super().__init__(_Logistic(penalty), options)


class Boosting(ScikitLearn):
    """Trees by gradient boosting on histograms, which find pairs of features themselves."""

    name = "boosting"

    def __init__(self, options: Hashed = FEW_COLUMNS) -> None:
        super().__init__(_Boosting(), options)


@dataclass(frozen=True, slots=True)
class _Ridge:
    penalty: float

    def __call__(self) -> Any:
        return make_pipeline(MaxAbsScaler(), Ridge(alpha=self.penalty, solver="lsqr"))


@dataclass(frozen=True, slots=True)
class _Logistic:
    penalty: float

    def __call__(self) -> Any:
        return make_pipeline(MaxAbsScaler(), LogisticRegression(C=1 / self.penalty, max_iter=1000))


@dataclass(frozen=True, slots=True)
class _Boosting:
    def __call__(self) -> Any:
        # Without early stopping no random numbers are drawn.
        return HistGradientBoostingRegressor(early_stopping=False)


@dataclass(frozen=True, slots=True)
class _Sample:
    """Rows that were kept, in the order of the log, and the lots that decide which stay."""

    matrix: sparse.csr_matrix
    reward: Floats
    lots: Hashes

    def with_others(self, others: "_Sample") -> "_Sample":
        return _Sample(
            sparse.vstack([self.matrix, others.matrix], format="csr"),
            np.concatenate([self.reward, others.reward]),
            np.concatenate([self.lots, others.lots]),
        )

    def of_lowest(self, most: int) -> "_Sample":
        if len(self.lots) <= most:
            return self
        which: Indices = np.sort(np.argpartition(self.lots, most)[:most])
        return _Sample(self.matrix[which], self.reward[which], self.lots[which])


_ENTRIES = 65_536
"""So many lines are predicted at a time."""


class _Predicts:
    def __init__(self, model: Any, used: Codes, options: Hashed, binary: bool) -> None:
        self._model, self._used, self._options, self._binary = model, used, options, binary

    def __call__(self, rows: ModelRows) -> Floats:
        hasher = Hasher(self._options.bits, self._options.crossed)
        found: list[Floats] = []
        with threadpool_limits(1):
            for part in rows.parts(_ENTRIES):
                matrix = hasher.matrix(part)[:, self._used]
                lines = matrix.toarray() if self._options.dense else matrix
                found.append(self._model.predict_proba(lines)[:, 1] if self._binary else self._model.predict(lines))
        return np.concatenate(found).astype(np.float64) if found else np.empty(0)
