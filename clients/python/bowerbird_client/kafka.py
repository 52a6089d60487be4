"""A client's side of Kafka, over librdkafka, which finds a broker again by itself.

librdkafka calls back in the thread that polls it, so each producer and the consumer of replies have one; one more
makes the calls that block. All of them end with the connection.
"""

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from queue import SimpleQueue
from threading import Event, Thread
from types import TracebackType
from typing import Any, Self, TypeVar

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, KafkaException, Message, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic  # type: ignore[attr-defined]

from bowerbird_client.contract import (
    CORRELATION_HEADER,
    EXPIRES_HEADER,
    LARGEST_MESSAGE_BYTES,
    REPLY_TOPIC_HEADER,
    REQUESTS,
)
from bowerbird_client.errors import BadInput, BrokerAway
from bowerbird_client.streams import streams_among

log = logging.getLogger(__name__)

CALL_S = 5.0
"""How long the broker may take for one call."""
ATTEMPT_S = 0.5
POLL_S = 0.1
CREATED_WITHIN_S = 10.0
PARTITIONS_LOOK_S = 5.0
REPLIES_AT_ONCE = 500
REPLIES_KEPT_MS = 3_600_000
REQUEST_KEPT_MS = 2000
"""A request that Kafka has not taken after so long is given up: its caller has gone."""
FEEDBACK_KEPT_MS = 40_000
"""Feedback that Kafka has not taken after so long is handed back, and sent again."""
COMMON: Mapping[str, Any] = {
    "client.id": "bowerbird-client",
    "allow.auto.create.topics": False,
    "socket.keepalive.enable": True,
    "socket.timeout.ms": 5000,
    "socket.connection.setup.timeout.ms": 5000,
    "reconnect.backoff.max.ms": 1000,
    "topic.metadata.refresh.interval.ms": 5000,
}
PRODUCER: Mapping[str, Any] = {
    "message.max.bytes": LARGEST_MESSAGE_BYTES,
    "linger.ms": 0,
    "request.timeout.ms": 5000,
    # A topic that was deleted is missed after so long.
    "topic.metadata.propagation.max.ms": 3000,
}
CONSUMER: Mapping[str, Any] = {
    # There is no group: partitions are assigned by hand, and nothing is committed.
    "group.id": "bowerbird-client",
    "enable.auto.commit": False,
    "enable.auto.offset.store": False,
    # The topic was deleted and created again; replies to others are dropped anyway.
    "auto.offset.reset": "earliest",
    "fetch.wait.max.ms": 50,
}
Result = TypeVar("Result")
Headers = list[tuple[str, str | bytes | None]]


class _Quiet(logging.LoggerAdapter[logging.Logger]):
    """Takes the log of librdkafka: what matters in it becomes an error of a call."""

    def log(self, level: int, msg: object, *args: object, **kwargs: Any) -> None:
        super().log(logging.DEBUG, msg, *args, **kwargs)


QUIET = _Quiet(log, {})


