"""The join's state in memory: for tests and the loop in one process, and to read along with ``join.lua``."""

from bisect import insort
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from records.errors import LossDetected
from rewards.store import (
    DEAD_LETTERS,
    NEEDED,
    PORTION_BYTES,
    Claim,
    ClosedWindow,
    Closing,
    DecisionItem,
    FeedbackItem,
    Transaction,
    TransactionResult,
    Unusable,
    WindowFeedback,
    behind,
    not_free,
    other_log,
)
from rewards.watermark import INPUTS, partition_name, shard_watermark

LETTER_BYTES = 1000
"""A small letter costs a call as much as one of so many bytes."""


@dataclass(slots=True)
class _Entry:
    """One decision that waits: its first copy, the time of its first rival, and when it closes.

    ``dropped_ms``: per topic, when the first feedback came that was dropped beyond the limit.
    """

    first: DecisionItem
    rival_ms: int | None = None
    deadline_ms: int = 0
    dropped_ms: dict[str, int] = field(default_factory=dict)


@dataclass(slots=True)
class _Shard:
    log: str = ""
    offsets: dict[str, int] = field(default_factory=dict)
    input_watermarks: dict[str, int] = field(default_factory=dict)
    entries: dict[str, _Entry] = field(default_factory=dict)
    feedback: dict[str, list[FeedbackItem]] = field(default_factory=dict)
    closed: dict[str, int] = field(default_factory=dict)
    seq: Counter[str] = field(default_factory=Counter)
    outboxes: dict[str, list[ClosedWindow | Unusable]] = field(default_factory=dict)
    hold: str = ""
    counted: dict[str, int] = field(default_factory=dict)


class MemoryStore:
    """The store in memory: for tests, for users' own tests, and to read along with ``join.lua``."""

    def __init__(self) -> None:
        self._shards: dict[int, _Shard] = {}

    async def apply(self, shard: int, log: str, transaction: Transaction) -> TransactionResult:
        """See :meth:`JoinStore.apply`."""
        state = self._shards.setdefault(shard, _Shard())
        if state.hold != transaction.hold:
            raise not_free(shard, state.hold)
        try:
            _check(state, shard, log, transaction.claims)
        except LossDetected:
            state.hold = state.hold or NEEDED
            raise
        state.log = log
        return _Applying(state, transaction).run()

    async def outboxes(self, shard: int) -> dict[str, int]:
        """See :meth:`JoinStore.outboxes`."""
        return dict(self._shards.setdefault(shard, _Shard()).seq)

    async def head(
        self, shard: int, outbox: str, limit: int, limit_bytes: int = PORTION_BYTES
    ) -> list[ClosedWindow] | list[Unusable]:
        """See :meth:`JoinStore.head`."""
        entries: list[ClosedWindow | Unusable] = []
        size = 0
        for entry in self._shards[shard].outboxes.get(outbox, [])[:limit]:
            if size >= limit_bytes:
                break
            entries.append(entry)
            size += _size(entry)
        return entries  # type: ignore[return-value]

    async def trim(self, shard: int, outbox: str, seq: int) -> None:
        """See :meth:`JoinStore.trim`."""
        entries = self._shards[shard].outboxes
        entries[outbox] = [entry for entry in entries.get(outbox, []) if entry.seq > seq]

    async def pending(self, shard: int) -> dict[str, int]:
        """See :meth:`JoinStore.pending`."""
        entries = self._shards.setdefault(shard, _Shard()).entries.values()
        return dict(Counter(entry.first.placement for entry in entries))

    async def held(self, shard: int) -> str:
        """See :meth:`JoinStore.held`."""
        return self._shards.setdefault(shard, _Shard()).hold

    async def hold(self, shard: int, hold: str) -> None:
        """See :meth:`JoinStore.hold`."""
        state = self._shards.setdefault(shard, _Shard())
        state.hold = hold
        if not hold:
            state.counted.clear()

    async def reset(self, shard: int, log: str, hold: str, seqs: Mapping[str, int]) -> None:
        """See :meth:`JoinStore.reset`."""
        self._shards[shard] = _Shard(log, seq=Counter(seqs), hold=hold)

    async def remember(self, shard: int, closings: Sequence[Closing]) -> None:
        """See :meth:`JoinStore.remember`."""
        state = self._shards[shard]
        for closing in closings:
            state.closed[closing.event_id] = closing.dedup_until_ms
            state.counted[closing.event_id] = closing.deadline_ms


