"""An open transaction of another program hides what Bowerbird has appended behind it: nothing is taken for lost."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest
from aiokafka import AIOKafkaProducer
from redis.asyncio import Redis

from bowerbird.recovery.rebuild import rebuild
from bowerbird.recovery.recover import recover
from bowerbird.verification import verify
from embedded.servers import EmbeddedKafka, EmbeddedRedis
from records.codec import items
from records.errors import StateRefused
from stream.clients import redis_client
from stream.redis.store import RedisStore, shard_key
from stream.stopped import kept
from tests.real.loop import Loop, loop_of, stop_sentence, until
from tests.real.test_recover import NOW_MS, Shop, published, shop_config

pytestmark = pytest.mark.real


@pytest.fixture
async def shop(kafka: EmbeddedKafka, own_redis: Callable[..., EmbeddedRedis], prefix: str) -> AsyncIterator[Shop]:
    server = own_redis()
    async with loop_of(shop_config(kafka, server, prefix)) as loop:
        yield Shop(loop, server)


@asynccontextmanager
async def hidden(shop: Shop, topic: str) -> AsyncIterator[Callable[[], Awaitable[int]]]:
    """Hold a transaction open in a topic; it is aborted in the end."""
    where = (shop.config.topic(topic), 0)
    producer = AIOKafkaProducer(bootstrap_servers=shop.config.brokers, transactional_id=shop.config.prefix)
    async with producer:
        await producer.begin_transaction()
        await producer.send_and_wait(where[0], b"{}", partition=0)

        async def written() -> int:
            return (await shop.loop.reader.written_ends([where]))[where]

        yield written
        await producer.abort_transaction()


async def test_a_learner_that_cannot_see_its_versions_waits_and_does_not_append_them_again(shop: Shop) -> None:
    await shop.trade(40)
    await shop.joined(40)
    await until(lambda: published(shop))
    async with hidden(shop, "versions") as written:
        before = await written()
        await shop.trade(60)

        async def has_published() -> bool:
            return await written() > before

        await until(has_published)
        shop.learner.kill()
        shop.learner.start()
        sentence = await stop_sentence(shop.config, "learn", "a transaction that is open since offset")
        assert "kafka-transactions" in sentence
        end = await written()
        await asyncio.sleep(3)
        assert await written() == end
        with pytest.raises(StateRefused, match="a transaction that is open"):
            await verify(shop.config, "front")
        with pytest.raises(StateRefused, match="a transaction that is open"):
            await rebuild(shop.config, "front", NOW_MS)
    await shop.trade(20)
    await shop.all_is_right()


async def test_a_join_that_cannot_see_its_outcomes_goes_on(shop: Shop) -> None:
    config, redis = shop.config, redis_client(shop.config)
    await shop.trade(20)
    await shop.joined(20)
    async with hidden(shop, "rewards") as written:
        before = await written()
        await shop.trade(30)
        store = RedisStore(redis, config.prefix)

        async def all_have_left() -> bool:
            counts = [sum((await store.pending(shard)).values()) for shard in range(config.shards)]
            return not any(counts) and await written() > before

        await until(all_have_left)
        for join in shop.joins:
            join.kill()
            join.start()
        end = await written()
        await shop.trade(30)

        async def goes_on() -> bool:
            return await written() > end and await all_have_left()

        await until(goes_on)
        assert [each for each in await kept(redis, config) if each.role == "join"] == []
        with pytest.raises(StateRefused, match="a transaction that is open"):
            await recover(config, NOW_MS)
    await redis.aclose()
    await shop.trade(10)
    await shop.all_is_right()


@pytest.mark.parametrize("published_before", [True, False])
async def test_windows_of_a_placement_that_was_taken_out_of_the_settings_close_where_its_policy_learns(
    kafka: EmbeddedKafka, own_redis: Callable[..., EmbeddedRedis], prefix: str, *, published_before: bool
) -> None:
    """It comes back: its policy has missed nothing, and no seq is missing where it learns."""
    server = own_redis()
    config = replace(shop_config(kafka, server, prefix), rewards_partitions=2)
    # Not the partition of a placement of which nothing is known.
    of_side = 1 - config.rewards_partition("side")
    placements = config.placements | {"side": replace(config.placements["side"], partition=of_side)}
    config = replace(config, placements=placements)
    without = replace(
        config,
        placements={"front": config.placements["front"]},
        policies={"front": config.policies["front"]},
    )
    async with loop_of(config) as loop:
        shop, where = Shop(loop, server), (config.topic("rewards"), of_side)

        async def all_acknowledged() -> bool:
            acknowledged = await loop.reader.committed(config.group("learn"), [where])
            return acknowledged.get(where) == (await loop.reader.ends([where]))[where]

        async with Redis.from_url(config.redis_url) as redis:
            key = shard_key(config.prefix, "s", "partitions")
            await until(lambda: redis.exists(key))
            if published_before:
                await shop.trade(60)
                await shop.joined(60)
                await until(lambda: published(shop))
        before = shop.count
        for role in (*shop.joins, shop.learner):
            role.stop()
        await shop.trade(20)
        if published_before:
            # A Redis that was lost: the version says where the policy learned.
            async with Redis.from_url(config.redis_url) as redis:
                await redis.delete(key)
        for role in (*shop.joins, shop.learner):
            role.config = without
            role.start()
        await until(lambda: shop.has_joined(before + 20))
        await until(all_acknowledged)
        assert {partition for partition, each in await outcomes(loop) if each["placement"] == "side"} == {of_side}
        for role in (*shop.joins, shop.learner):
            role.stop()
            role.config = config
            role.start()
        await shop.all_is_right()
        await shop.trade(20)
        await shop.all_is_right()


async def outcomes(loop: Loop) -> list[tuple[int, Any]]:
    """Return all outcomes, each with its partition."""
    topic = loop.config.topic("rewards")
    found = []
    for partition in await loop.reader.partitions(topic):
        async for message in loop.reader.read(topic, partition, 0):
            found += [(partition, json.loads(each)) for each in items(message.value)]
    return found
