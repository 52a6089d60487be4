"""Every action alike: what a policy is compared with, and what fills a log that others are evaluated on."""

from collections.abc import Sequence

from policies.density import Density
from policies.draw import normalise_density
from policies.features import Action, Features
from policies.policy import check_domain, check_value
from policies.question import Pick, Pmf, Question
from policies.single_action import SingleAction
from records.errors import StateRefused, WrongConfiguration

EXAMPLES = ("",)
"""Arguments with which the laws of every policy are checked."""
_MODEL = b"uniform"


class Uniform(SingleAction):
    """Gives every action the same probability, and every number the same density, whatever the features.

    Raises
    ------
    WrongConfiguration
        There are arguments.
    StateRefused
        The model is another policy's.
    """

    kind = "uniform"

    def __init__(self, arguments: str = "", model: bytes | None = None) -> None:
        if arguments.strip():
            raise WrongConfiguration(f"arguments of a uniform policy: found {arguments!r}, expected none")
        if model is not None and model != _MODEL:
            raise StateRefused(
                "model of a uniform policy",
                f"{len(model)} bytes of another",
                repr(_MODEL),
                "give the policy the kind that wrote the model, or another name; `bowerbird check` tells",
            )
        super().__init__()
        self.arguments = arguments

    def density(self, question: Question) -> Density:
        """Return ``1 / (high - low)`` over the whole domain."""
        return normalise_density(check_domain(question), [1.0])

    def learn_value(self, question: Question, pick: Pick, reward: float) -> None:
        """Learn nothing; what no policy could learn is refused."""
        check_value(question, pick, reward)

    def pmf(self, context: Features, actions: Sequence[Action]) -> Pmf:
        """Return ``1 / len(actions)`` for each."""
        return [1.0 / len(actions)] * len(actions)

    def learn_action(
        self, context: Features, actions: Sequence[Action], chosen: int, propensity: float, reward: float
    ) -> None:
        """Learn nothing."""

    def dump(self) -> bytes:
        """Return the same bytes always."""
        return _MODEL

    def close(self) -> None:
        """Nothing is held."""
