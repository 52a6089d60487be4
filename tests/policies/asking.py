"""Questions of one slot, for tests."""

from collections.abc import Sequence

from policies import question
from policies.features import Action, Features
from policies.policy import Policy
from policies.question import Pick, Pmf, Question


def pmf_of(policy: Policy, context: Features, actions: Sequence[Action]) -> Pmf:
    """Return the pmf of a plain decision."""
    return question.pmf_of(policy.predict(Question(context, actions)))


def learn_one(
    policy: Policy, context: Features, actions: Sequence[Action], chosen: int, propensity: float, reward: float
) -> None:
    """Let a policy learn a plain decision."""
    policy.learn(Question(context, actions), [Pick(0, chosen, propensity)], [reward])
