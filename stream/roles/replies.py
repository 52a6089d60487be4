"""Replies go out without waiting: a topic that is missing or cannot be written holds nothing else up.

A topic that does not exist is waited for up to :data:`WAIT_S`, and never created: its name comes from a caller. A
reply is not sent twice and not kept for long; who asked has a time limit of his own.

There are two lanes. Topics that work share the producer of the decisions, so that one request to the broker carries
the replies of one moment and the decisions of the next. A topic that is new, slow or failing has a producer apart,
since a client has one request at a time on its way to a broker, and one bad topic would delay all that go with it.
"""

import asyncio
import contextlib
import logging
from collections import deque
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any, NamedTuple, cast

from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError, MessageSizeTooLargeError

from records.codec import encode
from records.error_reply import ErrorReply, Problem
from stream import clients, metrics
from stream.config import Config
from stream.kafka.renewable_producer import RenewableProducer
from stream.shutdown import STOP_S, ended, started

log = logging.getLogger(__name__)

WAIT_S = 5.0
LIST_EVERY_S = 0.5
BATCH_BYTES = 512 * 1024
ROOM_BYTES = BATCH_BYTES // 2
"""Unacknowledged bytes of one topic below which the producer takes a reply without waiting."""
MOST_WAITING_BYTES = 64 * 1024 * 1024
MOST_WAITING_BYTES_OF_ONE = MOST_WAITING_BYTES // 4
MOST_SHARED = 100
"""Topics that may share the decisions' producer: it asks the broker for each of them on and on."""
SLOW_S = 1.0
APART_S = 60.0
"""How long a topic that was slow or failed stays in the lane of its own."""
SAY_AGAIN_S = 60.0
MOST_SAID = 100
"""Of so many topics at most the log says within :data:`SAY_AGAIN_S` that a reply was lost: callers choose the names."""
MOST_TOPICS = 1000
"""After so many names the producer is made anew: it asks the broker for all that it ever wrote to."""

TOO_LARGE = encode(
    ErrorReply(
        error=Problem(
            "reply_too_large",
            "value",
            "the reply is larger than its topic takes: what was decided is in decisions; ask for less at once",
        )
    )
)
"""Sent instead of a reply that its topic refuses."""


class Reply(NamedTuple):
    """A message to a caller."""

    topic: str
    value: bytes
    key: bytes | None
    headers: tuple[tuple[str, bytes], ...]

    @property
    def size(self) -> int:
        """About how many bytes it takes on the wire."""
        return len(self.value) + len(self.key or b"") + 256


class _Topic:
    """What waits for one topic.

    Attributes
    ----------
    unacknowledged
        Bytes that the producer has and the broker has not confirmed.
    moved_at
        When the broker last confirmed something, or the first of what is unconfirmed was handed over.
    waiting
        Replies that the producer would not take at once, each with the time at which it is given up.
    shared
        Whether it shares the decisions' producer.
    apart_until
        It does not before this time.
    """

    def __init__(self) -> None:
        self.unacknowledged = 0
        self.moved_at = 0.0
        self.shared = False
        self.promoting = False
        self.apart_until = 0.0
        self.waiting: deque[tuple[float, Reply]] = deque()
        self.waiting_bytes = 0
        self.has_room = asyncio.Event()


