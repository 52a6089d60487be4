"""The newest messages of several topics, on one connection: what a person on call looks at, however much there is."""

from collections.abc import Sequence
from types import TracebackType
from typing import Any, NamedTuple, Self

from aiokafka import AIOKafkaConsumer
from aiokafka.structs import TopicPartition

from stream.config import Config
from stream.kafka.consumer import POLL_MS, reading
from stream.kafka.log import LogReader, LogRecord, Partition, log_record
from stream.liveness import refuse_dead
from stream.shutdown import closed, started

FETCH_BYTES = 4 * 1024 * 1024


class Found(NamedTuple):
    """What a look found.

    Attributes
    ----------
    records
        The messages that were appended since the last look, partition by partition in their order.
    skipped
        The partitions of which not all of them were read, since there were too many.
    """

    records: list[LogRecord]
    skipped: set[Partition]


class NewestMessages:
    """Reads what was appended to topics lately, and at each further look what came since the last one.

    An asynchronous context manager, in no consumer group.

    Parameters
    ----------
    topics
        Full names; one that is missing is looked for at each look.
    most
        Of each partition at most so many messages are read a look: the newest.
    """

    def __init__(self, config: Config, reader: LogReader, topics: Sequence[str], most: int) -> None:
        self._config, self._reader, self._topics, self._most = config, reader, topics, most
        self._next: dict[Partition, int] = {}
        self._consumer: AIOKafkaConsumer | None = None

    async def __aenter__(self) -> Self:
        self._consumer = await started(
            reading(
                bootstrap_servers=self._config.brokers,
                client_id="bowerbird-recent",
                group_id=None,
                enable_auto_commit=False,
                max_partition_fetch_bytes=FETCH_BYTES,
                fetch_max_wait_ms=POLL_MS,
            )
        )
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._consumer is not None:
            await closed(self._consumer)

    async def look(self, since_ms: int) -> Found:
        """Return what came since the last look; at the first one since a log time."""
        consumer: Any = self._consumer
        skipped: set[Partition] = set()
        new = [name for name in await self._partitions() if name not in self._next]
        ends = await self._reader.ends([*self._next, *new])
        for name, start in (await self._reader.since(new, since_ms)).items():
            self._next[name] = ends[name] if start is None else start
        if new:
            consumer.assign([TopicPartition(*name) for name in self._next])
        waiting: dict[TopicPartition, int] = {}
        for name, end in ends.items():
            if end - self._next[name] > self._most:
                self._next[name] = end - self._most
                skipped.add(name)
            if new or name in skipped:
                consumer.seek(TopicPartition(*name), self._next[name])
            if self._next[name] < end:
                waiting[TopicPartition(*name)] = end
        records: list[LogRecord] = []
        while waiting:
            came = await consumer.getmany(*waiting, timeout_ms=POLL_MS)
            if not came:
                refuse_dead("the reader of what is new", consumer)
            for where, fetched in came.items():
                records += [log_record(record) for record in fetched if record.offset < waiting[where]]
                if fetched and fetched[-1].offset >= waiting[where]:
                    # What came after this look began belongs to the next one.
                    consumer.seek(where, waiting[where])
            for where, end in list(waiting.items()):
                position = await consumer.position(where)
                self._next[where.topic, where.partition] = position
                if position >= end:
                    del waiting[where]
        return Found(records, skipped)

    async def _partitions(self) -> list[Partition]:
        missing = [topic for topic in self._topics if not any(name == topic for name, _ in self._next)]
        return [each for topic in missing for each in await self._reader.partitions_of(topic)] + [*self._next]
