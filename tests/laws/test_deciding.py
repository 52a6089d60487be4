"""Laws 3, 5, 6 and 7 at decide: what a request becomes, without a broker."""

import json
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import pytest

from policies.draw import choose
from policies.features import Action, Catalogue, Features, Limits
from rewards.decision import Chooser, Decided, Refused, decide
from stream.deciding import LOG_APPEND_TIME, Request
from stream.requests import Envelope

NOW_MS = 1_700_000_000_000
PMF = [0.6, 0.3, 0.1]


class Fixed:
    """A policy that always says the same."""

    kind, arguments = "fixed", ""

    def predict(self, context: Features, actions: Sequence[Action]) -> list[float]:
        return list(PMF)

    def learn(self, *told: Any) -> None:
        raise AssertionError("decide never learns")

    def dump(self) -> bytes:
        return b""

    def close(self) -> None:
        pass


def decided(event_id: str = "e", *, age_ms: int = 0, ttl_ms: int = 1000, pending: bool = False) -> Decided | Refused:
    """Return what a request of an age becomes; ``pending``: too many decisions wait already."""
    asked = {"event_id": event_id, "policy": "front", "actions": [{"id": name} for name in "abc"]}
    return decide(
        json.dumps(asked).encode(),
        event_id="made",
        now_ms=NOW_MS,
        expires_at_ms=NOW_MS - age_ms + ttl_ms,
        choosers={"front": Chooser(Fixed(), "1-00000000", "front", b"{}")},
        overloaded=lambda policy: pending,
        action=Catalogue(Limits()).action,
        limits=Limits(),
    )


@pytest.mark.parametrize("age_ms", [0, 1000, 1001, 3_600_000])
def test_law_3_a_request_that_nobody_waits_for_any_more_gets_no_decision(age_ms: int) -> None:
    result = decided(age_ms=age_ms)
    if age_ms <= 1000:
        assert isinstance(result, Decided)
        assert json.loads(result.value)["expires_at_ms"] == NOW_MS - age_ms + 1000
    else:
        assert isinstance(result, Refused)
        assert result.problem.code == "expired"


@pytest.mark.parametrize("took_ms", [0, 1000, 1001])
def test_law_3_a_decision_whose_append_stalled_is_not_answered(took_ms: int) -> None:
    """Its log time lies beyond its expiry: it stands in the log, and nobody hears of it."""
    result = decided()
    record = SimpleNamespace(timestamp=NOW_MS, partition=0, key=None, value=b"{}", headers=())
    request = Request(record, Envelope("replies.one", (), 1000, None), False, [result], [])
    assert len(request.messages()) == 1
    answer = SimpleNamespace(offset=0, timestamp=NOW_MS + took_ms, timestamp_type=LOG_APPEND_TIME)
    assert request.appended([answer]) is (took_ms <= 1000)


def test_law_5_the_same_request_and_version_make_the_same_decision() -> None:
    for number in range(20):
        assert decided(f"visit-{number}") == decided(f"visit-{number}")


def test_law_6_the_logged_propensity_is_that_of_the_action_drawn() -> None:
    chosen = set()
    for number in range(200):
        result = decided(f"visit-{number}")
        assert isinstance(result, Decided)
        told = json.loads(result.value)
        index = "abc".index(told["chosen"])
        assert told["pmf"] == PMF
        assert told["propensity"] == PMF[index]
        assert index == choose("front", f"visit-{number}", told["pmf"])
        chosen.add(index)
    assert chosen == {0, 1, 2}


def test_law_7_a_policy_with_too_many_pending_decisions_refuses() -> None:
    result = decided(pending=True)
    assert isinstance(result, Refused)
    assert result.problem.code == "overloaded"
