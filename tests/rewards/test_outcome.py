"""A closed window becomes an outcome: what counts, why it closed, whether it is learned, what it is worth."""

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from records.codec import encode
from records.decision import decision_head
from records.errors import BadInput
from records.feedback import feedback
from records.limits import ACTION_BYTES, INPUT_MESSAGE_BYTES, MOST_FEEDBACK
from records.outcome import Outcome
from records.position import LogPosition
from rewards.outcome import outcome_of, pack
from rewards.store import ClosedWindow, WindowFeedback
from stream.clients import LARGE_MESSAGE_BYTES

START_MS = 1_700_000_000_000


def window(
    *feedback: tuple[str, int, dict[str, Any]], deadline_ms: int = 500, rival_ms: int | None = None, **changes: Any
) -> ClosedWindow:
    """Return a window that closed; feedback is (stream, ms after the decision, fields)."""
    body: dict[str, Any] = {
        "v": 1,
        "event_id": "a",
        "placement": "front",
        "policy": "front",
        "context": {"age": 3},
        "actions": [{"id": "x"}, {"id": "y"}],
        "pmf": [0.5, 0.5],
        "chosen": "x",
        "propensity": 0.5,
        "policy_version": "1-00000000",
        "unknown": "kept",
        "rule": {
            "window_s": 0.5,
            "early_s": 0.2,
            "activate_on": None,
            "reward": {"streams": {"clicks": {"weight": 1.0, "aggregate": "sum"}, "buys": {"value": True}}},
        },
    } | changes
    kept = [
        WindowFeedback(
            LogPosition(START_MS + at_ms, "t-" + stream, 1, number, 2),
            json.dumps({"v": 1, "event_id": "a"} | fields).encode(),
        )
        for number, (stream, at_ms, fields) in enumerate(feedback)
    ]
    return ClosedWindow(
        7,
        "a",
        START_MS + deadline_ms,
        LogPosition(START_MS, "t-decisions", 0, 3, 0),
        None if rival_ms is None else START_MS + rival_ms,
        json.dumps(body).encode(),
        tuple(kept),
    )


def made(*feedback: tuple[str, int, dict[str, Any]], **changes: Any) -> Outcome:
    return outcome_of(2, "t-", window(*feedback, **changes))


def test_duplicate_check_of_one_stream_and_id_the_first_counts() -> None:
    outcome = made(("clicks", 1, {"id": "c"}), ("clicks", 2, {"id": "c"}), ("buys", 3, {"id": "c", "value": 4}))
    assert outcome.reward == 5.0
    assert [(each.stream, each.time_ms - START_MS) for each in outcome.feedback] == [("clicks", 1), ("buys", 3)]


def test_duplicate_check_without_an_id_the_place_is_the_identity() -> None:
    assert made(("clicks", 1, {}), ("clicks", 2, {})).reward == 2.0
    assert made(("clicks", 1, {"id": "clicks-1-1-2"}), ("clicks", 2, {})).reward == 1.0


@pytest.mark.parametrize("identity", ["", "0"])
def test_duplicate_check_an_id_is_one_even_when_it_is_empty_or_zero(identity: str) -> None:
    assert made(("clicks", 1, {"id": identity}), ("clicks", 2, {"id": identity})).reward == 1.0


def test_the_outcome_says_what_it_was_made_of() -> None:
    outcome = made(("clicks", 1, {"id": "c", "more": True}))
    assert (outcome.event_id, outcome.policy, outcome.shard, outcome.outcome_seq, outcome.revision) == (
        "a",
        "front",
        2,
        7,
        0,
    )
    assert outcome.closed_ms == START_MS + 500
    assert outcome.decision_position == LogPosition(START_MS, "t-decisions", 0, 3, 0)
    read = json.loads(encode(outcome))
    assert read["decision"]["unknown"] == "kept"
    assert read["feedback"][0]["event"] == {"v": 1, "event_id": "a", "id": "c", "more": True}
    assert msgspec.json.decode(encode(outcome), type=Outcome) == outcome


@pytest.mark.parametrize(
    ("rival_ms", "why"), [(None, "window"), (1, "conflicting"), (500, "conflicting"), (501, "window")]
)
def test_conflict_a_rival_counts_up_to_the_final_deadline(rival_ms: int | None, why: str) -> None:
    assert made(rival_ms=rival_ms).why == why
    assert made(rival_ms=rival_ms).learn is (why == "window")


