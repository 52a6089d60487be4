"""What has been published of every policy: in Redis the latest, in ``versions`` all."""

from policies.policy_store import Saved
from records.policy_version import PolicyVersion
from records.versions import versions_in
from stream.clients import redis_client
from stream.config import Config
from stream.kafka.log import LogReader
from stream.kafka.newest_first import newest_first
from stream.redis.policy_store import RedisPolicyStore


async def saved_policies(config: Config) -> dict[str, Saved | None]:
    """Return what Redis holds of every configured policy (None: nothing yet), without the models' bytes."""
    redis = redis_client(config)
    try:
        store = RedisPolicyStore(redis, config)
        return {name: await store.read(name, model=False) for name in config.policies}
    finally:
        await redis.aclose()


async def versions_of(config: Config, name: str, newest: int, saved: Saved | None) -> list[PolicyVersion]:
    """Return the newest versions of a policy from ``versions``, newest first, without repeats.

    ``saved``: what Redis holds of the policy.
    """
    topic = config.topic("versions")
    by_number: dict[int, PolicyVersion] = {}
    highest = {name: saved.position.number if saved is not None else 0}
    async with LogReader(config) as reader:
        if not await reader.partitions(topic):
            return []
        # From the end, so that it takes no longer for an old policy.
        async for records in newest_first(reader, topic):
            # Of two records of one number the first counts.
            first: dict[int, PolicyVersion] = {}
            for record in records:
                for version in versions_in(record.value, highest):
                    if version.policy == name:
                        first.setdefault(version.number, version)
            by_number |= first
            if len(by_number) > newest or 1 in by_number:
                break
    return [by_number[number] for number in sorted(by_number, reverse=True)[:newest]]
