"""Placements: who decides where, who learns from whom, and that all of it follows from the log."""

import json

import pytest

from bowerbird.fake import FakeLoop
from records.rule import Reward, StreamReward
from stream.config import Config, PlacementConfig, PolicyConfig
from tests.replay.relearned import relearned, versions_of

CLICKS = Reward(streams={"clicks": StreamReward(weight=1.0)})
HOME = PlacementConfig("front", window_s=5, reward=CLICKS)
CONFIG = Config(
    placements={"home": HOME, "cart": PlacementConfig("front", window_s=60, reward=CLICKS)},
    policies={
        "front": PolicyConfig("vw", "--cb_explore_adf --epsilon 0.2"),
        # It decides nowhere, and learns what the other one decided at home.
        "challenger": PolicyConfig("vw", "--cb_explore_adf --softmax", placements=("home",)),
    },
)


@pytest.fixture(scope="module")
def loop() -> FakeLoop:
    loop = FakeLoop(CONFIG)
    for number in range(40):
        placement = ("home", "cart")[number % 4 == 3]
        actions = [{"id": name, "features": {"item": {"x": number % 3}}} for name in ("boots", "hat")]
        request = {"event_id": f"visit-{number}", "placement": placement, "actions": actions}
        loop.append("decision-requests", json.dumps(request).encode())
        if number % 3 == 0:
            loop.append("clicks", json.dumps({"event_id": f"visit-{number}"}).encode())
        loop.advance(2)
    loop.advance(100)
    return loop


def test_a_placement_is_decided_by_its_policy(loop: FakeLoop) -> None:
    decided = {(each["placement"], each["policy"]) for each in loop.records("decisions")}
    assert decided == {("home", "front"), ("cart", "front")}


def test_outcomes_are_numbered_by_placement(loop: FakeLoop) -> None:
    seqs: dict[str, list[int]] = {}
    for each in loop.records("rewards"):
        seqs.setdefault(each["placement"], []).append(each["outcome_seq"])
    assert seqs == {"home": list(range(1, 31)), "cart": list(range(1, 11))}


def test_a_policy_learns_the_outcomes_of_its_placements_whoever_decided(loop: FakeLoop) -> None:
    newest = {name: versions_of(loop, name)[-1] for name in CONFIG.policies}
    assert newest["front"].placements == ("cart", "home")
    assert newest["front"].last_seqs == {"cart/0": 10, "home/0": 30}
    assert newest["front"].examples == 40
    assert newest["challenger"].last_seqs == {"home/0": 30}
    assert newest["challenger"].examples == 30


@pytest.mark.parametrize("policy", CONFIG.policies)
def test_every_version_is_a_replay_of_the_log(loop: FakeLoop, policy: str) -> None:
    relearned(loop, policy)


def test_a_request_for_another_placement_names_those_that_there_are() -> None:
    loop = FakeLoop(CONFIG)
    request = {"event_id": "visit", "placement": "front", "actions": [{"id": "a"}]}
    loop.append("decision-requests", json.dumps(request).encode(), headers=[("reply-topic", b"replies.test")])
    (reply,) = loop.replies("replies.test")
    assert (
        "expected a placement of the configuration (cart, home)" in json.loads(reply.value or b"")["error"]["message"]
    )


def test_a_request_that_names_a_policy_is_told_what_a_request_names() -> None:
    loop = FakeLoop(CONFIG)
    request = {"event_id": "visit", "policy": "front", "actions": [{"id": "a"}]}
    loop.append("decision-requests", json.dumps(request).encode(), headers=[("reply-topic", b"replies.test")])
    (reply,) = loop.replies("replies.test")
    assert json.loads(reply.value or b"")["error"]["field"] == "placement"
