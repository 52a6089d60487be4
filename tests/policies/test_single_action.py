"""A ranked list by a policy of one choice: each place draws from what is left, and is learned as such."""

import itertools
import math
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policies.checks import decisions
from policies.density import Density
from policies.features import Action, Features
from policies.question import Pick, Pmf, Question, Slot, pmf_of, ranked
from policies.registry import make
from policies.single_action import SingleAction
from records.errors import BadInput

ACTIONS = [Action(name, {"item": {"x": number}}) for number, name in enumerate("abcd")]


class Fixed(SingleAction):
    """Has one pmf, and writes down what it learned."""

    def __init__(self, pmf: Pmf) -> None:
        super().__init__()
        self._fixed, self.asked = pmf, 0
        self.learned: list[tuple[list[str], int, float, float]] = []

    def pmf(self, context: Features, actions: Sequence[Action]) -> Pmf:
        self.asked += 1
        return self._fixed

    def learn_action(
        self, context: Features, actions: Sequence[Action], chosen: int, propensity: float, reward: float
    ) -> None:
        self.learned.append(([action.id for action in actions], chosen, propensity, reward))


def probability(policy: SingleAction, question: Question, order: Sequence[int]) -> float:
    """Return the probability of a whole list: the product over its places."""
    taken: list[Pick] = []
    for slot, action in enumerate(order):
        propensity = pmf_of(policy.predict(question, taken))[action]
        if not propensity:
            return 0.0
        taken.append(Pick(slot, action, propensity))
    return math.prod(pick.propensity for pick in taken)


@given(st.lists(st.floats(0.01, 1.0), min_size=2, max_size=5), st.data())
def test_the_probabilities_of_all_lists_sum_to_1(weights: list[float], data: st.DataObject) -> None:
    places = data.draw(st.integers(1, len(weights)))
    total = math.fsum(weights)
    policy = Fixed([weight / total for weight in weights])
    question = Question({}, ACTIONS[:1] * len(weights), ranked(places))
    lists = itertools.permutations(range(len(weights)), places)
    assert math.isclose(math.fsum(probability(policy, question, order) for order in lists), 1.0)
    assert policy.asked > 0


def test_a_place_draws_from_what_is_left_and_asks_the_model_once() -> None:
    policy = Fixed([0.5, 0.25, 0.25, 0.0])
    question = Question({}, ACTIONS, ranked(4))
    assert policy.predict(question) == [0.5, 0.25, 0.25, 0.0]
    assert policy.predict(question, [Pick(0, 0, 0.5)]) == [0.0, 0.5, 0.5, 0.0]
    taken = [Pick(0, 0, 0.5), Pick(1, 2, 0.5)]
    assert policy.predict(question, taken) == [0.0, 1.0, 0.0, 0.0]
    assert policy.predict(question, [*taken, Pick(2, 1, 1.0)]) == [0.0, 0.0, 0.0, 1.0]
    assert policy.asked == 1
    with pytest.raises(BadInput, match="no action that is left"):
        policy.predict(question._replace(slots=ranked(5)), [Pick(slot, slot, 1.0) for slot in range(4)])


def test_a_slot_gives_nothing_to_what_it_does_not_allow() -> None:
    question = Question({}, ACTIONS, [Slot("0", allowed=(1, 3))])
    assert Fixed([0.4, 0.3, 0.1, 0.2]).predict(question) == pytest.approx([0.0, 0.6, 0.0, 0.4])


def test_each_place_is_an_example_of_the_actions_that_were_left() -> None:
    policy = Fixed([0.25] * 4)
    policy.learn(Question({}, ACTIONS, ranked(2)), [Pick(0, 2, 0.25), Pick(1, 3, 1 / 3)], [1.0, 0.5])
    assert policy.learned == [(["a", "b", "c", "d"], 2, 0.25, 1.0), (["a", "b", "d"], 2, 1 / 3, 0.5)]


@pytest.mark.parametrize("second", [Pick(1, 2, 0.5), Pick(1, 4, 0.5), Pick(1, 3, 0.0)])
def test_a_list_with_one_wrong_place_is_not_learned_at_all(second: Pick) -> None:
    policy = Fixed([0.25] * 4)
    with pytest.raises(BadInput):
        policy.learn(Question({}, ACTIONS, ranked(2)), [Pick(0, 2, 0.25), second], [1.0, 0.0])
    assert policy.learned == []


