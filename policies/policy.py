"""What a policy is, and how one is saved and named."""

import math
from collections.abc import Callable, Sequence
from hashlib import sha256
from typing import Protocol, runtime_checkable

from policies.density import Density
from policies.features import Action
from policies.question import Pick, Pmf, Question
from records.errors import BadInput
from records.limits import REWARD_LIMIT

MOST_CHOICES = 20_000
"""Places of a ranked list times its actions."""
SMALLEST_PROPENSITY = 2.0**-66
"""Vowpal Wabbit may read what is smaller (1e-20) as zero, and a propensity of zero stops learning for good."""


@runtime_checkable
class Policy(Protocol):
    """Maps a question to a probability mass function, or to a density, slot by slot, and learns from the rewards.

    Drawing is another function (:mod:`policies.draw`). What every policy owes is written down as
    laws in :mod:`policies.checks`.

    Attributes
    ----------
    kind, arguments
        What :func:`policies.registry.make` was given; with the log of rewards they determine every version.
    """

    kind: str
    arguments: str

    def predict(self, question: Question, taken: Sequence[Pick] = ()) -> Pmf | Density:
        """Return the pmf of the next slot, fit to be drawn from; nothing that is saved changes.

        For a question with a domain it is a density over it.

        Parameters
        ----------
        taken
            What was chosen in the slots before, in their order; what was taken has the probability 0.

        Raises
        ------
        BadInput
            The features cannot be used, no action is left for the slot, or the policy knows no domains.
        StateRefused
            The policy's weights are spoilt.
        """

    def learn(self, question: Question, picks: Sequence[Pick], rewards: Sequence[float]) -> None:
        """Learn from what happened after a decision; the cost is ``-reward``.

        Parameters
        ----------
        question
            That of the decision.
        picks
            What was shown, in the order of the slots, with the logged propensities.
        rewards
            What each pick was worth, within ±1e6.

        Raises
        ------
        BadInput
            The example cannot be learned; the policy is as it was before.
        """

    def dump(self) -> bytes:
        """Return the state as bytes; :func:`policies.registry.make` makes the same policy of them."""

    def close(self) -> None:
        """Give back memory now rather than when the last reference goes; the policy cannot be used any more."""


MakePolicy = Callable[[bytes | None], Policy]
"""Makes a policy of saved bytes; None: version 0."""


def digest(model: bytes) -> str:
    """Return the sha256 of a saved policy in hex: the identity of a version."""
    return sha256(model).hexdigest()


def version_name(number: int, digest: str) -> str:
    """Return the name under which decisions cite a version.

    >>> version_name(12, digest(b""))
    '12-e3b0c442'
    """
    return f"{number}-{digest[:8]}"


def check_actions(actions: Sequence[object]) -> None:
    """Refuse a decision between nothing."""
    if not actions:
        raise BadInput("no_actions", "actions", "none", "at least one action")


def check_places(question: Question) -> None:
    """Refuse a ranked list that would take too long: each place is an example of all actions that are left."""
    if (places := len(question.slots)) > 1 and places * len(question.actions) > MOST_CHOICES:
        most = max(1, MOST_CHOICES // len(question.actions))
        raise BadInput(
            "too_many_places", "top", f"{places} places", f"at most {most} for {len(question.actions)} actions"
        )


def check_domain(question: Question) -> tuple[float, float]:
    """Return the domain of a question between numbers; refuse another question, or one between nothing."""
    low, high = question.domain or (0.0, 0.0)
    if question.actions or not low < high or not math.isfinite(high - low):
        found = f"{len(question.actions)} actions" if question.actions else repr(question.domain)
        raise BadInput("bad_domain", "domain", found, "the lowest and the highest of the numbers, and no actions")
    return low, high


def check_value(question: Question, pick: Pick, reward: float) -> None:
    """Refuse an example of a number that would be learned wrongly."""
    low, high = check_domain(question)
    if pick.value is None or not low <= pick.value <= high:
        raise BadInput("chosen_unknown", "chosen", repr(pick.value), f"a number from {low:g} to {high:g}")
    if not (pick.propensity > 0.0 and math.isfinite(pick.propensity)):
        raise BadInput("propensity_invalid", "propensity", repr(pick.propensity), "a density above 0")
    check_reward(reward)


def check_example(actions: Sequence[Action], chosen: int, propensity: float, reward: float) -> None:
    """Refuse an example that would be learned wrongly, or would spoil a policy for good."""
    if (
        0 <= chosen < len(actions)
        and SMALLEST_PROPENSITY <= propensity <= 1.0
        and -REWARD_LIMIT <= reward <= REWARD_LIMIT
    ):
        return
    check_actions(actions)
    if not 0 <= chosen < len(actions):
        raise BadInput("chosen_unknown", "chosen", repr(chosen), f"the index of one of {len(actions)} actions")
    if not SMALLEST_PROPENSITY <= propensity <= 1.0:
        raise BadInput("propensity_invalid", "propensity", repr(propensity), "a probability from 2^-66 to 1")
    check_reward(reward)


def check_reward(reward: float) -> None:
    """Refuse a reward that would spoil a policy for good."""
    if not -REWARD_LIMIT <= reward <= REWARD_LIMIT:
        code = "reward_too_large" if math.isfinite(reward) else "reward_not_finite"
        raise BadInput(code, "reward", repr(reward), f"a number within ±{REWARD_LIMIT:g}")
