"""Ranked lists from the request to the weights: each place has its propensity, its reward and its example."""

import json
import math
from collections.abc import Sequence
from typing import Any

import pytest

import bowerbird_client
from bowerbird.fake import FakeLoop
from bowerbird_client import BlockingClient
from policies.decide import drawn_by
from policies.draw import choose
from policies.features import Action
from policies.question import Question, ranked
from policies.registry import make
from records.decision import decision_head
from records.errors import BadInput
from records.rule import Reward, StreamReward
from replay.proof.recompute import decisions_of, recompute
from rewards.rules import Event, rewards
from stream.config import Config, PlacementConfig, PolicyConfig
from tests.replay.relearned import relearned, versions_of

CLICKS = Reward(streams={"clicks": StreamReward(weight=1.0, aggregate="max"), "buys": StreamReward(value=True)})
CONFIG = Config(
    placements={"home": PlacementConfig("front", window_s=5, reward=CLICKS)},
    policies={"front": PolicyConfig("vw", "--cb_explore_adf --epsilon 0.3 -q ui")},
)
NAMES = ("boots", "hat", "scarf", "gloves")


def visit(loop: FakeLoop, number: int, top: int | None = 3, clicks: Sequence[str | None] = ()) -> dict[str, Any]:
    """Let somebody see a list and click; return the decision."""
    actions = [{"id": name, "features": {"item": {"kind": name}}} for name in NAMES]
    request: dict[str, Any] = {"event_id": f"visit-{number}", "placement": "home", "actions": actions}
    if top is not None:
        request["top"] = top
    loop.append("decision-requests", json.dumps(request).encode())
    for action in clicks:
        about = {} if action is None else {"action": action}
        loop.append("clicks", json.dumps({"event_id": f"visit-{number}", **about}).encode())
    return loop.records("decisions")[-1]


def test_a_list_has_different_actions_each_with_its_own_propensity() -> None:
    decided = visit(FakeLoop(CONFIG), 1)
    assert len(decided["picks"]) == 3
    assert [pick["action"] for pick in decided["picks"]] == decided["ranking"]
    assert len(set(decided["ranking"])) == 3
    assert decided["picks"][0] == {"action": decided["chosen"], "propensity": decided["propensity"]}
    left = dict(zip(NAMES, decided["pmf"], strict=True))
    for pick in decided["picks"]:
        assert pick["propensity"] == pytest.approx(left[pick["action"]] / math.fsum(left.values()))
        del left[pick["action"]]
    assert not decided.get("warnings")


def test_a_list_is_no_longer_than_there_are_actions() -> None:
    decided = visit(FakeLoop(CONFIG), 1, top=100)
    assert sorted(decided["ranking"]) == sorted(NAMES)
    assert decided["picks"][-1]["propensity"] == 1.0


def test_the_first_place_is_what_a_decision_of_one_would_have_chosen() -> None:
    alone, first = (visit(FakeLoop(CONFIG), 7, top) for top in (None, 4))
    assert (alone["chosen"], alone["propensity"], alone["pmf"]) == (first["chosen"], first["propensity"], first["pmf"])
    assert "picks" not in alone


def test_each_place_is_rewarded_by_the_events_that_are_about_it() -> None:
    loop = FakeLoop(CONFIG)
    shown = visit(loop, 1)["ranking"]
    for action in (shown[1], shown[1], "socks"):
        loop.append("clicks", json.dumps({"event_id": "visit-1", "action": action}).encode())
    loop.append("buys", json.dumps({"event_id": "visit-1", "action": shown[2], "value": 2.5}).encode())
    loop.append("clicks", b'{"event_id": "visit-1"}')
    loop.advance(10)
    (outcome,) = loop.records("rewards")
    assert (outcome["rewards"], outcome["reward"], outcome["places"]) == ([1.0, 1.0, 2.5], 4.5, 3)


def test_an_event_about_another_action_is_worth_nothing_to_a_decision_of_one() -> None:
    loop = FakeLoop(CONFIG)
    decided = visit(loop, 1, top=None)
    other = next(name for name in NAMES if name != decided["chosen"])
    loop.append("clicks", json.dumps({"event_id": "visit-1", "action": other}).encode())
    loop.advance(10)
    (outcome,) = loop.records("rewards")
    assert (outcome["reward"], outcome["rewards"], outcome["places"]) == (0.0, [], 1)


def test_the_default_is_that_of_each_place() -> None:
    rule = Reward(default=-1.0, streams={"clicks": StreamReward(weight=3.0)})
    assert rewards(rule, ["a", "b"], [Event("clicks", "1", action="b")]) == [-1.0, 3.0]


def test_what_was_learned_from_lists_is_a_replay_of_the_log() -> None:
    """And each place is an example of its own: what people click on is liked, wherever it stood."""
    loop = FakeLoop(CONFIG)
    for number in range(120):
        visit(loop, number, top=(None, 2, 3)[number % 3], clicks=["scarf"] if number % 3 else ())
        loop.advance(10)
    assert versions_of(loop, "front")[-1].examples == 120
    actions = [Action(name, {"item": {"kind": name}}) for name in NAMES]
    pmf = relearned(loop, "front").policy.predict(Question({}, actions))
    assert isinstance(pmf, list)
    assert NAMES[pmf.index(max(pmf))] == "scarf"