class Replies:
    """Sends replies.

    Parameters
    ----------
    config
        Names the brokers.
    admin
        Tells which topics exist, without making any.
    shared
        Returns the decisions' producer of now.

    Attributes
    ----------
    producer
        That of the topics that do not share the decisions' one; to be started by the owner.
    """

    def __init__(
        self, config: Config, admin: AIOKafkaAdminClient, shared: Callable[[], AIOKafkaProducer | None]
    ) -> None:
        self._config, self._admin, self._shared = config, admin, shared
        self.producer = RenewableProducer(self._made, WAIT_S)
        self._topics: dict[str, _Topic] = {}
        self._used: set[str] = set()
        self._waiting_bytes = 0
        self._tasks: set[asyncio.Task[None]] = set()
        self._listed: frozenset[str] = frozenset()
        self._listed_at = float("-inf")
        self._listing = asyncio.Lock()
        self._said: dict[str, float] = {}

    async def stop(self) -> None:
        """Send what can be sent within a short time, and close."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(STOP_S):
                for topic in list(self._topics.values()):
                    while topic.unacknowledged:
                        topic.has_room.clear()
                        await topic.has_room.wait()
        await ended(*self._tasks)
        await self.producer.stop()

    async def send(self, reply: Reply) -> None:
        """Put a reply on its way; returns at once, whatever state its topic is in."""
        topic = self._topics.get(reply.topic)
        if topic is None:
            topic = self._topics[reply.topic] = _Topic()
            if len(self._topics) > MOST_TOPICS:
                self._forget_idle(topic)
        if not topic.waiting and _takes(topic, reply) and (producer := self._lane(reply.topic, topic)) is not None:
            await self._hand_over(producer, topic, reply)
            return
        most = min(MOST_WAITING_BYTES - self._waiting_bytes, MOST_WAITING_BYTES_OF_ONE - topic.waiting_bytes)
        if reply.size > most:
            metrics.REPLIES.labels("dropped").inc()
            return
        topic.waiting.append((asyncio.get_running_loop().time() + WAIT_S, reply))
        topic.waiting_bytes += reply.size
        self._waiting_bytes += reply.size
        if len(topic.waiting) == 1:
            self._spawn(self._drain(reply.topic, topic))

    def _forget_idle(self, new: _Topic) -> None:
        for name, topic in list(self._topics.items()):
            if topic is not new and not topic.unacknowledged and not topic.waiting:
                del self._topics[name]

    def _lane(self, name: str, topic: _Topic) -> AIOKafkaProducer | None:
        """Return the producer for a topic; None while neither knows it."""
        if topic.shared:
            if topic.unacknowledged and _now() - topic.moved_at > SLOW_S:
                self._set_apart(topic)
            elif _knows(producer := self._shared(), name):
                return producer
            else:
                topic.shared = False
        return self.producer.current if _knows(self.producer.current, name) else None

    @staticmethod
    def _set_apart(topic: _Topic) -> None:
        topic.shared = False
        topic.apart_until = _now() + APART_S

    async def _hand_over(self, producer: AIOKafkaProducer, topic: _Topic, reply: Reply) -> None:
        """Give a reply to a producer that knows its topic and has room for it, so that this does not wait."""
        name, value, key, headers = reply
        if not topic.unacknowledged:
            topic.moved_at = _now()
        topic.unacknowledged += reply.size
        try:
            sent = await producer.send(name, value, key, headers=list(headers))
        except Exception as error:
            self._acknowledged(topic, reply)
            self._failed(topic, reply, error)
        else:
            sent.add_done_callback(partial(self._done, topic, reply))
        if producer is self.producer.current:
            self._used.add(name)
            if len(self._used) > MOST_TOPICS:
                self._used.clear()
                # Another one knows no topic.
                self._spawn(self.producer.renew(producer))

    def _done(self, topic: _Topic, reply: Reply, sent: "asyncio.Future[Any]") -> None:
        self._acknowledged(topic, reply)
        if sent.cancelled():
            metrics.REPLIES.labels("failed").inc()
        elif (error := sent.exception()) is not None:
            self._failed(topic, reply, error)
        else:
            metrics.REPLIES.labels("sent").inc()
            if not topic.shared and not topic.promoting and topic.apart_until < _now():
                topic.promoting = True
                self._spawn(self._promote(reply.topic, topic))

    async def _promote(self, name: str, topic: _Topic) -> None:
        """Let a topic that works share the decisions' producer."""
        producer = self._shared()
        try:
            if producer is None or sum(other.shared for other in self._topics.values()) >= MOST_SHARED:
                topic.apart_until = _now() + APART_S
                return
            async with asyncio.timeout(WAIT_S):
                await producer.partitions_for(name)
            topic.shared = True
        except (TimeoutError, KafkaError, OSError):
            self._set_apart(topic)
        finally:
            topic.promoting = False

    def _acknowledged(self, topic: _Topic, reply: Reply) -> None:
        topic.unacknowledged -= reply.size
        topic.moved_at = _now()
        topic.has_room.set()

    def _failed(self, topic: _Topic, reply: Reply, error: BaseException) -> None:
        self._set_apart(topic)
        self._say(reply.topic, "was not written", error)
        if not isinstance(error, MessageSizeTooLargeError) or reply.value == TOO_LARGE:
            metrics.REPLIES.labels("failed").inc()
            return
        metrics.REPLIES.labels("too_large").inc()
        self._spawn(self.send(reply._replace(value=TOO_LARGE)))

    async def _drain(self, name: str, topic: _Topic) -> None:
        """Hand over what waits for one topic, in its order, until nothing waits."""
        while topic.waiting:
            until, reply = topic.waiting[0]
            try:
                async with asyncio.timeout_at(until):
                    producer = await self._until_known(name, topic)
                    while not _takes(topic, reply):
                        topic.has_room.clear()
                        await topic.has_room.wait()
                    await self._hand_over(producer, topic, reply)
            except TimeoutError:
                if self._lane(name, topic) is not None:
                    metrics.REPLIES.labels("failed").inc()
                else:
                    metrics.REPLIES.labels("unknown_topic").inc()
                    self._say(name, "was given up, since there is no such topic: its caller must create it")
            except Exception as error:
                self._failed(topic, reply, error)
            topic.waiting.popleft()
            topic.waiting_bytes -= reply.size
            self._waiting_bytes -= reply.size

    def _say(self, name: str, what: str, error: BaseException | None = None) -> None:
        """Log what became of a reply, for each topic once in a while."""
        now = _now()
        self._said = {topic: said for topic, said in self._said.items() if now - said < SAY_AGAIN_S}
        if name not in self._said and len(self._said) < MOST_SAID:
            self._said[name] = now
            log.warning("a reply to %s %s%s", name, what, "" if error is None else f": {error!r}")

    async def _until_known(self, name: str, topic: _Topic) -> AIOKafkaProducer:
        """Return a producer that knows a topic; one that does not exist is asked for again and again."""
        while (producer := self._lane(name, topic)) is None:
            producer = self.producer.current
            if producer is not None and await self._exists(name):
                await producer.partitions_for(name)
            else:
                await asyncio.sleep(LIST_EVERY_S)
        return producer

    async def _exists(self, name: str) -> bool:
        """Tell whether the broker has a topic, from a list of all that is asked for now and then."""
        loop = asyncio.get_running_loop()
        async with self._listing:
            if name not in self._listed and loop.time() - self._listed_at >= LIST_EVERY_S:
                try:
                    self._listed = frozenset(await self._admin.list_topics())
                finally:
                    self._listed_at = loop.time()
            return name in self._listed

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _made(self) -> AIOKafkaProducer:
        producer = clients.producer(self._config, "bowerbird-replies", acks=1, max_batch_size=BATCH_BYTES)
        return cast("AIOKafkaProducer", await started(producer))


def _takes(topic: _Topic, reply: Reply) -> bool:
    """Tell whether the producer takes a reply without waiting."""
    return topic.unacknowledged == 0 or topic.unacknowledged + reply.size <= ROOM_BYTES


def _knows(producer: AIOKafkaProducer | None, name: str) -> bool:
    """Tell whether a producer sends to a topic without asking for it first."""
    return producer is not None and producer.client.cluster.partitions_for_topic(name) is not None


def _now() -> float:
    return asyncio.get_running_loop().time()
