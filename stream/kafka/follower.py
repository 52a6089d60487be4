"""Follows one partition of a log as it grows."""

import asyncio

from aiokafka import AIOKafkaConsumer
from aiokafka.errors import (
    KafkaError,
)
from aiokafka.structs import TopicPartition

from stream.config import Config
from stream.kafka.log import LogRecord, fetched_records, log_consumer, log_record
from stream.liveness import dead_client
from stream.shutdown import closed, started


class Follower:
    """Reads one partition on and on: each call of :meth:`to_end` yields what was appended since the last one.

    Parameters
    ----------
    start
        The first offset to read; below the log's start it begins there.
    """

    def __init__(self, config: Config, topic: str, partition: int, start: int = 0) -> None:
        self._config = config
        # On a connection that fetches, an answer waits for the fetch to end.
        self._asker: AIOKafkaConsumer | None = None
        self._where = TopicPartition(topic, partition)
        self._consumer: AIOKafkaConsumer | None = None
        self.position = start

    async def to_end(self) -> list[LogRecord]:
        """Return all messages from the position up to the log's end of now, and move the position there.

        Raises
        ------
        KafkaError
            The broker does not answer; nothing was moved.
        """
        where = self._where
        if any(dead_client("a reader", client) for client in (self._asker, self._consumer)):
            await self.stop()
        if self._asker is None:
            self._asker = await started(log_consumer(self._config))
        end = (await self._asker.end_offsets([where]))[where]
        if end <= self.position:
            return []
        begins = (await self._asker.beginning_offsets([where]))[where]
        position = max(begins, self.position)
        if self._consumer is None:
            consumer = await started(log_consumer(self._config))
            consumer.assign([where])
            self._consumer = consumer
        consumer = self._consumer
        records: list[LogRecord] = []
        try:
            if position < end:
                consumer.seek(where, position)
            while position < end:
                fetched = (await fetched_records(consumer)).get(where, [])
                records += map(log_record, fetched)
                position = await consumer.position(where)
        except KafkaError:
            await self.stop()
            raise
        self.position = max(position, self.position)
        return records

    async def stop(self) -> None:
        """Close the connections; the next call opens them again."""
        opened = self._consumer, self._asker
        self._consumer = self._asker = None
        await asyncio.gather(*(closed(client) for client in opened if client is not None))
