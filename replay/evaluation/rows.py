"""Rows of a log with the target's probabilities: the input of every estimator, interval and warning."""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from policies.policy import SMALLEST_PROPENSITY

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]


def are_propensities(values: Floats) -> Flags:
    """Tell which values are probabilities that can be learned from.

    >>> are_propensities(np.array([0.0, 0.5, 1.0, np.nan])).tolist()
    [False, True, True, False]
    """
    return (values >= SMALLEST_PROPENSITY) & (values <= 1)


Hashes = NDArray[np.uint64]
Codes = NDArray[np.int32]


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluationRows:
    """Some rows of a log; every column has the shape (rows,), and a column that the log lacks is None.

    Attributes
    ----------
    reward
        Reward of the decision. Of a ranked list that is weighed by place, the mean of its places' rewards by their
        weights, times the number of places (:func:`replay.evaluation.logs.lists.weighed_by_place`).
    logged_reward
        The reward that was logged, where that is not ``reward``: see :attr:`earned`.
    propensity
        The logged probability mu(a|x) of the logged action.
    target
        The target's probability pi(a|x) of the logged action.
    weight
        Importance weight; ``target / propensity`` by default.
    model_logged, model_target
        Predictions of a reward model for the logged action, q(x, a), and the target, sum over a of pi(a|x) q(x, a).
    mean_propensity
        Probability of the logged action averaged over all loggers by their shares of the rows, the denominator of
        balanced weights (:mod:`replay.evaluation.estimators.balanced`).
    squared_weight
        Expected squared weight under the logging policy, from the whole pmf: sum over a of pi(a|x)^2 / mu(a|x).
    unseen
        The target's mass on actions that could not be logged (mu = 0).
    inverse
        The number of actions with mu > 0, which is the expectation of ``1 / propensity``. The reader checks that the
        pmf sums to 1 and agrees with the propensity.
    squared_inverse
        The expectation of ``1 / propensity^2``: sum over a with mu(a|x) > 0 of 1 / mu(a|x).
    action
        Number of the logged action in the log's numbering.
    rank
        The pmf's mass on actions before the logged one, plus half of its own: uniform in expectation if the draws
        follow the pmf (randomised ranks).
    event_hash, unit_hash
        Hashes of the event id and of the unit (:mod:`archive.hashes`): rows of one unit are correlated.
    group_hash
        Hash of the probable unit if none is named (:mod:`replay.evaluation.logs.unit_like`).
    time_ms
        Time of the decision in ms since 1970.
    version
        Number of the policy version that logged the row.
    sample_weight
        Number of decisions that each row counts as, above 0. None: each row counts as one.
    segments
        Number of the segment of each row, by kind of segment.
    """

    reward: Floats
    propensity: Floats
    target: Floats
    logged_reward: Floats | None = None
    weight: Floats = field(default_factory=lambda: np.empty(0))
    model_logged: Floats | None = None
    model_target: Floats | None = None
    mean_propensity: Floats | None = None
    squared_weight: Floats | None = None
    unseen: Floats | None = None
    inverse: Floats | None = None
    squared_inverse: Floats | None = None
    action: Codes | None = None
    rank: Floats | None = None
    event_hash: Hashes | None = None
    unit_hash: Hashes | None = None
    group_hash: Hashes | None = None
    time_ms: NDArray[np.int64] | None = None
    version: Codes | None = None
    sample_weight: Floats | None = None
    segments: Mapping[str, Codes] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.weight.size and self.reward.size:
            object.__setattr__(self, "weight", self.target / self.propensity)

    def __len__(self) -> int:
        return len(self.reward)

    @property
    def earned(self) -> Floats:
        """The reward that was logged."""
        return self.rewards[0]

    @property
    def rewards(self) -> tuple[Floats, ...]:
        """The reward that was logged, and the one that is weighed where that is another."""
        return (self.reward,) if self.logged_reward is None else (self.logged_reward, self.reward)

    def as_logged(self) -> "EvaluationRows":
        """Return the rows with the reward that was logged as the one to be weighed."""
        return self if self.logged_reward is None else replace(self, reward=self.logged_reward, logged_reward=None)

    def with_reward(self, reward: float) -> "EvaluationRows":
        """Return the rows as if each had earned so much."""
        return replace(self, reward=np.full(len(self), reward), logged_reward=None)

    def where(self, which: Any) -> "EvaluationRows":
        """Return some of the rows: flags, numbers or a slice of them."""

        def some(value: Any) -> Any:
            if value is None:
                return None
            if isinstance(value, Mapping):
                return {name: column[which] for name, column in value.items()}
            return value[which]

        return EvaluationRows(**{each.name: some(getattr(self, each.name)) for each in fields(self)})


def joined(parts: "list[EvaluationRows]") -> EvaluationRows:
    """Return rows one after the other; a column that one part lacks, all lack."""
    if any(part.logged_reward is not None for part in parts):
        parts = [replace(part, logged_reward=part.earned) for part in parts]

    def together(name: str) -> Any:
        columns = [getattr(part, name) for part in parts]
        if any(column is None for column in columns):
            return None
        if isinstance(columns[0], Mapping):
            shared = [each for each in columns[0] if all(each in column for column in columns)]
            return {each: np.concatenate([column[each] for column in columns]) for each in shared}
        return np.concatenate(columns)

    return EvaluationRows(**{each.name: together(each.name) for each in fields(EvaluationRows)})
