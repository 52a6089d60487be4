"""A caller's side of Kafka: what it sends is acknowledged, what is answered is read."""

import asyncio
import logging
from collections.abc import Callable, Sequence
from difflib import get_close_matches
from types import TracebackType
from typing import Any, Self, cast

from aiokafka import AIOKafkaConsumer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import KafkaError, MessageSizeTooLargeError, TopicAlreadyExistsError, for_code
from aiokafka.structs import TopicPartition

from records.errors import BadInput, BrokerAway
from records.limits import HOUR_MS, MOST_NAMED, TOPIC_NAME_CHARACTERS
from stream import clients
from stream.clients import LARGE_MESSAGE_BYTES
from stream.config import OWN_TOPICS, Config
from stream.kafka.consumer import reading
from stream.kafka.headers import CORRELATION_HEADERS, EXPIRES_HEADER, REPLY_TOPIC_HEADERS
from stream.kafka.log import LogRecord, log_record
from stream.kafka.topics import CREATE_TIMEOUT_S
from stream.liveness import dead_client
from stream.shutdown import closed, started

log = logging.getLogger(__name__)

REQUESTS, FEEDBACK, REPLIES = "the producer of requests", "the producer of feedback", "the consumer of replies"
CLIENT_ID = "bowerbird-client"
REPLIES_RETENTION_MS = HOUR_MS
FEEDBACK_KEPT_MS = 40_000
"""A feedback that the broker has not taken after so long is given up by the producer, and tried again by its caller."""
TOPIC_LOOK_S = 2.0
GONE_LOOKS = 2
"""A message whose topic was missing at so many looks is refused: aiokafka would wait for it until it expires."""
FAILURES = (KafkaError, OSError, TimeoutError)


def array(records: Sequence[bytes]) -> bytes:
    """Return encoded records as the value of one message."""
    return b"[" + b",".join(records) + b"]"


async def _follow(consumer: AIOKafkaConsumer, where: Sequence[TopicPartition]) -> None:
    consumer.assign(where)
    await consumer.seek_to_end(*where)


