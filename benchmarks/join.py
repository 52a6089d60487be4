"""Joined decisions of 1.5 kB: one worker, arrays of 100, Redis with ``appendfsync always``."""

import asyncio
import json
import time
from dataclasses import replace
from secrets import token_hex
from statistics import median
from typing import NamedTuple

from redis.asyncio import Redis

from benchmarks.row import Others, Row, spread
from embedded.servers import EmbeddedKafka, EmbeddedRedis
from records.position import LogPosition
from records.rule import Reward, StreamReward
from rewards.store import Claim, DecisionItem, FeedbackItem, Inputs, Transaction
from stream.config import Config
from stream.redis.store import RedisStore
from tests.real.loop import Loop, RoleProcess, decision, loop_of
from tests.serving import served, tables

DECISIONS = 30_000
ARRAY = 100
REPEATS = 3
BAR = 5_000


def run() -> list[Row]:
    """Measure the worker on a real broker and the script alone on the same Redis."""
    others = Others()
    worker, alone = [], []
    with EmbeddedKafka() as kafka, EmbeddedRedis(unix_socket=True) as redis:
        config = Config(
            brokers=kafka.address,
            redis_url=redis.url,
            early_s=120.0,
            **tables({"front": served(window_s=2.0, reward=Reward(streams={"clicks": StreamReward(1.0)}))}),
        )
        for _ in range(REPEATS):
            with others.measured():
                worker.append(asyncio.run(_worker(replace(config, prefix=f"b-{token_hex(3)}-"))))
                alone.append(asyncio.run(_script(config, f"s-{token_hex(3)}-")))
    ratio = median(worker) / median(alone)
    return [
        Row(
            "joined decisions of 1.5 kB, one worker, arrays of 100, Redis `appendfsync always`",
            "the script alone in Redis, no Kafka",
            f">= {BAR}/s; report the ratio",
            f"{spread(worker, 0)}/s; script alone {spread(alone, 0)}/s; ratio {ratio:.2f}",
            median(worker) >= BAR,
            "the worker's CPU (decoding heads, and outcomes on their way out), then Redis",
            others.median,
        )
    ]


def body(number: int) -> str:
    """Return a decision of 1.5 kB."""
    found = decision(f"event-{number:08d}")
    found["context"] = {"user": {"text": "x" * 900}}
    text = json.dumps(found)
    found["context"]["user"]["text"] += "x" * max(0, 1500 - len(text))
    return json.dumps(found)


class Joined(NamedTuple):
    """Decisions a second until the last is emitted: from the first outcome, and from the first decision in Redis."""

    emitted: float
    whole: float


async def _worker(config: Config) -> float:
    async with loop_of(config) as loop:
        await append_all(loop, DECISIONS, ARRAY)
        return (await joined_a_second(loop, DECISIONS)).whole


async def joined_a_second(loop: Loop, decisions: int) -> Joined:
    """Return how fast a worker that finds all of them in its topics joins and emits them."""
    config = loop.config
    await asyncio.sleep(config.placements["front"].window_s + 0.5)  # So that nothing waits for a window.
    async with Redis.from_url(config.redis_url) as redis:
        role = RoleProcess(config, "join").start()
        try:
            taken = await _taken(RedisStore(redis, config.prefix), config.shards)
            first = await _wait(loop, 1)
            last = await _wait(loop, decisions)
        finally:
            role.kill()
    return Joined(*((decisions - count) / (last[0] - began) for began, count in (first, taken)))


async def _taken(store: RedisStore, shards: int) -> tuple[float, int]:
    """Return when Redis holds decisions, and how many there were then."""
    ends = time.monotonic() + 120
    while time.monotonic() < ends:
        pending = [await store.pending(shard) for shard in range(shards)]
        frozen = [await store.outboxes(shard) for shard in range(shards)]
        if count := sum(sum(found.values()) for found in (*pending, *frozen)):
            return time.monotonic(), count
        await asyncio.sleep(0.005)
    raise TimeoutError("no decision in Redis")


async def append_all(loop: Loop, decisions: int, array: int) -> None:
    """Append decisions, and a click for each, so many a message."""
    for start in range(0, decisions, array):
        numbers = range(start, start + array)
        partition = start // array % 3
        await _append(loop, "decisions", [body(number) for number in numbers], partition)
        clicks = [json.dumps({"event_id": f"event-{number:08d}", "id": "c"}) for number in numbers]
        await _append(loop, "clicks", clicks, (partition + 1) % 3)
    await loop.producer.flush()


async def _append(loop: Loop, topic: str, bodies: list[str], partition: int) -> None:
    value = bodies[0] if len(bodies) == 1 else "[" + ",".join(bodies) + "]"
    await loop.producer.send(loop.config.topic(topic), value.encode(), partition=partition)


async def _wait(loop: Loop, count: int) -> tuple[float, int]:
    """Return when ``rewards`` holds so many outcomes, and how many there were then."""
    name = loop.config.topic("rewards")
    found, position, ends = 0, 0, time.monotonic() + 120
    while time.monotonic() < ends:
        async for message in loop.reader.read(name, 0, position):
            found += message.value.count(b'"outcome_seq":') if message.value else 0
            position = message.offset + 1
        if found >= count:
            return time.monotonic(), found
        await asyncio.sleep(0.02)
    raise TimeoutError(f"{found} of {count} outcomes")


async def _script(config: Config, prefix: str) -> float:
    """Return decisions a second of the script alone, with the worker's portions; outboxes are trimmed."""
    redis = Redis.from_url(config.redis_url)
    store = RedisStore(redis, prefix)
    inputs = Inputs((("decisions", 0), ("clicks", 0)), 10**13)
    await store.apply(0, "log", Transaction([Claim(*name, 0, 0, None, True) for name in inputs.partitions], (), inputs))
    bodies = [body(number).encode() for number in range(DECISIONS)]
    began = time.monotonic()
    for part in range(DECISIONS // ARRAY):
        now_ms = 10**6 + part
        items: list[DecisionItem | FeedbackItem] = []
        for index in range(ARRAY):
            number = part * ARRAY + index
            event_id = f"event-{number:08d}"
            place = LogPosition(now_ms, "decisions", 0, part, index)
            items.append(
                DecisionItem(place, event_id, "front", "f", 0, now_ms + 20, now_ms + 10**8, (), bodies[number])
            )
            items.append(FeedbackItem(LogPosition(now_ms, "clicks", 0, part, index), event_id, now_ms + 10**6, b"{}"))
        claims = [Claim(*name, part, part + 1, now_ms) for name in inputs.partitions]
        done = await store.apply(0, "log", Transaction(claims, items))
        if done.closed:
            await store.trim(0, "front", (await store.outboxes(0))["front"])
    seconds = time.monotonic() - began
    await redis.aclose()
    return DECISIONS / seconds
