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
    decision_place: _Time


class _Decided(msgspec.Struct, frozen=True, gc=False):
    event_id: str
    placement: str
    rule: RawRule


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
    """The last outcome of a placement and shard: its seq and its final deadline."""

    outcome_seq: int
    deadline_ms: int


class Frontiers:
    """How far ``rewards`` goes, by placement and shard.

    Attributes
    ----------
    last
        The last outcome by (placement, shard).
    first
        The lowest seq by (placement, shard).
    """

    def __init__(self) -> None:
        self.last: dict[tuple[str, int], Frontier] = {}
        self.first: dict[tuple[str, int], int] = {}

    def see(self, head: OutcomeHead) -> None:
        """Take in an outcome."""
        key = head.placement, head.shard
        last = self.last.get(key)
        if gap_too_large(last.outcome_seq if last is not None else 0, head.outcome_seq):
            return
        self.first[key] = min(head.outcome_seq, self.first.get(key, head.outcome_seq))
        if last is None or head.outcome_seq > last.outcome_seq:
            self.last[key] = Frontier(head.outcome_seq, head.closed_ms)

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
        try:
            bodies = items(value)
        except BadInput:
            return 0
        count = 0
        for body in bodies:
            with suppress(BadInput, *UNREADABLE):
                decision = _decided(body)
                deadline = deadline_ms(rule_of(decision.rule), time_ms)
                count += self.unfinished(decision.placement, shard_of(decision.event_id), deadline)
        return count