def _size(entry: ClosedWindow | Unusable) -> int:
    feedback = entry.feedback if isinstance(entry, ClosedWindow) else ()
    return len(entry.body) + sum(len(event.body) for event in feedback)


def _check(state: _Shard, shard: int, log: str, claims: Sequence[Claim]) -> None:
    if state.log not in ("", log):
        raise other_log(shard, state.log, log)
    for claim in claims:
        stored = state.offsets.get(partition_name(claim.topic, claim.partition))
        if (stored is None and not claim.fresh) or (stored is not None and stored < claim.start):
            raise behind(shard, claim, stored)


class _Applying:
    """One call on one shard."""

    def __init__(self, state: _Shard, transaction: Transaction) -> None:
        self.state, self.transaction = state, transaction
        self.stored = {
            partition_name(claim.topic, claim.partition): state.offsets.get(
                partition_name(claim.topic, claim.partition), claim.start
            )
            for claim in transaction.claims
        }
        self.closed: Counter[str] = Counter()
        self.repeats = self.late = self.behind_watermark = 0
        self.written = 0

    def run(self) -> TransactionResult:
        state, transaction = self.state, self.transaction
        for item in transaction.items:
            name = partition_name(item.position.topic, item.position.partition)
            if item.position.offset < self.stored[name]:
                self.repeats += 1
                continue
            self.behind_watermark += item.position.time_ms < state.input_watermarks.get(name, 0)
            if isinstance(item, DecisionItem):
                self.decision(item)
            else:
                self.feedback(item)
        for claim in transaction.claims:
            name = partition_name(claim.topic, claim.partition)
            state.offsets[name] = max(self.stored[name], claim.end)
            if claim.watermark_ms is not None:
                state.input_watermarks[name] = max(state.input_watermarks.get(name, 0), claim.watermark_ms)
        if transaction.inputs is not None:
            for topic, partition in transaction.inputs.partitions:
                state.input_watermarks.setdefault(partition_name(topic, partition), 0)
            state.input_watermarks[INPUTS] = max(state.input_watermarks.get(INPUTS, 0), transaction.inputs.watermark_ms)
        now_ms, held_by = shard_watermark(state.input_watermarks)
        left = self.purge(now_ms)
        next_ms = self.close(now_ms)
        reported_ms = now_ms if next_ms is None else min(now_ms, next_ms)
        counts = (self.repeats, self.late, self.behind_watermark)
        return TransactionResult(reported_ms, held_by, dict(self.closed), *counts, left or next_ms is not None)

    def decision(self, item: DecisionItem) -> None:
        if item.position.time_ms <= self.state.closed.get(item.event_id, -1):
            self.repeats += 1
            return
        entry = self.state.entries.get(item.event_id)
        if entry is None:
            entry = self.state.entries[item.event_id] = _Entry(item)
        elif item.position < entry.first.position:
            if item.fingerprint != entry.first.fingerprint:
                entry.rival_ms = entry.first.position.time_ms
            entry.first = item
        elif item.position == entry.first.position:
            return
        else:
            self.repeats += 1
            if item.fingerprint != entry.first.fingerprint:
                entry.rival_ms = min(entry.rival_ms or item.position.time_ms, item.position.time_ms)
            return
        self.settle(entry)

    def feedback(self, item: FeedbackItem) -> None:
        if item.position.time_ms <= self.state.closed.get(item.event_id, -1):
            if item.position.time_ms <= self.state.counted.get(item.event_id, -1):
                self.repeats += 1
            else:
                self.unusable(item, "late")
            return
        known = self.state.feedback.setdefault(item.event_id, [])
        if any(item.position == other.position for other in known):
            return
        insort(known, item, key=lambda other: other.position)
        if (entry := self.state.entries.get(item.event_id)) is not None:
            self.settle(entry)

    def settle(self, entry: _Entry) -> None:
        """Find the deadline of an entry again, and drop what lies beyond the limit of its feedback."""
        first = entry.first
        known = self.state.feedback.get(first.event_id, [])
        times = [(item.position.topic, item.position.time_ms) for item in known] + list(entry.dropped_ms.items())
        closing = [time_ms for topic, time_ms in times if self.closes(first, topic, time_ms)]
        lowered = max(first.position.time_ms, min(closing, default=first.deadline_ms))
        entry.deadline_ms = min(first.deadline_ms, lowered)
        self.drop_beyond_limit(entry, self.transaction.close_bytes)

    def drop_beyond_limit(self, entry: _Entry, most: int) -> bool:
        """Drop the last of its feedback until so many bytes are written; tell whether all of it is dropped."""
        known = self.state.feedback.get(entry.first.event_id, [])
        within = [item for item in known if item.position.time_ms >= entry.first.opens_ms]
        for item in reversed(within[self.transaction.feedback_limit :]):
            if self.written >= most:
                return False
            known.remove(item)
            topic, time_ms = item.position.topic, item.position.time_ms
            entry.dropped_ms[topic] = min(entry.dropped_ms.get(topic, time_ms), time_ms)
            self.unusable(item, "too_many")
        return True

    def give_up_early(self, entry: _Entry, most: int) -> bool:
        """Give up what came before the window opened, as far as :meth:`drop_beyond_limit` does."""
        known = self.state.feedback.get(entry.first.event_id, [])
        for item in [item for item in known if item.position.time_ms < entry.first.opens_ms]:
            if self.written >= most:
                return False
            known.remove(item)
            self.unusable(item, "early")
        return True

    @staticmethod
    def closes(first: DecisionItem, topic: str, time_ms: int) -> bool:
        return topic in first.close_on and first.opens_ms <= time_ms <= first.deadline_ms

    def purge(self, now_ms: int) -> bool:
        """Give up feedback whose decision never came, up to the limit; tell whether some is left."""
        state = self.state
        state.closed = {event_id: until for event_id, until in state.closed.items() if until >= now_ms}
        due = [
            (item.waits_until_ms, event_id.encode(), item)
            for event_id, known in state.feedback.items()
            if event_id not in state.entries
            for item in known
            if item.waits_until_ms < now_ms
        ]
        most = self.written + self.transaction.close_bytes
        for _, _, item in sorted(due, key=lambda each: (*each[:2], each[2].position)):
            if self.written >= most:
                return True
            state.feedback[item.event_id].remove(item)
            if not state.feedback[item.event_id]:
                del state.feedback[item.event_id]
            self.unusable(item, "unknown_decision")
        return False

    def close(self, now_ms: int) -> int | None:
        """Close what is due, up to the limit; return the next deadline that is due, or None."""
        state = self.state
        due = sorted(
            (
                (entry.deadline_ms, event_id.encode(), entry)
                for event_id, entry in state.entries.items()
                if entry.deadline_ms < now_ms
            ),
            key=lambda each: each[:2],
        )
        most = self.written + self.transaction.close_bytes
        for number, (deadline_ms, _, entry) in enumerate(due):
            if number == self.transaction.close_limit or self.written >= most:
                return deadline_ms
            # A flood of feedback for one event id takes several calls.
            if not self.drop_beyond_limit(entry, most) or not self.give_up_early(entry, most):
                return deadline_ms
            first = entry.first
            within: list[WindowFeedback] = []
            for item in state.feedback.pop(first.event_id, []):
                if item.position.time_ms > deadline_ms:
                    self.unusable(item, "late")
                else:
                    within.append(WindowFeedback(item.position, item.body))
            state.seq[first.placement] += 1
            window = ClosedWindow(
                state.seq[first.placement],
                first.event_id,
                deadline_ms,
                first.position,
                entry.rival_ms,
                first.body,
                tuple(within),
            )
            state.outboxes.setdefault(first.placement, []).append(window)
            self.written += _size(window)
            self.closed[first.placement] += 1
            state.closed[first.event_id] = first.dedup_until_ms
            del state.entries[first.event_id]
        return None

    def unusable(self, item: FeedbackItem, reason: str) -> None:
        state = self.state
        state.seq[DEAD_LETTERS] += 1
        letter = Unusable(state.seq[DEAD_LETTERS], item.event_id, item.position, reason, item.body)
        state.outboxes.setdefault(DEAD_LETTERS, []).append(letter)
        self.closed[DEAD_LETTERS] += 1
        self.written += max(len(item.body), LETTER_BYTES)
        self.late += reason == "late"
