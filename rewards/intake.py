"""What a join worker reads becomes steps on the store: a pure core, without Kafka, Redis or a clock.

A worker offers the messages of its input partitions to an :class:`Intake`, takes portions out of it, applies each
to every shard, and acknowledges its messages when all shards have stored it. A tick's claims tell the
shards of inputs on which nothing happens.
"""

from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from heapq import merge
from typing import NamedTuple

from records.codec import items
from records.decision import decision_head, fingerprint
from records.errors import BadInput
from records.feedback import feedback
from records.position import Place
from records.rule import rule_of
from rewards.rules import deadline_ms, milliseconds, opens_ms
from rewards.store import Claim, DecisionItem, FeedbackItem, Inputs, Step
from rewards.watermark import entry_after

LEAST_BYTES = len('{"event_id":"."}')
FEW_ITEMS = 20
"""Of longer arrays an item that is shorter than any record is not decoded: decoding costs many times its bytes."""
NO_RECORD = BadInput("invalid_field", "value", f"less than {LEAST_BYTES} bytes", "a record with an event_id")

Input = tuple[str, int]
"""A topic and a partition of it."""


class Message(NamedTuple):
    """A message of an input: ``time_ms`` is its log time, ``value`` None for a tombstone."""

    topic: str
    partition: int
    offset: int
    time_ms: int
    value: bytes | None
    key: bytes | None = None


class Rejected(NamedTuple):
    """What cannot be used: it becomes a dead letter with its reason and its bytes."""

    message: Message
    item: int
    error: BadInput
    value: bytes | None


class Fetched(NamedTuple):
    """How far the consumer is in a partition: its position, and the offset after the last record handed out.

    A position beyond ``handed`` has passed offsets that hold no record (markers of transactions, compaction).
    """

    position: int
    handed: int


@dataclass(frozen=True, slots=True)
class JoinSettings:
    """What the core must know.

    ``decisions`` is the topic of decisions, ``shard_of`` places an event id; ``hold`` and ``passes_over`` are a
    recovery's: its hold on the shards, and which feedback it leaves out.
    """

    decisions: str
    prefix: str
    shards: int
    shard_of: Callable[[str], int]
    early_s: float = 120.0
    close_grace_ms: int = 250
    closed_ttl_s: float = 86_400.0
    feedback_limit: int = 1000
    feedback_bytes: int = 16 * 1024
    decision_bytes: int = 1024 * 1024
    portion_items: int = 200
    hold: str = ""
    passes_over: Callable[[DecisionItem | FeedbackItem], bool] | None = None


@dataclass(slots=True)
class _Reading:
    """One input partition: ``next`` is the offset after the last applied message."""

    next: int
    fresh: bool
    waiting: deque[Message] = field(default_factory=deque)


@dataclass(frozen=True, slots=True)
class Portion:
    """What is applied together: per part (an array may need several), a step for each shard.

    ``messages`` may be acknowledged when every step of every part is stored, in order;
    ``rejected`` must stand in the dead letters by then.
    """

    parts: list[dict[int, Step]]
    messages: list[Message]
    rejected: list[Rejected]


