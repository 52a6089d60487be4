"""Where the outcomes of each placement go, also of one that the settings no longer name."""

from collections.abc import Awaitable
from typing import Any, cast

from redis.asyncio import Redis

from stream.config import Config
from stream.redis.spoilt import reading, whole
from stream.redis.store import shard_key


class Partitions:
    """The partition of ``rewards`` of every placement that a join has ever had in its settings."""

    def __init__(self, redis: "Redis", config: Config) -> None:
        self._redis, self._config = redis, config
        self._key = shard_key(config.prefix, "s", "partitions")

    async def remember(self) -> None:
        """Note those of the settings."""
        if partitions := {name: self._config.rewards_partition(name) for name in self._config.placements}:
            with reading(self._key):
                await self._redis.hset(self._key, mapping=cast(Any, partitions))

    async def of(self, placement: str) -> int | None:
        """Return the partition of a placement; None: no join has known it, or Redis was lost since."""
        if placement in self._config.placements:
            return self._config.rewards_partition(placement)
        with reading(self._key):
            value = await cast("Awaitable[bytes | None]", self._redis.hget(self._key, placement))
            return whole(value) if value is not None else None
