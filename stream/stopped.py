"""Which parts of a role stand still, each with the sentence that says why and what to do.

A process holds those of its role and shows them on ``/ready``. It also keeps them in Redis for some seconds, again and
again, so that ``bowerbird status`` can say them without asking any process.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, cast

import mode
import msgspec
from redis.asyncio import Redis
from redis.exceptions import RedisError, ResponseError

from stream import metrics
from stream.clients import is_other_type, redis_client
from stream.config import Config

SAY_EVERY_S = 1.0
SAID_AFTER = 3
"""A part is said to stand still after so many failures in a row."""
KEPT_MS = 10_000
REFUSED_KEPT_MS = 90_000
"""A role that has refused to start is started again after a minute."""
REDIS_S = 2.0

_parts: dict[tuple[str, str], str] = {}


class StoppedPart(msgspec.Struct, frozen=True):
    """A part of a role that stands still.

    Attributes
    ----------
    role, part
        What stands still: of which role, and a shard, a partition or the role itself.
    sentence
        Why, and the command that ends it.
    """

    role: str
    part: str
    sentence: str


class _Kept(msgspec.Struct, frozen=True):
    sentence: str
    until_ms: int


_kept = msgspec.json.Decoder(_Kept).decode


def stop(role: str, part: str, sentence: object) -> bool:
    """Note that a part of a role of this process stands still; return whether that, or why, is new."""
    new = _parts.get((role, part)) != str(sentence)
    _parts[role, part] = str(sentence)
    metrics.STOPPED.labels(role, part).set(1)
    return new


def go_on(role: str, part: str | None = None) -> None:
    """Note that a part of a role goes on; None: all of them."""
    for known in [each for each in _parts if each[0] == role and part in (None, each[1])]:
        del _parts[known]
        metrics.STOPPED.labels(*known).set(0)


def stopped_parts(role: str) -> dict[str, str]:
    """Return the sentence of each part of a role of this process that stands still."""
    return {part: sentence for (name, part), sentence in _parts.items() if name == role}


class Teller(mode.Service):
    """Keeps in Redis what of this process stands still.

    Parameters
    ----------
    ready
        Tells whether the role works: then what it was stopped by before its start is over.
    """

    def __init__(self, config: Config, role: str, ready: Callable[[], bool]) -> None:
        super().__init__()
        self._config, self._role, self._ready = config, role, ready
        metrics.STOPPED.labels(role, role).set(0)
        self._said: set[str] | None = None

    @mode.Service.task
    async def _tell(self) -> None:
        while not self.should_stop:
            parts = stopped_parts(self._role)
            if parts or self._said or (self._said is None and self._ready()):
                with contextlib.suppress(RedisError, OSError, TimeoutError):
                    async with _redis(self._config) as redis:
                        await self._write(redis, parts)
                    self._said = set(parts)
            await self.sleep(SAY_EVERY_S)

    async def _write(self, redis: "Redis", parts: dict[str, str]) -> None:
        if self._said is None:
            over = [part.part for part in await kept(redis, self._config) if part.role == self._role]
        else:
            over = list(self._said)
        await _keep(redis, self._config, self._role, parts, KEPT_MS)
        if gone := [f"{self._role} {part}" for part in over if part not in parts]:
            await redis.hdel(_key(self._config), *gone)


def keep_refusal(config: Config, role: str, sentence: object) -> None:
    """Keep in Redis, if it answers, why a role of this process has refused to start."""

    async def keep() -> None:
        async with _redis(config) as redis:
            await _keep(redis, config, role, {role: str(sentence)}, REFUSED_KEPT_MS)

    with contextlib.suppress(RedisError, OSError, TimeoutError):
        asyncio.run(keep())


async def kept(redis: "Redis", config: Config) -> list[StoppedPart]:
    """Return what stands still now, as far as Redis knows."""
    try:
        stored = await cast("Awaitable[dict[bytes, bytes]]", redis.hgetall(_key(config)))
    except ResponseError as error:
        if not is_other_type(error):
            raise
        # Somebody has put something else into its place.
        stored = {}
    now_ms = await _now_ms(redis) if stored else 0
    parts: list[StoppedPart] = []
    for name, content in sorted(stored.items()):
        role, _, part = name.decode("utf-8", "replace").partition(" ")
        with contextlib.suppress(msgspec.DecodeError):
            each = _kept(content)
            if each.until_ms >= now_ms:
                parts.append(StoppedPart(role, part, each.sentence))
    return parts


async def _keep(redis: "Redis", config: Config, role: str, parts: dict[str, str], for_ms: int) -> None:
    if not parts:
        return
    until_ms = await _now_ms(redis) + for_ms
    encoded = {f"{role} {part}": msgspec.json.encode(_Kept(each, until_ms)) for part, each in parts.items()}
    try:
        await redis.hset(_key(config), mapping=cast(Any, encoded))
    except ResponseError as error:
        if not is_other_type(error):
            raise
        await redis.delete(_key(config))
        await redis.hset(_key(config), mapping=cast(Any, encoded))
    await redis.pexpire(_key(config), REFUSED_KEPT_MS)


async def _now_ms(redis: "Redis") -> int:
    seconds, microseconds = await redis.time()
    return int(seconds) * 1000 + int(microseconds) // 1000


def _key(config: Config) -> str:
    return f"{{{config.prefix}service}}:stopped"


@contextlib.asynccontextmanager
async def _redis(config: Config) -> AsyncIterator["Redis"]:
    redis = redis_client(config, REDIS_S)
    try:
        yield redis
    finally:
        await redis.aclose()