class Connection:
    """Talks to a running service through its topics, as any producer may. An asynchronous context manager.

    A broker that goes away and comes back is found again.

    Parameters
    ----------
    config
        Names brokers and prefix.
    reply_topic
        The full name of the topic for replies; it is created where it is missing, with one partition.
    request_within_s
        A request that the broker has not taken after so long is given up. A producer keeps what it could not send for
        as long, so a request may still get through when its caller has gone; keep it short.
    """

    def __init__(self, config: Config, reply_topic: str, *, request_within_s: float = 40.0) -> None:
        self._config = config
        self._reply_topic = reply_topic
        self._topics: set[str] = set()
        batches = {"max_batch_size": LARGE_MESSAGE_BYTES}
        kept_ms = round(request_within_s * 1000)
        self._makers: dict[str, Callable[[], Any]] = {
            REQUESTS: lambda: clients.producer(config, CLIENT_ID, acks=1, request_timeout_ms=kept_ms, **batches),
            FEEDBACK: lambda: clients.producer(config, CLIENT_ID, request_timeout_ms=FEEDBACK_KEPT_MS, **batches),
            REPLIES: lambda: reading(
                bootstrap_servers=config.brokers,
                client_id=CLIENT_ID,
                group_id=None,
                enable_auto_commit=False,
                fetch_max_wait_ms=50,
            ),
        }
        self._clients: dict[str, Any] = {}
        self._renewing = asyncio.Lock()
        self._open = False

    async def __aenter__(self) -> Self:
        try:
            where = await self._reply_partitions()
            for name, make in self._makers.items():
                self._clients[name] = await started(make())
            await _follow(self._clients[REPLIES], where)
        except BaseException as error:
            await asyncio.gather(*map(closed, self._clients.values()))
            if isinstance(error, FAILURES):
                log.debug("could not connect", exc_info=True)
                away = f"Kafka at {self._config.brokers} did not answer ({_name(error)}): start it, or correct brokers"
                raise BrokerAway(away) from None
            raise
        self._open = True
        return self

    async def _client(self, name: str) -> Any:
        """Return a client of Kafka; one in which something has died is made anew."""
        async with self._renewing:
            former = self._clients[name]
            if not self._open or (died := dead_client(name, former)) is None:
                return former
            made = await started(self._makers[name]())
            try:
                if name == REPLIES:
                    await _follow(made, sorted(former.assignment()))
                if not self._open:
                    raise BrokerAway(f"{name}: closed meanwhile")
            except BaseException:
                await closed(made)
                raise
            self._clients[name] = made
            log.warning("connected again: %s", died)
            await closed(former)
            return made

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._open = False
        await asyncio.gather(*map(closed, self._clients.values()))

    async def append(self, topic: str, value: bytes, *, key: bytes | None = None) -> None:
        """Append a message; returns when every replica that is in sync has it.

        Parameters
        ----------
        topic
            Its name without the prefix.

        Raises
        ------
        BrokerAway
            It was not acknowledged; it may stand there all the same.
        BadInput
            It is larger than the topic takes, or there is no such topic.
        """
        # Kafka's client would wait for a topic that is not there, again and again.
        await self._check_topic(topic)
        sending = asyncio.ensure_future(self._send(FEEDBACK, topic, value, key, []))
        # What was given up ends when it expires, or with the producer; aiokafka does not bear that it is cancelled.
        sending.add_done_callback(lambda done: done.cancelled() or done.exception())
        try:
            looks = 0
            while not (await asyncio.wait({sending}, timeout=TOPIC_LOOK_S))[0]:
                looks = 0 if await self._there(topic) else looks + 1
                if looks == GONE_LOOKS:
                    raise self._unknown(topic)
            sending.result()
        except BrokerAway:
            self._topics.discard(self._config.topic(topic))
            raise
        except asyncio.CancelledError:
            sending.cancel()
            raise

    async def _there(self, topic: str) -> bool:
        """Tell whether a topic is there; it may be deleted while a message for it waits."""
        self._topics.discard(self._config.topic(topic))
        try:
            await self._check_topic(topic)
        except BadInput:
            return False
        except BrokerAway:
            return True  # nobody knows
        return True

    async def check_stream(self, stream: str) -> None:
        """Refuse what is no stream: a topic that is not there, or one of the loop's own.

        Raises
        ------
        BrokerAway
            The stream is not known here, and the broker cannot be asked.
        BadInput
            There is no such stream.
        """
        if stream in OWN_TOPICS:
            raise self._unknown(stream)
        await self._check_topic(stream)

    async def _check_topic(self, topic: str) -> None:
        name = self._config.topic(topic)
        if name in self._topics:
            return
        try:
            asked = (await self._client(FEEDBACK)).client
            self._topics = set((await asked.fetch_all_metadata()).topics())
        except FAILURES as error:
            raise BrokerAway(f"Kafka at {self._config.brokers} did not list its topics ({_name(error)})") from error
        if name not in self._topics:
            raise self._unknown(topic)

    def _unknown(self, stream: str) -> BadInput:
        """Return the error for a stream that is not there; it names those that may be meant, the likely ones first."""
        prefix = self._config.prefix
        own = {name.removeprefix(prefix) for name in self._topics if name.startswith(prefix)}
        hidden = (*OWN_TOPICS, "__consumer_offsets")
        streams = sorted(name for name in own if name not in hidden and not name.startswith("replies."))
        near = get_close_matches(stream[:TOPIC_NAME_CHARACTERS], streams, n=3)
        shown = [*near, *(name for name in streams if name not in near)]
        more = f" and {len(shown) - MOST_NAMED} more" if len(shown) > MOST_NAMED else ""
        named = ", ".join(shown[:MOST_NAMED]) + more or "none is there"
        return BadInput("unknown_stream", "stream", repr(stream), f"a stream of the service: {named}")

    async def ask(
        self, value: bytes, correlation_id: str, *, key: bytes | None = None, expires_ms: int | None = None
    ) -> None:
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
        await self._send(REQUESTS, "decision-requests", value, key, headers)

    async def replies(self, wait_ms: int) -> list[LogRecord]:
        """Return the replies that came since the last call; wait a little if there are none yet.

        Raises
        ------
        BrokerAway
            The broker answers with an error.
        """
        try:
            fetched = await (await self._client(REPLIES)).getmany(timeout_ms=wait_ms)
        except FAILURES as error:
            raise BrokerAway(f"topic {self._reply_topic} can't be read ({_name(error)})") from error
        return [log_record(record) for records in fetched.values() for record in records]

    async def _send(
        self,
        by: str,
        topic: str,
        value: bytes,
        key: bytes | None,
        headers: list[tuple[str, bytes]],
    ) -> None:
        name = self._config.topic(topic)
        try:
            await (await self._client(by)).send_and_wait(name, value, key, headers=headers)
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
            self._topics = set(await admin.list_topics())
            if name not in self._topics:
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
