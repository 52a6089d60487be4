"""What an example costs is bounded before Vowpal Wabbit sees it."""

from typing import Any

import pylibvw
import pytest

from policies.features import Action, Features
from policies.registry import make
from policies.vw import crossing
from policies.vw.arguments import parse
from policies.vw.generated import MOST_GENERATED, Bound
from policies.vw.text import Writer
from records.errors import BadInput
from tests.policies.asking import learn_one, pmf_of

ONES: list[float] = [1.0] * 5000
HEAVY: list[tuple[str, Features, list[Action]]] = [
    ("-q uA", {"user": {"l": ONES}}, [Action("a", {"action": {"l": ONES}}), Action("b", {})]),
    ("-q ::", {"user": {"l": ONES}}, [Action("a", {}), Action("b", {})]),
    ("--cubic uuA", {"user": {"l": ONES}}, [Action("a", {}), Action("b", {})]),
    (r"--interactions '\x75uA'", {"user": {"l": ONES}}, [Action("a", {}), Action("b", {})]),
    ("--experimental_full_name_interactions user|user", {"user": {"l": ONES}}, [Action("a", {}), Action("b", {})]),
    ("--lrq uA5", {"user": {"l": ONES}}, [Action("a", {"action": {"l": ONES}}), Action("b", {})]),
    ("--bag 1000 -q uA", {"user": {"l": ONES}}, [Action("a", {"action": {"l": ONES[:9]}}), Action("b", {})]),
    ("--ngram 5 --skips 9", {"user": {"l": ONES * 4}}, [Action("a", {})]),
    ("", {"user": {"l": ONES}}, [Action(f"a{number}", {}) for number in range(5000)]),
]


@pytest.mark.parametrize(("arguments", "context", "actions"), HEAVY, ids=[each[0] or "no crossing" for each in HEAVY])
def test_an_example_that_costs_too_much_is_refused_before_it_is_parsed(
    monkeypatch: pytest.MonkeyPatch, arguments: str, context: Features, actions: list[Action]
) -> None:
    def parse_text(workspace: object, text: str) -> None:
        raise RuntimeError("Vowpal Wabbit was given it")

    policy = make("vw", f"--cb_explore_adf {arguments}")
    before = policy.dump()
    monkeypatch.setattr(crossing, "_parse", parse_text)
    with pytest.raises(BadInput, match=rf"features: found \d+ .*at most {MOST_GENERATED}"):
        pmf_of(policy, context, actions)
    with pytest.raises(BadInput, match=rf"features: found \d+ .*at most {MOST_GENERATED}"):
        learn_one(policy, context=context, actions=actions, chosen=0, propensity=0.5, reward=1.0)
    assert policy.dump() == before


def test_what_is_dear_and_not_too_dear_is_learned() -> None:
    context: Features = {"user": {"l": ONES[:3000]}}
    actions = [Action("a", {"action": {"l": ONES[:3000]}}), Action("b", {"action": {"l": ONES[:3000]}})]
    policy = make("vw", "--cb_explore_adf -q uA")
    learn_one(policy, context=context, actions=actions, chosen=0, propensity=0.5, reward=1.0)
    assert len(pmf_of(policy, context, actions)) == 2


@pytest.mark.parametrize(
    "arguments",
    [
        "",
        "-q uA",
        "-q uA -q Au -q uA",
        "-q uu --cubic uuA",
        "-q ::",
        "--cubic :::",
        r"--interactions 'u\x41A'",
        "--interactions uuuA --leave_duplicate_interactions",
        "-q u: --noconstant",
        "-q ux -q uA --id_as_feature",
    ],
)
def test_what_is_counted_is_at_least_what_vowpal_wabbit_counts(arguments: str) -> None:
    parsed = parse(f"--cb_explore_adf {arguments}")
    context: dict[str, Any] = {"user": {"l": [1.5] * 7, "x": "y"}, "page": {"z": 2}}
    actions = [Action("a", {"action": {"l": [2.5] * 4}, "item": {"k": 1}}), Action("b", {})]
    text = Writer(parsed.letters, parsed.id_as_feature).example(context, actions)
    workspace = pylibvw.vw(list(parsed.command))
    lines = workspace._parse(text)
    workspace.predict_multi(lines)
    counted = sum(lines[number].get_feature_number() for number in range(len(actions)))
    workspace._finish_example_multi_ex(lines)
    workspace.finish()
    constants = len(actions)
    assert counted > 0
    assert counted - constants <= Bound(parsed).generated(text) <= 8 * counted
