"""Estimators for slates and rankings: several positions are filled at once, and each may have a reward.

Every estimator's terms are one number a slate, so intervals and resampling see whole slates, never parts of them.
"""

from abc import abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import ArrayLike

from records.errors import BadInput, WrongConfiguration
from replay.evaluation.estimators.estimator import Estimator, Means, need
from replay.evaluation.estimators.importance import ratio
from replay.evaluation.estimators.slate_rows import Slates, whole_numbers
from replay.evaluation.rows import Floats


class StandardSlate(Estimator[Slates]):
    """The mean of the whole slate's weight times its reward: ``mean(w sum_l r_l)``.

    It makes no assumption on how users view a slate, but is very wide, since weights of a whole slate are large.
    """

    name = "sips"
    reference = "McInerney et al. 2020, KDD, eq. 1"
    needs = ("weight",)

    def terms(self, rows: Slates) -> dict[str, Floats]:
        """Return the slate's weight times its reward."""
        return {"slate w r": need(rows.weight, "weight") * rows.slate_reward}

    def value(self, means: Means) -> Any:
        """Return its mean."""
        return means["slate w r"]


class SelfNormalisedStandardSlate(Estimator[Slates]):
    """The same divided by the mean weight over all rows; unknown where every weight is 0.

    A slate counts as often as it has rows, as in ``obp``; where all have the same number, that is ``snips`` of slates.
    """

    name = "snsips"
    reference = "McInerney et al. 2020, KDD, eq. 1; Swaminathan and Joachims 2015, NeurIPS (SNIPS)"
    needs = ("weight",)

    def terms(self, rows: Slates) -> dict[str, Floats]:
        """Return the slate's weight times its reward, times its length, and its length."""
        weight, length = need(rows.weight, "weight"), rows.lengths.astype(np.float64)
        return {"slate w r": weight * rows.slate_reward, "slate w length": weight * length, "slate length": length}

    def value(self, means: Means) -> Any:
        """Return the mean of weight times reward, divided by the mean weight of a row."""
        return means["slate w r"] * ratio(means["slate length"], means["slate w length"])


class IndependentSlate(Estimator[Slates]):
    """Each position's reward by the weight of the action at this position: ``mean(sum_l w(a_l) r_l)``.

    Right if the reward of a position depends on nothing that stands elsewhere (the item-position click model).
    """

    name = "iips"
    reference = "Li et al. 2018, KDD; McInerney et al. 2020, KDD, eq. 2"
    needs = ("weight_position",)

    def terms(self, rows: Slates) -> dict[str, Floats]:
        """Return the sum over the slate's positions of weight times reward."""
        return {"position w r": rows.per_slate(need(rows.weight_position, "weight_position") * rows.reward)}

    def value(self, means: Means) -> Any:
        """Return its mean."""
        return means["position w r"]


class RewardInteractionSlate(Estimator[Slates]):
    """Each position's reward by the weight of that position and all above: ``mean(sum_l w(a_1..a_l) r_l)``.

    Valid if users view the slate from the top down, so that a reward depends on nothing below it (cascade model).
    """

    name = "rips"
    reference = "McInerney et al. 2020, KDD, eq. 3 and 4"
    needs = ("weight_cascade",)

    def terms(self, rows: Slates) -> dict[str, Floats]:
        """Return the sum over the slate's positions of weight times reward."""
        return {"cascade w r": rows.per_slate(need(rows.weight_cascade, "weight_cascade") * rows.reward)}

    def value(self, means: Means) -> Any:
        """Return its mean."""
        return means["cascade w r"]


class CascadeDoublyRobust(Estimator[Slates]):
    """The cascade's weights, with a reward model's predictions for the rest of the slate.

    ``mean(sum_l w_l (r_l - q_l) + w_(l-1) q_l(pi))``, where ``w_l`` is the weight of the actions down to position l,
    ``q_l`` the model's reward from position l on for the logged action, and ``q_l(pi)`` the same for the target's
    choice there. Without bias under the cascade model if the propensities are right, whatever the reward model.
    """

    name = "cascade-dr"
    reference = "Kiyohara et al. 2022, WSDM, section 3.1"
    needs = ("weight_cascade", "model_logged", "model_target")

    def terms(self, rows: Slates) -> dict[str, Floats]:
        """Return the sum over the slate's positions of the corrected model."""
        weight = need(rows.weight_cascade, "weight_cascade")
        above = np.roll(weight, 1)
        above[rows.starts[:-1]] = 1.0
        missed = rows.reward - need(rows.model_logged, "model_logged")
        worth = weight * missed + above * need(rows.model_target, "model_target")
        return {"cascade w (r - q) + w q(pi)": rows.per_slate(worth)}

    def value(self, means: Means) -> Any:
        """Return its mean."""
        return means["cascade w (r - q) + w q(pi)"]


