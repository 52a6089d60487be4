"""Controls of a running policy: an operator publishes a version, by the same compare-and-set as a learner.

:mod:`policies.controls` defines what a control means. The learner notices when its next save is refused: it loads the
operator's version and takes again what it has taken since, which now is passed over or learned as that version says.
"""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import NamedTuple

from policies.controls import SHAPES, Control
from policies.learn_position import Position
from policies.learner import Learner
from policies.policy import MakePolicy
from policies.policy_store import Saved, version_0, version_of
from policies.publisher import Publisher
from policies.training import outcomes_of
from records.errors import StateRefused
from records.policy_version import PolicyVersion
from records.shape import UNSHAPED, Shape
from stream import clients
from stream.clients import redis_client
from stream.config import Config, identity_in
from stream.kafka.log import LogReader, Partition
from stream.kafka.versions import KafkaVersions
from stream.redis.policy_store import RedisPolicyStore
from stream.shutdown import closed, started

ATTEMPTS = 50
"""So often an operator tries again when a learner, or another operator, was faster."""


class Controlled(NamedTuple):
    """What a control did.

    Attributes
    ----------
    version
        The version in force; None: version 0, nothing was ever published.
    changed
        False: what was asked for was in force already, and nothing was published.
    """

    version: PolicyVersion | None
    changed: bool


PassOver = Callable[[Learner], Awaitable[None]]
"""Lets a learner that holds take everything that ``rewards`` holds by now."""


async def control(
    publisher: Publisher,
    wanted: Control,
    now_ms: int,
    pass_over: PassOver,
    make_policy: MakePolicy | None = None,
) -> Controlled:
    """Put a control in force, unless it is.

    ``freeze`` and ``uniform`` act from the cut of what was saved last: whatever no version holds yet will not be
    learned. ``unfreeze`` acts from the end of ``rewards``: what arrived while nothing was learned is never learned,
    wherever the learner is.

    Raises
    ------
    StateRefused
        The policy's state may not be continued, or somebody else saved at each try.
    LossDetected
        At an unfreeze: outcomes are missing in ``rewards``.
    """
    shape, make_policy = SHAPES[wanted], make_policy or publisher.identity.make
    for _ in range(ATTEMPTS):
        saved = await publisher.load()
        former = version_of(publisher.name, saved.record) if saved is not None and saved.record is not None else None
        if (former.shape if former is not None else UNSHAPED) == shape:
            return Controlled(former, changed=False)
        position, model = in_use(saved, make_policy)
        if shape.learn:
            learner = Learner(publisher.name, make_policy, position, model)
            try:
                await pass_over(learner)
                position = learner.next()[0]
            finally:
                learner.policy.close()
        position = replace(position, number=position.number + 1, control=wanted, shape=shape)
        version = await publisher.publish(saved, (position, model), now_ms, made_by=former)
        if version is not None:
            return Controlled(version, changed=True)
    raise StateRefused(
        f"policy {publisher.name} in Redis",
        f"another version at each of {ATTEMPTS} tries",
        "the one that was read before",
        "stop the other program that publishes it, and run the command again; `bowerbird policy show"
        f" {publisher.name}` shows what was published",
    )


def in_use(saved: Saved | None, make_policy: MakePolicy) -> tuple[Position, bytes]:
    """Return the position and the bytes that are in use: of version 0, where nothing was published."""
    if saved is not None and saved.model is not None:
        return saved.position, saved.model
    first, model = version_0(make_policy)
    return (saved.position if saved is not None else first), model


@dataclass(frozen=True, slots=True)
class OperatorSession:
    """Where an operator stands: the servers of a service, and one of its policies.

    Attributes
    ----------
    publisher
        Of the policy; ``store`` and ``versions`` are what it works with.
    """

    config: Config
    name: str
    reader: LogReader
    store: RedisPolicyStore
    versions: KafkaVersions
    publisher: Publisher

    async def control(self, wanted: Control, now_ms: int) -> Controlled:
        """Put a control in force; see :func:`control`."""
        return await control(self.publisher, wanted, now_ms, self._pass_over)

    @property
    def rewards(self) -> Partition:
        """Where the policy's outcomes stand."""
        return self.config.topic("rewards"), self.config.learn_partition(self.name)

    async def check_outcomes(self, saved: Saved | None) -> None:
        """Look through the outcomes that no saved position covers.

        Raises
        ------
        LossDetected
            One is missing.
        """
        make_policy = self.publisher.identity.make
        position, model = in_use(saved, make_policy)
        await self.reader.refuse_shorter(self.rewards, position.cut)
        held = replace(position, shape=Shape(learn=False))
        learner = Learner(self.name, make_policy, held, model)
        try:
            await self._pass_over(learner)
        finally:
            learner.policy.close()

    async def _pass_over(self, learner: Learner) -> None:
        where = self.rewards
        learner.log_start = (await self.reader.beginning([where]))[where]
        async for message in self.reader.read(*where, max(learner.cut, learner.log_start)):
            learner.take(message.offset, outcomes_of(self.publisher.identity.placements, message.value))
            # Nothing was learned, so nothing need be kept to be taken again.
            learner.move(learner.next()[0])


@asynccontextmanager
async def operator_session(config: Config, name: str) -> AsyncIterator[OperatorSession]:
    """Give an operator's session for a policy of the configuration."""
    identity = identity_in(config, name)
    redis = redis_client(config)
    producer = clients.producer(config, "bowerbird-operator")
    try:
        await started(producer)
        try:
            async with LogReader(config) as reader:
                store, versions = RedisPolicyStore(redis, config), KafkaVersions(config, producer, reader)
                try:
                    publisher = Publisher(name, identity, store, versions, config.learn_partition(name))
                    await _check_topics(reader, config)
                    yield OperatorSession(config, name, reader, store, versions, publisher)
                finally:
                    await versions.stop()
        finally:
            await closed(producer)
    finally:
        await redis.aclose()


async def _check_topics(reader: LogReader, config: Config) -> None:
    for topic in (config.topic("versions"), config.topic("rewards")):
        if not await reader.partitions(topic):
            raise StateRefused(f"topic {topic}", "no such topic", "the topic", "run `bowerbird topics create`")
