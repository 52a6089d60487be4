"""What a decision of 1.5 kB takes of Redis' memory while its window is open."""

import asyncio
from secrets import token_hex
from statistics import median

from redis.asyncio import Redis

from benchmarks.join import ARRAY, body
from benchmarks.row import Others, Row, spread
from embedded.servers import EmbeddedRedis
from records.position import LogPosition
from rewards.store import Claim, DecisionItem, Inputs, Transaction
from stream.redis.store import RedisStore

DECISIONS = 10_000
REPEATS = 3
WINDOW_MS = 10**7


def run() -> list[Row]:
    """Fill one server with pending decisions, several times, each under another prefix."""
    others = Others()
    bodies = [body(number).encode() for number in range(DECISIONS)]
    size = sum(map(len, bodies)) / DECISIONS
    taken = []
    with EmbeddedRedis() as redis:
        for _ in range(REPEATS):
            with others.measured():
                taken.append(asyncio.run(_fill(redis.url, bodies)) / DECISIONS)
    return [
        Row(
            f"memory in Redis per pending decision of 1.5 kB, {DECISIONS:,} pending",
            "the bytes of the decision",
            "report",
            f"{spread(taken, 0)} bytes for {size:.0f}: {median(taken) / size:.2f} x",
            None,
            "the decision itself; the rest is its entry, its deadline, and Redis' own bookkeeping of both",
            others.median,
        )
    ]


async def _fill(url: str, bodies: list[bytes]) -> int:
    """Return by how many bytes the server grew."""
    async with Redis.from_url(url) as redis:
        store = RedisStore(redis, f"m-{token_hex(3)}-")
        inputs = Inputs((("decisions", 0),), 10**13)
        await store.apply(0, "log", Transaction([Claim("decisions", 0, 0, 0, None, True)], (), inputs))
        before = await _used(redis)
        for part in range(DECISIONS // ARRAY):
            now_ms = 10**6 + part
            items = []
            for index in range(ARRAY):
                number = part * ARRAY + index
                place = LogPosition(now_ms, "decisions", 0, part, index)
                times = (now_ms + WINDOW_MS, now_ms + 2 * WINDOW_MS)
                items.append(DecisionItem(place, f"event-{number:08d}", "front", "f", 0, *times, (), bodies[number]))
            await store.apply(0, "log", Transaction([Claim("decisions", 0, part, part + 1, now_ms)], items))
        after = await _used(redis)
        if (pending := await store.pending(0)) != {"front": DECISIONS}:
            raise AssertionError(f"pending: {pending}")
        return after - before


async def _used(redis: Redis) -> int:
    return int((await redis.info("memory"))["used_memory"])