@dataclass(frozen=True)
class SelfNormalisedByPosition(Estimator[Slates]):
    """Each position's weights divided by their mean, and the positions' values added up.

    Unknown where a position has rows but all their weights are 0.

    Parameters
    ----------
    positions
        How many there are. They are numbered from 0; one that a slate lacks is left out of its sum.

    Raises
    ------
    WrongConfiguration
        There is not even one position.
    """

    positions: int
    kind: ClassVar[str]

    def __post_init__(self) -> None:
        if self.positions < 1:
            raise WrongConfiguration(f"positions of {self.name}: found {self.positions!r}, expected at least 1")

    @abstractmethod
    def weight(self, rows: Slates) -> Floats:
        """Return a weight per slate and position: shape (rows,)."""

    def terms(self, rows: Slates) -> dict[str, Floats]:
        """Return per position the weight times the reward, the weight, and whether the slate has it."""
        weight = self.weight(rows)
        rows.check_positions(self.positions)
        columns: dict[str, Floats] = {}
        for position in range(self.positions):
            here = rows.position == position
            which = rows.slate_of_row[here]
            for name, column in (
                (f"{self.kind} w r at {position}", weight[here] * rows.reward[here]),
                (f"{self.kind} w at {position}", weight[here]),
                (f"slate has {position}", 1.0),
            ):
                columns[name] = np.zeros(len(rows))
                columns[name][which] = column
        return columns

    def value(self, means: Means) -> Any:
        """Return the sum of the positions' ratios, each as often as slates have it."""
        total: Any = 0.0
        for position in range(self.positions):
            share = means[f"slate has {position}"]
            worth = ratio(means[f"{self.kind} w r at {position}"], means[f"{self.kind} w at {position}"])
            # A position that no slate has; with a complex step it is not quite 0.
            total = total + np.where(np.equal(np.real(share), 0), 0.0, share * worth)
        return np.asarray(total)[()]


class SelfNormalisedIndependentSlate(SelfNormalisedByPosition):
    """``iips`` with each position's weights divided by their mean: ``sum_l sum_i(w_il r_il) / sum_i(w_il)``."""

    name = "sniips"
    reference = "McInerney et al. 2020, KDD, eq. 2; Swaminathan and Joachims 2015, NeurIPS (SNIPS)"
    needs = ("weight_position",)
    kind = "position"

    def weight(self, rows: Slates) -> Floats:
        """Return the weight of the action at the position."""
        return need(rows.weight_position, "weight_position")


class SelfNormalisedRewardInteractionSlate(SelfNormalisedByPosition):
    """``rips`` with each position's weights divided by their mean: ``sum_l sum_i(w_i1..l r_il) / sum_i(w_i1..l)``."""

    name = "snrips"
    reference = "McInerney et al. 2020, KDD, eq. 3 and 4; Swaminathan and Joachims 2015, NeurIPS (SNIPS)"
    needs = ("weight_cascade",)
    kind = "cascade"

    def weight(self, rows: Slates) -> Floats:
        """Return the weight of all that stands at the position and above."""
        return need(rows.weight_cascade, "weight_cascade")


def modelled(expected: ArrayLike, pmf: ArrayLike, action: ArrayLike) -> tuple[Floats, Floats]:
    """Return ``model_logged`` and ``model_target`` from a reward model's word on all actions.

    Parameters
    ----------
    expected
        The reward that the model expects from the position on, per action there: shape (rows, actions).
    pmf
        The target's probabilities of the actions, given what stands above: shape (rows, actions).
    action
        Which one was logged: shape (rows,).

    Examples
    --------
    >>> logged, target = modelled([[0.2, 0.4]], [[0.5, 0.5]], [1])
    >>> logged.tolist(), [round(value, 3) for value in target.tolist()]
    ([0.4], [0.3])
    """
    words, chances = np.asarray(expected, dtype=np.float64), np.asarray(pmf, dtype=np.float64)
    chosen = whole_numbers("action", action)
    if words.ndim != 2 or words.shape != chances.shape or chosen.shape != words.shape[:1]:
        shapes = f"shapes {words.shape}, {chances.shape} and {chosen.shape}"
        raise BadInput("wrong_shape", "expected, pmf and action", shapes, "(rows, actions) twice, and (rows,)")
    if chosen.size and not (chosen.min() >= 0 and chosen.max() < words.shape[1]):
        raise BadInput("wrong_action", "action", f"{chosen.min()} to {chosen.max()}", f"0 to {words.shape[1] - 1}")
    return words[np.arange(len(chosen)), chosen], (words * chances).sum(axis=1)
