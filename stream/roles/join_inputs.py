"""The partitions that a join worker reads: where each begins, what waits of it here, and what may be acknowledged."""

import asyncio
from functools import partial
from typing import Any

from faust.types import TP

from records.errors import LossDetected
from rewards.join_items import Input, InputMessage
from rewards.join_worker import JoinWorker, Work
from rewards.watermark import partition_name
from stream import metrics
from stream.config import Config
from stream.kafka.faust_app import log_time_ms
from stream.kafka.log import LogReader
from stream.redis.spoilt import Unreadable
from stream.redis.store import RedisStore
from stream.retry import until_recovered, until_there
from stream.role import JOIN
from stream.roles.input_guard import InputGuard, read_before
from stream.roles.join_settings import input_topics

PAUSE_AT, RESUME_AT = 400, 100
"""Messages of one partition that wait here before it is not fetched any more, and is again."""


class JoinInputs:
    """Keeps a worker's inputs those that Faust has assigned, and hands on what Faust delivers.

    Parameters
    ----------
    app
        Reads the inputs.
    worker
        Is offered every message.
    guard
        Has the reader of the log and the store, and refuses what has a hole.
    """

    def __init__(self, config: Config, app: Any, worker: JoinWorker, guard: InputGuard) -> None:
        self._config, self._app, self._worker, self._guard = config, app, worker, guard
        self._reader: LogReader = guard.reader
        self._store: RedisStore = guard.store
        self._events: dict[tuple[str, int, int], Any] = {}
        self._paused: set[Input] = set()
        self._synchronised = asyncio.Lock()

    async def take(self, event: Any) -> None:
        """Offer a message that Faust delivers to the worker, after what the log holds before it."""
        record = event.message
        name: Input = (record.topic, record.partition)
        message = InputMessage(*name, record.offset, log_time_ms(record.timestamp), record.value, record.key)
        if self._worker.expected(*name) is None:
            await self.synchronise()
        await self._fill_gap(message)
        if self._worker.offer(message) or self._worker.waits(message):
            self._events[(*name, message.offset)] = event
        elif self._worker.expected(*name) is not None:
            event.ack()
        if self._worker.waiting_of(*name) >= PAUSE_AT and name not in self._paused:
            self._paused.add(name)
            self._app.consumer.pause_partitions({TP(*name)})

    async def synchronise(self) -> None:
        """Begin with partitions that were assigned, forget those that were given away."""
        async with self._synchronised:
            for name in set(self._worker.inputs) - self._app.assigned:
                self._worker.revoke(*name)
                self._paused.discard(name)
                metrics.forget_lag(JOIN, self._config.stream_of(name[0]), name[1])
            new = [name for name in self._app.assigned if self._worker.expected(*name) is None]
            if not new:
                return
            acknowledged = await self._reader.committed(self._config.group(JOIN), new)
            acknowledged |= await self._recovered_offsets()
            beginnings = await self._reader.beginning(new)
            stored = await self._stored_offsets()
            await self._guard.refuse_replaced(new)
            for name in self._app.assigned & set(new):
                offset = acknowledged.get(name)
                read = read_before(offset, [offsets.get(partition_name(*name)) for offsets in stored])
                if read is not None and read < beginnings[name]:
                    raise await self._guard.removed_unread(name, read, beginnings[name])
                if offset is not None and offset < beginnings[name]:
                    offset = read
                start = beginnings[name] if offset is None else offset
                self._worker.assign(name[0], name[1], start, offset is None)

    async def _recovered_offsets(self) -> dict[Input, int]:
        """Return where inputs are read on of which the group has acknowledged only what is void since a recovery."""
        voided = await self._store.voided()
        if not voided:
            return {}
        topics = await self._reader.topics(input_topics(self._config))
        there = [(name, number) for name, topic in topics.items() for number in topic.partitions]
        names = {name: partition_name(*name) for name in there if partition_name(*name) in voided}
        acknowledged = await self._reader.committed(self._config.group(JOIN), list(names))
        ends = await self._reader.ends(list(names))
        stored = await self._stored_offsets()
        return {
            where: max(voided[name].offset, min(offsets.get(name, 0) for offsets in stored))
            for where, name in names.items()
            if not voided[name].void_to < acknowledged.get(where, 0) <= ends[where]
        }

    async def _stored_offsets(self) -> list[dict[str, int]]:
        """Return up to where each shard has taken each input."""
        return [await self._store.offsets(shard) for shard in range(self._config.shards)]

    async def _fill_gap(self, message: InputMessage) -> None:
        """Read from the log itself what lies between the last message and this one: mostly nothing (markers)."""
        name, expected = message[:2], self._worker.expected(message.topic, message.partition)
        if expected is None or expected >= message.offset:
            return
        try:
            async for record in self._reader.read(*name, expected, message.offset):
                self._worker.offer(InputMessage(*record[:4], record.value, record.key))
        except LossDetected:
            begins = (await self._reader.beginning([name]))[name]
            raise await self._guard.removed_unread(name, expected, begins) from None

    async def void_acknowledgements(self) -> dict[Input, int]:
        """See :attr:`stream.kafka.faust_app.RoleApp.void_acknowledgements`."""
        offsets = partial(until_there, JOIN, "beginning to read", self._recovered_offsets)
        return await until_recovered(JOIN, offsets, waits_after=Unreadable)

    async def read_up_to(self) -> dict[Input, int]:
        """Return up to where each input of this worker was read, here or by others before a restart."""
        stored = await self._stored_offsets()
        return {
            name: max(
                self._worker.applied_to(*name) or 0, *(offsets.get(partition_name(*name), 0) for offsets in stored)
            )
            for name in self._worker.inputs
        }

    def done(self, work: Work) -> None:
        """Acknowledge what was applied, and read on where little waits."""
        for message in self._worker.done(work):
            metrics.APPLIED.labels(self._config.stream_of(message.topic)).inc()
            event = self._events.pop((message.topic, message.partition, message.offset), None)
            if event is not None:
                event.ack()
        enough = {name for name in self._paused if self._worker.waiting_of(*name) <= RESUME_AT}
        if again := enough & self._app.assigned:
            self._app.consumer.resume_partitions({TP(*name) for name in again})
        self._paused -= enough
