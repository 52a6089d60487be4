"""The join worker: what is read becomes transactions on the store, and their answers say what may be acknowledged.

It is pure: no Kafka, Redis or clock. Its driver offers the messages of the input partitions, carries out the
transactions of each work on the shards, gives the answers back, and acknowledges what :meth:`JoinWorker.done` returns.
The role, the recovery, the loop in one process and the laws all drive this object.
"""

from collections import deque
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from heapq import merge
from typing import NamedTuple

from records.errors import BadInput
from records.limits import HOUR_MS
from rewards.join_items import Input, InputMessage, JoinSettings, Rejected, decode_items
from rewards.rules import milliseconds
from rewards.store import (
    PORTION_BYTES,
    Claim,
    DecisionItem,
    FeedbackItem,
    Inputs,
    JoinStore,
    Transaction,
    TransactionResult,
)
from rewards.watermark import hold_line, input_watermark

FUTURE_MS = HOUR_MS
"""No broker's clock is so far ahead of another's: what is dated beyond it was not dated by a broker."""


class Fetched(NamedTuple):
    """How far the consumer is in a partition: its position, and the offset after the last record handed out.

    A position beyond ``handed`` has passed offsets that hold no record (markers of transactions, compaction).
    """

    position: int
    handed: int


@dataclass(slots=True)
class _Reading:
    """One input partition: ``next`` is the offset after the last applied message."""

    next: int
    fresh: bool
    waiting: deque[InputMessage] = field(default_factory=deque)


@dataclass(frozen=True, slots=True)
class Work:
    """What is applied together: per part (an array may need several), the first transaction of each shard.

    Attributes
    ----------
    parts
        To be carried out in order, each to its end on every shard (:meth:`JoinWorker.applied`).
    messages
        What it applies; a tick applies none.
    rejected
        What must be in the dead letters before the first transaction.
    """

    parts: Sequence[Mapping[int, Transaction]]
    messages: Sequence[InputMessage] = ()
    rejected: Sequence[Rejected] = ()


