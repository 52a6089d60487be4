"""What keeps a policy from learning is seen in what it decided and what that earned."""

import json
import random
from typing import Any

import pytest

from bowerbird.fake import FakeLoop
from bowerbird_client import BlockingClient
from policies.learnability import CROSSED_NOT_SENT, PROBABILITIES_STAND, SENT_NOT_USED, Sights, Symptom
from records.rule import Reward, StreamReward
from stream import metrics
from stream.config import Config
from stream.roles.learnability import Watch
from tests.serving import served, tables

CLICKS = Reward(streams={"clicks": StreamReward(weight=1.0)})
BASE = "--cb_explore_adf --epsilon 0.1 -b 12"
BARE: list[Any] = ["boots", "hat"]
WITH_FEATURES = [{"id": name, "features": {"item": {"kind": name}}} for name in BARE]
ALIKE = [{"id": name, "features": {"item": {"kind": "thing"}}} for name in BARE]

TOGETHER = 5
"""So many decisions are made by one version."""


def loop_after(
    arguments: str, actions: list[Any], context: dict[str, Any], decisions: int = 200, step_s: float = 1.0
) -> FakeLoop:
    """Return a loop in which boots were clicked nine times in ten, and hats once in twenty."""
    loop = FakeLoop(Config(**tables({"front": served("vw", arguments, window_s=1, reward=CLICKS)})))
    chance = random.Random(3)
    with BlockingClient(connection=loop.connection(), batch_ms=0) as client:
        for number in range(decisions):
            answer = client.decide("front", actions, context, event_id=f"visit-{number}")
            if chance.random() < (0.9 if answer.chosen == "boots" else 0.05):
                client.reward(answer.event_id, "clicks")
            client.flush()
            # Each advance publishes a version, which takes longer than all decisions before it.
            if number % TOGETHER == TOGETHER - 1:
                loop.advance(TOGETHER * step_s)
    return loop


def symptoms(loop: FakeLoop, **options: Any) -> list[Symptom]:
    sights = Sights({"front": ["front"]})
    for topic, take in (("decisions", sights.decisions), ("rewards", sights.outcomes)):
        for message in loop.messages(topic):
            take(message.value, message.time_ms)
    return sights.of["front"].symptoms("front", loop.config.policies["front"].arguments, **options)


@pytest.mark.parametrize(
    ("arguments", "actions", "context"),
    [
        (f"{BASE} -q uA", BARE, {"user": {"city": "Lyon"}}),
        (f"{BASE} -q uI", WITH_FEATURES, {"user": {"city": "Lyon"}}),
        (f"{BASE} --interactions=uI", WITH_FEATURES, {"user": {"city": "Lyon"}}),
        (f"{BASE} -q ::", WITH_FEATURES, {"user": {"city": "Lyon"}}),
        (f"{BASE} -q u_ --id_as_feature", BARE, {"user": {"city": "Lyon"}}),
        (f"{BASE} -q xA --letter user=x", BARE, {"user": {"city": "Lyon"}}),
        (f"{BASE} -q uA --ignore p", BARE, {"user": {"city": "Lyon"}, "page": {"name": "home"}}),
        (BASE, BARE, {}),
        (f"{BASE} --nn 3", BARE, {"user": {"city": "Lyon"}}),
    ],
)
def test_a_policy_that_learns_has_no_symptom(arguments: str, actions: list[Any], context: dict[str, Any]) -> None:
    assert symptoms(loop_after(arguments, actions, context)) == []


@pytest.mark.parametrize(
    ("arguments", "actions", "context", "reason", "fatal", "parts"),
    [
        (
            f"{BASE} -q uA",
            BARE,
            {"person": {"age": 3}},
            "crossed_not_sent",
            True,
            ["letter u", "p (person)", "`-q uA`"],
        ),
        (f"{BASE} -q ua", BARE, {"user": {"age": 3}}, "crossed_not_sent", True, ["letter a", "upper case"]),
        (f"{BASE} -q uA", WITH_FEATURES, {"user": {"age": 3}}, "crossed_not_sent", True, ["letter A", "I (item)"]),
        (f"{BASE} -q uA -q pA", BARE, {"user": {"age": 3}}, "crossed_not_sent", False, ["`-q pA`", "letter p"]),
        (BASE, BARE, {"user": {"age": 3}}, "sent_not_used", True, ["namespace user", "`-q uA`"]),
        (f"{BASE} -q uu", BARE, {"user": {"age": 3}}, "sent_not_used", True, ["namespace user"]),
        (
            f"{BASE} -q uA",
            BARE,
            {"user": {"age": 3}, "page": {"n": 1}, "hour": {"n": 1}},
            "sent_not_used",
            False,
            ["namespaces hour, page:", "`-q hA -q pA`"],
        ),
    ],
)
def test_crossings_that_meet_nothing(
    arguments: str, actions: list[Any], context: dict[str, Any], reason: str, fatal: bool, parts: list[str]
) -> None:
    loop = loop_after(arguments, actions, context, decisions=25)
    by_reason = {symptom.reason: symptom for symptom in symptoms(loop)}
    assert by_reason[reason].fatal is fatal
    for part in parts:
        assert part in by_reason[reason].sentence


