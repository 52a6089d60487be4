"""What is saved of the policies, in Redis and ``versions``, and where that lets the learner read on."""

import logging
from collections.abc import AsyncIterator

from policies.learner import Learner
from policies.publisher import Publisher
from records.errors import StateRefused
from records.outcome import outbox_name
from stream.config import Config, identity_in
from stream.kafka.log import LogReader, LogRecord, Partition
from stream.kafka.versions import KafkaVersions
from stream.redis.policy_store import RedisPolicyStore
from stream.redis.store import RedisStore
from stream.role import LEARN
from stream.roles.connections import Connections

log = logging.getLogger(__name__)


class PolicyStates:
    """The saved states of the configured policies.

    Parameters
    ----------
    config
        Names the policies.
    connections
        To the servers that hold the states.
    """

    def __init__(self, config: Config, connections: Connections) -> None:
        self._config = config
        self._reader: LogReader = connections.reader
        self._log_name = connections.log_name
        self._topic = config.topic("rewards")
        self._store = RedisPolicyStore(connections.redis, config)
        self._join = RedisStore(connections.redis, config.prefix)
        self._versions = KafkaVersions(config, connections.producer, connections.reader)

    async def close(self) -> None:
        """Close what reads ``versions``."""
        await self._versions.stop()

    def publisher(self, name: str) -> Publisher:
        """Return a publisher of a policy."""
        config = self._config
        return Publisher(name, identity_in(config, name), self._store, self._versions, config.learn_partition(name))

    async def compare_homes(self) -> None:
        """Compare the configuration with what is remembered of every policy.

        Raises
        ------
        StateRefused
            A policy is not what it was, or not where it was.
        """
        config = self._config
        partitions = len(await self._reader.partitions(self._topic))
        if partitions < config.rewards_partitions:
            raise StateRefused(
                f"topic {self._topic}",
                f"{partitions} partitions",
                f"at least {config.rewards_partitions}, the setting rewards_partitions",
                "set it back, or run `bowerbird topics create` where the topic is missing",
            )
        for name in config.policies:
            identity_in(config, name).make().close()
            home = {
                "log": self._log_name,
                "rewards_partitions": str(config.rewards_partitions),
                "partition": str(config.learn_partition(name)),
            }
            await self._store.remember_home(name, home)
            await self.publisher(name).compare_identity()

    async def void_acknowledgements(self) -> dict[Partition, int]:
        """Return where to begin in a partition that ends before what the group has acknowledged.

        Whatever comes below that would be taken for acknowledged, and never be learned.
        """
        asked = await self._reader.partitions_of(self._topic)
        acknowledged = await self._reader.committed(self._config.group(LEARN), asked)
        begins, ends = await self._reader.beginning(acknowledged), await self._reader.ends(acknowledged)
        void: dict[Partition, int] = {}
        for where, offset in acknowledged.items():
            if offset > ends[where]:
                void[where] = max(begins[where], min(ends[where], await self._lowest_cut(where[1])))
                log.warning(
                    "%s[%d] ends at %d, %d was acknowledged: begins at %d", *where, ends[where], offset, void[where]
                )
        return void

    async def _lowest_cut(self, number: int) -> int:
        """Return up to where every policy of a partition has learned."""
        try:
            names = [name for name in self._config.policies if self._config.learn_partition(name) == number]
            saved = [await self._store.read(name, model=False) for name in names]
        except StateRefused:
            return 0
        return min((each.position.cut if each is not None else 0 for each in saved), default=0)

    async def load(self, publisher: Publisher) -> Learner:
        """Return a learner that goes on from what is saved of a policy.

        Raises
        ------
        StateRefused
            What is saved may not be continued, or ``rewards`` ends before it.
        """
        name, make_policy = publisher.name, publisher.identity.make
        where = self._topic, self._config.learn_partition(name)
        log_start = (await self._reader.beginning([where]))[where]
        saved = await publisher.load()
        await self._reader.refuse_shorter(where, saved.position.cut if saved is not None else 0)
        if saved is None:
            return Learner(name, make_policy, log_start=log_start)
        return Learner(name, make_policy, saved.position, saved.model, log_start)

    async def acknowledged_unlearned(self, learner: Learner) -> int:
        """Return up to which offset outcomes were acknowledged that a learner lacks; 0: it lacks none.

        A learner whose settings did not name the policy has acknowledged them, or somebody has moved the group.
        """
        where = self._topic, self._config.learn_partition(learner.name)
        acknowledged = (await self._reader.committed(self._config.group(LEARN), [where])).get(where, 0)
        if learner.saved.held or acknowledged <= learner.cut:
            return 0
        for shard in range(self._config.shards):
            given = await self._join.outboxes(shard)
            for placement in self._config.placements_of(learner.name):
                if given.get(placement, 0) > learner.last_seqs.get(outbox_name(placement, shard), 0):
                    return acknowledged
        return 0

    async def messages(self, name: str, start: int, end: int) -> AsyncIterator[LogRecord]:
        """Yield the messages of a policy's partition from one offset, or where the log starts, up to another."""
        where = self._topic, self._config.learn_partition(name)
        start = max(start, (await self._reader.beginning([where]))[where])
        if start < end:
            async for message in self._reader.read(*where, start, end):
                yield message
