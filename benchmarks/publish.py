"""Publishing a version, as bytes, against a SET of the same bytes in the same Redis (``appendfsync always``)."""

import asyncio
import os
import time
from secrets import token_hex
from statistics import quantiles
from typing import NamedTuple

from aiokafka import AIOKafkaProducer
from redis.asyncio import Redis

from benchmarks.row import Others, Row
from embedded.servers import EmbeddedKafka, EmbeddedRedis
from policies.learn_position import Position
from policies.policy import digest
from policies.policy_store import PolicyIdentity, Saved
from policies.publisher import Publisher
from stream.config import Config
from stream.kafka import topics
from stream.kafka.log import LogReader
from stream.kafka.versions import KafkaVersions
from stream.redis.policy_store import RedisPolicyStore
from tests.serving import served, tables

SIZES = {"155 kB": (155_000, 300), "4 MB": (4_000_000, 100)}
"""Bytes of a model, and how many versions are published."""
ARGUMENTS = "--cb_explore_adf --epsilon 0.1 -q uA"


class Times(NamedTuple):
    """Milliseconds: of whole publishes, of their step in Redis alone, of a SET."""

    published: list[float]
    saved: list[float]
    peer: list[float]


def run() -> list[Row]:
    """Measure publish, its step in Redis and SET in turns, for each size."""
    with EmbeddedKafka() as kafka, EmbeddedRedis() as redis:
        return [_row(kafka.address, redis.url, size_name, *size) for size_name, size in SIZES.items()]


def _row(brokers: str, redis_url: str, size_name: str, size: int, count: int) -> Row:
    config = Config(
        brokers=brokers,
        redis_url=redis_url,
        prefix=f"b-{token_hex(3)}-",
        **tables({name: served(kind="vw", arguments=ARGUMENTS) for name in ("front", "alone")}),
    )
    others = Others()
    with others.measured():
        times = asyncio.run(_measure(config, size, count))
    parts = (
        f"publish {_told(times.published)}",
        f"its step in Redis alone {_told(times.saved)}",
        f"SET {_told(times.peer)}",
    )
    return Row(
        f"publish of a model of {size_name}, from its bytes to its record acknowledged in `versions`, {count} times",
        "SET of the same bytes",
        "report p50, p99",
        "; ".join(parts),
        None,
        "the sync of Redis' file, then the broker's acknowledgement of the record",
        others.median,
    )


def _told(times: list[float]) -> str:
    percentiles = quantiles(times, n=100, method="inclusive")
    return f"p50 {percentiles[49]:.1f} ms, p99 {percentiles[98]:.1f} ms"


async def _measure(config: Config, size: int, count: int) -> Times:
    await topics.create(config)
    producer = AIOKafkaProducer(bootstrap_servers=config.brokers, acks="all")
    await producer.start()
    times = Times([], [], [])
    try:
        async with Redis.from_url(config.redis_url) as redis, LogReader(config) as reader:
            versions = KafkaVersions(config, producer, reader)
            store = RedisPolicyStore(redis, config)
            whole = _Policy("front", config, store, versions)
            alone = _Policy("alone", config, store, versions)
            for number in range(count + 1):
                model = os.urandom(size)
                measured = (await whole.publish(model), await alone.save(model), await _set(redis, config, model))
                # The first of each opens connections and loads the script.
                if number:
                    for found, milliseconds in zip(times, measured, strict=True):
                        found.append(milliseconds)
            await versions.stop()
    finally:
        await producer.stop()
    return times


class _Policy:
    """A policy whose versions are given, not learned."""

    def __init__(self, name: str, config: Config, store: RedisPolicyStore, versions: KafkaVersions) -> None:
        self._name, self._store = name, store
        self._identity = PolicyIdentity("vw", ARGUMENTS, config.salt(name), (name,))
        self._publisher = Publisher(name, self._identity, store, versions)
        self._saved: Saved | None = None

    async def publish(self, model: bytes) -> float:
        """Return the milliseconds of a whole publish."""
        position = self._next(model)
        began = time.perf_counter()
        version = await self._publisher.publish(self._saved, (position, model), round(time.time() * 1000))
        milliseconds = (time.perf_counter() - began) * 1000
        if version is None:
            raise AssertionError("nobody else publishes")
        self._saved = Saved(position, self._identity)
        return milliseconds

    async def save(self, model: bytes) -> float:
        """Return the milliseconds of the step in Redis, with a record as long as one of a version."""
        position = self._next(model)
        expected = self._saved.position if self._saved is not None else None
        saved = Saved(position, self._identity, b"r" * 700, model)
        began = time.perf_counter()
        done = await self._store.save(self._name, expected, saved)
        milliseconds = (time.perf_counter() - began) * 1000
        if not done:
            raise AssertionError("nobody else saves")
        self._saved = saved
        return milliseconds

    def _next(self, model: bytes) -> Position:
        number = self._saved.position.number + 1 if self._saved is not None else 1
        return Position(number, digest(model), number, {"front/0": number}, number)


async def _set(redis: Redis, config: Config, model: bytes) -> float:
    began = time.perf_counter()
    await redis.set(f"{config.prefix}peer", model)
    return (time.perf_counter() - began) * 1000
