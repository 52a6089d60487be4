"""Reading a real log: holes, a head that is gone, several at once."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, RecordsToDelete
from aiokafka.structs import TopicPartition

from embedded.servers import EmbeddedKafka
from records.errors import LossDetected, StateRefused
from stream.config import Config
from stream.kafka import topics
from stream.kafka.follower import Follower
from stream.kafka.log import LogReader, identify
from stream.kafka.newest_first import newest_first


@pytest.fixture
async def config(kafka: EmbeddedKafka, prefix: str) -> Config:
    config = Config(brokers=kafka.address, prefix=prefix)
    await topics.create(config)
    return config


@pytest.fixture
async def reader(config: Config) -> AsyncIterator[LogReader]:
    async with LogReader(config) as made:
        yield made


@pytest.fixture
async def producer(config: Config) -> AsyncIterator[AIOKafkaProducer]:
    made = AIOKafkaProducer(bootstrap_servers=config.brokers, acks="all")
    await made.start()
    yield made
    await made.stop()


async def write_with_holes(config: Config) -> str:
    """Write three transactions of three messages: offsets 3, 7 and 11 are markers, which are never delivered."""
    producer = AIOKafkaProducer(bootstrap_servers=config.brokers, transactional_id=config.prefix)
    topic = config.topic("rewards")
    async with producer:
        for _ in range(3):
            async with producer.transaction():
                for number in range(3):
                    await producer.send_and_wait(topic, b"%d" % number, key=b"k", headers=[("h", b"1")], partition=0)
    return topic


async def test_a_log_with_holes_is_read_to_its_end(config: Config, reader: LogReader) -> None:
    topic = await write_with_holes(config)
    where = (topic, 0)
    assert (await reader.partitions(topic), await reader.partitions("nowhere")) == ([0], [])
    assert await reader.beginning([where]) == {where: 0}
    assert await reader.ends([where]) == {where: 12}
    records = [record async for record in reader.read(topic, 0, 0)]
    assert [record.offset for record in records] == [0, 1, 2, 4, 5, 6, 8, 9, 10]
    assert records[1][:3] == (topic, 0, 1)
    assert records[1].time_ms > 0
    assert records[1][4:] == (b"k", b"1", (("h", b"1"),))
    assert [record.offset async for record in reader.read(topic, 0, 2, 7)] == [2, 4, 5, 6]
    assert [record.offset async for record in reader.read(topic, 0, 11, 12)] == []
    assert [record.offset async for record in reader.read(topic, 0, 12)] == []


async def test_a_log_is_read_from_its_end_in_windows_that_grow(config: Config, reader: LogReader) -> None:
    topic = await write_with_holes(config)
    windows = [[record.offset for record in records] async for records in newest_first(reader, topic, window=2)]
    assert windows == [[10], [6, 8, 9], [0, 1, 2, 4, 5]]
    assert [records async for records in newest_first(reader, config.topic("versions"))] == []


async def test_a_follower_yields_what_was_appended_since(config: Config, producer: AIOKafkaProducer) -> None:
    topic = await write_with_holes(config)
    follower = Follower(config, topic, 0, start=5)
    try:
        assert [record.offset for record in await follower.to_end()] == [5, 6, 8, 9, 10]
        assert follower.position == 12
        assert await follower.to_end() == []
        await producer.send_and_wait(topic, b"more", partition=0)
        assert [record.value for record in await follower.to_end()] == [b"more"]
        await follower.stop()
        await producer.send_and_wait(topic, b"again", partition=0)
        assert [record.value for record in await follower.to_end()] == [b"again"]
    finally:
        await follower.stop()


async def test_what_retention_removed_is_a_loss(config: Config, reader: LogReader) -> None:
    topic = await write_with_holes(config)
    admin = AIOKafkaAdminClient(bootstrap_servers=config.brokers)
    await admin.start()
    await admin.delete_records({TopicPartition(topic, 0): RecordsToDelete(before_offset=6)})
    await admin.close()
    with pytest.raises(LossDetected, match="log's start at offset 6, expected offset 0"):
        _ = [record async for record in reader.read(topic, 0, 0)]
    assert [record.offset async for record in reader.read(topic, 0, 6)] == [6, 8, 9, 10]
    follower = Follower(config, topic, 0)
    assert [record.offset for record in await follower.to_end()] == [6, 8, 9, 10]
    await follower.stop()


async def test_what_a_group_has_acknowledged(config: Config, reader: LogReader) -> None:
    topic = await write_with_holes(config)
    group = config.group("learn")
    assert await reader.committed(group, [(topic, 0)]) == {}
    consumer = AIOKafkaConsumer(topic, bootstrap_servers=config.brokers, group_id=group, auto_offset_reset="earliest")
    async with consumer:
        await consumer.getone()
        await consumer.commit()
    assert await reader.committed(group, [(topic, 0)]) == {(topic, 0): 1}
    assert await reader.committed(group, []) == {}


async def test_a_log_has_one_identity(
    kafka: EmbeddedKafka, config: Config, reader: LogReader, producer: AIOKafkaProducer
) -> None:
    assert await reader.log_id() is None
    names = await asyncio.gather(*(identify(reader, config, producer) for _ in range(4)))
    assert len(set(names)) == 1
    assert names[0] == f"{kafka.cluster_id}/{await reader.log_id()}"
    other = Config(brokers=config.brokers, prefix=config.prefix + "other-")
    with pytest.raises(StateRefused, match="bowerbird topics create"):
        await identify(reader, other, producer)