@pytest.mark.parametrize("rival_ms", [100, 101])
def test_conflict_the_final_deadline_is_the_lowered_one(rival_ms: int) -> None:
    assert made(deadline_ms=100, rival_ms=rival_ms).why == ("conflicting" if rival_ms == 100 else "early")


@pytest.mark.parametrize(
    ("changes", "why", "learn"),
    [
        ({}, "window", True),
        ({"deadline_ms": 499}, "early", True),
        ({"expires_at_ms": START_MS}, "window", True),
        ({"expires_at_ms": START_MS - 1}, "expired", False),
        ({"activate": False}, "not_activated", False),
        ({"activate": False, "deadline_ms": 499}, "not_activated", False),
        ({"activate": False, "expires_at_ms": 0}, "expired", False),
        ({"activate": False, "expires_at_ms": 0, "rival_ms": 3}, "conflicting", False),
    ],
)
def test_why_it_closed_and_whether_it_is_learned(changes: dict[str, Any], why: str, learn: bool) -> None:
    outcome = made(("clicks", 1, {}), **changes)
    assert (outcome.why, outcome.learn, outcome.reward) == (why, learn, 1.0)


def test_only_what_counts_activates() -> None:
    assert made(("clicks", 1, {"id": "c", "activate": True}), activate=False).learn
    again = (("clicks", 1, {"id": "c"}), ("clicks", 2, {"id": "c", "activate": True}))
    assert not made(*again, activate=False).learn


@given(
    st.lists(st.binary(min_size=1, max_size=30).map(lambda content: json.dumps(content.hex()).encode()), max_size=20)
)
def test_packed_arrays_hold_every_record_once_and_keep_to_the_limit(records: list[bytes]) -> None:
    arrays = pack(records, limit=64)
    assert [each for _, array in arrays for each in json.loads(array)] == [json.loads(record) for record in records]
    assert [count for count, _ in arrays] == [len(json.loads(array)) for _, array in arrays]
    assert all(len(array) <= 64 + 2 or count == 1 for count, array in arrays)


def test_the_largest_outcome_fits_into_a_message() -> None:
    """A decision of a megabyte with as many places as it can list, and all feedback that it may wait with."""
    ids = [f"{number:x}" for number in range(18_000)]
    body = json.loads(window().body) | {"chosen": ids[0], "propensity": 1, "actions": [{"id": each} for each in ids]}
    body |= {"pmf": [1] + [0] * (len(ids) - 1), "picks": [{"action": each, "propensity": 1} for each in ids]}
    body["rule"]["reward"]["streams"] = {"c" * 64: {"value": True}}
    raw = json.dumps(body, separators=(",", ":")).encode()
    raw = raw[:-1] + b',"x":"' + b"x" * (INPUT_MESSAGE_BYTES - len(raw) - len(',"x":""')) + b'"}'
    decision_head(raw)
    event: dict[str, Any] = {
        "id": "\x01" * 126,
        "event_id": '"' * 128,
        "action": '"' * (ACTION_BYTES // 2 - 1),
        "value": -1.2345678901234567e-300,
    }
    kept = [
        WindowFeedback(
            LogPosition(START_MS + 1, "c" * 64, 2**31 - 1, 2**63 - 1 - number, 2**31 - 1),
            json.dumps(
                event
                | {"id": event["id"] + chr(32 + number // 32) + chr(number % 32), "activate": True, "x": "x" * 1000}
            ).encode(),
        )
        for number in range(MOST_FEEDBACK)
    ]
    large = window()._replace(body=raw, feedback=tuple(kept))
    outcome = outcome_of(2**31 - 1, "", large)
    assert len(outcome.feedback) > MOST_FEEDBACK * 0.99
    assert 2_500_000 < len(encode(outcome)) < LARGE_MESSAGE_BYTES - 100_000


@pytest.mark.parametrize("action", ["a" * (ACTION_BYTES - 1), "é" * (ACTION_BYTES // 2), "\x01" * 86, '"' * 256])
def test_an_action_is_bounded_by_its_bytes_as_json(action: str) -> None:
    with pytest.raises(BadInput, match="action: found") as refused:
        feedback(json.dumps({"event_id": "a", "action": action}).encode())
    assert refused.value.code == "invalid_field"
    shorter = action[:80]
    assert feedback(json.dumps({"event_id": "a", "action": shorter}).encode()).action == shorter
