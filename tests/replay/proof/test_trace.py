"""The reasons that a trace gives agree with the rules, and with what a replay learns."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Raw

from policies.controls import SHAPES, Control
from records.outcome import Outcome
from records.policy_version import PolicyVersion
from records.position import LogPosition
from records.rule import rule_of
from records.shape import UNSHAPED
from replay.proof.oracle import LoggedDecision, LoggedFeedback, expected_outcomes
from replay.proof.trace import FoundOutcomeRecord, fate_of, verdict_on
from rewards.outcome import outcome_of
from rewards.store import ClosedWindow, WindowFeedback
from tests.real.loop import decision

TTL_MS = 10_000
LIMIT = 4
RULE = {"window_s": 2.0, "early_s": 1.0, "reward": {"close_on": ["buys"], "streams": {"clicks": {"weight": 1.0}}}}

times = st.integers(0, 12_000)
events = st.lists(st.tuples(times, st.sampled_from(["clicks", "buys"]), st.sampled_from("abc")), max_size=8)


def position(time_ms: int, topic: str, offset: int) -> LogPosition:
    return LogPosition(time_ms, topic, 0, offset, 0)


@given(times, events)
def test_what_counts_is_said_to_count_and_every_other_reason_is_true(
    decided_ms: int, history: list[tuple[int, str, str]]
) -> None:
    rule = rule_of(Raw(msgspec.json.encode(RULE)))
    logged = LoggedDecision(position(decided_ms, "", 0), "front", ("a",), b"", True, None, False, rule, b"")
    feedback = [
        LoggedFeedback(position(time_ms, stream, number), name, 0.0, False, None, b"")
        for number, (time_ms, stream, name) in enumerate(history)
    ]
    (expected,) = expected_outcomes([logged], feedback, dedup_horizon_ms=TTL_MS, feedback_limit=LIMIT)
    for event in feedback:
        verdict = verdict_on(event, expected)
        assert (verdict == "counts") == (event in expected.counted)
        assert (verdict == "early") == (event.position.time_ms < expected.opens_ms)
        assert (verdict == "late") == (event.position.time_ms > expected.deadline_ms)
        same = [each for each in expected.counted if (each.position.topic, each.id) == (event.position.topic, event.id)]
        assert (verdict == "repeat") <= (len(same) == 1 and same[0].position < event.position)
    # What is beyond the limit comes after as many others.
    in_window = sorted(
        (event for event in feedback if event.position.time_ms >= expected.opens_ms), key=lambda e: e.position
    )
    assert all(in_window.index(event) >= LIMIT for event in feedback if verdict_on(event, expected) == "too_many")


def outcome(seq: int, **fields: object) -> Outcome:
    body = msgspec.json.encode(decision("visit-1"))
    clicked = WindowFeedback(position(500, "clicks", 3), b'{"event_id":"visit-1"}')
    computed = outcome_of(
        0, "", ClosedWindow(seq, "visit-1", 1000, position(0, "decisions", 0), None, body, (clicked,))
    )
    return msgspec.structs.replace(computed, **fields)


def version(
    number: int, seq: int, cut: int, control: Control | None = None, rebuilt_to: int | None = None
) -> PolicyVersion:
    return PolicyVersion(
        placements=("front",),
        policy="front",
        number=number,
        version=f"{number}-00000000",
        kind="uniform",
        arguments="",
        salt="front",
        cut=cut,
        last_seqs={"front/0": seq},
        digest="",
        examples=seq,
        control=control,
        shape=SHAPES[control] if control else UNSHAPED,
        rebuilt_to=rebuilt_to,
    )


LEARNED = [version(1, 2, 3), version(2, 6, 7), version(3, 9, 12)]
FATES = [
    (LEARNED, {}, "learned", "2-00000000"),
    (LEARNED[:1], {}, "waiting", None),
    ([], {}, "waiting", None),
    (LEARNED, {"learn": False, "why": "conflicting"}, "not_to_be_learned", None),
    ([version(1, 2, 3), version(2, 2, 3, "freeze"), version(3, 6, 7, "unfreeze")], {}, "held", "2-00000000"),
    ([version(1, 2, 3), version(2, 2, 3, "uniform")], {}, "held", "2-00000000"),
    ([version(1, 2, 3, "freeze"), version(2, 2, 3, "unfreeze"), version(3, 6, 7)], {}, "learned", "3-00000000"),
    ([*LEARNED, version(4, 9, 12, None, 5)], {}, "taken_back", "4-00000000"),
    ([*LEARNED, version(4, 9, 12, None, 6)], {}, "learned", "2-00000000"),
]


@pytest.mark.parametrize(("versions", "fields", "fate", "tells"), FATES)
def test_the_fate_of_an_outcome(
    versions: list[PolicyVersion], fields: dict[str, object], fate: str, tells: str | None
) -> None:
    record = FoundOutcomeRecord(position(2000, "rewards", 5), outcome(5, **fields))
    assert fate_of(record, versions)[:2] == (fate, tells)


def test_an_outcome_that_its_policy_could_not_learn() -> None:
    record = FoundOutcomeRecord(position(2000, "rewards", 5), outcome(5), refused=True)
    assert fate_of(record, LEARNED)[0] == "refused"