def test_a_prediction_after_an_example_is_not_that_of_before() -> None:
    policy = make("vw", "--cb_explore_adf --epsilon 0.2")
    (case,) = decisions(1, seed=3)
    question = Question(case.context, case.actions)
    before = policy.predict(question)
    for _ in range(20):
        policy.learn(question, [Pick(0, case.chosen, 0.2)], [1.0])
    assert policy.predict(question) != before
    assert policy.predict(question) == make("vw", "--cb_explore_adf --epsilon 0.2", policy.dump()).predict(question)


PRICE = Question({}, [], domain=(5.0, 25.0))


def test_a_number_is_chosen_from_a_domain() -> None:
    policy = make("uniform", "")
    density = policy.predict(PRICE)
    assert density == Density((5.0, 25.0), (0.05,))
    policy.learn(PRICE, [Pick(0, -1, 0.05, 17.5)], [1.0])
    with pytest.raises(TypeError, match="found a density over 5 to 25, expected a pmf"):
        pmf_of(density)


@pytest.mark.parametrize(
    ("question", "pick", "reward", "code"),
    [
        (PRICE, Pick(0, -1, 0.05, 25.1), 1.0, "chosen_unknown"),
        (PRICE, Pick(0, 0, 0.05), 1.0, "chosen_unknown"),
        (PRICE, Pick(0, -1, 0.05, math.nan), 1.0, "chosen_unknown"),
        (PRICE, Pick(0, -1, 0.0, 7.0), 1.0, "propensity_invalid"),
        (PRICE, Pick(0, -1, math.inf, 7.0), 1.0, "propensity_invalid"),
        (PRICE, Pick(0, -1, 0.05, 7.0), math.nan, "reward_not_finite"),
        (PRICE, Pick(0, -1, 0.05, 7.0), 2e6, "reward_too_large"),
        (PRICE._replace(actions=ACTIONS), Pick(0, -1, 0.05, 7.0), 1.0, "bad_domain"),
        (PRICE._replace(domain=(5.0, 5.0)), Pick(0, -1, 0.05, 5.0), 1.0, "bad_domain"),
        (PRICE._replace(domain=(0.0, math.inf)), Pick(0, -1, 0.05, 5.0), 1.0, "bad_domain"),
    ],
)
def test_a_number_that_cannot_be_learned_is_refused(question: Question, pick: Pick, reward: float, code: str) -> None:
    with pytest.raises(BadInput) as refused:
        make("uniform", "").learn(question, [pick], [reward])
    assert refused.value.code == code


def test_a_policy_of_actions_refuses_a_domain() -> None:
    policy = make("vw", "--cb_explore_adf")
    before = policy.dump()
    for call in (lambda: policy.predict(PRICE), lambda: policy.learn(PRICE, [Pick(0, -1, 0.05, 7.0)], [1.0])):
        with pytest.raises(BadInput, match=r"domain: found .* expected actions"):
            call()
    assert policy.dump() == before


def test_vowpal_wabbit_learns_a_list_as_it_learns_its_places() -> None:
    lists, places = (make("vw", "--cb_explore_adf -q fF") for _ in range(2))
    for case in decisions(20, seed=5):
        question = Question(case.context, case.actions, ranked(2))
        first = pmf_of(lists.predict(question))
        order = sorted(range(len(first)), key=lambda index: -first[index])[:2]
        second = pmf_of(lists.predict(question, [Pick(0, order[0], first[order[0]])]))
        picks = [Pick(0, order[0], first[order[0]]), Pick(1, order[1], second[order[1]])]
        lists.learn(question, picks, [case.reward, 0.0])
        places.learn(Question(case.context, case.actions), [picks[0]], [case.reward])
        left = [action for index, action in enumerate(case.actions) if index != order[0]]
        chosen = order[1] - (order[0] < order[1])
        places.learn(Question(case.context, left), [Pick(0, chosen, picks[1].propensity)], [0.0])
    assert lists.dump() == places.dump()
