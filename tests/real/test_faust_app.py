"""What our consumer does otherwise than Faust's, on a real broker."""

from types import SimpleNamespace
from typing import Any, cast

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.structs import TopicPartition

from embedded.servers import EmbeddedKafka
from stream.kafka.faust_app import _Thread
from tests.real.loop import until

pytestmark = pytest.mark.real


@pytest.mark.parametrize(("acknowledged", "begins"), [(None, 0), (3, 3)])
async def test_an_assignment_begins_where_the_group_has_acknowledged_and_else_at_the_start(
    kafka: EmbeddedKafka, prefix: str, acknowledged: int | None, begins: int
) -> None:
    """What was fetched before Faust could hand it on comes again, also in a group that never acknowledged anything."""
    where = TopicPartition(f"{prefix}log", 0)
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka.address)
    await admin.start()
    await admin.create_topics([NewTopic(where.topic, 1, 1)])
    await admin.close()
    async with AIOKafkaProducer(bootstrap_servers=kafka.address) as producer:
        for number in range(5):
            await producer.send_and_wait(where.topic, str(number).encode())
    consumer = AIOKafkaConsumer(
        where.topic,
        bootstrap_servers=kafka.address,
        group_id=f"{prefix}group",
        auto_offset_reset="earliest",
        enable_auto_commit=False,
    )
    async with consumer:
        fetched: list[Any] = []

        async def all_of_them() -> bool:
            fetched.extend((await consumer.getmany(timeout_ms=200)).get(where, []))
            return len(fetched) == 5

        await until(all_of_them)
        if acknowledged is not None:
            await consumer.commit({where: acknowledged})
        thread = cast(_Thread, SimpleNamespace(_ensure_consumer=lambda: consumer))
        await _Thread._seek_to_committed(thread, {})
        assert await consumer.position(where) == begins