def test_a_list_is_recomputed_bit_for_bit() -> None:
    loop = FakeLoop(CONFIG)
    decided = visit(loop, 3)
    (located,) = decisions_of(loop.messages("decisions")[-1], decided["event_id"])
    policy = make("vw", CONFIG.policies["front"].arguments)
    found = recompute(located, policy, decided["policy_version"], CONFIG.salt("front"))
    assert {part.name: part.identical for part in found.parts if part.name != "policy_version"} == dict.fromkeys(
        ["pmf", "chosen", "propensity", "ranking", "picks"], True
    )


def test_places_are_drawn_independently() -> None:
    """Of two actions that are as likely, the second place of three falls on each as often, whatever the first."""
    actions = [Action(name, {}) for name in "abc"]
    uniform = make("uniform", "")
    counts = dict.fromkeys(("abc", "acb", "bac", "bca", "cab", "cba"), 0)
    for number in range(3000):
        drawn = drawn_by(uniform, "salt", f"e{number}", Question({}, actions, ranked(3)))
        counts["".join(actions[pick.action].id for pick in drawn.picks)] += 1
    assert all(420 < count < 580 for count in counts.values()), counts
    assert len({choose("s", "e", [0.25] * 4, slot) for slot in range(40)}) == 4


@pytest.mark.parametrize(
    ("picks", "field"),
    [
        ([{"action": "b", "propensity": 0.5}], "picks[0]"),
        ([{"action": "a", "propensity": 0.25}], "picks[0]"),
        ([{"action": "a", "propensity": 0.5}, {"action": "a", "propensity": 1.0}], "picks[1].action"),
        ([{"action": "a", "propensity": 0.5}, {"action": "c", "propensity": 1.0}], "picks[1].action"),
        ([{"action": "a", "propensity": 0.5}, {"action": "b", "propensity": 0.0}], "picks[1].propensity"),
    ],
)
def test_a_logged_list_that_is_none_is_refused(picks: list[dict[str, Any]], field: str) -> None:
    decided = {
        "event_id": "e",
        "placement": "home",
        "policy": "front",
        "policy_version": "external",
        "actions": [{"id": "a"}, {"id": "b"}],
        "pmf": [0.5, 0.5],
        "chosen": "a",
        "propensity": 0.5,
        "rule": {"window_s": 5},
    }
    assert decision_head(json.dumps(decided).encode()).shown == ["a"]
    with pytest.raises(BadInput) as refused:
        decision_head(json.dumps(decided | {"picks": picks}).encode())
    assert refused.value.field == field


def test_a_client_asks_for_a_list_and_tells_what_was_clicked() -> None:
    loop = FakeLoop(CONFIG)
    with BlockingClient(connection=loop.connection(), batch_ms=0) as client:
        answer = client.decide("home", NAMES, top=2)
        assert answer.ranking[0] == answer.chosen
        assert len(answer.ranking) == len(answer.propensities) == 2
        client.reward(answer.event_id, "clicks", action=answer.ranking[1])
        client.flush()
        for wrong in (0, True, 2.5, "2"):
            with pytest.raises(bowerbird_client.BadInput, match="top: found"):
                client.decide("home", NAMES, top=wrong)  # type: ignore[arg-type]
    loop.advance(10)
    (outcome,) = loop.records("rewards")
    assert outcome["rewards"] == [0.0, 1.0]


def test_what_a_request_says_of_the_decision_is_not_passed_on() -> None:
    """Else a caller could let something be learned as shown that was never drawn."""
    loop = FakeLoop(CONFIG)
    forged = [{"action": "boots", "propensity": 0.25}, {"action": "hat", "propensity": 1e-9}]
    for number, picks in enumerate((forged, None, 5)):
        actions = [{"id": name} for name in NAMES]
        request = {"event_id": f"e{number}", "placement": "home", "actions": actions, "picks": picks, "warnings": 3}
        loop.append("decision-requests", json.dumps(request).encode())
    assert not any("picks" in each for each in loop.records("decisions"))
    loop.advance(10)
    assert [each["places"] for each in loop.records("rewards")] == [1, 1, 1]


def test_picks_that_nobody_asked_for_are_no_recomputation() -> None:
    loop = FakeLoop(CONFIG)
    decided = visit(loop, 3, top=None)
    picks = [{"action": decided["chosen"], "propensity": decided["propensity"]}]
    loop.append("decisions", json.dumps(decided | {"picks": picks}).encode())
    (located,) = decisions_of(loop.messages("decisions")[-1], decided["event_id"])
    policy = make("vw", CONFIG.policies["front"].arguments)
    found = recompute(located, policy, decided["policy_version"], CONFIG.salt("front"))
    assert [part.name for part in found.parts if not part.identical] == ["picks"]


def test_a_list_that_would_take_too_long_is_refused() -> None:
    actions = [Action(f"a{number}", {}) for number in range(500)]
    policy = make("uniform", "")
    policy.predict(Question({}, actions, ranked(40)))
    with pytest.raises(BadInput, match="top: found 41 places, expected at most 40 for 500 actions"):
        policy.predict(Question({}, actions, ranked(41)))


def test_copies_that_differ_in_their_lists_contradict_each_other() -> None:
    loop = FakeLoop(CONFIG)
    decided = visit(loop, 1, top=2)
    (other,) = [name for name in NAMES if name not in decided["ranking"]][:1]
    picks = [decided["picks"][0], {"action": other, "propensity": 0.5}]
    loop.append("decisions", json.dumps(decided | {"picks": picks}).encode())
    loop.advance(10)
    (outcome,) = loop.records("rewards")
    assert outcome["why"] == "conflicting"
