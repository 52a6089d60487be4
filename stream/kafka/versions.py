"""The topic ``versions``, as a learner reads and writes it."""

import logging
from collections.abc import Mapping

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError

from policies.publisher import NOTHING_SAVED, Seen
from records.codec import encode
from records.policy_version import PolicyVersion
from records.versions import versions_in
from stream.config import Config
from stream.kafka.follower import Follower
from stream.kafka.log import LogReader
from stream.kafka.open_transactions import refuse_open_transactions
from stream.kafka.versions_tail import SNAPSHOT_EVERY, versions_tail

log = logging.getLogger(__name__)


class KafkaVersions:
    """See :class:`policies.publisher.VersionsLog`. It also appends the snapshots."""

    def __init__(self, config: Config, producer: AIOKafkaProducer, reader: LogReader) -> None:
        self._config, self._producer, self._reader = config, producer, reader
        self._topic = config.topic("versions")
        self._seen: dict[str, Seen] = {}
        self._highest: dict[str, int] = {}
        self._start: int | None = None
        self._follower = Follower(config, self._topic, 0)
        self._look_at = 0

    @property
    def position(self) -> int:
        """Everything below this offset has been read, or a snapshot holds it."""
        return self._follower.position

    async def append(self, policy: str, record: bytes) -> None:
        """See :meth:`policies.publisher.VersionsLog.append`."""
        written = await self._producer.send_and_wait(self._topic, record, key=policy.encode(), partition=0)
        if written.offset >= self._look_at:
            self._look_at = written.offset + SNAPSHOT_EVERY
            try:
                self._look_at = written.offset + await self._append_snapshot()
            except (KafkaError, OSError) as error:
                log.warning("no snapshot of %s was written: %r", self._topic, error)

    async def read(self, start: int, saved: Mapping[str, int] = NOTHING_SAVED) -> None:
        """See :meth:`policies.publisher.VersionsLog.read`."""
        for policy, number in saved.items():
            self._highest[policy] = max(number, self._highest.get(policy, 0))
        if self._start is None or start < self._start:
            tail = await versions_tail(self._reader, self._topic, start)
            # A snapshot knows all that comes before it.
            self._start = start if tail.snapshot is None else 0
            self._seen.clear()
            for logged in tail.snapshot.versions if tail.snapshot is not None else ():
                self._add(logged.version)
            for record in tail.records:
                self._take(record.value)
            self._follower.position = tail.end
        for record in await self._follower.to_end():
            self._take(record.value)

    async def refuse_hidden(self) -> None:
        """See :meth:`policies.publisher.VersionsLog.refuse_hidden`."""
        await refuse_open_transactions(self._config, self._reader, [(self._topic, 0)])

    def seen(self, policy: str) -> Seen:
        """See :meth:`policies.publisher.VersionsLog.seen`."""
        return self._seen.get(policy, Seen())

    async def stop(self) -> None:
        """Close the connection."""
        await self._follower.stop()

    def _take(self, value: bytes | None) -> None:
        for version in versions_in(value, self._highest):
            self._add(version)

    def _add(self, version: PolicyVersion) -> None:
        self._highest[version.policy] = max(version.number, self._highest.get(version.policy, 0))
        self._seen.setdefault(version.policy, Seen()).add(version)

    async def _append_snapshot(self) -> int:
        """Append a snapshot if it is due, and return after how many offsets the next one is.

        It is made of the log alone, so it does not matter who writes it, and two of them do no harm.
        """
        tail = await versions_tail(self._reader, self._topic)
        if len(tail.records) < SNAPSHOT_EVERY:
            return SNAPSHOT_EVERY - len(tail.records)
        snapshot = tail.newest().snapshot(tail.end)
        await self._producer.send_and_wait(self._topic, encode(snapshot), partition=0)
        return SNAPSHOT_EVERY
