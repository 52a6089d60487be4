"""The laws of every policy hold for every explorer, and each law catches a policy that breaks it."""

import random
from collections.abc import Sequence
from types import MappingProxyType
from typing import Any

import pytest

import policies.checks
import policies.vw.arguments
from policies.checks import LAWS, LawError, check, decisions
from policies.features import Action, Features
from policies.policy import check_actions
from policies.question import Pick, Pmf, Question, pmf_of
from policies.registry import KINDS, examples_of
from policies.uniform import Uniform


@pytest.mark.parametrize(("kind", "arguments"), [(kind, each) for kind in KINDS for each in examples_of(kind)])
def test_every_kind_obeys_every_law(kind: str, arguments: str) -> None:
    assert check(kind, arguments) == []


def test_every_kind_has_examples() -> None:
    assert all(examples_of(kind) for kind in KINDS)


def test_what_cannot_be_made_is_a_problem_too() -> None:
    (problem,) = check("vw", "--cb_explore_adf -f model")
    assert "'-f' is refused" in problem
    assert "expected a number from 0 to 1" in check("vw", "--cb_explore_adf --epsilon 2")[0]
    assert "refuses '--bag=3' together with '--cover=3'" in check("vw", "--cb_explore_adf --bag 3 --cover 3")[0]
    assert "expected one of" in check("bandit", "")[0]


def test_the_large_action_space_breaks_a_law(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "depends on what was predicted before" in check("vw", "--cb_explore_adf --large_action_space")[0]
    # Were it let in, the law itself would find it.
    monkeypatch.setattr(policies.vw.arguments, "_KNOWN_TO_FAIL", MappingProxyType({}))
    monkeypatch.setattr(policies.vw.arguments, "_FLAGS", policies.vw.arguments._FLAGS | {"large_action_space"})
    (problem,) = check("vw", "--cb_explore_adf --large_action_space")
    assert "pmf_forgets_predictions" in problem


class Learning(Uniform):
    """Lawful, and its bytes say how much it has learned: a policy to spoil."""

    def __init__(self, model: bytes | None = None) -> None:
        super().__init__()
        self.count = int(model or b"0")

    def learn(self, *example: Any, **more: Any) -> None:
        self.count += 1

    def dump(self) -> bytes:
        return b"%d" % self.count


class MissesOne(Learning):
    def pmf(self, context: Features, actions: Sequence[Action]) -> list[float]:
        return [0.9 / len(actions)] * len(actions)


class TooShort(Learning):
    def pmf(self, context: Features, actions: Sequence[Action]) -> list[float]:
        return [1.0]


class TakesTwice(Learning):
    def predict(self, question: Question, taken: Sequence[Pick] = ()) -> Pmf:
        return pmf_of(super().predict(question))


class CountsPredictions(Learning):
    def pmf(self, context: Features, actions: Sequence[Action]) -> list[float]:
        self.count += 1
        return super().pmf(context, actions)


class RemembersPredictions(Learning):
    seen = 0

    def pmf(self, context: Features, actions: Sequence[Action]) -> list[float]:
        check_actions(actions)
        self.seen += 1
        first = 1.0 / len(actions) if self.seen < 40 else 1.0
        return [first] + [(1 - first) / max(1, len(actions) - 1)] * (len(actions) - 1)


class SavesAnother(Learning):
    def __init__(self, model: bytes | None = None) -> None:
        super().__init__(model)
        self.count += model is not None


class Random(Learning):
    def learn(self, *example: Any, **more: Any) -> None:
        self.count += random.randrange(10**9)


class SeesTheOrder(Learning):
    def learn(self, question: Question, *rest: Any, **more: Any) -> None:
        self.count = (31 * self.count + sum(i * len(name) for i, name in enumerate(question.context["f"]))) % 10**9


@pytest.mark.parametrize("law", LAWS, ids=lambda law: law.__name__)
def test_a_lawful_policy_passes(law) -> None:
    law(Learning, decisions(20, seed=4))


BROKEN_BY = [
    ("pmf_is_valid", MissesOne),
    ("pmf_is_valid", TooShort),
    ("a_list_takes_nothing_twice", TakesTwice),
    ("predict_changes_nothing", CountsPredictions),
    ("pmf_forgets_predictions", RemembersPredictions),
    ("saved_bytes_are_all", SavesAnother),
    ("same_cuts_same_bytes", Random),
    ("order_of_features_is_nothing", SeesTheOrder),
]


@pytest.mark.parametrize(("law", "spoilt"), BROKEN_BY)
def test_each_law_catches_who_breaks_it(law: str, spoilt: type[Learning]) -> None:
    with pytest.raises(LawError):
        getattr(policies.checks, law)(spoilt, decisions(20, seed=4))


def test_every_law_is_broken_by_someone() -> None:
    assert {law for law, _ in BROKEN_BY} == {law.__name__ for law in LAWS}