class _Caller(Thread):
    """A thread for calls that block, one after the other."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(name="bowerbird-client-calls", daemon=True)
        self._loop = loop
        self._calls: SimpleQueue[Callable[[], None] | None] = SimpleQueue()

    def run(self) -> None:
        while (call := self._calls.get()) is not None:
            call()

    def call(self, function: Callable[[], Result]) -> "asyncio.Future[Result]":
        """Call a function in this thread."""
        done: asyncio.Future[Result] = self._loop.create_future()

        def call() -> None:
            try:
                result = function()
            except BaseException as error:
                _tell_loop(self._loop, _fail, done, error)
            else:
                _tell_loop(self._loop, _settle, done, result)

        self._calls.put(call)
        return done

    def end(self) -> None:
        """End when the calls so far have ended."""
        self._calls.put(None)


class _Sender:
    """A producer whose messages are awaited until they are acknowledged."""

    def __init__(self, loop: asyncio.AbstractEventLoop, properties: Mapping[str, Any]) -> None:
        self._loop = loop
        self.away = Event()
        self.producer = Producer({**properties, "error_cb": self._failed}, logger=QUIET)
        self._ending = Event()
        self._thread = Thread(target=self._poll, name="bowerbird-client-sends", daemon=True)
        self._thread.start()

    def _poll(self) -> None:
        while not self._ending.is_set():
            self.producer.poll(POLL_S)

    def _failed(self, error: KafkaError) -> None:
        if error.code() == KafkaError._ALL_BROKERS_DOWN:
            self.away.set()

    async def send(self, topic: str, value: bytes, key: str | None = None, headers: Headers | None = None) -> None:
        """Append a message.

        Raises
        ------
        BrokerAway
            It was not acknowledged; the log may hold it all the same.
        BadInput
            It is larger than the topic takes.
        """
        delivered: asyncio.Future[None] = self._loop.create_future()

        def report(error: KafkaError | None, message: Message) -> None:
            if error is None:
                _tell_loop(self._loop, _settle, delivered, None)
            else:
                _tell_loop(self._loop, _fail, delivered, KafkaException(error))

        try:
            self.producer.produce(topic, value, key, headers=headers or [], on_delivery=report)
            await delivered
        except BufferError:
            raise BrokerAway(f"topic {topic}: a message was not sent, since too many wait") from None
        except KafkaException as error:
            if _code(error) == KafkaError.MSG_SIZE_TOO_LARGE:
                most = f"at most what topic {topic} takes (max.message.bytes)"
                raise BadInput("too_large", "value", f"{len(value)} bytes", most) from error
            raise BrokerAway(f"topic {topic}: a message was not acknowledged ({_name(error)})") from error

    def end(self) -> None:
        """Drop what was not acknowledged, and end."""
        self._ending.set()
        self._thread.join()
        self.producer.purge(blocking=False)
        self.producer.poll(0)


class KafkaConnection:
    """Speaks to a service through its topics, as any producer may. An asynchronous context manager.

    Parameters
    ----------
    brokers, prefix, reply_topic
        As of :class:`bowerbird_client.Client`.
    properties
        Further properties of librdkafka.
    """

    timeout_s = 0.5

    def __init__(self, brokers: str, prefix: str, reply_topic: str, properties: Mapping[str, Any]) -> None:
        self._brokers, self._prefix, self._reply_topic = brokers, prefix, prefix + reply_topic
        self._common = {**COMMON, "bootstrap.servers": brokers}
        self._properties = properties
        self._received: list[tuple[str, bytes]] = []
        self._receives = asyncio.Event()
        self._ending = Event()
        self._said: set[str] = set()
        self._consumer: Any = None
        self._reader: Thread | None = None

    async def __aenter__(self) -> Self:
        self._loop = loop = asyncio.get_running_loop()
        self._caller = _Caller(loop)
        self._caller.start()
        producer = {**self._common, **PRODUCER}
        self._senders: list[_Sender] = []
        try:
            for kept in ({"acks": 1, "message.timeout.ms": REQUEST_KEPT_MS}, {"message.timeout.ms": FEEDBACK_KEPT_MS}):
                self._senders.append(_Sender(loop, {**producer, **self._properties, **kept}))
            self._requests, self._feedback = self._senders
            await self._caller.call(self._follow_replies)
        except BaseException as error:
            # A second cancellation does not leave threads behind.
            await asyncio.shield(asyncio.ensure_future(self._end()))
            if isinstance(error, KafkaException):
                raise _refused(error) from None
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._end()

    async def _end(self) -> None:
        self._ending.set()
        ended = self._caller.call(self._end_threads)
        self._caller.end()
        await ended
        self._caller.join()

    def _end_threads(self) -> None:
        for sender in self._senders:
            sender.end()
        if self._reader is not None:
            self._reader.join()
        if self._consumer is not None:
            self._consumer.close()
        self._senders.clear()

    async def streams(self) -> Collection[str]:
        """Return the names of the streams that are there now."""
        return streams_among(await self._caller.call(self._topics), self._prefix)

    async def append(self, stream: str, value: bytes) -> None:
        """Append feedback to a stream; return when every replica that is in sync has it."""
        await self._feedback.send(self._prefix + stream, value)

    async def ask(self, value: bytes, event_id: str, correlation_id: str, expires_ms: int) -> None:
        """Send a request."""
        headers: Headers = [
            (REPLY_TOPIC_HEADER, self._reply_topic),
            (CORRELATION_HEADER, correlation_id),
            (EXPIRES_HEADER, str(expires_ms)),
        ]
        await self._requests.send(self._prefix + REQUESTS, value, event_id, headers)

    async def replies(self) -> Sequence[tuple[str, bytes]]:
        """Wait for replies; return the correlation id and the value of each that came since the last call."""
        await self._receives.wait()
        self._receives.clear()
        received, self._received = self._received, []
        return received

    def _topics(self) -> Collection[str]:
        """Return the names of all topics."""
        ends_at = time.monotonic() + CALL_S
        while True:
            self._feedback.away.clear()
            try:
                return list(self._feedback.producer.list_topics(timeout=ATTEMPT_S).topics)
            except KafkaException as error:
                if self._feedback.away.is_set() or self._ending.is_set() or time.monotonic() > ends_at:
                    away = f"Kafka at {self._brokers} did not answer ({_name(error)}): start it, or correct brokers"
                    raise BrokerAway(away) from None

    def _follow_replies(self) -> None:
        """Read the topic for replies from its end on; it is made where it is missing."""
        if self._reply_topic not in self._topics():
            self._create_replies()
        self._consumer = consumer = Consumer({**self._common, **CONSUMER, **self._properties}, logger=QUIET)
        found = consumer.list_topics(self._reply_topic, timeout=CALL_S).topics[self._reply_topic]
        where = [TopicPartition(self._reply_topic, number) for number in found.partitions]
        for partition in where:
            _, partition.offset = consumer.get_watermark_offsets(partition, timeout=CALL_S)
        consumer.assign(where)
        self._reader = Thread(target=self._read, name="bowerbird-client-replies", daemon=True)
        self._reader.start()

    def _create_replies(self) -> None:
        name = self._reply_topic
        config = {"max.message.bytes": str(LARGEST_MESSAGE_BYTES), "retention.ms": str(REPLIES_KEPT_MS)}
        # The broker knows how many replicas it keeps.
        topic = NewTopic(name, num_partitions=1, replication_factor=-1, config=config)
        admin = AdminClient({**self._common, **self._properties}, logger=QUIET)
        created = "was created"
        try:
            admin.create_topics([topic], request_timeout=CALL_S)[name].result()
        except KafkaException as error:
            if _code(error) != KafkaError.TOPIC_ALREADY_EXISTS:
                missing = f"topic {name} was not created ({_name(error)}): create it, with one partition"
                raise BrokerAway(missing) from None
            created = "is there"
        ends_at = time.monotonic() + CREATED_WITHIN_S
        while name not in self._topics() and not self._ending.wait(POLL_S):
            if time.monotonic() > ends_at:
                hidden = f"topic {name} {created}, and Kafka at {self._brokers} does not list it"
                raise BrokerAway(f"{hidden}: allow this client to describe and to read it")

    def _read(self) -> None:
        looked_s = time.monotonic()
        while not self._ending.is_set():
            if (first := self._consumer.poll(POLL_S)) is not None:
                messages = [first, *self._consumer.consume(REPLIES_AT_ONCE, 0)]
                replies = [reply for message in messages if (reply := self._reply(message)) is not None]
                _tell_loop(self._loop, self._receive, replies)
            if time.monotonic() - looked_s > PARTITIONS_LOOK_S:
                self._follow_new_partitions()
                looked_s = time.monotonic()

    def _follow_new_partitions(self) -> None:
        """Read also those that were added, from their beginning on."""
        with contextlib.suppress(KafkaException):
            found = self._consumer.list_topics(self._reply_topic, timeout=ATTEMPT_S).topics[self._reply_topic]
            known = {partition.partition for partition in self._consumer.assignment()}
            if new := sorted(set(found.partitions) - known):
                self._consumer.incremental_assign(
                    [TopicPartition(self._reply_topic, number, OFFSET_BEGINNING) for number in new]
                )

    def _reply(self, message: Message) -> tuple[str, bytes] | None:
        """Return the correlation id and the value of a reply; None: it is none, or an error."""
        value = message.value()
        if (error := message.error()) is not None or value is None:
            if error is not None and error.name() not in self._said:
                # librdkafka tries again by itself; what it may not read it never will.
                self._said.add(error.name())
                log.warning("topic %s: replies cannot be read now (%s)", self._reply_topic, error.name())
            return None
        headers: Any = message.headers() or ()
        correlation_id = next((content for name, content in headers if name == CORRELATION_HEADER and content), b"")
        return correlation_id.decode(errors="replace"), value

    def _receive(self, replies: Sequence[tuple[str, bytes]]) -> None:
        self._received += replies
        self._receives.set()


def _tell_loop(loop: asyncio.AbstractEventLoop, what: Callable[..., None], *of: object) -> None:
    """Call a function in the event loop; one that was closed hears nothing any more."""
    with contextlib.suppress(RuntimeError):
        loop.call_soon_threadsafe(what, *of)


def _settle(done: "asyncio.Future[Result]", result: Result) -> None:
    if not done.done():
        done.set_result(result)


def _fail(done: "asyncio.Future[Any]", error: BaseException) -> None:
    if not done.done():
        done.set_exception(error)


def _refused(error: KafkaException) -> BadInput | BrokerAway:
    """Return the error about a start that failed: a property that librdkafka does not take, or a broker's refusal."""
    if _code(error) == KafkaError._INVALID_ARG:
        return BadInput("invalid_field", "properties", error.args[0].str(), "properties of librdkafka")
    return BrokerAway(f"Kafka refused ({_name(error)}): {error.args[0].str()}")


def _code(error: KafkaException) -> int:
    return int(error.args[0].code())


def _name(error: KafkaException) -> str:
    return str(error.args[0].name())
