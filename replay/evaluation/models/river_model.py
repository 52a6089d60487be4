"""Reward models by River: they learn one example at a time, in the order of the log."""

from collections.abc import Callable
from copy import deepcopy
from importlib.metadata import version
from itertools import pairwise
from typing import Any, ClassVar

import numpy as np
from river import base, compose, linear_model, optim, preprocessing

from replay.evaluation.models.hashed import Hasher
from replay.evaluation.models.model import Predicts, RewardModel, check_binary
from replay.evaluation.models.rows import ModelRows
from replay.evaluation.rows import Floats

_ENTRIES = 16_384
"""So many examples are prepared at a time."""


class River(RewardModel):
    """A regressor or a binary classifier of River; by default linear regression by AdaGrad on scaled columns.

    Its examples have hashed columns as names, so that what it keeps does not grow with what the log calls its features.

    Parameters
    ----------
    make
        Makes the model; None: the default. A classifier learns rewards of 0 and 1.
    bits, crossed
        As in :class:`replay.evaluation.models.hashed.Hasher`.

    References
    ----------
    Duchi, Hazan, Singer (2011). *Adaptive Subgradient Methods for Online Learning and Stochastic Optimization.* Journal
    of Machine Learning Research 12:2121: AdaGrad.
    """

    name: ClassVar[str] = "river"

    def __init__(self, make: Callable[[], Any] | None = None, *, bits: int = 18, crossed: bool = True) -> None:
        super().__init__()
        self._model = linear_regression() if make is None else make()
        # A pipeline has the methods of both kinds.
        last = [*self._model.steps.values()][-1] if isinstance(self._model, compose.Pipeline) else self._model
        self._binary = isinstance(last, base.Classifier)
        self._hasher = Hasher(bits, crossed)

    @property
    def text(self) -> str:
        """The model in a few words, with River's version."""
        return f"{self.name} on 2^{self._hasher.bits} hashed columns, River {version('river')}"

    def _learn(self, rows: ModelRows) -> None:
        if self._binary:
            check_binary(rows, self.name)
        for part in rows.parts(_ENTRIES):
            for example, reward in zip(examples(self._hasher, part, logged=True), part.reward.tolist(), strict=True):
                self._model.learn_one(example, bool(reward) if self._binary else reward)

    def _fit(self) -> Predicts:
        return _Predicts(deepcopy(self._model), self._hasher.bits, self._hasher.crossed, self._binary)


def linear_regression() -> Any:
    """Return the model that is taken by default."""
    return compose.Pipeline(
        preprocessing.MaxAbsScaler(), linear_model.LinearRegression(optimizer=optim.AdaGrad(0.1), intercept_lr=0.01)
    )


class _Predicts:
    def __init__(self, model: Any, bits: int, crossed: bool, binary: bool) -> None:
        self._model, self._bits, self._crossed, self._binary = model, bits, crossed, binary

    def __call__(self, rows: ModelRows) -> Floats:
        hasher = Hasher(self._bits, self._crossed)
        return np.array([self._one(each) for part in rows.parts(_ENTRIES) for each in examples(hasher, part)])

    def _one(self, example: dict[int, float]) -> float:
        if self._binary:
            return float(self._model.predict_proba_one(example).get(True, 0.0))
        return float(self._model.predict_one(example))


def examples(hasher: Hasher, rows: ModelRows, logged: bool = False) -> list[dict[int, float]]:
    """Return every entry, or every row's logged one, as River reads it: a value a column."""
    matrix = hasher.matrix(rows, rows.logged if logged else None)
    columns, values, ends = matrix.indices.tolist(), matrix.data.tolist(), matrix.indptr.tolist()
    return [dict(zip(columns[start:end], values[start:end], strict=True)) for start, end in pairwise(ends)]
