"""Reads the join's inputs once more, from given offsets to given ends, into a store that is held for it."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import NamedTuple

from aiokafka import AIOKafkaConsumer
from aiokafka.errors import OffsetOutOfRangeError
from aiokafka.structs import TopicPartition

from records.errors import LossDetected
from records.message import WholeMessage
from rewards.join_items import Input, InputMessage, JoinSettings, Rejected
from rewards.join_worker import Fetched, JoinState, JoinWorker, Work, carry_out
from rewards.store import Claim, Inputs, Transaction
from rewards.watermark import input_watermark
from stream.config import Config
from stream.kafka.consumer import POLL_MS, reading
from stream.kafka.log import log_record
from stream.kafka.shorter_logs import starts_after
from stream.shutdown import closed, started

WAITING_BYTES = 4 * 1024 * 1024
"""A partition is read on only while fewer bytes of its messages wait here."""
FETCH_BYTES = 2 * 1024 * 1024


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
"""Gives the messages that the archive holds and Kafka no longer does."""


class Refeed:
    """The way of the inputs' messages through a worker into the store, in the order of their log times.

    Memory is bounded: a partition is read on only while few of its messages wait.

    Parameters
    ----------
    starts
        Where each input is read from.
    progress
        Called with how many of how many offsets have been passed.
    """

    def __init__(
        self,
        state: JoinState,
        settings: JoinSettings,
        starts: Mapping[Input, int],
        ends: Ends,
        progress: Callable[[int, int], None],
    ) -> None:
        self._state, self._settings = state, settings
        self._starts, self._ends, self._progress = starts, ends, progress
        self._worker = JoinWorker(settings)
        self._worker.clock_ms = ends.tick_ms
        for name, start in starts.items():
            self._worker.assign(*name, start, fresh=True)
        self._positions = dict(starts)
        self._waiting = dict.fromkeys(starts, 0)

    async def run(self, config: Config, from_ms: int, archived: Archived) -> AsyncIterator[Sequence[Rejected]]:
        """Feed all; yield what cannot be used before the store takes the transaction that passes it.

        Parameters
        ----------
        from_ms
            Nothing that was appended before this log time is of any use.
        """
        watermark = input_watermark(from_ms, self._settings.close_grace_ms)
        claims = [Claim(*name, start, start, watermark, True) for name, start in self._starts.items()]
        inputs = Inputs(tuple(self._starts), input_watermark(self._ends.tick_ms, self._settings.close_grace_ms))
        begin = Transaction(claims, (), inputs, hold=self._settings.hold)
        await self._carry_out(Work([dict.fromkeys(range(self._settings.shards), begin)]))
        old = {name: archived(name) for name in self._starts}
        async with _reading(config, self._starts, self._ends) as consumer:
            while True:
                await self._fill(consumer, old)
                behind = self._behind()
                hungry = any(not self._worker.waiting_of(*name) for name in behind)
                work = None if hungry else self._worker.next()
                if work is not None:
                    yield work.rejected
                    # Redis works while the next messages are fetched and unpacked.
                    await asyncio.gather(self._apply(work), self._fill(consumer, old))
                elif not hungry:
                    await self._tick()
                    if not behind and not any(self._worker.waiting_of(*name) for name in self._starts):
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
        hungry = any(not self._worker.waiting_of(*name) for name in wanted)
        try:
            fetched = await consumer.getmany(*partitions, timeout_ms=POLL_MS if hungry else 0)
        except OffsetOutOfRangeError:
            raise await self._overtaken(consumer, partitions) from None
        for records in fetched.values():
            for record in records:
                if record.offset < self._ends.readable[record.topic, record.partition]:
                    self._offer(log_record(record))
        for partition in partitions:
            self._positions[partition.topic, partition.partition] = await consumer.position(partition)
        await asyncio.sleep(0)

    async def _overtaken(self, consumer: AIOKafkaConsumer, partitions: Sequence[TopicPartition]) -> LossDetected:
        """Return the refusal where retention has removed what comes next."""
        begins = await consumer.beginning_offsets(partitions)
        where, begin = max(begins.items(), key=lambda each: each[1] - self._positions[tuple(each[0])])
        return starts_after(where, self._positions[tuple(where)], begin)

    def _offer(self, message: WholeMessage) -> None:
        name = message.topic, message.partition
        if self._worker.offer(InputMessage(*name, message.offset, message.time_ms, message.value, message.key)):
            self._waiting[name] += len(message.value or b"")

    async def _apply(self, work: Work) -> None:
        await self._carry_out(work)
        for message in self._worker.done(work):
            self._waiting[message[:2]] -= len(message.value or b"")
        passed = sum((self._worker.applied_to(*name) or 0) - start for name, start in self._starts.items())
        self._progress(passed, sum(self._ends.readable[name] - start for name, start in self._starts.items()))

    async def _tick(self) -> None:
        """Say of what has been read to its end that nothing more comes before the tick."""
        fetched = {
            name: Fetched(self._positions[name], self._worker.applied_to(*name) or 0)
            for name in self._starts
            if name not in self._behind()
        }
        await self._carry_out(self._worker.tick(self._ends.tick_ms, self._ends.written, fetched, list(self._starts)))

    async def _carry_out(self, work: Work) -> None:
        for part in work.parts:
            transactions = (carry_out(self._worker, self._state, *each) for each in part.items())
            await asyncio.gather(*transactions)


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
