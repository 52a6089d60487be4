"""Laws 5 and 6 in what is logged: the pmf that was drawn from, the propensity of what was drawn, and no chance."""

import json
from collections.abc import Sequence
from typing import Any

from policies.decide import Decided, LoadedPolicy, Opened, RequestRules, decide, open_request
from policies.draw import choose
from policies.features import ActionCache
from policies.question import Pick, Pmf, Question
from records.limits import Limits

PMF = [0.6, 0.1, 0.3]


class Fixed:
    """A policy that always says the same; where all actions are as likely, a wrong propensity would be right."""

    kind, arguments = "fixed", ""

    def predict(self, question: Question, taken: Sequence[Pick] = ()) -> Pmf:
        return list(PMF)

    def learn(self, *example: Any) -> None:
        raise AssertionError("decide never learns")

    def dump(self) -> bytes:
        return b""

    def close(self) -> None:
        pass


def decided(event_id: str) -> bytes:
    asked = {"event_id": event_id, "placement": "front", "actions": [{"id": name} for name in "abc"]}
    rules = RequestRules({"front"}, lambda policy: False, ActionCache(Limits()).action, Limits())
    opened = open_request(json.dumps(asked).encode(), rules, event_id="made", now_ms=0, expires_at_ms=1000)
    assert isinstance(opened, Opened)
    result = decide(opened, LoadedPolicy("front", Fixed(), "1-00000000", "front", b"{}"), 0)
    assert isinstance(result, Decided)
    return result.value


def test_law_6_the_logged_propensity_is_that_of_the_action_drawn() -> None:
    chosen = set()
    for number in range(200):
        decision = json.loads(decided(f"visit-{number}"))
        index = "abc".index(decision["chosen"])
        assert decision["propensity"] == PMF[index]
        chosen.add(index)
    assert chosen == {0, 1, 2}


def test_law_6_the_logged_pmf_is_the_one_that_was_drawn_from() -> None:
    for number in range(200):
        decision = json.loads(decided(f"visit-{number}"))
        assert decision["pmf"] == PMF
        assert decision["chosen"] == "abc"[choose("front", f"visit-{number}", decision["pmf"])]


def test_law_5_the_same_request_and_version_draw_the_same() -> None:
    for number in range(50):
        assert decided(f"visit-{number}") == decided(f"visit-{number}")
