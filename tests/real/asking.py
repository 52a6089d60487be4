"""A caller of the decide role, for tests: sends requests, and waits for replies by their correlation ids."""

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from itertools import count
from typing import Any

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.structs import TopicPartition

from stream.config import Config
from tests.real.loop import until


class Caller:
    """Asks over Kafka.

    Attributes
    ----------
    replies
        Value and headers of each reply, by correlation id.
    """

    def __init__(self, config: Config, producer: AIOKafkaProducer, consumer: AIOKafkaConsumer) -> None:
        self.config, self.topic = config, config.topic("replies.test")
        self._producer, self._consumer = producer, consumer
        self._ids = count(1)
        self.replies: dict[str, tuple[Any, dict[str, bytes]]] = {}

    async def send(
        self,
        value: bytes | dict[str, Any] | list[Any] | None,
        headers: Sequence[tuple[str, bytes]] = (),
        *,
        partition: int | None = None,
        reply_topic: str | None = "",
        timestamp_ms: int | None = None,
    ) -> str:
        """Send a message (bytes: as they are) and return its correlation id; ``reply_topic`` "": the caller's own."""
        correlation_id = str(next(self._ids))
        own = [("correlation-id", correlation_id.encode())]
        if reply_topic is not None:
            own.append(("reply-topic", (reply_topic or self.topic).encode()))
        await self.send_plain(value, [*headers, *own], partition=partition, timestamp_ms=timestamp_ms)
        return correlation_id

    async def send_plain(
        self,
        value: bytes | dict[str, Any] | list[Any] | None,
        headers: Sequence[tuple[str, bytes]],
        *,
        partition: int | None = None,
        timestamp_ms: int | None = None,
    ) -> None:
        """Send a message with these headers and no others."""
        raw = json.dumps(value).encode() if isinstance(value, dict | list) else value
        await self._producer.send_and_wait(
            self.config.topic("decision-requests"),
            raw,
            key=None if raw is not None else b"a tombstone needs one",
            partition=partition,
            headers=list(headers),
            timestamp_ms=timestamp_ms,
        )

    async def reply(self, correlation_id: str, seconds: float = 120.0) -> Any:
        """Return the reply."""

        async def there() -> Any:
            return correlation_id in self.replies

        await until(there, seconds, every_s=0.01)
        return self.replies[correlation_id][0]

    async def ask(self, value: Any, headers: Sequence[tuple[str, bytes]] = (), **options: Any) -> Any:
        """Send a message and return its reply."""
        return await self.reply(await self.send(value, headers, **options))

    async def collect(self) -> None:
        """Take replies for ever."""
        async for record in self._consumer:
            headers = dict(record.headers)
            correlation_id = headers.get("correlation-id") or headers.get("kafka_correlationId") or b""
            self.replies[correlation_id.decode()] = (json.loads(record.value), headers)


@asynccontextmanager
async def caller_of(config: Config) -> AsyncIterator[Caller]:
    """Give a caller with a reply topic of its own."""
    topic = config.topic("replies.test")
    admin = AIOKafkaAdminClient(bootstrap_servers=config.brokers)
    producer = AIOKafkaProducer(bootstrap_servers=config.brokers, acks="all", max_request_size=4 * 1024 * 1024)
    consumer = AIOKafkaConsumer(bootstrap_servers=config.brokers, auto_offset_reset="earliest")
    await admin.start()
    try:
        await admin.create_topics([NewTopic(topic, 1, 1, topic_configs={"max.message.bytes": str(4 * 1024 * 1024)})])

        async def there() -> bool:
            return topic in await admin.list_topics()

        await until(there, every_s=0.02)
        await producer.start()
        await consumer.start()
        consumer.assign([TopicPartition(topic, 0)])
        caller = Caller(config, producer, consumer)
        collecting = asyncio.create_task(caller.collect())
        try:
            yield caller
        finally:
            collecting.cancel()
            await asyncio.gather(collecting, return_exceptions=True)
    finally:
        await consumer.stop()
        await producer.stop()
        await admin.close()


def request(event_id: str | None, placement: str = "front", **fields: Any) -> dict[str, Any]:
    """Return a request between three actions."""
    named = {} if event_id is None else {"event_id": event_id}
    actions = [{"id": f"a{number}", "features": {"price": number}} for number in range(3)]
    return {"placement": placement, "context": {"user": {"age": 31}}, "actions": actions, **named, **fields}
