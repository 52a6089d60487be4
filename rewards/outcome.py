"""A closed window becomes an outcome: a pure function of what the store popped."""

import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from msgspec import Raw

from records.codec import encode
from records.decision import DecisionHead, decision_head
from records.feedback import CountedFeedback, Feedback, feedback
from records.outcome import Outcome, Why
from records.rule import rule_of
from rewards.rules import Event, activated, counted, deadline_ms, rewards
from rewards.store import ClosedWindow, WindowFeedback

MESSAGE_BYTES = 256 * 1024
"""Outcomes are packed into arrays of up to this many bytes."""
WHOLE_FEEDBACK_BYTES = 1024 * 1024
"""Where the counted feedback of a window is larger, only the fields that the loop knows stay in its outcome."""


def event_of(stream: str, kept: WindowFeedback, record: Feedback) -> Event:
    """Return a feedback as the rules see it; without an id of its own, its position is its identity."""
    position = kept.position
    by_position = f"{stream}-{position.partition}-{position.offset}-{position.index}"
    identity = by_position if record.id is None else record.id
    return Event(stream, identity, record.value, bool(record.activate), record.action)


def outcome_of(shard: int, prefix: str, window: ClosedWindow) -> Outcome:
    """Return the outcome of a closed window.

    Parameters
    ----------
    shard
        The shard of the window.
    prefix
        What stands before a stream's name in its topic.
    window
        The window as the store popped it.
    """
    head = decision_head(window.body)
    rule = rule_of(head.rule)
    whole = sum(len(kept.body) for kept in window.feedback) <= WHOLE_FEEDBACK_BYTES
    records: dict[int, CountedFeedback] = {}
    events: list[Event] = []
    for kept in window.feedback:
        position, decoded = kept.position, feedback(kept.body)
        stream = position.topic.removeprefix(prefix)
        event = event_of(stream, kept, decoded)
        events.append(event)
        records[id(event)] = CountedFeedback(
            stream=stream,
            time_ms=position.time_ms,
            partition=position.partition,
            offset=position.offset,
            index=position.index,
            event=Raw(kept.body if whole else encode(decoded)),
        )
    that_count = counted(events)
    why = _why(head, window, that_count)
    of_places = rewards(rule.reward, head.shown, that_count)
    return Outcome(
        event_id=head.event_id,
        placement=head.placement,
        policy=head.policy,
        policy_version=head.policy_version,
        shard=shard,
        outcome_seq=window.seq,
        reward=math.fsum(of_places),
        rewards=of_places if head.picks else [],
        places=len(head.shown),
        learn=why in ("window", "early"),
        why=why,
        closed_ms=window.deadline_ms,
        decision_position=window.position,
        feedback=[records[id(event)] for event in that_count],
        decision=Raw(window.body),
    )


def _why(head: DecisionHead, window: ClosedWindow, events: list[Event]) -> Why:
    rule = rule_of(head.rule)
    if window.rival_ms is not None and window.rival_ms <= window.deadline_ms:
        return "conflicting"
    if head.expires_at_ms is not None and window.position.time_ms > head.expires_at_ms:
        return "expired"
    if not activated(rule, head.activate, events):
        return "not_activated"
    return "early" if window.deadline_ms < deadline_ms(rule, window.position.time_ms) else "window"


class OutcomeMessage(NamedTuple):
    """A message of ``rewards``: some outcomes of one placement and shard, in the order of their seqs, and its bytes."""

    outcomes: Sequence[Outcome]
    value: bytes


def messages_of(
    shard: int, prefix: str, windows: Sequence[ClosedWindow], limit: int = MESSAGE_BYTES
) -> Iterator[OutcomeMessage]:
    """Yield the messages of ``rewards`` for the head of an outbox.

    Each has at most ``limit`` bytes, or one outcome. Each must be acknowledged, and the outbox trimmed up to its last
    seq, before the next is sent.
    """
    outcomes = [outcome_of(shard, prefix, window) for window in windows]
    sent = 0
    for count, value in pack([encode(outcome) for outcome in outcomes], limit):
        yield OutcomeMessage(outcomes[sent : sent + count], value)
        sent += count


def pack(records: list[bytes], limit: int = MESSAGE_BYTES) -> list[tuple[int, bytes]]:
    """Pack encoded records into JSON arrays of up to ``limit`` bytes, each with how many records it holds.

    >>> pack([b"1", b"22", b"3"], limit=4)
    [(2, b'[1,22]'), (1, b'[3]')]
    """
    arrays: list[tuple[int, bytes]] = []
    part: list[bytes] = []
    size = 0
    for record in records:
        if part and size + len(record) > limit:
            arrays.append((len(part), b"[" + b",".join(part) + b"]"))
            part, size = [], 0
        part.append(record)
        size += len(record) + 1
    if part:
        arrays.append((len(part), b"[" + b",".join(part) + b"]"))
    return arrays
