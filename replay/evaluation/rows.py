"""Rows of a log beside the policy that is judged on them: what every estimator, interval and warning sees."""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]
Hashes = NDArray[np.uint64]
Codes = NDArray[np.int32]


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluationRows:
    """Some rows of a log; every column has the shape (rows,), and what a log cannot tell is None.

    Attributes
    ----------
    reward
        What the decision earned.
    propensity
        The logged probability mu(a|x) of the logged action.
    target
        The probability pi(a|x) that the judged policy gives to the logged action.
    weight
        The importance weight; ``target / propensity`` where it is not given.
    model_logged, model_target
        What a reward model says of the logged action, q(x, a), and of the target, sum over a of pi(a|x) q(x, a).
    mean_propensity
        The average over all loggers, each by its share of the rows, of the probability of the logged action: what
        balanced weights divide by (:mod:`replay.evaluation.estimators.balanced`).
    squared_weight
        Its expectation under the logging policy, from the whole pmf: sum over a of pi(a|x)^2 / mu(a|x).
    unseen
        The target's mass on actions that could not be logged (mu = 0).
    inverse
        Whether the pmf sums to 1 and agrees with the propensity is the reader's business; this is the number of
        actions with mu > 0, the expectation of ``1 / propensity``.
    squared_inverse
        The expectation of ``1 / propensity^2``: sum over a with mu(a|x) > 0 of 1 / mu(a|x).
    action
        The logged action, as a number of the log's own catalogue.
    rank
        The share of the pmf's mass on actions before the logged one, plus half of its own: uniform in expectation
        where the draws follow the pmf (randomised ranks).
    event_hash, unit_hash
        Of the event id, and of whose decision it was (:mod:`archive.hashes`): rows of one unit hang together.
    group_hash
        Of what seems to be the unit where none is named (:mod:`replay.evaluation.logs.unit_like`).
    time_ms
        When the decision was logged, since 1970.
    version
        The policy version that logged it, as a number of the log's own.
    sample_weight
        How many decisions each row counts as; above 0. None: each counts as one.
    segments
        A number per row and kind of segment.
    """

    reward: Floats
    propensity: Floats
    target: Floats
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

    def together(name: str) -> Any:
        columns = [getattr(part, name) for part in parts]
        if any(column is None for column in columns):
            return None
        if isinstance(columns[0], Mapping):
            shared = [each for each in columns[0] if all(each in column for column in columns)]
            return {each: np.concatenate([column[each] for column in columns]) for each in shared}
        return np.concatenate(columns)

    return EvaluationRows(**{each.name: together(each.name) for each in fields(EvaluationRows)})
