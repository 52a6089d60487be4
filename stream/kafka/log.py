"""Reading a topic as what it is, a log: from an offset to an offset, in no consumer group."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping, Sequence
from types import TracebackType
from typing import Any, NamedTuple, Self, cast
from uuid import uuid4

import msgspec
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.errors import (
    GroupCoordinatorNotAvailableError,
    GroupLoadInProgressError,
    IncompatibleBrokerVersion,
    KafkaConnectionError,
    NotCoordinatorForGroupError,
    OffsetOutOfRangeError,
)
from aiokafka.structs import TopicPartition

from records.codec import UNREADABLE, encode
from records.errors import StateRefused
from records.log_identity import LogIdentity
from stream import clients
from stream.config import Config
from stream.kafka.consumer import READ_COMMITTED, reading
from stream.kafka.shorter_logs import ends_before, starts_after
from stream.kafka.topic_ids import TopicNow, topics_now
from stream.liveness import dead_client, refuse_dead
from stream.retry import retry_pause
from stream.shutdown import closed, started

FETCH_BYTES = 8 * 1024 * 1024
"""What one fetch of one partition may bring: more than the largest message that a topic of the loop takes."""
POLL_MS = 200
STARTS_AGAIN = 2
"""So often a consumer that could not reach the broker is started again."""
MESSAGES_A_REPORT = 500
"""Messages between two reports of how far a long reading is."""
COORDINATOR_WITHIN_S = 30.0
COORDINATOR_STARTS = (
    GroupCoordinatorNotAvailableError,
    GroupLoadInProgressError,
    NotCoordinatorForGroupError,
)
"""A broker answers so while it makes or loads the topic in which groups keep their offsets."""

Partition = tuple[str, int]
"""A topic's full name and a partition's number."""


class LogRecord(NamedTuple):
    """A message of a log; ``time_ms`` is its log time."""

    topic: str
    partition: int
    offset: int
    time_ms: int
    key: bytes | None
    value: bytes | None
    headers: Sequence[tuple[str, bytes]]


class Mark(NamedTuple):
    """A message that was read: its offset and its log time."""

    offset: int
    time_ms: int


class LogReader:
    """Reads topics without a group, so that nothing of a running service is moved.

    An asynchronous context manager. Offsets and partitions are asked of the broker at each call.

    Parameters
    ----------
    config
        Names the brokers.
    """

    def __init__(self, config: Config) -> None:
        self._config = config
        self._admin = clients.admin(config, "bowerbird-log")
        self._asker: AIOKafkaConsumer | None = None
        self._uncommitted: AIOKafkaConsumer | None = None

    async def __aenter__(self) -> Self:
        await started(self._admin)
        try:
            self._asker = await started(log_consumer(self._config))
        except BaseException:
            await closed(self._admin)
            raise
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections."""
        opened = self._asker, self._uncommitted, self._admin
        await asyncio.gather(*(closed(client) for client in opened if client is not None))

    def dead(self) -> str | None:
        """Return what has died of its connections, None: nothing has."""
        for client in (self._admin, self._asker, self._uncommitted):
            if (reason := dead_client("the reader of the log", client)) is not None:
                return reason
        return None

    async def partitions(self, topic: str) -> list[int]:
        """Return the numbers of a topic's partitions, rising; none when there is no such topic."""
        topic_now = (await self.topics([topic])).get(topic)
        return topic_now.partitions if topic_now is not None else []

    async def partitions_of(self, topic: str) -> list[Partition]:
        """Return a topic's partitions as this reader takes them, their numbers rising."""
        return [(topic, number) for number in await self.partitions(topic)]

    async def topics(self, names: Collection[str]) -> dict[str, TopicNow]:
        """Return those of the named topics that are there now, with their ids where the broker has such."""
        refuse_dead("the reader of the log", self._admin)
        try:
            return await topics_now(self._admin, names)
        except (NotImplementedError, IncompatibleBrokerVersion):
            # Asked by name, an old broker would create a topic where it is allowed to.
            there = set(await self._admin.list_topics()) & set(names)
            described = await self._admin.describe_topics(sorted(there)) if there else []
            return {
                description["topic"]: TopicNow(None, sorted(part["partition"] for part in description["partitions"]))
                for description in cast("list[dict[str, Any]]", described)
            }

    async def beginning(self, partitions: Collection[Partition]) -> dict[Partition, int]:
        """Return the offset at which each partition's log starts now."""
        asked = [TopicPartition(*partition) for partition in partitions]
        offsets = await self._asking.beginning_offsets(asked) if asked else {}
        return {(part.topic, part.partition): offset for part, offset in offsets.items()}

    async def ends(self, partitions: Collection[Partition]) -> dict[Partition, int]:
        """Return the offset up to which each partition can be read now: its end, or its first open transaction."""
        asked = [TopicPartition(*partition) for partition in partitions]
        offsets = await self._asking.end_offsets(asked) if asked else {}
        return {(part.topic, part.partition): offset for part, offset in offsets.items()}

    async def written_ends(self, partitions: Collection[Partition]) -> dict[Partition, int]:
        """Return the offset that the next message of each partition will get, also behind an open transaction."""
        if self._uncommitted is None:
            self._uncommitted = await started(log_consumer(self._config, isolation_level="read_uncommitted"))
        refuse_dead("the reader of the log", self._uncommitted)
        asked = [TopicPartition(*partition) for partition in partitions]
        offsets = await self._uncommitted.end_offsets(asked) if asked else {}
        return {(part.topic, part.partition): offset for part, offset in offsets.items()}

    async def refuse_shorter(self, where: Partition, offset: int) -> None:
        """Refuse to go on from an offset that the log does not reach.

        Raises
        ------
        LossDetected
            The topic was made anew, or has lost its tail.
        """
        end = (await self.ends([where]))[where]
        if end < offset:
            raise ends_before(where, offset, end)

    async def replaced(self, marks: Mapping[Partition, Mark]) -> list[Partition]:
        """Return the partitions that hold another message where one was read: they lost their tail, and grew again.

        What retention has removed, and what lies beyond the log's end, tells nothing.
        """
        begins, ends = await self.beginning(marks), await self.ends(marks)
        there = {name: mark for name, mark in marks.items() if begins[name] <= mark.offset < ends[name]}
        asked = {TopicPartition(*name): mark.time_ms for name, mark in there.items()}
        first = await self._asking.offsets_for_times(asked) if asked else {}
        replaced: list[Partition] = []
        for name, mark in there.items():
            first_since = first[TopicPartition(*name)]
            if first_since is not None and first_since.timestamp == mark.time_ms and first_since.offset <= mark.offset:
                continue
            # Where a broker's clock went back, times do not rise: the message itself is looked at.
            now = [message.time_ms async for message in self.read(name[0], name[1], mark.offset, mark.offset + 1)]
            if now != [mark.time_ms]:
                replaced.append(name)
        return replaced

    async def open_transactions(self, partitions: Collection[Partition]) -> dict[Partition, tuple[int, int]]:
        """Return where the first open transaction of a partition begins, and how many offsets it holds back."""
        written = await self.written_ends(partitions)
        readable = await self.ends(partitions)
        return {name: (readable[name], end - readable[name]) for name, end in written.items() if readable[name] < end}

    async def since(self, partitions: Collection[Partition], time_ms: int) -> dict[Partition, int | None]:
        """Return the offset of each partition's first message that is no older than a log time; None without one."""
        asked = {TopicPartition(*partition): time_ms for partition in partitions}
        offsets = await self._asking.offsets_for_times(asked) if asked else {}
        return {
            (part.topic, part.partition): found_at.offset if found_at is not None else None
            for part, found_at in offsets.items()
        }

    async def members(self, group: str) -> list[str]:
        """Return the client ids of the consumers that a group has now."""
        (answer,) = await _coordinated(lambda: self._admin.describe_consumer_groups([group]))
        return [member[1] for described in answer.groups for member in described[5]]

    async def _started(self) -> AIOKafkaConsumer:
        """Return a consumer; the broker was there when this reader began, and may be slow to answer now."""
        for attempt in range(STARTS_AGAIN):
            with contextlib.suppress(KafkaConnectionError):
                return cast(AIOKafkaConsumer, await started(log_consumer(self._config)))
            await retry_pause(attempt)
        return cast(AIOKafkaConsumer, await started(log_consumer(self._config)))

    async def read(self, topic: str, partition: int, start: int, end: int | None = None) -> AsyncIterator[LogRecord]:
        """Yield the messages of a partition with offsets from ``start`` up to ``end``, exclusive.

        Parameters
        ----------
        end
            Default: where the log ends now. Offsets may have holes (markers of transactions): the iterator
            ends when it stands at the end, whether or not the last offset is a message.

        Raises
        ------
        LossDetected
            The log starts above ``start``: what stood there is gone.
        """
        if end is None:
            end = (await self.ends([(topic, partition)]))[topic, partition]
        if start >= end:
            return
        where = TopicPartition(topic, partition)
        consumer = await self._started()
        try:
            consumer.assign([where])
            consumer.seek(where, start)
            while await consumer.position(where) < end:
                for record in (await fetched_records(consumer)).get(where, []):
                    if record.offset >= end:
                        return
                    yield log_record(record)
        except OffsetOutOfRangeError:
            begins = (await self.beginning([(topic, partition)]))[topic, partition]
            raise starts_after((topic, partition), start, begins) from None
        finally:
            await closed(consumer)

    async def at(self, partitions: Collection[Partition], time_ms: int) -> dict[Partition, int]:
        """Return the offset of the first message of each partition with at least this log time; else its end."""
        offsets = await self.ends(partitions)
        asked = {TopicPartition(*partition): time_ms for partition in partitions}
        for part, found_at in (await self._asking.offsets_for_times(asked) if asked else {}).items():
            if found_at is not None:
                offsets[part.topic, part.partition] = found_at.offset
        return offsets

    async def read_since(self, topic: str, time_ms: int, until_ms: int | None = None) -> AsyncIterator[LogRecord]:
        """Yield the messages of a topic with log times from one up to another, exclusive, partition by partition."""
        partitions = await self.partitions_of(topic)
        starts = await (self.at(partitions, time_ms) if time_ms > 0 else self.beginning(partitions))
        ends = await (self.ends(partitions) if until_ms is None else self.at(partitions, until_ms))
        for partition in partitions:
            async for record in self.read(*partition, starts[partition], ends[partition]):
                yield record

    async def committed(self, group: str, partitions: Collection[Partition]) -> dict[Partition, int]:
        """Return the acknowledged offset of each partition for which a group has one."""
        asked = [TopicPartition(*partition) for partition in partitions]
        if not asked:
            return {}
        offsets = await _coordinated(lambda: self._admin.list_consumer_group_offsets(group, partitions=asked))
        return {
            (part.topic, part.partition): acknowledged.offset
            for part, acknowledged in offsets.items()
            if acknowledged.offset >= 0
        }

    async def cluster_id(self) -> str:
        """Return the identity of the Kafka cluster."""
        return str((await self._admin.describe_cluster())["cluster_id"])

    async def log_name(self) -> str | None:
        """Return the name of the log, cluster id and log id, or None where nobody has given it one yet."""
        log_id = await self.log_id()
        return None if log_id is None else f"{await self.cluster_id()}/{log_id}"

    async def log_id(self) -> str | None:
        """Return the identity of the service's log, or None where nobody has written one yet.

        It is the first :class:`records.log_identity.LogIdentity` of ``versions``.
        """
        versions = self._config.topic("versions")
        begins = (await self.beginning([(versions, 0)]))[versions, 0]
        async for record in self.read(versions, 0, begins):
            try:
                return msgspec.json.decode(record.value or b"", type=LogIdentity).log_id
            except UNREADABLE:
                continue
        return None

    @property
    def _asking(self) -> AIOKafkaConsumer:
        if self._asker is None:
            raise RuntimeError("a LogReader is used in an `async with` block")
        refuse_dead("the reader of the log", self._asker)
        return self._asker


