"""Outcomes leave the store when Kafka has acknowledged them, and not before."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
import pytest_asyncio
from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import MessageSizeTooLargeError
from redis.asyncio import Redis

from embedded.servers import EmbeddedKafka, EmbeddedRedis
from records.errors import LossDetected
from rewards.store import Transaction
from stream import clients, stopped
from stream.clients import LARGE_MESSAGE_BYTES
from stream.config import Config
from stream.kafka import topics
from stream.kafka.dead_letters import DeadLetters
from stream.kafka.last_seqs import LastSeqs
from stream.kafka.log import LogReader
from stream.redis.store import RedisStore
from stream.roles.outbox import Emitter, OutcomeProducer
from tests.laws.test_store import TTL_MS, Reader, decided
from tests.real.loop import decision, until
from tests.serving import served, tables


async def test_what_kafka_has_not_acknowledged_stays_in_the_outbox(
    kafka: EmbeddedKafka, redis_server: EmbeddedRedis, prefix: str
) -> None:
    """A broker that refuses a message has not got it; when it takes it, everything is there, in the order of seq."""
    config = Config(brokers=kafka.address, prefix=prefix, **tables({"front": served()}))
    topic = config.topic("rewards")
    admin = AIOKafkaAdminClient(bootstrap_servers=config.brokers)
    producer = AIOKafkaProducer(
        bootstrap_servers=config.brokers, acks="all", enable_idempotence=True, max_request_size=LARGE_MESSAGE_BYTES
    )
    redis, nothing_asked = Redis.from_url(redis_server.url), LastSeqs(config, LogReader(config))
    await admin.start()
    await producer.start()
    try:
        await admin.create_topics([NewTopic(topic, 1, 1, topic_configs={"max.message.bytes": "200"})])
        store = RedisStore(redis, prefix)
        reader = Reader(store)
        bodies = {event_id: json.dumps(decision(event_id)).encode() for event_id in "abc"}
        await reader.apply(*(decided(name, 0, at, body=body) for at, (name, body) in enumerate(bodies.items())))
        await reader.advance_to(TTL_MS)
        emitter = Emitter(store, producer, DeadLetters(producer, config, "join"), nothing_asked, config)
        with pytest.raises(MessageSizeTooLargeError):
            await emitter._empty(0, "front", 9)
        assert [frozen.seq for frozen in await reader.closed()] == [1, 2, 3]

        larger = {"max.message.bytes": str(LARGE_MESSAGE_BYTES)}
        await admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, topic, larger)])
        await producer.stop()
        producer = AIOKafkaProducer(bootstrap_servers=config.brokers, acks="all", enable_idempotence=True)
        await producer.start()
        emitter = Emitter(store, producer, DeadLetters(producer, config, "join"), nothing_asked, config)

        async def emptied() -> bool:
            try:
                await emitter._empty(0, "front", 9)
            except MessageSizeTooLargeError:
                return False  # the broker has not heard of the new limit yet
            return True

        await until(emptied)
        assert await reader.closed() == []
        async with LogReader(config) as log:
            arrays = [json.loads(message.value or b"") async for message in log.read(topic, 0, 0)]
        assert [(outcome["outcome_seq"], outcome["event_id"]) for outcome in arrays[0]] == [
            (1, "a"),
            (2, "b"),
            (3, "c"),
        ]
        assert await store.apply(0, "log", Transaction()) is not None
    finally:
        await redis.aclose()
        await producer.stop()
        await admin.close()


@pytest_asyncio.fixture
async def emitting(
    kafka: EmbeddedKafka, redis_server: EmbeddedRedis, prefix: str
) -> AsyncIterator[tuple[RedisStore, Emitter, Config]]:
    """Give a store, and an emitter of its outboxes, on topics that are there."""
    config = Config(brokers=kafka.address, redis_url=redis_server.url, prefix=prefix, **tables({"front": served()}))
    await topics.create(config)
    producer, redis = clients.producer(config, "emitter"), clients.redis_client(config)
    await producer.start()
    try:
        store = RedisStore(redis, prefix)
        async with LogReader(config) as log:
            last_seqs, letters = LastSeqs(config, log), DeadLetters(producer, config, "join")
            yield store, Emitter(store, producer, letters, last_seqs, config), config
    finally:
        await redis.aclose()
        await producer.stop()


async def test_outboxes_of_very_many_policies_are_emptied(emitting: tuple[RedisStore, Emitter, Config]) -> None:
    """A producer of `decisions` may name any number of policies; all their outcomes come out."""
    store, emitter, config = emitting
    topic, count = config.topic("rewards"), 600
    reader = Reader(store)
    bodies = [json.dumps(decision(f"e-{at}", policy=f"policy-{at}")).encode() for at in range(count)]
    made = [decided(f"e-{at}", 0, at, body=body, placement=f"policy-{at}") for at, body in enumerate(bodies)]
    await reader.apply(*made)
    await reader.advance_to(TTL_MS, close_limit=count)
    running = asyncio.create_task(emitter.run(0))

    async def all_emitted() -> bool:
        async with LogReader(config) as log:
            arrays = [json.loads(message.value or b"") async for message in log.read(topic, 0, 0)]
        return len({outcome["policy"] for outcomes in arrays for outcome in outcomes}) == count

    try:
        await until(all_emitted)
    finally:
        running.cancel()


async def test_a_seq_that_was_emitted_is_not_emitted_again_for_another_outcome(
    emitting: tuple[RedisStore, Emitter, Config],
) -> None:
    """Somebody has deleted the seqs in Redis: nothing goes out under a seq that has been, and the shard waits."""
    store, emitter, _ = emitting
    reader = Reader(store)
    for at, event_id in enumerate("ab"):
        body = json.dumps(decision(event_id)).encode()
        await reader.apply(decided(event_id, at, at, body=body))
        await reader.advance_to((at + 1) * TTL_MS)
        if event_id == "a":
            await emitter._empty(0, "front", 9)
            await store.redis.delete(store.key(0, "seq"))
    with pytest.raises(LossDetected, match="bowerbird recover"):
        await emitter._empty(0, "front", 9)
    assert await store.held(0)


async def test_outcomes_that_kafka_has_refused_are_taken_later(
    emitting: tuple[RedisStore, Emitter, Config],
) -> None:
    """A topic altered to smaller messages, and back: what comes after a refusal was out of order to the broker."""
    store, plain, config = emitting
    topic, reader, part = config.topic("rewards"), Reader(store), "outcomes of shard 0"
    producer = OutcomeProducer(config)
    await producer.start()
    emitter = Emitter(store, producer, plain._dead_letters, plain._last_seqs, config)

    async def close(event_id: str, at: int) -> None:
        await reader.apply(decided(event_id, 0, at, body=json.dumps(decision(event_id)).encode()))
        await reader.advance_to((at + 1) * TTL_MS)

    async def limit(size: int) -> None:
        admin = AIOKafkaAdminClient(bootstrap_servers=config.brokers)
        await admin.start()
        try:
            limits = {"max.message.bytes": str(size), "message.timestamp.type": "LogAppendTime"}
            await admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, topic, limits)])
        finally:
            await admin.close()

    async def emitted() -> list[str]:
        async with LogReader(config) as log:
            found = [json.loads(message.value or b"") async for message in log.read(topic, 0, 0)]
        return [outcome["event_id"] for outcomes in found for outcome in outcomes]

    async def emptied() -> bool:
        return await emitted() == ["a", "b", "c"] and part not in stopped.stopped_parts("join")

    async def stands() -> bool:
        return "bowerbird check" in stopped.stopped_parts("join").get(part, "")

    await close("a", 0)
    running = asyncio.create_task(emitter.run(0))
    try:
        await until(lambda: _is(emitted, ["a"]))
        await limit(200)
        await close("b", 1)
        await until(stands)
        await close("c", 2)
        await limit(LARGE_MESSAGE_BYTES)
        await until(emptied)
    finally:
        running.cancel()
        await producer.stop()


async def _is(ask: Callable[[], Awaitable[list[str]]], expected: list[str]) -> bool:
    return await ask() == expected
