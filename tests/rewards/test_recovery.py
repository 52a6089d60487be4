"""Where a recovery begins: nothing that may have no outcome yet is left out."""

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from rewards.recovery import Frontiers, Window, outcome_heads

Decided = tuple[str, int, int, int | None]
"""Policy, log time, window in ms, and when it closed early (as a share of the window, in tenths)."""

decided = st.tuples(
    st.sampled_from(["front", "side"]), st.integers(0, 50), st.integers(0, 40), st.none() | st.integers(0, 10)
)


def outcome(policy: str, seq: int, event_id: str, time_ms: int, closed_ms: int) -> dict[str, Any]:
    """Return what is read of an outcome."""
    place = {"time_ms": time_ms, "topic": "decisions", "partition": 0, "offset": 0, "index": 0}
    record = {"placement": policy, "policy": policy, "shard": 0, "outcome_seq": seq, "event_id": event_id}
    return record | {"closed_ms": closed_ms, "decision_position": place}


@given(st.lists(decided, max_size=12), st.integers(0, 12), st.integers(0, 12))
def test_what_has_no_outcome_yet_is_always_among_the_unfinished(log: list[Decided], fronts: int, sides: int) -> None:
    """Windows close in the order of (deadline, event id), and each policy has emitted a beginning of that."""
    closing: list[tuple[int, str, Decided]] = []
    for number, each in enumerate(log):
        _, time_ms, window_ms, early = each
        deadline_ms = time_ms + (window_ms if early is None else window_ms * early // 10)
        closing.append((deadline_ms, f"e{number:02d}", each))
    closing.sort()
    emitted = {"front": fronts, "side": sides}
    frontiers, seqs, left = Frontiers(), {"front": 0, "side": 0}, []
    for deadline_ms, event_id, (policy, time_ms, window_ms, _) in closing:
        if seqs[policy] < emitted[policy]:
            seqs[policy] += 1
            value = json.dumps([outcome(policy, seqs[policy], event_id, time_ms, deadline_ms)]).encode()
            for head in outcome_heads(value):
                frontiers.see(head)
        else:
            left.append((policy, event_id, time_ms, window_ms))
    scan_ms = frontiers.scan_from_ms(["front", "side"], 1, 40)
    for policy, event_id, time_ms, window_ms in left:
        rule = {"window_s": window_ms / 1000}
        value = json.dumps({"event_id": event_id, "placement": policy, "policy": policy, "rule": rule}).encode()
        assert frontiers.unfinished_in(value, time_ms, lambda _: 0) == 1
        assert time_ms >= scan_ms
    assert frontiers.seqs(0) == {policy: seq for policy, seq in seqs.items() if seq}


@given(st.lists(decided, max_size=12), st.integers(0, 12), st.integers(0, 12))
def test_what_had_an_outcome_that_was_removed_is_always_among_the_removed(
    log: list[Decided], given_count: int, removed_count: int
) -> None:
    closing = []
    for number, (_, time_ms, window_ms, early) in enumerate(log):
        closed_ms = time_ms + (window_ms if early is None else window_ms * early // 10)
        closing.append((closed_ms, Window(f"e{number:02d}", "front", time_ms, time_ms + window_ms, early is not None)))
    closing.sort(key=lambda each: (each[0], each[1].event_id))
    closing = closing[:given_count]
    frontiers = Frontiers()
    for seq, (closed_ms, window) in enumerate(closing, 1):
        if seq > removed_count:
            value = json.dumps([outcome("front", seq, window.event_id, window.time_ms, closed_ms)]).encode()
            for head in outcome_heads(value):
                frontiers.see(head)
    if removed_count >= len(closing) > 0:
        frontiers.none_left("front", 0, len(closing), closing[-1][0])
    removed = closing[:removed_count]
    assert all(frontiers.removed(window, 0) for _, window in removed)
    assert all(frontiers.removed_after(closed_ms - 1) for closed_ms, _ in removed)
    assert removed or not any(frontiers.removed(window, 0) for _, window in closing)


def test_repeats_and_what_is_no_outcome_do_not_move_the_frontier() -> None:
    frontiers = Frontiers()
    records = [
        outcome("front", 7, "g", 1, 9),
        {"placement": "front", "policy": "front", "shard": 0, "outcome_seq": 99},
        outcome("front", 6, "f", 1, 8),
        outcome("side", 0, "no seq of a join", 1, 9),
        outcome("front", 2**53 - 1, "of another program", 1, 99),
    ]
    for head in outcome_heads(json.dumps(records).encode()):
        frontiers.see(head)
    assert frontiers.seqs(0) == {"front": 7}
    assert not frontiers.unfinished("front", 0, 8)
    assert frontiers.unfinished("front", 0, 9)
    assert frontiers.unfinished("side", 0, 0)
    assert list(outcome_heads(None)) == list(outcome_heads(b"{")) == []
