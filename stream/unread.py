"""Whether anything is left to read of a partition: offsets may belong to no message that a reader ever gets.

An aborted transaction leaves its records, and every transaction the mark of its end. A group acknowledges messages, so
what stands behind the last one is never acknowledged.
"""

import asyncio
from collections.abc import Mapping
from typing import Any

from aiokafka.structs import TopicPartition

from stream.config import Config
from stream.kafka.consumer import POLL_MS, reading
from stream.kafka.log import Partition
from stream.liveness import refuse_dead
from stream.shutdown import closed, started

FETCH_BYTES = 64 * 1024
WITHIN_S = 2.0


class Unread:
    """Tells where nothing is left, and remembers it."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._left: dict[Partition, tuple[int, int, bool]] = {}

    async def nothing(self, spans: Mapping[Partition, tuple[int, int]]) -> set[Partition]:
        """Return the partitions in which no message stands from an offset up to another, exclusive.

        One of which that is not known within two seconds is not among them.
        """
        asked: dict[Partition, tuple[int, int]] = {}
        for name, (start, end) in spans.items():
            known_start, known_end, left = self._left.get(name, (-1, -1, True))
            # Where a message was found, it stands before every later end as well.
            if start != known_start or (end != known_end and not left):
                asked[name] = start, end
        if asked:
            seen = await self._looked(asked)
            self._left |= {name: (*span, name not in seen) for name, span in asked.items()}
        return {name for name in spans if not self._left[name][2]}

    async def _looked(self, spans: Mapping[Partition, tuple[int, int]]) -> set[Partition]:
        consumer: Any = await started(
            reading(
                bootstrap_servers=self._config.brokers,
                client_id="bowerbird-unread",
                group_id=None,
                enable_auto_commit=False,
                max_partition_fetch_bytes=FETCH_BYTES,
                fetch_max_wait_ms=POLL_MS,
            )
        )
        nothing: set[Partition] = set()
        try:
            waiting = {TopicPartition(*name): end for name, (_, end) in spans.items()}
            consumer.assign(list(waiting))
            for name, (start, _) in spans.items():
                consumer.seek(TopicPartition(*name), start)
            give_up = asyncio.get_running_loop().time() + WITHIN_S
            while waiting and asyncio.get_running_loop().time() < give_up:
                fetched = await consumer.getmany(*waiting, timeout_ms=POLL_MS)
                if not fetched:
                    refuse_dead("the reader of what is unread", consumer)
                for where, records in fetched.items():
                    if records and records[0].offset < waiting[where]:
                        del waiting[where]
                for where, end in list(waiting.items()):
                    if await consumer.position(where) >= end:
                        nothing.add((where.topic, where.partition))
                        del waiting[where]
        finally:
            await closed(consumer)
        return nothing