def test_a_few_decisions_say_nothing() -> None:
    assert symptoms(loop_after(f"{BASE} -q uA", BARE, {"person": {"age": 3}}, decisions=19)) == []


def test_probabilities_that_stand_while_rewards_differ() -> None:
    """The actions bring the same features, so nothing tells boots and hat apart."""
    loop = loop_after(f"{BASE} -q uI", ALIKE, {"user": {"city": "Lyon"}}, decisions=120)
    symptoms_found = symptoms(loop)
    assert [(symptom.reason, symptom.fatal) for symptom in symptoms_found] == [("probabilities_stand", True)]
    (symptom,) = symptoms_found
    assert "boots earns 0." in symptom.sentence
    assert "0.500 and 0.500" in symptom.sentence
    assert symptoms(loop, held=True) == []


def test_probabilities_that_stand_for_good_reason() -> None:
    """Rewards that do not differ, or that could not be learned yet, are no symptom."""
    same = f"{BASE} -q uI"
    assert symptoms(loop_after(same, ALIKE, {"user": {"city": "Lyon"}}, decisions=120, step_s=0.01)) == []
    assert symptoms(loop_after(f"{same} --first 1000", ALIKE, {"user": {"city": "Lyon"}}, decisions=120)) == []


def test_the_metric_of_the_learn_role() -> None:
    loop = loop_after(f"{BASE} -q uA", BARE, {"person": {"age": 3}}, decisions=30)
    watch = Watch(loop.config)
    for number, message in enumerate(loop.messages("rewards")):
        watch.take(message.value, message.time_ms, 1000.0 * number)
    watch.judge("front", held=False)
    values = {reason: metrics.CANNOT_LEARN.labels("front", reason)._value.get() for reason in ("crossed_not_sent",)}
    assert values == {"crossed_not_sent": 1}
    assert [watch.due(moment) for moment in (0.0, 4999.0, 5000.0)] == [True, False, True]


def test_a_challenger_that_learns_from_what_another_decides_is_looked_at() -> None:
    """Its crossings are compared with what is sent; the probabilities are those of the policy that decided."""
    loop = loop_after(f"{BASE} -q uA", BARE, {"user": {"city": "Lyon"}})
    sights = Sights({"front": ["front"], "challenger": ["front"], "elsewhere": ["cart"]})
    for topic, take in (("decisions", sights.decisions), ("rewards", sights.outcomes)):
        for message in loop.messages(topic):
            take(message.value, message.time_ms)
    (unmet, unused) = sights.of["challenger"].symptoms("challenger", f"{BASE} -q xA")
    assert (unmet.reason, unused.reason) == (CROSSED_NOT_SENT, SENT_NOT_USED)
    assert sights.of["challenger"].symptoms("challenger", f"{BASE} -q uA") == []
    assert sights.of["elsewhere"].symptoms("elsewhere", f"{BASE} -q xA") == []


def test_the_probabilities_of_another_policy_say_nothing_of_one_that_learns_from_it() -> None:
    """It stands where it decides, while the probabilities of another move where it only learns."""
    own = f"{BASE} -q uI"
    loop = loop_after(own, ALIKE, {"user": {"city": "Lyon"}}, decisions=120)
    sights = Sights({"front": ["front", "cart"]})
    for message in loop.messages("rewards"):
        sights.outcomes(message.value, message.time_ms, decisions=True)
    for message in loop.messages("decisions"):
        decision = json.loads(message.value or b"") | {"placement": "cart", "policy": "another", "pmf": [0.9, 0.1]}
        sights.decisions(json.dumps(decision).encode(), message.time_ms)
    assert [one.reason for one in sights.of["front"].symptoms("front", own)] == [PROBABILITIES_STAND]
