"""Which partitions of requests decide has, and how far it is in each."""

import asyncio
import contextlib
import logging
from collections import deque
from collections.abc import Collection, Mapping

from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener
from aiokafka.errors import CommitFailedError, IllegalStateError, KafkaError
from aiokafka.structs import TopicPartition

from stream import metrics
from stream.role import DECIDE
from stream.shutdown import STOP_S, ended

log = logging.getLogger(__name__)

MOST_BATCHES = 8
"""Batches of one partition that wait for the broker; with more it is not read on."""
COMMIT_EVERY_S = 0.5
"""What a killed worker decided since its last commit is decided again; by then most of it has expired."""
SETTLE_S = 0.4
"""What is in flight at the end, or when a partition is given away, is waited for so long."""


class PartitionProgress:
    """The batches of one partition in their order; the end of the finished head may be committed.

    ``next_offset`` is where the log goes on, None: nothing was ever committed.
    """

    def __init__(self, next_offset: int | None) -> None:
        self.next_offset = next_offset
        self._batches: deque[tuple[int, asyncio.Task[None]]] = deque()
        self.committable: int | None = None
        self.paused = False

    def __len__(self) -> int:
        return len(self._batches)

    @property
    def tasks(self) -> list[asyncio.Task[None]]:
        """The batches that are not finished."""
        return [task for _, task in self._batches]

    def add(self, next_offset: int, task: asyncio.Task[None]) -> None:
        """Add a batch that reaches up to an offset."""
        self._batches.append((next_offset, task))

    def trim(self) -> None:
        """Move over the batches that are done."""
        while self._batches and self._batches[0][1].done():
            next_offset, task = self._batches.popleft()
            # Raises what the task raised: then nothing may be committed, and the loop starts again.
            task.result()
            self.committable = next_offset


class AssignedPartitions(ConsumerRebalanceListener):  # type: ignore[misc]
    """The partitions that a consumer has: each is paused while too much of it waits, and committed as it is finished.

    Parameters
    ----------
    consumer
        It is subscribed with this object as its listener.

    Attributes
    ----------
    joined
        Whether the consumer has its partitions.
    """

    def __init__(self, consumer: AIOKafkaConsumer) -> None:
        self._consumer = consumer
        self._progress: dict[TopicPartition, PartitionProgress] = {}
        self.joined = False

    def progress_of(self, partition: TopicPartition) -> PartitionProgress | None:
        """Return how far a partition is; None: it was taken away."""
        return self._progress.get(partition)

    def add(self, partition: TopicPartition, next_offset: int, task: asyncio.Task[None]) -> None:
        """Add a batch of a partition that reaches up to an offset, and pause the partition if that is one too many."""
        progress = self._progress[partition]
        progress.add(next_offset, task)
        if len(progress) >= MOST_BATCHES:
            progress.trim()
        if len(progress) >= MOST_BATCHES and not progress.paused:
            with contextlib.suppress(IllegalStateError):
                self._consumer.pause(partition)
                progress.paused = True

    def trim(self) -> None:
        """Move over the batches that are done, and read on where few are left."""
        for partition, progress in self._progress.items():
            progress.trim()
            if progress.paused and len(progress) < MOST_BATCHES:
                with contextlib.suppress(IllegalStateError):
                    self._consumer.resume(partition)
                progress.paused = False

    async def commit_now_and_then(self) -> None:
        """Commit what is finished, for ever."""
        while True:
            await asyncio.sleep(COMMIT_EVERY_S)
            self.trim()
            await self._commit(dict(self._progress))

    async def on_partitions_assigned(self, assigned: Collection[TopicPartition]) -> None:
        """Begin with each partition where its last owner has committed."""
        for partition in assigned:
            committed = None
            with contextlib.suppress(KafkaError):
                committed = await self._consumer.committed(partition)
            self._progress[partition] = PartitionProgress(committed)
        self.joined = True
        log.info("deciding", extra={"partitions": sorted(partition.partition for partition in assigned)})

    async def on_partitions_revoked(self, revoked: Collection[TopicPartition]) -> None:
        """Finish what is in flight, so that the next owner does not repeat it."""
        self.joined = False
        # Taken out first, so that nothing more of them is begun.
        await self._settle({part: self._progress.pop(part) for part in revoked if part in self._progress})

    async def leave(self) -> None:
        """Finish what is in flight within a short time, commit it, and cancel the rest."""
        self.joined = False
        left, self._progress = self._progress, {}
        await self._settle(left)
        await ended(*(task for progress in left.values() for task in progress.tasks))

    async def _settle(self, left: Mapping[TopicPartition, PartitionProgress]) -> None:
        """Wait a short time for what is in flight, and commit it."""
        if tasks := [task for progress in left.values() for task in progress.tasks]:
            await asyncio.wait(tasks, timeout=SETTLE_S)
        try:
            for progress in left.values():
                progress.trim()
            async with asyncio.timeout(STOP_S):
                await self._commit(left)
        except Exception as error:
            log.warning("what was finished last will be repeated: %r", error)

    async def _commit(self, finished: Mapping[TopicPartition, PartitionProgress]) -> None:
        offsets = {
            partition: progress.committable
            for partition, progress in finished.items()
            if progress.committable is not None
        }
        if not offsets:
            return
        try:
            await self._consumer.commit(offsets)
        except (CommitFailedError, IllegalStateError):
            # A rebalance was faster: the next owner repeats what this one did not commit.
            log.info("offset commit rejected: partitions were reassigned")
        except KafkaError as error:
            metrics.broker_failed(DECIDE)
            log.warning("offsets are committed later: %r", error)
            return
        for partition, offset in offsets.items():
            if finished[partition].committable == offset:
                finished[partition].committable = None
