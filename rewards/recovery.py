"""Where a rebuilding of the join's state begins, and what it need not do again: functions of the logs alone.

Windows of one placement and shard close in the order of (deadline, event id), and leave in the order of their seqs. So
the last outcome in ``rewards`` says which decisions are finished: all whose window ends before its deadline. Everything
else is read again from the inputs, and closes again under the same seqs.
"""

from collections.abc import Callable, Collection, Iterator
from contextlib import suppress
from typing import NamedTuple

import msgspec

from records.codec import UNREADABLE, items
from records.errors import BadInput
from records.fields import Integer, Ordinal, Positive, RawRule
from records.limits import ITEMS_LIMIT
from records.rule import rule_of
from records.sequence import gap_too_large
from rewards.rules import deadline_ms


class _Time(msgspec.Struct, frozen=True, gc=False):
    time_ms: Integer


class OutcomeHead(msgspec.Struct, frozen=True, gc=False):
    """What is read of an outcome to find out how far the join has come."""

    placement: str
    shard: Ordinal
    outcome_seq: Positive
    event_id: str
    closed_ms: Integer
    decision_position: _Time


class _Decided(msgspec.Struct, frozen=True, gc=False):
    event_id: str
    placement: str
    rule: RawRule


class Window(NamedTuple):
    """The window of a logged decision: when the decision was logged, when it ends, whether feedback may end it before.

    Attributes
    ----------
    time_ms, deadline_ms
        Log times in ms.
    """

    event_id: str
    placement: str
    time_ms: int
    deadline_ms: int
    closes_early: bool


def windows_in(value: bytes | None, time_ms: int) -> Iterator[Window]:
    """Yield the windows of a message of ``decisions``; what is not a decision is passed over."""
    try:
        bodies = items(value)
    except BadInput:
        return
    for body in bodies:
        with suppress(BadInput, *UNREADABLE):
            decision = _decided(body)
            rule = rule_of(decision.rule)
            closes_early = bool(rule.reward.close_on)
            yield Window(decision.event_id, decision.placement, time_ms, deadline_ms(rule, time_ms), closes_early)


_outcomes = msgspec.json.Decoder(list[OutcomeHead]).decode
_outcome = msgspec.json.Decoder(OutcomeHead).decode
_decided = msgspec.json.Decoder(_Decided).decode


def outcome_heads(value: bytes | None) -> Iterator[OutcomeHead]:
    """Yield the outcomes of a message of ``rewards``; what is not an outcome is passed over.

    >>> list(outcome_heads(b'[{"placement": "front", "shard": 0, "outcome_seq": 3}, 1]'))
    []
    """
    try:
        heads = _outcomes(value or b"")
        if len(heads) <= ITEMS_LIMIT:
            yield from heads
            return
    except UNREADABLE:
        pass  # one of them is not as it should be
    try:
        bodies = items(value)
    except BadInput:
        return
    for body in bodies:
        with suppress(*UNREADABLE):
            yield _outcome(body)


class Frontier(NamedTuple):
    """An outcome of a placement and shard: its seq and its final deadline."""

    outcome_seq: int
    deadline_ms: int


class Frontiers:
    """How far ``rewards`` goes, by placement and shard.

    Attributes
    ----------
    last
        The last outcome by (placement, shard).
    first
        That of the lowest seq by (placement, shard). Above seq 1, those before it were removed.
    """

    def __init__(self) -> None:
        self.last: dict[tuple[str, int], Frontier] = {}
        self.first: dict[tuple[str, int], Frontier] = {}

    def see(self, head: OutcomeHead) -> None:
        """Take in an outcome."""
        key = head.placement, head.shard
        last = self.last.get(key)
        if gap_too_large(last.outcome_seq if last is not None else 0, head.outcome_seq):
            return
        here = Frontier(head.outcome_seq, head.closed_ms)
        if key not in self.first or here.outcome_seq < self.first[key].outcome_seq:
            self.first[key] = here
        if last is None or here.outcome_seq > last.outcome_seq:
            self.last[key] = here

    def none_left(self, placement: str, shard: int, outcome_seq: int, time_ms: int) -> None:
        """Note that the outcomes up to a seq, which was given before a log time, were removed; where none is left."""
        if (placement, shard) not in self.last:
            self.last[placement, shard] = Frontier(outcome_seq, time_ms)
            self.first[placement, shard] = Frontier(outcome_seq + 1, time_ms)

    def seqs(self, shard: int) -> dict[str, int]:
        """Return the last seq of each placement in a shard."""
        return {placement: last.outcome_seq for (placement, number), last in self.last.items() if number == shard}

    def scan_from_ms(self, placements: Collection[str], shards: int, longest_ms: int) -> int:
        """Return the log time before which every decision is finished; 0: nothing is known of one of the placements.

        Parameters
        ----------
        longest_ms
            No window is longer.
        """
        wanted = {(placement, shard) for placement in placements for shard in range(shards)}
        if wanted - self.last.keys():
            return 0
        return max(0, min((last.deadline_ms for last in self.last.values()), default=0) - longest_ms)

    def unfinished(self, placement: str, shard: int, deadline: int) -> bool:
        """Tell whether a decision with this deadline may have no outcome yet."""
        last = self.last.get((placement, shard))
        return last is None or deadline >= last.deadline_ms

    def unfinished_in(self, value: bytes | None, time_ms: int, shard_of: Callable[[str], int]) -> int:
        """Return how many decisions of a message may have no outcome yet."""
        return sum(
            self.unfinished(window.placement, shard_of(window.event_id), window.deadline_ms)
            for window in windows_in(value, time_ms)
        )

    def removed_after(self, time_ms: int) -> bool:
        """Tell whether outcomes may have been removed that closed after a log time."""
        return any(first.outcome_seq > 1 and first.deadline_ms > time_ms for first in self.first.values())

    def removed(self, window: Window, shard: int) -> bool:
        """Tell whether the outcome of a decision was removed, unless it is among those that are left."""
        first = self.first.get((window.placement, shard))
        if first is None or first.outcome_seq == 1:
            return False
        return (window.time_ms if window.closes_early else window.deadline_ms) <= first.deadline_ms
