"""Creating and checking topics on a real broker."""

import asyncio

import pytest
from aiokafka.admin import AIOKafkaAdminClient, NewPartitions, NewTopic

from embedded.servers import EmbeddedKafka, EmbeddedRedis
from records.errors import WrongConfiguration
from records.rule import Reward, StreamReward
from stream.config import Config
from stream.kafka import topics
from tests.real.loop import loop_of, until
from tests.serving import served, tables


def test_create_makes_what_check_wants_and_only_once(kafka, prefix):
    config = Config(brokers=kafka.address, prefix=prefix, **tables({"front": served(activate_on="views")}))

    async def scenario():
        missing = await topics.check(config)
        assert len(missing) == 7
        assert all("missing" in sentence and "topics create" in sentence for sentence in missing)
        created = await topics.create(config)
        assert created == [need.name for need in topics.needed(config)]
        assert f"{prefix}views" in created
        assert await topics.check(config) == []
        assert await topics.create(config) == []

    asyncio.run(scenario())


def test_create_refuses_what_contradicts_and_then_makes_nothing(kafka, prefix):
    config = Config(brokers=kafka.address, prefix=prefix, rewards_partitions=3, **tables({"front": served()}))

    async def scenario():
        admin = AIOKafkaAdminClient(bootstrap_servers=kafka.address)
        await admin.start()
        await admin.create_topics([NewTopic(f"{prefix}rewards", 2, 1)])
        while f"{prefix}rewards" not in await admin.list_topics():
            await asyncio.sleep(0.02)
        with pytest.raises(WrongConfiguration) as refused:
            await topics.create(config)
        message = str(refused.value)
        assert f"topic {prefix}rewards: partitions is 2, needed is at least 3; add partitions" in message
        assert f"topic {prefix}rewards: message.timestamp.type is CreateTime, needed is LogAppendTime" in message
        assert f"topic {prefix}rewards: max.message.bytes is 1048588" in message
        assert f"{prefix}decisions" not in await admin.list_topics()
        await admin.close()

    asyncio.run(scenario())


async def test_partitions_that_somebody_adds_to_the_loops_own_topics_are_left_alone(
    kafka: EmbeddedKafka, redis_server: EmbeddedRedis, prefix: str
) -> None:
    """Kafka cannot take them away again."""
    reward = Reward(close_on=("clicks",), streams={"clicks": StreamReward(weight=1.0)})
    policy = served("vw", "--cb_explore_adf --epsilon 0.1 -q uA", reward=reward)
    config = Config(
        brokers=kafka.address,
        redis_url=redis_server.url,
        prefix=prefix,
        **tables({"front": policy}),
        request_ttl_ms=60_000,
    )
    async with loop_of(config) as loop:
        admin = AIOKafkaAdminClient(bootstrap_servers=kafka.address)
        await admin.start()
        try:
            own = {config.topic(name): NewPartitions(total_count=4) for name in ("rewards", "versions", "ticks")}
            await admin.create_partitions(own)
        finally:
            await admin.close()
        assert await topics.check(config) == []
        for role in ("decide", "join", "learn"):
            loop.role(role)
        await loop.send("decision-requests", {"event_id": "a", "placement": "front", "actions": [{"id": "x"}]})
        await until(lambda: loop.records("decisions"))
        await loop.send("clicks", {"event_id": "a", "id": "1"})

        async def learned() -> bool:
            return any("policy" in record for record in await loop.records("versions"))

        await until(learned)