class JoinWorker:
    """The input partitions of one worker, its position in each, and how far each shard has come.

    Attributes
    ----------
    watermark_ms
        The watermark of each shard, as its last answer said.
    clock_ms
        The log time of the last tick; None: there was none yet.
    """

    def __init__(self, settings: JoinSettings) -> None:
        self.settings = settings
        self.watermark_ms = dict.fromkeys(range(settings.shards), 0)
        self.clock_ms: int | None = None
        self._readings: dict[Input, _Reading] = {}

    def assign(self, topic: str, partition: int, start: int, fresh: bool) -> None:
        """Begin to read a partition at ``start``; ``fresh`` as in :class:`rewards.store.Claim`."""
        self._readings[topic, partition] = _Reading(start, fresh)

    def revoke(self, topic: str, partition: int) -> None:
        """Forget a partition that was given away; what waits is read by its next owner."""
        self._readings.pop((topic, partition), None)

    @property
    def inputs(self) -> list[Input]:
        """The partitions that are read."""
        return list(self._readings)

    def waiting_of(self, topic: str, partition: int) -> int:
        """Return how many messages of a partition wait to be applied."""
        reading = self._readings.get((topic, partition))
        return len(reading.waiting) if reading is not None else 0

    def applied_to(self, topic: str, partition: int) -> int | None:
        """Return the offset after the last applied message of a partition; None: it is not read here."""
        reading = self._readings.get((topic, partition))
        return None if reading is None else reading.next

    def waits(self, message: InputMessage) -> bool:
        """Tell whether this message waits to be applied."""
        reading = self._readings.get((message.topic, message.partition))
        return reading is not None and reading.next <= message.offset

    def expected(self, topic: str, partition: int) -> int | None:
        """Return the offset that the next message of a partition should have, if nothing is missing."""
        reading = self._readings.get((topic, partition))
        if reading is None:
            return None
        return reading.waiting[-1].offset + 1 if reading.waiting else reading.next

    def offer(self, message: InputMessage) -> bool:
        """Take in a message; False if its partition is not (any more) read here or it was applied already."""
        expected = self.expected(message.topic, message.partition)
        if expected is None or message.offset < expected:
            return False
        self._readings[message.topic, message.partition].waiting.append(message)
        return True

    def next(self) -> Work | None:
        """Return what is to be applied next, None: nothing that may be applied now waits.

        What it returned stays in the worker until it is :meth:`done`. A message that is dated far beyond the last tick
        is rejected: it would wait for ever, and all that comes after it in its partition. A message waits while a shard
        is so far behind it that a closed event id might be forgotten too early (:func:`rewards.watermark.hold_line`).
        """
        line_ms = hold_line(self.watermark_ms.values(), milliseconds(self.settings.dedup_horizon_s))
        taken: list[InputMessage] = []
        items: list[DecisionItem | FeedbackItem] = []
        rejected: list[Rejected] = []
        size = 0
        queues = [reading.waiting for reading in self._readings.values()]
        for message in merge(*queues, key=lambda each: each.time_ms):
            future = self._is_future(message)
            full = len(items) + len(rejected) >= self.settings.portion_items or size >= PORTION_BYTES
            if full or (message.time_ms > line_ms and not future):
                break
            taken.append(message)
            size += len(message.value or b"")
            if future:
                rejected.append(Rejected(message, -1, _future_time(message, self.clock_ms or 0), message.value))
            else:
                decode_items(self.settings, message, items, rejected)
        if not taken:
            return None
        return Work(self._parts(taken, items), taken, rejected)

    def tick(
        self,
        tick_ms: int,
        ends: Mapping[Input, int],
        fetched: Mapping[Input, Fetched],
        inputs: Collection[Input] | None,
    ) -> Work:
        """Return what tells the shards of inputs on which nothing happens.

        Parameters
        ----------
        tick_ms
            The log time of the tick.
        ends
            The end offsets, asked *after* the tick was appended.
        fetched
            How far the consumer is. A partition that is missing here or in ``ends`` claims nothing.
        inputs
            All partitions of all inputs, asked after the tick; None: an input is missing.
        """
        self.clock_ms = tick_ms
        watermark_ms = input_watermark(tick_ms, self.settings.close_grace_ms)
        claims: list[Claim] = []
        for name, reading in self._readings.items():
            claimed_ms, end = None, reading.next
            if reading.waiting:
                claimed_ms = self._watermark_of(reading.waiting[0])
            elif name in ends and name in fetched:
                position, handed = fetched[name]
                if position >= ends[name] and reading.next >= min(handed, ends[name]):
                    # What lies between are markers of transactions: they count as read before retention removes them.
                    claimed_ms, end = watermark_ms, max(reading.next, ends[name])
            claims.append(Claim(*name, reading.next, end, claimed_ms, reading.fresh))
        transaction = self._transaction(claims, inputs=None if inputs is None else Inputs(tuple(inputs), watermark_ms))
        return Work([dict.fromkeys(self.watermark_ms, transaction)])

    def applied(self, shard: int, answer: TransactionResult) -> Transaction | None:
        """Note a shard's answer; return the transaction that it needs before the next one of its work, None: none."""
        self.watermark_ms[shard] = max(self.watermark_ms[shard], answer.watermark_ms)
        return self._transaction() if answer.more else None

    def done(self, work: Work) -> Sequence[InputMessage]:
        """Note that every shard has stored a work; return the messages that may be acknowledged."""
        if not work.messages:
            self._ticked(work)
        for message in work.messages:
            reading = self._readings.get((message.topic, message.partition))
            if reading is not None and reading.waiting and reading.waiting[0].offset == message.offset:
                reading.waiting.popleft()
                reading.next = message.offset + 1
                reading.fresh = False
        return work.messages

    def _ticked(self, work: Work) -> None:
        """Note that every shard has answered for the partitions of a tick."""
        for part in work.parts:
            for claim in next(iter(part.values())).claims:
                if (reading := self._readings.get((claim.topic, claim.partition))) is not None:
                    reading.fresh = False
                    if not reading.waiting:
                        reading.next = max(reading.next, claim.end)

    def _parts(
        self, taken: list[InputMessage], items: list[DecisionItem | FeedbackItem]
    ) -> list[dict[int, Transaction]]:
        size = self.settings.portion_items
        slices = [items[start : start + size] for start in range(0, len(items), size)] or [[]]
        last = {(message.topic, message.partition): message for message in taken}
        begin: list[Claim] = []
        done: list[Claim] = []
        for name, message in last.items():
            reading = self._readings[name]
            watermark_ms = self._watermark_of(message)
            begin.append(Claim(*name, reading.next, reading.next, None, reading.fresh))
            done.append(Claim(*name, reading.next, message.offset + 1, watermark_ms, reading.fresh))
        parts: list[dict[int, Transaction]] = []
        for number, part in enumerate(slices, 1):
            by_shard: dict[int, list[DecisionItem | FeedbackItem]] = {shard: [] for shard in self.watermark_ms}
            for item in part:
                by_shard[self.settings.shard_of(item.event_id)].append(item)
            claims = done if number == len(slices) else begin
            parts.append({shard: self._transaction(claims, own) for shard, own in by_shard.items()})
        return parts

    def _is_future(self, message: InputMessage) -> bool:
        return self.clock_ms is not None and message.time_ms > self.clock_ms + FUTURE_MS

    def _watermark_of(self, message: InputMessage) -> int | None:
        """Return the watermark that a message allows; None: its time says nothing of what comes after it."""
        return None if self._is_future(message) else input_watermark(message.time_ms, self.settings.close_grace_ms)

    def _transaction(
        self,
        claims: Sequence[Claim] = (),
        items: Sequence[DecisionItem | FeedbackItem] = (),
        inputs: Inputs | None = None,
    ) -> Transaction:
        settings = self.settings
        return Transaction(claims, items, inputs, settings.close_limit, settings.feedback_limit, settings.hold)


def _future_time(message: InputMessage, clock_ms: int) -> BadInput:
    return BadInput(
        "future_time", "log time", f"{message.time_ms} ms", f"at most an hour after the broker's {clock_ms} ms"
    )


class JoinState(NamedTuple):
    """The state that a join makes from one log, in a store.

    Attributes
    ----------
    store, log
        The store, and the name of the log.
    note
        Called with every answer of a shard.
    """

    store: JoinStore
    log: str
    note: Callable[[int, TransactionResult], None] = lambda shard, answer: None

    async def apply(self, shard: int, transaction: Transaction) -> TransactionResult:
        """Apply a transaction to a shard."""
        answer = await self.store.apply(shard, self.log, transaction)
        self.note(shard, answer)
        return answer


async def carry_out(worker: JoinWorker, state: JoinState, shard: int, transaction: Transaction) -> None:
    """Carry a transaction of a work out on its shard, to its end."""
    left: Transaction | None = transaction
    while left is not None:
        left = worker.applied(shard, await state.apply(shard, left))
