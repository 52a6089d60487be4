"""Clients of a broker that is gone are closed all the same, and leave nothing behind."""

import asyncio
import time

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import KafkaError

from stream.shutdown import closed


@pytest.mark.kill
def test_clients_of_a_killed_broker_are_closed_in_time(own_kafka, prefix):
    async def scenario():
        server = own_kafka()
        topic = f"{prefix}topic"
        admin = AIOKafkaAdminClient(bootstrap_servers=server.address)
        await admin.start()
        await admin.create_topics([NewTopic(topic, 1, 1)])
        producer = AIOKafkaProducer(bootstrap_servers=server.address, enable_idempotence=True)
        await producer.start()
        await producer.send_and_wait(topic, b"x")
        consumer = AIOKafkaConsumer(
            topic, bootstrap_servers=server.address, group_id=f"{prefix}group", auto_offset_reset="earliest"
        )
        await consumer.start()
        await consumer.getone()
        server.kill()
        sent = await producer.send(topic, b"never written")
        started = time.monotonic()
        for client in (producer, consumer, admin):
            await closed(client, 0.3)
        assert time.monotonic() - started < 20
        with pytest.raises(KafkaError):
            await sent
        assert asyncio.all_tasks() == {asyncio.current_task()}

    asyncio.run(scenario())
