"""Replies go out without waiting: a topic that is missing or cannot be written holds nothing else up.

A topic that does not exist is waited for up to :data:`WAIT_S`, and never created: its name comes from a caller. A
reply is not sent twice and not kept for long; who asked has a time limit of his own.
"""

import asyncio
import logging
from collections import defaultdict
from collections.abc import Coroutine
from functools import partial
from typing import Any, NamedTuple

from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError, MessageSizeTooLargeError

from rewards.records import ErrorReply, Problem, encode
from stream import metrics
from stream.tasks import closed, ended
from stream.topics import LARGE_MESSAGE_BYTES

log = logging.getLogger(__name__)

ROLE = "decide"
WAIT_S = 5.0
LIST_EVERY_S = 0.5
BATCH_BYTES = 256 * 1024
ROOM_BYTES = BATCH_BYTES // 2
"""Unacknowledged bytes of one topic below which the producer takes a reply without waiting."""
MOST_WAITING = 1000
MOST_WAITING_BYTES = 32 * 1024 * 1024
MOST_TOPICS = 1000
"""After so many names the producer is made anew: it asks the broker for all that it ever wrote to."""

TOO_LARGE = encode(
    ErrorReply(
        error=Problem(
            "reply_too_large",
            "value",
            "the reply is larger than its topic takes: what was decided stands in decisions; ask for less at once",
        )
    )
)
"""Sent in the place of a reply that its topic refuses."""


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


class Replies:
    """Sends replies.

    Parameters
    ----------
    brokers
        Kafka's bootstrap servers.
    admin
        Tells which topics exist, without making any.
    """

    def __init__(self, brokers: str, admin: AIOKafkaAdminClient) -> None:
        self._brokers, self._admin = brokers, admin
        self._producer: AIOKafkaProducer | None = None
        self._used: set[str] = set()
        self._unacknowledged: defaultdict[str, int] = defaultdict(int)
        self._tasks: set[asyncio.Task[None]] = set()
        self._waiting = 0
        self._waiting_bytes = 0
        self._listed: frozenset[str] = frozenset()
        self._listed_at = float("-inf")
        self._listing = asyncio.Lock()

    async def start(self) -> None:
        """Connect."""
        self._producer = await self._made()

    async def stop(self, within_s: float) -> None:
        """Send what can be sent within the time, and close."""
        loop = asyncio.get_running_loop()
        until = loop.time() + within_s
        while any(self._unacknowledged.values()) and loop.time() < until:  # noqa: ASYNC110 (once, at the end)
            await asyncio.sleep(0.01)
        await ended(*self._tasks)
        if self._producer is not None:
            await closed(self._producer, within_s)

    async def send(self, reply: Reply) -> None:
        """Put a reply on its way; returns at once, whatever state its topic is in."""
        if self._knows(reply.topic) and self._has_room(reply):
            await self._hand_over(reply)
        elif self._waiting >= MOST_WAITING or self._waiting_bytes + reply.size > MOST_WAITING_BYTES:
            metrics.REPLIES.labels("dropped").inc()
        else:
            self._waiting += 1
            self._waiting_bytes += reply.size
            self._spawn(self._wait_and_send(reply))

    def _knows(self, topic: str) -> bool:
        producer = self._producer
        return producer is not None and producer.client.cluster.partitions_for_topic(topic) is not None

    def _has_room(self, reply: Reply) -> bool:
        waiting = self._unacknowledged.get(reply.topic, 0)
        return waiting == 0 or waiting + reply.size <= ROOM_BYTES

    async def _hand_over(self, reply: Reply) -> None:
        """Give a reply to the producer, which knows its topic and has room for it, so that this does not wait."""
        if self._producer is None:
            return
        topic, value, key, headers = reply
        self._used.add(topic)
        self._unacknowledged[topic] += reply.size
        try:
            sent = await self._producer.send(topic, value, key, headers=list(headers))
        except Exception as error:
            self._acknowledged(topic, reply.size)
            self._failed(reply, error)
        else:
            sent.add_done_callback(partial(self._done, reply))
        if len(self._used) > MOST_TOPICS:
            self._used.clear()
            self._spawn(self._renew())

    def _done(self, reply: Reply, sent: "asyncio.Future[Any]") -> None:
        self._acknowledged(reply.topic, reply.size)
        if sent.cancelled():
            metrics.REPLIES.labels("failed").inc()
        elif (error := sent.exception()) is not None:
            self._failed(reply, error)
        else:
            metrics.REPLIES.labels("sent").inc()

    def _acknowledged(self, topic: str, size: int) -> None:
        self._unacknowledged[topic] -= size
        if not self._unacknowledged[topic]:
            del self._unacknowledged[topic]

    def _failed(self, reply: Reply, error: BaseException) -> None:
        log.warning("a reply to %s was not written: %r", reply.topic, error)
        if not isinstance(error, MessageSizeTooLargeError) or reply.value == TOO_LARGE:
            metrics.REPLIES.labels("failed").inc()
            return
        metrics.REPLIES.labels("too_large").inc()
        self._spawn(self.send(reply._replace(value=TOO_LARGE)))

    async def _wait_and_send(self, reply: Reply) -> None:
        topic = reply.topic
        pause_s = 0.02
        try:
            async with asyncio.timeout(WAIT_S):
                while not (self._knows(topic) and self._has_room(reply)):
                    if not self._knows(topic) and await self._exists(topic) and self._producer is not None:
                        await self._producer.partitions_for(topic)
                    else:
                        await asyncio.sleep(pause_s)
                        pause_s = min(2 * pause_s, LIST_EVERY_S)
                await self._hand_over(reply)
        except TimeoutError:
            metrics.REPLIES.labels("failed" if self._knows(topic) else "unknown_topic").inc()
        except (KafkaError, OSError) as error:
            self._failed(reply, error)
        finally:
            self._waiting -= 1
            self._waiting_bytes -= reply.size

    async def _exists(self, topic: str) -> bool:
        """Tell whether the broker has a topic, from a list of all that is asked for now and then."""
        loop = asyncio.get_running_loop()
        async with self._listing:
            if topic not in self._listed and loop.time() - self._listed_at >= LIST_EVERY_S:
                try:
                    self._listed = frozenset(await self._admin.list_topics())
                finally:
                    self._listed_at = loop.time()
            return topic in self._listed

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _renew(self) -> None:
        """Replace the producer by one that knows no topic."""
        try:
            made = await self._made()
        except (KafkaError, OSError) as error:
            log.warning("the producer of replies was not replaced: %r", error)
            return
        former, self._producer = self._producer, made
        if former is not None:
            await closed(former, WAIT_S)

    async def _made(self) -> AIOKafkaProducer:
        producer = AIOKafkaProducer(
            bootstrap_servers=self._brokers,
            client_id="bowerbird-replies",
            acks=1,
            max_batch_size=BATCH_BYTES,
            max_request_size=LARGE_MESSAGE_BYTES,
            request_timeout_ms=round(WAIT_S * 1000),
        )
        try:
            await producer.start()
        except BaseException:
            await closed(producer, 1.0)
            raise
        return producer