class Intake:
    """The input partitions of one worker, and where it stands in each."""

    def __init__(self, settings: JoinSettings) -> None:
        self.settings = settings
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

    def waits(self, message: Message) -> bool:
        """Tell whether this message waits to be applied."""
        reading = self._readings.get((message.topic, message.partition))
        return reading is not None and reading.next <= message.offset

    def expected(self, topic: str, partition: int) -> int | None:
        """Return the offset that the next message of a partition should have, if nothing is missing."""
        reading = self._readings.get((topic, partition))
        if reading is None:
            return None
        return reading.waiting[-1].offset + 1 if reading.waiting else reading.next

    def offer(self, message: Message) -> bool:
        """Take in a message; False if its partition is not (any more) read here or it was applied already."""
        expected = self.expected(message.topic, message.partition)
        if expected is None or message.offset < expected:
            return False
        self._readings[message.topic, message.partition].waiting.append(message)
        return True

    def take(self, hold_line_ms: int) -> Portion | None:
        """Return the next portion of what waits at log times up to ``hold_line_ms``, or None.

        It stays in the intake until :meth:`applied`.
        """
        taken: list[Message] = []
        found: list[DecisionItem | FeedbackItem] = []
        rejected: list[Rejected] = []
        queues = [reading.waiting for reading in self._readings.values()]
        for message in merge(*queues, key=lambda each: each.time_ms):
            if len(found) + len(rejected) >= self.settings.portion_items or message.time_ms > hold_line_ms:
                break
            taken.append(message)
            self._decode(message, found, rejected)
        if not taken:
            return None
        return Portion(self._parts(taken, found), taken, rejected)

    def applied(self, portion: Portion) -> None:
        """Note that every shard has stored a portion."""
        for message in portion.messages:
            reading = self._readings.get((message.topic, message.partition))
            if reading is not None and reading.waiting and reading.waiting[0].offset == message.offset:
                reading.waiting.popleft()
                reading.next = message.offset + 1
                reading.fresh = False

    def tick(
        self, tick_ms: int, ends: Mapping[Input, int], fetched: Mapping[Input, Fetched], inputs: Inputs | None
    ) -> dict[int, Step]:
        """Return the step of a tick for each shard.

        Parameters
        ----------
        tick_ms
            The log time of the tick.
        ends
            The end offsets, asked *after* the tick was appended.
        fetched
            How far the consumer is. A partition that is missing here or in ``ends`` claims nothing.
        inputs
            All inputs, asked after the tick.
        """
        grace_ms = self.settings.close_grace_ms
        claims: list[Claim] = []
        for name, reading in self._readings.items():
            read_to_ms, end = None, reading.next
            if reading.waiting:
                read_to_ms = entry_after(reading.waiting[0].time_ms, grace_ms)
            elif name in ends and name in fetched:
                position, handed = fetched[name]
                if position >= ends[name] and reading.next >= min(handed, ends[name]):
                    # What lies between are markers of transactions: they count as read before retention removes them.
                    read_to_ms, end = entry_after(tick_ms, grace_ms), max(reading.next, ends[name])
            claims.append(Claim(*name, reading.next, end, read_to_ms, reading.fresh))
        step = Step(claims, (), inputs, feedback_limit=self.settings.feedback_limit, hold=self.settings.hold)
        return dict.fromkeys(range(self.settings.shards), step)

    def ticked(self, claims: Mapping[int, Step]) -> None:
        """Note that every shard has stored a tick: it has answered for these partitions."""
        for step in claims.values():
            for claim in step.claims:
                if (reading := self._readings.get((claim.topic, claim.partition))) is not None:
                    reading.fresh = False
                    if not reading.waiting:
                        reading.next = max(reading.next, claim.end)

    def _decode(self, message: Message, found: list[DecisionItem | FeedbackItem], rejected: list[Rejected]) -> None:
        try:
            bodies = items(message.value)
        except BadInput as error:
            rejected.append(Rejected(message, -1, error, message.value))
            return
        for index, body in enumerate(bodies):
            if len(body) < LEAST_BYTES and len(bodies) > FEW_ITEMS:
                rejected.append(Rejected(message, index, NO_RECORD, body))
                continue
            place = Place(message.time_ms, message.topic, message.partition, message.offset, index)
            try:
                item = self._item(place, body)
                if self.settings.passes_over is None or not self.settings.passes_over(item):
                    found.append(item)
            except BadInput as error:
                rejected.append(Rejected(message, index, error, body))

    def _item(self, place: Place, body: bytes) -> DecisionItem | FeedbackItem:
        settings = self.settings
        limit = settings.decision_bytes if place.topic == settings.decisions else settings.feedback_bytes
        if len(body) > limit:
            raise BadInput("too_large", "value", f"{len(body)} bytes", f"at most {limit} bytes")
        if place.topic != settings.decisions:
            event_id = feedback(body).event_id
            return FeedbackItem(place, event_id, place.time_ms + milliseconds(settings.early_s), body)
        head = decision_head(body)
        rule = rule_of(head.rule)
        ttl_ms = milliseconds(settings.closed_ttl_s)
        if 2 * milliseconds(rule.window_s) > ttl_ms:
            raise BadInput(
                "window_too_long",
                "rule.window_s",
                f"{rule.window_s} s",
                f"at most half of closed_ttl_s ({ttl_ms} ms)",
            )
        return DecisionItem(
            place,
            head.event_id,
            head.policy,
            fingerprint(head),
            max(0, opens_ms(rule, place.time_ms)),
            deadline_ms(rule, place.time_ms),
            place.time_ms + ttl_ms,
            tuple(settings.prefix + stream for stream in rule.reward.close_on),
            body,
        )

    def _parts(self, taken: list[Message], found: list[DecisionItem | FeedbackItem]) -> list[dict[int, Step]]:
        size = self.settings.portion_items
        slices = [found[start : start + size] for start in range(0, len(found), size)] or [[]]
        begin: list[Claim] = []
        done: list[Claim] = []
        for name in dict.fromkeys((message.topic, message.partition) for message in taken):
            reading = self._readings[name]
            last = [message for message in taken if (message.topic, message.partition) == name][-1]
            read_to_ms = entry_after(last.time_ms, self.settings.close_grace_ms)
            begin.append(Claim(*name, reading.next, reading.next, None, reading.fresh))
            done.append(Claim(*name, reading.next, last.offset + 1, read_to_ms, reading.fresh))
        parts: list[dict[int, Step]] = []
        for number, part in enumerate(slices, 1):
            claims = done if number == len(slices) else begin
            by_shard: dict[int, list[DecisionItem | FeedbackItem]] = {
                shard: [] for shard in range(self.settings.shards)
            }
            for item in part:
                by_shard[self.settings.shard_of(item.event_id)].append(item)
            parts.append(
                {
                    shard: Step(claims, own, feedback_limit=self.settings.feedback_limit, hold=self.settings.hold)
                    for shard, own in by_shard.items()
                }
            )
        return parts
