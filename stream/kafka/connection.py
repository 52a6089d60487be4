"""A caller's side of Kafka for the command and the demo: what it sends is acknowledged, what is answered is read.

Programs that ask for decisions use the client, a distribution of its own (``clients/``).
"""

import asyncio
import logging
from collections.abc import Sequence
from types import TracebackType
from typing import Any, Self, cast

from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import KafkaError, MessageSizeTooLargeError, TopicAlreadyExistsError, for_code
from aiokafka.structs import TopicPartition

from records.errors import BadInput, BrokerAway
from records.limits import HOUR_MS
from stream import clients
from stream.clients import LARGE_MESSAGE_BYTES
from stream.config import Config
from stream.kafka.consumer import reading
from stream.kafka.headers import CORRELATION_HEADERS, EXPIRES_HEADER, REPLY_TOPIC_HEADERS
from stream.kafka.log import LogRecord, log_record
from stream.kafka.topics import CREATE_TIMEOUT_S
from stream.shutdown import closed, started

log = logging.getLogger(__name__)

CLIENT_ID = "bowerbird-command"
REPLIES_RETENTION_MS = HOUR_MS
KEPT_MS = 40_000
"""A message that the broker has not taken after so long is given up."""
FAILURES = (KafkaError, OSError, TimeoutError)


def array(records: Sequence[bytes]) -> bytes:
    """Return encoded records as the value of one message."""
    return b"[" + b",".join(records) + b"]"


class Connection:
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
        self._reply_topic = reply_topic
        self._producer: Any = None
        self._consumer: Any = None

    async def __aenter__(self) -> Self:
        config = self._config
        try:
            where = await self._reply_partitions()
            self._producer = await started(
                clients.producer(
                    config, CLIENT_ID, acks="all", request_timeout_ms=KEPT_MS, max_batch_size=LARGE_MESSAGE_BYTES
                )
            )
            self._consumer = await started(
                reading(
                    bootstrap_servers=config.brokers,
                    client_id=CLIENT_ID,
                    group_id=None,
                    enable_auto_commit=False,
                    fetch_max_wait_ms=50,
                )
            )
            self._consumer.assign(where)
            await self._consumer.seek_to_end(*where)
        except BaseException as error:
            await self._close()
            if isinstance(error, FAILURES):
                log.debug("could not connect", exc_info=True)
                away = f"Kafka at {config.brokers} did not answer ({_name(error)}): start it, or correct brokers"
                raise BrokerAway(away) from None
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._close()

    async def _close(self) -> None:
        await asyncio.gather(*(closed(client) for client in (self._producer, self._consumer) if client is not None))

    async def append(self, topic: str, value: bytes) -> None:
        """Append a message; returns when every replica that is in sync has it.

        Parameters
        ----------
        topic
            Its name without the prefix.

        Raises
        ------
        BrokerAway
            It was not acknowledged; the log may hold it all the same.
        BadInput
            It is larger than the topic takes.
        """
        await self._send(topic, value, [])

    async def ask(self, value: bytes, correlation_id: str, *, expires_ms: int | None = None) -> None:
        """Send a request, or an array of them; the reply carries the correlation id.

        Raises
        ------
        BrokerAway, BadInput
            As of :meth:`append`.
        """
        headers = [
            (REPLY_TOPIC_HEADERS[0], self._reply_topic.encode()),
            (CORRELATION_HEADERS[0], correlation_id.encode()),
        ]
        if expires_ms is not None:
            headers.append((EXPIRES_HEADER, str(expires_ms).encode()))
        await self._send("decision-requests", value, headers)

    async def replies(self, wait_ms: int) -> list[LogRecord]:
        """Return the replies that came since the last call; wait a little if there are none yet.

        Raises
        ------
        BrokerAway
            The broker answers with an error.
        """
        try:
            fetched = await self._consumer.getmany(timeout_ms=wait_ms)
        except FAILURES as error:
            raise BrokerAway(f"topic {self._reply_topic} can't be read ({_name(error)})") from error
        return [log_record(record) for records in fetched.values() for record in records]

    async def _send(self, topic: str, value: bytes, headers: list[tuple[str, bytes]]) -> None:
        name = self._config.topic(topic)
        try:
            await self._producer.send_and_wait(name, value, headers=headers)
        except MessageSizeTooLargeError as error:
            most = f"at most what topic {name} takes (max.message.bytes)"
            raise BadInput("too_large", "value", f"{len(value)} bytes", most) from error
        except FAILURES as error:
            raise BrokerAway(f"topic {name}: a message was not acknowledged ({_name(error)})") from error

    async def _reply_partitions(self) -> list[TopicPartition]:
        """Return the partitions of the topic for replies, made where it is missing."""
        name = self._reply_topic
        admin = clients.admin(self._config, CLIENT_ID)
        await started(admin)
        try:
            if name not in await admin.list_topics():
                await self._create(admin)
            (description,) = cast("list[dict[str, Any]]", await admin.describe_topics([name]))
            return [TopicPartition(name, part["partition"]) for part in description["partitions"]]
        finally:
            await closed(admin)

    async def _create(self, admin: AIOKafkaAdminClient) -> None:
        name = self._reply_topic
        settings = {"max.message.bytes": str(LARGE_MESSAGE_BYTES), "retention.ms": str(REPLIES_RETENTION_MS)}
        topic = NewTopic(name, 1, self._config.replication_factor, topic_configs=settings)
        for _, code, *message in (await admin.create_topics([topic])).topic_errors:
            if code and for_code(code) is not TopicAlreadyExistsError:
                raise for_code(code)(f"topic {name} was not created: {message}")
        async with asyncio.timeout(CREATE_TIMEOUT_S):
            while name not in await admin.list_topics():  # noqa: ASYNC110
                await asyncio.sleep(0.05)


def _name(error: BaseException) -> str:
    """Return the name of an error of Kafka's client, to look it up; its text is for who knows the client."""
    return type(error).__name__
