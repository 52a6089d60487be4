"""What a reward model is."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, Protocol

import numpy as np

from records.errors import BadInput, StateRefused
from replay.evaluation.models.rows import ModelRows
from replay.evaluation.rows import Floats

Predicts = Callable[[ModelRows], Floats]
"""Predicts every action of every row: shape (entries,)."""


class Answers(Protocol):
    """What can be asked for q: a fitted model, or several of which each answers for some of the rows."""

    def predict(self, rows: ModelRows) -> Floats:
        """Return q of every action of every row: shape (entries,)."""


@dataclass(frozen=True, slots=True)
class Fitted:
    """A model as it was at one moment: it learns nothing more, and a pickle of it predicts the same.

    Attributes
    ----------
    raw
        The predictions.
    low, high
        The smallest and the largest reward that it has learned. What it predicts is cut to them, so that an
        extrapolation cannot make a doubly robust score wilder than the weights do.
    name
        The model's.
    """

    raw: Predicts
    low: float
    high: float
    name: str

    def predict(self, rows: ModelRows) -> Floats:
        """Return q of every action of every row: shape (entries,).

        Raises
        ------
        BadInput
            The features cannot be used; the error names the one.
        StateRefused
            The model has diverged.
        """
        found = self.raw(rows)
        if not np.isfinite(found).all():
            raise StateRefused(f"reward model {self.name}", "a prediction that is no number", "numbers", "take another")
        return np.clip(found, self.low, self.high)


class RewardModel(ABC):
    """Learns what an action earns in a context, q(x, a), from the actions that were logged.

    The rows stream by, so what it keeps is bounded.

    Attributes
    ----------
    name
        As people and the command line call it.
    """

    name: ClassVar[str]

    def __init__(self) -> None:
        self.learned = 0
        self._low, self._high = np.inf, -np.inf
        self._fitted: Fitted | None = None

    def learn(self, rows: ModelRows) -> None:
        """Learn some rows.

        Raises
        ------
        BadInput
            The features cannot be used, or the rewards are not of the kind that the model is for.
        """
        if len(rows):
            self._learn(rows)
            self.learned += len(rows)
            self._low = min(self._low, float(rows.reward.min()))
            self._high = max(self._high, float(rows.reward.max()))
            self._fitted = None

    def fitted(self) -> Fitted:
        """Return the model as it is now, apart from what it learns later; before the first row it says 0."""
        if self._fitted is None:
            low, high = (self._low, self._high) if self.learned else (0.0, 0.0)
            self._fitted = Fitted(Same(low) if low == high else self._fit(), low, high, self.name)
        return self._fitted

    def predict(self, rows: ModelRows) -> Floats:
        """Return q of every action of every row, from all that was learned; raises as :meth:`Fitted.predict`."""
        return self.fitted().predict(rows)

    @property
    @abstractmethod
    def text(self) -> str:
        """The model in a few words, with the version of the library that computes it."""

    @abstractmethod
    def _learn(self, rows: ModelRows) -> None: ...

    @abstractmethod
    def _fit(self) -> Predicts:
        """Return what predicts, and can be pickled; two different rewards were learned."""


@dataclass(frozen=True, slots=True)
class Same:
    """Predicts one value for every action of every row."""

    value: float

    def __call__(self, rows: ModelRows) -> Floats:
        """Return it for every entry."""
        return np.full(len(rows.action), self.value)


def check_binary(rows: ModelRows, name: str) -> None:
    """Refuse rewards that a classifier cannot learn; ``name`` is the model's."""
    right = (rows.reward == 0) | (rows.reward == 1)
    if not right.all():
        wrong = int(np.argmin(right))
        expected = f"0 or 1, for {name} is a classifier"
        raise BadInput("reward_not_binary", f"reward[{wrong}]", str(rows.reward[wrong]), expected)
