"""Request to reply while a learner publishes twice a second, against the same while it has nothing to learn."""

import asyncio
import random
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from secrets import token_hex
from statistics import median

import orjson
from redis.asyncio import Redis

from benchmarks.decide import (
    PARTITIONS,
    WARM_UP_S,
    create_topics,
    quantile,
    replying_load,
    told,
)
from benchmarks.learning import ACTIONS, ARRAY, CATALOGUE, made_action, made_features, made_outcome
from benchmarks.row import Others, Row, spread
from embedded.servers import EmbeddedKafka, EmbeddedRedis
from stream.config import Config
from stream.kafka.topics import create
from stream.redis.policy_store import read_published
from stream.shutdown import ended
from tests.real.loop import Loop, loop_of
from tests.serving import served, tables

RATE = 1500
PUBLISH_MS = 500
ARRAY_EVERY_S = 0.1
LEARNED_BEFORE = 20_000
FEATURES = 5
MEASURED_S = 8.0
REPEATS = 5
BAR = 1.3
BITS = {18: BAR, 22: None}
"""Size of the table of weights (2 to the power of it), and the bar."""


def run() -> list[Row]:
    """Measure with and without publishing in turns, for each size of the table of weights."""
    with EmbeddedKafka() as kafka, EmbeddedRedis(unix_socket=True) as redis:
        return [asyncio.run(_row(kafka.address, redis.url, bits, bar)) for bits, bar in BITS.items()]


async def _row(brokers: str, redis_url: str, bits: int, bar: float | None) -> Row:
    arguments = f"--cb_explore_adf --epsilon 0.1 -q uA -b {bits}"
    config = Config(
        brokers=brokers,
        redis_url=redis_url,
        prefix=f"b-{token_hex(3)}-",
        partitions=PARTITIONS,
        request_ttl_ms=60_000,
        **tables({"front": served(kind="vw", arguments=arguments, publish_ms=PUBLISH_MS)}),
    )
    others = Others()
    await create(config)
    replies = config.topic("replies.bench")
    await create_topics(config, {replies: 1})
    quiet: list[list[float]] = []
    publishing: list[list[float]] = []
    versions: list[float] = []
    async with loop_of(config) as loop, replying_load(config, replies) as load, Redis.from_url(redis_url) as redis:
        processes = [loop.role(role).process for role in ("decide", "learn")]
        outcomes = iter(_messages())
        await _learn(loop, redis, outcomes)
        topic = config.topic("decision-requests")
        await load.measure(topic, RATE, WARM_UP_S)
        for _ in range(REPEATS):
            with others.measured([process.pid for process in processes if process is not None]):
                quiet.append(await load.measure(topic, RATE, MEASURED_S))
                async with _outcomes(loop, outcomes):
                    publishing.append(await load.measure(topic, RATE, MEASURED_S))
                versions.append(len(load.versions) / MEASURED_S)
        published = await read_published(redis, config, "front")
    assert published is not None
    ratios = [quantile(one, 0.99) / quantile(other, 0.99) for one, other in zip(publishing, quiet, strict=True)]
    return Row(
        f"request to reply at {RATE} a second while a learner publishes every {PUBLISH_MS} ms: "
        f"-b {bits}, a model of {len(published.model) / 1e6:.1f} MB",
        "the same while the learner has nothing to learn",
        f"p99 <= {bar} x" if bar else "report",
        f"p99 {spread(ratios)} x; publishing {told(publishing)}; not {told(quiet)}; "
        f"{median(versions):.1f} versions a second decided",
        median(ratios) <= bar if bar else None,
        "Vowpal Wabbit holds the interpreter's lock while it loads a model; then the CPU that the learner takes",
        others.median,
    )


def _messages() -> list[bytes]:
    """Return arrays of outcomes, all made beforehand: a catalogue of 1,000 actions, as in the benchmark of learning."""
    source = random.Random(1)
    catalogue = [made_action(f"article-{number}", FEATURES, source) for number in range(CATALOGUE)]
    more = round(REPEATS * (MEASURED_S + 1) / ARRAY_EVERY_S)
    messages = []
    for first in range(0, LEARNED_BEFORE + more * ARRAY, ARRAY):
        array = []
        for number in range(first, first + ARRAY):
            context, offered = {"user": made_features(FEATURES, source)}, source.sample(catalogue, ACTIONS)
            reward = float(source.random() < 0.1)
            array.append(made_outcome(number, context, offered, source.randrange(ACTIONS), reward))
        messages.append(orjson.dumps(array))
    return messages


async def _send(loop: Loop, message: bytes) -> None:
    rewards, partition = loop.config.topic("rewards"), loop.config.rewards_partition("front")
    await loop.producer.send_and_wait(rewards, message, partition=partition)


async def _learn(loop: Loop, redis: Redis, messages: Iterator[bytes]) -> None:
    """Have a model learned and published, so that what is loaded has its size from the start."""
    for _ in range(LEARNED_BEFORE // ARRAY):
        await _send(loop, next(messages))
    async with asyncio.timeout(120):
        while True:
            published = await read_published(redis, loop.config, "front")
            if published is not None and published.record.examples >= LEARNED_BEFORE:
                return
            await asyncio.sleep(0.1)


@asynccontextmanager
async def _outcomes(loop: Loop, messages: Iterator[bytes]) -> AsyncIterator[None]:
    """Let the learner have something new for each of its publishes."""

    async def feed() -> None:
        while True:
            await _send(loop, next(messages))
            await asyncio.sleep(ARRAY_EVERY_S)

    feeding = asyncio.create_task(feed())
    try:
        yield
    finally:
        await ended(feeding)
