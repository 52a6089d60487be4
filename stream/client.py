"""A caller's side of the service: sends requests and feedback, and reads the replies."""

import asyncio
from collections.abc import Sequence
from types import TracebackType
from typing import Self

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import TopicAlreadyExistsError, for_code
from aiokafka.structs import TopicPartition

from stream.config import Config
from stream.log import LogRecord, log_record, started
from stream.topics import CREATE_TIMEOUT_S, LARGE_MESSAGE_BYTES


class Client:
    """Talks to a running service through its topics, as any producer may. An asynchronous context manager.

    Parameters
    ----------
    config
        Names brokers and prefix.
    reply_topic
        The full name of the topic for replies; it is created where it is missing, with one partition.
    """

    def __init__(self, config: Config, reply_topic: str) -> None:
        self._config = config
        self._where = TopicPartition(reply_topic, 0)
        self._producer = AIOKafkaProducer(
            bootstrap_servers=config.brokers,
            client_id="bowerbird-client",
            acks="all",
            max_request_size=LARGE_MESSAGE_BYTES,
            max_batch_size=LARGE_MESSAGE_BYTES,
        )
        self._consumer = AIOKafkaConsumer(
            bootstrap_servers=config.brokers,
            client_id="bowerbird-client",
            group_id=None,
            enable_auto_commit=False,
            fetch_max_wait_ms=50,
        )

    async def __aenter__(self) -> Self:
        await self._create_reply_topic()
        await started(self._producer)
        try:
            await started(self._consumer)
            self._consumer.assign([self._where])
            await self._consumer.seek_to_end(self._where)
        except BaseException:
            await self._producer.stop()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._consumer.stop()
        await self._producer.stop()

    async def send(self, topic: str, records: Sequence[bytes], headers: Sequence[tuple[str, bytes]] = ()) -> None:
        """Append encoded records as one message, to any partition; returns when the broker has acknowledged it.

        Parameters
        ----------
        topic
            Its name without the prefix.
        """
        await self._producer.send_and_wait(
            self._config.topic(topic), b"[" + b",".join(records) + b"]", headers=list(headers)
        )

    async def ask(self, requests: Sequence[bytes], correlation_id: str) -> None:
        """Send requests as one message; the reply, an array too, carries the correlation id."""
        headers = [("reply-topic", self._where.topic.encode()), ("correlation-id", correlation_id.encode())]
        await self.send("decision-requests", requests, headers)

    async def replies(self, wait_ms: int) -> list[LogRecord]:
        """Return the replies that came since the last call; wait a little where there is none."""
        found = await self._consumer.getmany(self._where, timeout_ms=wait_ms)
        return [log_record(record) for record in found.get(self._where, [])]

    async def _create_reply_topic(self) -> None:
        name = self._where.topic
        admin = AIOKafkaAdminClient(bootstrap_servers=self._config.brokers, client_id="bowerbird-client")
        await started(admin)
        try:
            settings = {"max.message.bytes": str(LARGE_MESSAGE_BYTES)}
            topic = NewTopic(name, 1, self._config.replication_factor, topic_configs=settings)
            for _, code, *message in (await admin.create_topics([topic])).topic_errors:
                if code and for_code(code) is not TopicAlreadyExistsError:
                    raise for_code(code)(f"topic {name} was not created: {message}")
            async with asyncio.timeout(CREATE_TIMEOUT_S):
                while name not in await admin.list_topics():  # noqa: ASYNC110
                    await asyncio.sleep(0.05)
        finally:
            await admin.close()
