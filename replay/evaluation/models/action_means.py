"""Reward models for logs without contexts: means per action, drawn towards the mean of all."""

from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from records.errors import WrongConfiguration
from replay.evaluation.models.model import Predicts, RewardModel, Same
from replay.evaluation.models.rows import Indices, ModelRows
from replay.evaluation.rows import Floats

Key = TypeVar("Key", str, tuple[str, int])


class Constant(RewardModel):
    """The mean reward, whatever the action: the model that every other has to beat."""

    name = "constant"

    def __init__(self) -> None:
        super().__init__()
        self._sum = 0.0

    @property
    def text(self) -> str:
        """The model in a few words."""
        return "the mean reward"

    def _learn(self, rows: ModelRows) -> None:
        self._sum += float(rows.reward.sum())

    def _fit(self) -> Predicts:
        return Same(self._sum / self.learned)


class ActionMeans(RewardModel):
    """The mean reward of each action, in each segment where there are some.

    An action's mean is drawn towards that of all actions, and its mean within a segment towards its own, as if so
    many more rows had been seen with it: of what was seen once or never, the larger group decides.

    Parameters
    ----------
    prior_rows
        How many rows the larger group's mean counts for.
    most
        So many actions, and so many pairs of action and segment, are distinguished; later ones have the larger group's
        mean.

    References
    ----------
    Efron, Morris (1975). *Data Analysis Using Stein's Estimator and its Generalizations.* Journal of the American
    Statistical Association 70:311: the shrinkage, here by a fixed number of rows.

    Examples
    --------
    >>> from policies.features import Action
    >>> from replay.evaluation.models.rows import rows_of_catalogue
    >>> rows = rows_of_catalogue([Action("a", {}), Action("b", {}), Action("c", {})], [0, 0, 0, 1], [1, 1, 1, 0])
    >>> model = ActionMeans(prior_rows=1)
    >>> model.learn(rows)
    >>> model.predict(rows)[:3].tolist()
    [0.9375, 0.375, 0.75]
    """

    name = "action-means"

    def __init__(self, prior_rows: float = 10.0, most: int = 200_000) -> None:
        super().__init__()
        if not prior_rows > 0:
            raise WrongConfiguration(f"prior_rows of action-means: found {prior_rows}, expected a number above 0")
        self.prior_rows = prior_rows
        self.most = most
        self._sum = 0.0
        self._actions: _Table[str] = _Table(most)
        self._cells: _Table[tuple[str, int]] = _Table(most)

    @property
    def text(self) -> str:
        """The model in a few words."""
        return f"means per action and segment, shrunk by {self.prior_rows:g} rows"

    def _learn(self, rows: ModelRows) -> None:
        self._sum += float(rows.reward.sum())
        codes = rows.action[rows.logged].astype(np.int64)
        used, each = np.unique(codes, return_inverse=True)
        self._actions.add([rows.catalogue[code].id for code in used], each, rows.reward)
        if rows.segment is not None:
            keys, each = _cells(rows, codes, rows.segment.astype(np.int64))
            self._cells.add(keys, each, rows.reward)

    def _fit(self) -> Predicts:
        prior = self.prior_rows
        mean = self._sum / self.learned
        actions = {
            key: (total + prior * mean) / (count + prior) for key, (count, total) in self._actions.found().items()
        }
        cells = {
            key: (total + prior * actions.get(key[0], mean)) / (count + prior)
            for key, (count, total) in self._cells.found().items()
        }
        return _Means(mean, actions, cells)


@dataclass(frozen=True, slots=True)
class _Means:
    mean: float
    actions: dict[str, float]
    cells: dict[tuple[str, int], float]

    def __call__(self, rows: ModelRows) -> Floats:
        if rows.segment is not None and self.cells:
            keys, each = _cells(
                rows, rows.action.astype(np.int64), np.repeat(rows.segment, rows.counts).astype(np.int64)
            )
            means = [self.cells.get(key, self.actions.get(key[0], self.mean)) for key in keys]
        else:
            each = rows.action.astype(np.int64)
            means = [self.actions.get(action.id, self.mean) for action in rows.catalogue]
        return np.array(means, dtype=np.float64)[each] if len(each) else np.empty(0)


class _Table(dict[Key, int]):
    """Counts and sums of rewards by key, of the first so many keys."""

    def __init__(self, most: int) -> None:
        super().__init__()
        self._most = most
        self._sums = np.zeros((2, 0))

    def add(self, keys: "list[Key]", each: Indices, reward: Floats) -> None:
        counts = np.bincount(each, minlength=len(keys))
        sums = np.bincount(each, weights=reward, minlength=len(keys))
        for key in keys:
            if len(self) < self._most:
                self.setdefault(key, len(self))
        if (lacking := len(self) - self._sums.shape[1]) > 0:
            self._sums = np.concatenate([self._sums, np.zeros((2, lacking))], axis=1)
        numbers = np.array([self.get(key, -1) for key in keys], dtype=np.int64)
        kept = numbers >= 0
        # The same key may occur twice, as two actions with one id.
        np.add.at(self._sums[0], numbers[kept], counts[kept])
        np.add.at(self._sums[1], numbers[kept], sums[kept])

    def found(self) -> "dict[Key, tuple[float, float]]":
        return {key: (float(self._sums[0, at]), float(self._sums[1, at])) for key, at in self.items()}


def _cells(rows: ModelRows, codes: Indices, segment: Indices) -> tuple[list[tuple[str, int]], Indices]:
    """Return the pairs of action and segment that occur, and which of them each entry has."""
    size = len(rows.catalogue)
    used, each = np.unique(segment * size + codes, return_inverse=True)
    return [(rows.catalogue[int(pair % size)].id, int(pair // size)) for pair in used], each
