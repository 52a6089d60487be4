"""A Redis that has forgotten a part of the join's state, or holds that of another number of shards, is refused."""

from typing import cast

from records.errors import RECOVER, LossDetected, WrongConfiguration
from stream.config import Config
from stream.kafka.last_seqs import LastSeqs
from stream.redis.partitions import Partitions
from stream.redis.spoilt import reading, unreadable
from stream.redis.store import RedisStore, shard_key


async def compare_state(config: Config, tails: LastSeqs, store: RedisStore) -> None:
    """Refuse a Redis that has forgotten: fewer outcomes than ``rewards`` holds, or other shards."""
    key = shard_key(config.prefix, "s", "count")
    shards = str(config.shards).encode()
    await store.redis.set(key, shards, nx=True)
    with reading(key):
        kept = await store.redis.get(key)
    if kept != shards:
        if not cast(bytes, kept).isdigit():
            raise unreadable(key)
        raise WrongConfiguration(
            f"shards: found {config.shards}, expected {cast(bytes, kept).decode()}, which the join's state"
            " in Redis was begun with; it never changes: set it back, and see that `bowerbird check` agrees"
        )
    await Partitions(store.redis, config).remember()
    for (placement, shard), tail in (await tails.last_seqs()).items():
        given = (await store.outboxes(shard)).get(placement, 0)
        if given < tail:
            await store.need_recovery(shard)
            raise LossDetected(
                f"join state of shard {shard}, placement {placement}",
                f"seq {given}",
                f"seq {tail} or above, the last in rewards",
                f"Redis has forgotten a part: {RECOVER}",
            )
