"""What has been published of every policy: in Redis the latest, in ``versions`` all."""

from policies.policy_store import Saved
from records.newest_versions import snapshot_in
from records.policy_version import PolicyVersion
from records.versions import versions_in
from records.versions_snapshot import VersionsSnapshot
from stream.clients import redis_client
from stream.config import Config
from stream.kafka.log import LogReader, LogRecord
from stream.kafka.newest_first import FIRST_WINDOW, LARGEST_WINDOW
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
    where = (config.topic("versions"), 0)
    by_number: dict[int, PolicyVersion] = {}
    saved_number = saved.position.number if saved is not None else 0
    async with LogReader(config) as reader:
        if not await reader.partitions(where[0]):
            return []
        begins, stop = (await reader.beginning([where]))[where], (await reader.ends([where]))[where]
        window = FIRST_WINDOW
        # From the end, so that it takes no longer for an old policy.
        while stop > begins and len(by_number) <= newest:
            start = max(begins, stop - window)
            # Of two records of one number the first counts.
            first: dict[int, PolicyVersion] = {}
            # Windows come backwards: what a later one holds says nothing of what is far ahead in this one.
            highest = {name: saved_number}
            snapshot: VersionsSnapshot | None = None
            async for record in reader.read(*where, start, stop):
                for version in versions_in(record.value, highest):
                    if version.policy == name:
                        first.setdefault(version.number, version)
                snapshot = snapshot or _snapshot_from(start, record)
            by_number |= first
            stop, window = start, min(2 * window, LARGEST_WINDOW)
            if snapshot is not None:
                # It tells how far back the policy's next one lies, however much others have published meanwhile.
                before = snapshot.newest(name)
                stop, window = min(stop, before.offset + 1 if before is not None else begins), FIRST_WINDOW
    return [by_number[number] for number in sorted(by_number, reverse=True)[:newest]]


def _snapshot_from(start: int, record: LogRecord) -> VersionsSnapshot | None:
    """Return a snapshot that knows everything below an offset."""
    snapshot = snapshot_in(record.value, record.offset)
    return snapshot if snapshot is not None and snapshot.end_offset >= start else None
