"""What has been published of every policy: in Redis the latest, in ``versions`` all."""

from collections import deque

from policies.policy_store import Saved
from records.policy_version import PolicyVersion
from records.versions import versions_in
from stream.clients import redis_client
from stream.config import Config
from stream.kafka.log import LogReader
from stream.redis.policy_store import RedisPolicyStore


async def saved_policies(config: Config) -> dict[str, Saved | None]:
    """Return what Redis holds of every configured policy (None: nothing yet), without the models' bytes."""
    redis = redis_client(config)
    try:
        store = RedisPolicyStore(redis, config)
        return {name: await store.read(name, model=False) for name in config.policies}
    finally:
        await redis.aclose()


async def versions_of(config: Config, name: str, newest: int) -> list[PolicyVersion]:
    """Return the newest versions of a policy as they stand in ``versions``, the newest first, repeats dropped."""
    found: deque[PolicyVersion] = deque(maxlen=newest)
    topic = config.topic("versions")
    async with LogReader(config) as reader:
        if not await reader.partitions(topic):
            return []
        begins = (await reader.beginning([(topic, 0)]))[topic, 0]
        async for record in reader.read(topic, 0, begins):
            for version in versions_in(record.value):
                if version.policy == name and (not found or version.number > found[-1].number):
                    found.append(version)
    return list(reversed(found))
