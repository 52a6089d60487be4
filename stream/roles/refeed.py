"""Reads the join's inputs once more, from given offsets to given ends, into a store that is held for it."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager
from typing import NamedTuple

from aiokafka import AIOKafkaConsumer
from aiokafka.structs import TopicPartition

from records.message import WholeMessage
from rewards.intake import Fetched, Input, Intake, JoinSettings, Message, Portion, Rejected
from rewards.rules import milliseconds
from rewards.store import Claim, Inputs, JoinStore, Step
from rewards.watermark import entry_after, hold_line
from stream.config import Config
from stream.kafka.consumer import reading
from stream.kafka.log import log_record, started
from stream.shutdown import closed

WAITING_BYTES = 4 * 1024 * 1024
"""A partition is read on only while fewer bytes of its messages wait here."""
FETCH_BYTES = 2 * 1024 * 1024
POLL_MS = 100


class Ends(NamedTuple):
    """The inputs at one moment.

    Attributes
    ----------
    tick_ms
        The log time of a tick that was appended before the ends were asked.
    begins
        Where each log starts.
    readable, written
        Up to where it can be read (its end, or its first open transaction), and its end.
    """

    tick_ms: int
    begins: dict[Input, int]
    readable: dict[Input, int]
    written: dict[Input, int]


Archived = Callable[[Input], Iterator[WholeMessage]]
"""Gives what lies in the archive and not in Kafka any more."""


class Refeed:
    """The way of the inputs' messages through the intake into the store, in the order of their log times.

    Memory is bounded: a partition is read on only while few of its messages wait.

    Parameters
    ----------
    log
        The name of the log.
    starts
        Where each input is read from.
    progress
        Called with how many of how many offsets have been passed.
    """

    def __init__(
        self,
        store: JoinStore,
        log: str,
        settings: JoinSettings,
        starts: Mapping[Input, int],
        ends: Ends,
        progress: Callable[[int, int], None],
    ) -> None:
        self._store, self._log, self._settings, self._ends = store, log, settings, ends
        self._starts, self._progress = starts, progress
        self._intake = Intake(settings)
        for name, start in starts.items():
            self._intake.assign(*name, start, fresh=True)
        self._positions = dict(starts)
        self._read_to = dict.fromkeys(range(settings.shards), 0)
        self._waiting = dict.fromkeys(starts, 0)
        self._inputs = Inputs(tuple(starts), entry_after(ends.tick_ms, settings.close_grace_ms))

    async def run(self, config: Config, from_ms: int, archived: Archived) -> AsyncIterator[list[Rejected]]:
        """Feed all; yield what cannot be used before the store takes the step that passes it.

        Parameters
        ----------
        from_ms
            Nothing that was appended before this log time is of any use.
        """
        entry = entry_after(from_ms, self._settings.close_grace_ms)
        claims = [Claim(*name, start, start, entry, True) for name, start in self._starts.items()]
        await self._step_all(dict.fromkeys(self._read_to, Step(claims, (), self._inputs, hold=self._settings.hold)))
        old = {name: archived(name) for name in self._starts}
        async with _reading(config, self._starts, self._ends) as consumer:
            while True:
                await self._fill(consumer, old)
                behind = self._behind()
                hungry = any(not self._intake.waiting_of(*name) for name in behind)
                line = hold_line(self._read_to.values(), milliseconds(self._settings.closed_ttl_s))
                portion = None if hungry else self._intake.take(line)
                if portion is not None:
                    yield portion.rejected
                    # Redis works while the next messages are fetched and unpacked.
                    await asyncio.gather(self._apply(portion), self._fill(consumer, old))
                elif not hungry:
                    await self._tick()
                    if not behind and not any(self._intake.waiting_of(*name) for name in self._starts):
                        return

    def _behind(self) -> list[Input]:
        """Return the partitions of which something is still to be fetched."""
        return [name for name, position in self._positions.items() if position < self._ends.readable[name]]

    async def _fill(self, consumer: AIOKafkaConsumer, old: dict[Input, Iterator[WholeMessage]]) -> None:
        wanted = [name for name in self._behind() if self._waiting[name] < WAITING_BYTES]
        for name in [name for name in wanted if name in old]:
            for message in old[name]:
                self._offer(message)
                if self._waiting[name] >= WAITING_BYTES:
                    break
            else:
                del old[name]
        partitions = [TopicPartition(*name) for name in wanted if name not in old]
        if not partitions:
            return
        hungry = any(not self._intake.waiting_of(*name) for name in wanted)
        found = await consumer.getmany(*partitions, timeout_ms=POLL_MS if hungry else 0)
        for records in found.values():
            for record in records:
                if record.offset < self._ends.readable[record.topic, record.partition]:
                    self._offer(log_record(record))
        for partition in partitions:
            self._positions[partition.topic, partition.partition] = await consumer.position(partition)
        await asyncio.sleep(0)

    def _offer(self, message: WholeMessage) -> None:
        name = message.topic, message.partition
        if self._intake.offer(Message(*name, message.offset, message.time_ms, message.value, message.key)):
            self._waiting[name] += len(message.value or b"")

    async def _apply(self, portion: Portion) -> None:
        for part in portion.parts:
            await self._step_all(part)
        self._intake.applied(portion)
        for message in portion.messages:
            self._waiting[message[:2]] -= len(message.value or b"")
        passed = sum((self._intake.applied_to(*name) or 0) - start for name, start in self._starts.items())
        self._progress(passed, sum(self._ends.readable[name] - start for name, start in self._starts.items()))

    async def _tick(self) -> None:
        """Say of what has been read to its end that nothing more comes before the tick."""
        fetched = {
            name: Fetched(self._positions[name], self._intake.applied_to(*name) or 0)
            for name in self._starts
            if name not in self._behind()
        }
        await self._step_all(self._intake.tick(self._ends.tick_ms, self._ends.written, fetched, self._inputs))

    async def _step_all(self, steps: Mapping[int, Step]) -> None:
        await asyncio.gather(*(self._step(shard, step) for shard, step in steps.items()))

    async def _step(self, shard: int, step: Step) -> None:
        while True:
            done = await self._store.step(shard, self._log, step)
            self._read_to[shard] = max(self._read_to[shard], done.read_to_ms)
            if not done.more:
                return
            step = Step(feedback_limit=step.feedback_limit, hold=step.hold)


@asynccontextmanager
async def _reading(config: Config, starts: Mapping[Input, int], ends: Ends) -> AsyncIterator[AIOKafkaConsumer]:
    consumer = await started(
        reading(
            bootstrap_servers=config.brokers,
            client_id="bowerbird-recover",
            group_id=None,
            enable_auto_commit=False,
            auto_offset_reset="none",
            max_partition_fetch_bytes=FETCH_BYTES,
            fetch_max_wait_ms=POLL_MS,
        )
    )
    try:
        consumer.assign([TopicPartition(*name) for name in starts])
        for name, start in starts.items():
            consumer.seek(TopicPartition(*name), max(start, ends.begins[name]))
        yield consumer
    finally:
        await closed(consumer)
