"""Appending some messages to topics of the loop, once, for a person at the command line."""

import asyncio
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from aiokafka import AIOKafkaProducer

from records.errors import StateRefused
from stream import clients
from stream.clients import LARGE_MESSAGE_BYTES
from stream.config import Config
from stream.kafka.log import LogReader
from stream.shutdown import closed, started


class Outgoing(NamedTuple):
    """A message that is to be appended; ``topic`` is its full name."""

    topic: str
    value: bytes | None
    key: bytes | None = None
    headers: Sequence[tuple[str, bytes]] = ()


class Appended(NamedTuple):
    """Where a message was appended, and its log time."""

    topic: str
    partition: int
    offset: int
    time_ms: int


async def send(config: Config, messages: Sequence[Outgoing]) -> list[Appended]:
    """Append messages in their order, and return when the broker has acknowledged them all.

    Raises
    ------
    StateRefused
        There is no such topic; nothing was appended.
    KafkaError
        The broker does not answer, or refuses a message; those before it may have been appended.
    """
    async with LogReader(config) as reader:
        await refuse_missing(reader, {message.topic for message in messages})
    producer: AIOKafkaProducer = await started(
        clients.producer(config, "bowerbird-send", enable_idempotence=True, max_batch_size=LARGE_MESSAGE_BYTES)
    )
    try:
        return await append_all(producer, messages)
    finally:
        await closed(producer)


async def refuse_missing(reader: LogReader, topics: Iterable[str]) -> None:
    """Refuse topics that are not there: the producer would wait for them.

    Raises
    ------
    StateRefused
        It names the first of them.
    """
    for topic in sorted(topics):
        if not await reader.partitions(topic):
            raise StateRefused(f"topic {topic}", "no such topic", "the topic", "run `bowerbird topics create`")


async def append_all(producer: AIOKafkaProducer, messages: Sequence[Outgoing]) -> list[Appended]:
    """Append messages in their order by a producer, and return when all of them are acknowledged."""
    sent: list[asyncio.Future[Any]] = []
    try:
        for message in messages:
            headers = list(message.headers)
            sent.append(await producer.send(message.topic, message.value, message.key, headers=headers))
    finally:
        # Also those before a failure, so that asyncio logs none as never retrieved.
        answers: list[Any] = await asyncio.gather(*sent, return_exceptions=True)
    if failed := [answer for answer in answers if isinstance(answer, BaseException)]:
        raise failed[0]
    return [Appended(answer.topic, answer.partition, answer.offset, answer.timestamp) for answer in answers]
