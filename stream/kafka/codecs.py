"""Whether this installation writes and reads every codec that a producer may use: a record of each, there and back."""

from typing import Any

from aiokafka.admin import NewTopic
from aiokafka.errors import KafkaError, TopicAlreadyExistsError, for_code

from stream import clients
from stream.config import CHECK_TOPIC, Config
from stream.kafka.log import LogReader
from stream.shutdown import closed, started

CODECS = ("gzip", "snappy", "lz4", "zstd")
RETENTION_MS = 60_000
VALUE = b"one record of each codec " * 100


async def failures(config: Config) -> dict[str, str] | None:
    """Return why, for each codec that did not come back; None where the topic is missing and cannot be made."""
    try:
        await _create(config)
    except KafkaError:
        return None
    problem_of: dict[str, str] = {}
    async with LogReader(config) as reader:
        for codec in CODECS:
            try:
                offset = await _written(config, codec)
                topic = config.topic(CHECK_TOPIC)
                values = [record.value async for record in reader.read(topic, 0, offset, offset + 1)]
            except Exception as error:  # whatever a codec's library raises
                problem_of[codec] = f"a record was not written or not read again ({type(error).__name__})"
            else:
                if values != [VALUE]:
                    problem_of[codec] = f"{len(values)} records came back, and not the one that was written"
    return problem_of


async def _written(config: Config, codec: str) -> int:
    producer = clients.producer(config, "bowerbird-check", compression_type=codec)
    try:
        await started(producer)
        return int((await producer.send_and_wait(config.topic(CHECK_TOPIC), VALUE, partition=0)).offset)
    finally:
        await closed(producer)


async def _create(config: Config) -> None:
    name = config.topic(CHECK_TOPIC)
    admin = await started(clients.admin(config, "bowerbird-check"))
    try:
        if name in await admin.list_topics():
            return
        settings: Any = {"retention.ms": str(RETENTION_MS), "message.timestamp.type": "LogAppendTime"}
        topic = NewTopic(name, 1, config.replication_factor, topic_configs=settings)
        for _, code, *message in (await admin.create_topics([topic])).topic_errors:
            if code and for_code(code) is not TopicAlreadyExistsError:
                raise for_code(code)(f"topic {name} was not created: {message}")
    finally:
        await closed(admin)
