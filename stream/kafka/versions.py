"""The topic ``versions``, as a learner reads and writes it."""

from collections.abc import Mapping

from aiokafka import AIOKafkaProducer

from policies.publisher import NOTHING_SAVED, Seen
from records.versions import versions_in
from stream.config import Config
from stream.kafka.follower import Follower


class KafkaVersions:
    """See :class:`policies.publisher.VersionsLog`."""

    def __init__(self, config: Config, producer: AIOKafkaProducer) -> None:
        self._producer = producer
        self._topic = config.topic("versions")
        self._seen: dict[str, Seen] = {}
        self._highest: dict[str, int] = {}
        self._start: int | None = None
        self._follower = Follower(config, self._topic, 0)

    @property
    def position(self) -> int:
        """Everything below this offset has been read."""
        return self._follower.position

    async def append(self, policy: str, record: bytes) -> None:
        """See :meth:`policies.publisher.VersionsLog.append`."""
        await self._producer.send_and_wait(self._topic, record, key=policy.encode(), partition=0)

    async def read(self, start: int, saved: Mapping[str, int] = NOTHING_SAVED) -> None:
        """See :meth:`policies.publisher.VersionsLog.read`."""
        for policy, number in saved.items():
            self._highest[policy] = max(number, self._highest.get(policy, 0))
        if self._start is None or start < self._start:
            self._start = start
            self._seen.clear()
            self._follower.position = start
        for record in await self._follower.to_end():
            for version in versions_in(record.value, self._highest):
                self._seen.setdefault(version.policy, Seen()).add(version)

    def seen(self, policy: str) -> Seen:
        """See :meth:`policies.publisher.VersionsLog.seen`."""
        return self._seen.get(policy, Seen())

    async def stop(self) -> None:
        """Close the connection."""
        await self._follower.stop()
