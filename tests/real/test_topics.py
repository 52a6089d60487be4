"""Creating and checking topics on a real broker."""

import asyncio

import pytest
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from policies.errors import WrongConfiguration
from stream import topics
from stream.config import Config, PolicyConfig


def test_create_makes_what_check_wants_and_only_once(kafka, prefix):
    config = Config(brokers=kafka.address, prefix=prefix, policies={"front": PolicyConfig(activate_on="views")})

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
    config = Config(brokers=kafka.address, prefix=prefix, policies={"front": PolicyConfig()})

    async def scenario():
        admin = AIOKafkaAdminClient(bootstrap_servers=kafka.address)
        await admin.start()
        await admin.create_topics([NewTopic(f"{prefix}rewards", 2, 1)])
        while f"{prefix}rewards" not in await admin.list_topics():
            await asyncio.sleep(0.02)
        with pytest.raises(WrongConfiguration) as refused:
            await topics.create(config)
        told = str(refused.value)
        assert f"topic {prefix}rewards: partitions is 2, needed is 1" in told
        assert f"topic {prefix}rewards: message.timestamp.type is CreateTime, needed is LogAppendTime" in told
        assert f"topic {prefix}rewards: max.message.bytes is 1048588" in told
        assert f"{prefix}decisions" not in await admin.list_topics()
        await admin.close()

    asyncio.run(scenario())
