"""The last seq of every placement and shard in ``rewards``."""

import asyncio

from records.outcome import parse_outbox
from records.sequence import gap_too_large
from rewards.recovery import outcome_heads
from stream.config import Config
from stream.kafka.log import LogReader
from stream.kafka.versions_tail import versions_tail


class LastSeqs:
    """Follows ``rewards``; each call of :meth:`last_seqs` reads only what was appended since the last one."""

    def __init__(self, config: Config, reader: LogReader) -> None:
        self._config, self._reader = config, reader
        self._next: dict[int, int] = {}
        self._last: dict[tuple[str, int], int] = {}
        self._read: set[tuple[str, int]] = set()
        self._former_partitions: dict[str, int] = {}
        self._reading = asyncio.Lock()

    def former_partition(self, placement: str) -> int:
        """Return the partition of a placement that the settings no longer name: that of the policy that learned it."""
        return self._former_partitions.get(placement, self._config.rewards_partition(placement))

    async def last_seq(self, placement: str, shard: int, wanted: int) -> int | None:
        """Return the last seq of an outbox; 0: it has no outcome yet.

        None: it is unknown, since the last outcome may have been removed, or is behind an open transaction. Where it is
        below ``wanted`` the whole log is read: outcomes may be in another partition than by the settings of now.
        """
        topic = self._config.topic("rewards")
        where = await self._reader.partitions_of(topic)
        if await self._reader.open_transactions(where):
            return None
        key = placement, shard
        if (last := (await self.last_seqs()).get(key, 0)) >= wanted:
            return last
        async with self._reading:
            begins = await self._reader.beginning(where)
            for (_, partition), begin in begins.items():
                await self._read_from(partition, begin)
        return None if any(begins.values()) and key not in self._read else self._last.get(key, 0)

    async def last_seqs(self) -> dict[tuple[str, int], int]:
        """Return the last seq by (placement, shard)."""
        async with self._reading:
            await self._read_on()
        return dict(self._last)

    async def _read_on(self) -> None:
        topic = self._config.topic("rewards")
        partitions = await self._reader.partitions(topic)
        if not self._next:
            await self._begin(partitions)
        for partition in partitions:
            begins = (await self._reader.beginning([(topic, partition)]))[topic, partition]
            start = self._next.get(partition, 0)
            if start < begins:
                # What was removed unread may have been the last outcomes of any outbox.
                self._read.clear()
            await self._read_from(partition, max(start, begins))

    async def _read_from(self, partition: int, start: int) -> None:
        self._next[partition] = start
        async for record in self._reader.read(self._config.topic("rewards"), partition, start):
            self._next[partition] = record.offset + 1
            for head in outcome_heads(record.value):
                if head.shard >= self._config.shards:
                    continue  # the join did not write it
                key = head.placement, head.shard
                last = self._last.get(key, 0)
                if not gap_too_large(last, head.outcome_seq):
                    self._last[key] = max(head.outcome_seq, last)
                    self._read.add(key)

    async def _begin(self, partitions: list[int]) -> None:
        """Start at the cuts of the published versions; they say what lies before them."""
        tail = await versions_tail(self._reader, self._config.topic("versions"))
        newest = {policy: logged.version for policy, logged in tail.newest().by_policy.items()}
        for version in newest.values():
            self._former_partitions |= dict.fromkeys(version.placements, version.partition)
            for outbox, seq in version.last_seqs.items():
                placement, shard = parse_outbox(outbox)
                if shard < self._config.shards:
                    self._last[placement, shard] = max(seq, self._last.get((placement, shard), 0))
        for partition in partitions:
            here = {name for name in self._config.placements if self._config.rewards_partition(name) == partition}
            cuts: dict[str, int] = {}
            for version in newest.values():
                for placement in here.intersection(version.placements):
                    cuts[placement] = max(version.cut, cuts.get(placement, 0))
            self._next[partition] = min(cuts.values()) if cuts.keys() == here and here else 0
