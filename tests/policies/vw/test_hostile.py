"""What kills, leaks or poisons Vowpal Wabbit is refused at the door: a test for each.

The names are those of the measured list: what aborts the process, what leaks, what is accepted in silence, and what
spoils a model for good.
"""

import math
import random
from typing import Any

import msgspec
import psutil
import pytest

from policies.draw import normalise
from policies.features import Action, Features, decode_action, decode_context
from policies.policy import Policy
from policies.registry import make
from policies.vw import crossing
from records.errors import BadInput, StateRefused, WrongConfiguration
from records.limits import Limits
from tests.policies.asking import learn_one, pmf_of

LIMITS = Limits()
WIDE = Limits(max_request_bytes=10**8, max_features=10**7)
ARGUMENTS = "--cb_explore_adf --epsilon 0.1 -q uI"
PAIR = [Action("a", {"item": {"x": 1}}), Action("b", {"item": {"x": 2}})]


@pytest.fixture
def untouched(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fail where anything reaches Vowpal Wabbit's parser."""

    def parse(workspace: object, text: str) -> None:
        pytest.fail(f"Vowpal Wabbit was given {text!r}")

    monkeypatch.setattr(crossing, "_parse", parse)


def learn(policy: Policy, **changes: Any) -> None:
    case = {"context": {}, "actions": PAIR, "chosen": 0, "propensity": 0.5, "reward": 1.0, **changes}
    learn_one(policy, **case)


# What ends the process.


@pytest.mark.parametrize("context", [b'{"c": 1, "a": ["0"]}', b"7", b'"text"', b"true", b"[{}]", b"1e5"])
def test_kills_json_whose_context_is_no_object(context: bytes) -> None:
    try:
        features = decode_context(context, LIMITS)
    except BadInput:
        return
    assert features == {"f": {"c": 1, "a": ["0"]}}, (
        "what looks like Vowpal Wabbit's own JSON is a feature like any other"
    )


@pytest.mark.parametrize("limits", [LIMITS, WIDE])
@pytest.mark.parametrize("deep", [b'{"a":' * 200_000, b'{"a":' * 200_000 + b"1" + b"}" * 200_000, b"[" * 200_000])
def test_kills_deeply_nested_objects(deep: bytes, limits: Limits) -> None:
    for raw in (deep, b'{"user": ' + deep + b"}"):
        with pytest.raises(BadInput):
            decode_context(raw, limits)
        with pytest.raises(BadInput):
            decode_action(b'{"id": "a", "features": ' + raw + b"}", limits)
        with pytest.raises(BadInput):
            decode_action(b'{"id": "a", "more": ' + raw + b"}", limits)


@pytest.mark.parametrize("mode", ["--ccb_explore_adf", "--slates", "--cats 4", "--dsjson", "--json"])
def test_kills_modes_that_abort_on_what_they_lack(mode: str) -> None:
    with pytest.raises(WrongConfiguration):
        make("vw", f"--cb_explore_adf {mode}")


def test_kills_a_decision_without_a_line_for_the_context() -> None:
    policy = make("vw", ARGUMENTS)
    learn(policy)
    assert len(pmf_of(policy, {}, [Action("a", {}), Action("b", {}), Action("c", {})])) == 3


def test_kills_malformed_shapes_repeated() -> None:
    source = random.Random(5)
    policy, predicting = make("vw", ARGUMENTS), make("vw", ARGUMENTS)
    pieces: list[Any] = [
        None,
        True,
        1,
        -1.5,
        1e300,
        "|",
        "a b\n",
        [],
        {},
        [1],
        ["|x"],
        {"a": 1},
        {"|user:3": "\n\n"},
        [None],
    ]
    for _ in range(2000):
        document = {source.choice(["", "u", "|", "i\n", "é"]): source.choice(pieces) for _ in range(3)}
        try:
            context = decode_context(msgspec.json.encode(document), LIMITS)
            action = decode_action(msgspec.json.encode({"id": "a", "features": document}), LIMITS)
            learn(policy, context=context, actions=[action, *PAIR])
            assert len(pmf_of(predicting, context, [action, *PAIR])) == 3
        except BadInput:
            pass


# What leaks: examples of a call that raised can't be given back. So nothing that is refused gets that far.


@pytest.mark.usefixtures("untouched")
@pytest.mark.parametrize(
    "changes",
    [
        {"propensity": 0.0},
        {"propensity": -0.5},
        {"propensity": 1.5},
        {"propensity": math.nan},
        {"propensity": math.inf},
        {"propensity": 1e-30},
        {"reward": math.inf},
        {"reward": -math.inf},
        {"reward": math.nan},
        {"reward": 1e20},
        {"reward": -1e20},
        {"reward": 1.1e6},
        {"reward": -1.1e6},
        {"chosen": 2},
        {"chosen": -1},
        {"actions": []},
        {"context": {"u": {"x": math.nan}}},
        {"context": {"u": {"x": math.inf}}},
        {"context": {"u": {"x": 1e10}}},
        {"context": {"u": {"x": [1.0, -math.inf]}}},
        {"actions": [Action("a", {"i": {"x": math.nan}}), PAIR[0]]},
    ],
    ids=str,
)
def test_leaks_nothing_that_is_refused_reaches_vowpal_wabbit(changes: dict[str, Any]) -> None:
    with pytest.raises(BadInput):
        learn(make("vw", ARGUMENTS), **changes)


@pytest.mark.parametrize(
    "changes",
    [{"propensity": 0.0}, {"propensity": math.nan}, {"reward": math.inf}, {"chosen": 2}, {"actions": []}],
    ids=str,
)
def test_every_kind_of_policy_refuses_the_same_labels(changes: dict[str, Any]) -> None:
    with pytest.raises(BadInput):
        learn(make("uniform", ""), **changes)


def test_leaks_nothing_over_many_refused_examples() -> None:
    policy = make("vw", ARGUMENTS)
    for _ in range(2000):
        with pytest.raises(BadInput):
            learn(policy, context={"u": {"x": math.nan}})
    before = psutil.Process().memory_info().rss
    for _ in range(5000):
        with pytest.raises(BadInput):
            learn(policy, context={"u": {"x": math.nan}})
        learn(policy)
    # 32 kB a line would be 480 MB.
    assert psutil.Process().memory_info().rss - before < 32 * 2**20


# What Vowpal Wabbit accepts in silence.


@pytest.mark.usefixtures("untouched")
def test_silence_no_actions() -> None:
    policy = make("vw", ARGUMENTS)
    with pytest.raises(BadInput, match="no_actions"):
        pmf_of(policy, {}, [])


@pytest.mark.parametrize("name", ["|user:3", "a|b", "a b", "a\nb", "a\n\nb", "a:1", "", "\n", "shared", "0:1:0.5", "é"])
def test_silence_names_that_split_an_example(name: str) -> None:
    policy = make("vw", f"{ARGUMENTS} --id_as_feature")
    plain = make("vw", f"{ARGUMENTS} --id_as_feature")
    for one, text in ((policy, name), (plain, "x")):
        features: Features = {f"u{text}": {f"n{text}": text}}
        actions = [Action(f"a{text}", {f"i{text}": {f"n{text}": [text]}}), Action("b", {})]
        for _ in range(20):
            learn_one(one, features, actions, 0, 0.5, 1.0)
    case: Features = {f"u{name}": {f"n{name}": name}}
    actions = [Action(f"a{name}", {f"i{name}": {f"n{name}": [name]}}), Action("b", {})]
    assert pmf_of(policy, case, actions) == pytest.approx([0.95, 0.05])
    # As many features of the same weight: only hashes differ.
    assert abs(len(policy.dump()) - len(plain.dump())) < 64


# What poisons for good.


def test_poison_the_worst_that_is_let_in_leaves_a_model_that_learns() -> None:
    for explorer in ("--epsilon 0.1", "--squarecb", "--softmax --lambda 5", "--rnd 2", "--cb_type dr"):
        policy = make("vw", f"--cb_explore_adf {explorer} -q uI --cubic uII")
        extremes = (1e-300, -1e-155, 1e-239, 9.99e9, -9.99e9, 0.0)
        for number, extreme in enumerate(extremes):
            context: Features = {"user": {"x": extreme, "y": [extreme, -extreme]}}
            actions = [Action("a", {"item": {"x": extreme, "a": True}}), Action("b", {"item": {"x": 1, "b": True}})]
            reward = (1e-155, -1e-239, 0.0, -1e-300, 5e-324, 1e-45)[number]
            learn_one(policy, context, actions, number % 2, (1.0, 2.0**-66, 0.3)[number % 3], reward)
            assert math.isclose(sum(pmf_of(policy, context, actions)), 1.0)
        for number in range(600):
            learn_one(policy, {"user": {"z": 1}}, PAIR, number % 2, 0.5, 1.0 if number % 2 else 0.0)
        assert pmf_of(policy, {"user": {"z": 1}}, PAIR)[1] > 0.6, explorer


def test_poison_a_pmf_of_spoilt_weights_is_never_drawn_from(monkeypatch: pytest.MonkeyPatch) -> None:
    policy = make("vw", "--cb_explore_adf --softmax")
    real = crossing._parse
    monkeypatch.setattr(crossing, "_parse", lambda workspace, text: real(workspace, text.replace("0:-1.0:", "0:inf:")))
    for chosen in (0, 1):
        learn(policy, chosen=chosen)
    with pytest.raises(StateRefused, match="weights are spoilt"):
        pmf_of(policy, {}, PAIR)


def test_large_action_spaces_are_refused() -> None:
    with pytest.raises(WrongConfiguration, match="depends on what was predicted before"):
        make("vw", "--cb_explore_adf --large_action_space")


def test_names_that_are_numbers_are_two_features() -> None:
    policy = make("vw", "--cb_explore_adf --epsilon 0.1 --noconstant")
    actions = [Action("a", {"i": {"1": 1.0}}), Action("b", {"i": {"262145": 1.0}})]
    for number in range(100):
        learn_one(policy, {}, actions, number % 2, 0.5, 1.0 if number % 2 else 0.0)
    assert pmf_of(policy, {}, actions) == pytest.approx([0.05, 0.95])


def test_sums_that_miss_1_and_negative_values_are_mended() -> None:
    pmf = normalise([0.5, 0.49995, -1e-6])
    assert math.fsum(pmf) == pytest.approx(1.0, abs=1e-15)
    assert min(pmf) == 0.0
    policy = make("vw", "--cb_explore_adf --squarecb")
    many = [Action(f"a{number}", {"i": {"n": f"{number}"}}) for number in range(2000)]
    pmf = pmf_of(policy, {}, many)
    assert math.fsum(pmf) == pytest.approx(1.0, abs=1e-12)
    assert min(pmf) >= 0.0