async def _coordinated(ask: Callable[[], Awaitable[Any]]) -> Any:
    """Ask about a group, again and again while its coordinator starts."""
    give_up = asyncio.get_running_loop().time() + COORDINATOR_WITHIN_S
    while True:
        try:
            return await ask()
        except COORDINATOR_STARTS:
            if asyncio.get_running_loop().time() > give_up:
                raise
            await asyncio.sleep(POLL_MS / 1000)


async def identify(reader: LogReader, config: Config, producer: AIOKafkaProducer) -> str:
    """Return the name of the log that Redis keeps with its state: cluster id and log id.

    Writes the log id as the first record of ``versions`` if it has none; of two that write at once the
    first record counts.

    Raises
    ------
    StateRefused
        There is no topic ``versions``.
    """
    versions = config.topic("versions")
    if not await reader.partitions(versions):
        raise StateRefused(f"topic {versions}", "no such topic", "the topic", "run `bowerbird topics create`")
    if await reader.log_id() is None:
        await producer.send_and_wait(versions, encode(LogIdentity(log_id=uuid4().hex)), partition=0)
    return str(await reader.log_name())


def log_record(record: Any) -> LogRecord:
    """Return a record of aiokafka as one of ours."""
    return LogRecord(
        record.topic,
        record.partition,
        record.offset,
        record.timestamp,
        record.key,
        record.value,
        tuple(record.headers),
    )


def log_consumer(config: Config, isolation_level: str = READ_COMMITTED) -> AIOKafkaConsumer:
    """Return a consumer of no group, which reads from the offsets that it is assigned."""
    return reading(
        isolation_level=isolation_level,
        bootstrap_servers=config.brokers,
        client_id="bowerbird-log",
        group_id=None,
        enable_auto_commit=False,
        auto_offset_reset="none",
        max_partition_fetch_bytes=FETCH_BYTES,
        fetch_max_wait_ms=100,
    )


async def fetched_records(consumer: AIOKafkaConsumer) -> dict[TopicPartition, list[Any]]:
    """Return what was fetched, at the latest after :data:`POLL_MS`."""
    fetched = await consumer.getmany(timeout_ms=POLL_MS)
    if not fetched:
        refuse_dead("the reader of the log", consumer)
    # Let others run, also while everything requested is in memory already.
    await asyncio.sleep(0)
    return cast("dict[TopicPartition, list[Any]]", fetched)
