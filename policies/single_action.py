"""What policies share that give one pmf over all actions: further slots choose from what is left of it."""

from abc import ABC, abstractmethod
from collections.abc import Sequence

from policies.density import Density
from policies.draw import normalise
from policies.features import Action, Features
from policies.policy import check_actions, check_example, check_places
from policies.question import Pick, Pmf, Question, open_actions
from records.errors import BadInput


class SingleAction(ABC):
    """A policy of one choice, which also fills a ranked list, one place after the other.

    A place draws from the pmf of the first place, scaled to the actions that are left (Plackett 1975, *The Analysis of
    Permutations*; Luce 1959). Each place is learned as an example of its own, of the actions that were left.
    """

    def __init__(self) -> None:
        self._asked: Question | None = None
        self._pmf: Pmf = []

    @abstractmethod
    def pmf(self, context: Features, actions: Sequence[Action]) -> Pmf:
        """Return the pmf over all actions, fit to be drawn from."""

    @abstractmethod
    def learn_action(
        self, context: Features, actions: Sequence[Action], chosen: int, propensity: float, reward: float
    ) -> None:
        """Learn one choice; ``chosen`` is the index of the action."""

    def density(self, question: Question) -> Density:
        """Return the density over the domain of a question, fit to be drawn from; most kinds know none."""
        raise BadInput("bad_domain", "domain", repr(question.domain), "actions, between which this policy chooses")

    def learn_value(self, question: Question, pick: Pick, reward: float) -> None:
        """Learn the choice of a number."""
        self.density(question)

    def predict(self, question: Question, taken: Sequence[Pick] = ()) -> Pmf | Density:
        """See :meth:`policies.policy.Policy.predict`."""
        if question.domain is not None:
            return self.density(question)
        check_actions(question.actions)
        check_places(question)
        if not taken or question is not self._asked:
            # The next slots of this question will ask for it again.
            self._asked, self._pmf = question, self.pmf(question.context, question.actions)
        if not taken and question.slots[0].allowed is None:
            return self._pmf
        left = open_actions(question, taken)
        if not left:
            raise BadInput("no_actions", f"slots[{len(taken)}]", "no action that is left", "at least one action")
        remaining = [0.0] * len(self._pmf)
        for index in left:
            remaining[index] = self._pmf[index]
        if not any(remaining):
            # All that had a probability is taken: what is left has the same one.
            for index in left:
                remaining[index] = 1.0
        return normalise(remaining)

    def learn(self, question: Question, picks: Sequence[Pick], rewards: Sequence[float]) -> None:
        """See :meth:`policies.policy.Policy.learn`."""
        self._asked = None
        if question.domain is not None:
            for pick, reward in zip(picks, rewards, strict=True):
                self.learn_value(question, pick, reward)
            return
        check_places(question)
        examples = []
        for place, (pick, reward) in enumerate(zip(picks, rewards, strict=True)):
            actions, chosen = question.actions, pick.action
            if place or question.slots[pick.slot].allowed is not None:
                left = open_actions(question, picks[:place])
                actions = [question.actions[index] for index in left]
                chosen = left.index(pick.action) if pick.action in left else -1
            check_example(actions, chosen, pick.propensity, reward)
            examples.append((actions, chosen, pick.propensity, reward))
        for example in examples:
            self.learn_action(question.context, *example)
