"""Clients of Kafka and Redis with the limits that all of them share: no call waits longer than :data:`CALL_S`.

Clients that read are made by :func:`stream.kafka.consumer.reading`.
"""

import asyncio
import logging
import re
import time
from collections.abc import Awaitable, Callable
from typing import Any, ClassVar

import aiokafka.conn
from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.conn import CloseReason
from aiokafka.errors import RequestTimedOutError
from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import ResponseError

from stream.config import Config

CALL_S = 5.0
"""How long one call of Kafka or Redis may take; then its connection is closed, and the caller tries again."""
CALL_MS = 5_000
DOUBT_S = 2.0
"""A request that is given up after so long casts doubt on the connections to its broker."""
METADATA_PAUSE_S = 0.1
MOST_REDIS_CONNECTIONS = 64
"""Of one client; a call that needs another one waits for it."""
METADATA_AGE_MS = 5_000
"""A partition that is added is found after so long at the latest; until it is read it holds every window."""
LARGE_MESSAGE_BYTES = 4 * 1024 * 1024
"""Largest message of a topic that the loop writes: more than any input, since it adds to what it got."""


SAID_AGAIN_S = 60.0


class Rarely(logging.Filter):
    """Passes a message once a minute: of a topic that is gone, aiokafka warns thousands of times a second."""

    def __init__(self) -> None:
        super().__init__()
        self._said: dict[str, float] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Tell whether to pass a record."""
        message, now = record.getMessage(), time.monotonic()
        if now - self._said.get(message, float("-inf")) < SAID_AGAIN_S:
            return False
        if len(self._said) >= MOST_MESSAGES:
            self._said.clear()
        self._said[message] = now
        return True


MOST_MESSAGES = 1000
logging.getLogger("aiokafka.cluster").addFilter(Rarely())


def producer(config: Config, client_id: str, **options: Any) -> AIOKafkaProducer:
    """Return a producer of messages of any size that the loop writes.

    ``options`` are those of aiokafka; ``request_timeout_ms`` among them limits how long a message is kept, not a call.
    """
    defaults = {
        "acks": "all",
        "max_request_size": LARGE_MESSAGE_BYTES,
        "metadata_max_age_ms": METADATA_AGE_MS,
        "request_timeout_ms": CALL_MS,
    }
    made = AIOKafkaProducer(bootstrap_servers=config.brokers, client_id=client_id, **(defaults | options))
    made.client._request_timeout_ms = CALL_MS
    pace(made.client)
    return made


def pace(client: Any) -> None:
    """Let a client ask for metadata ten times a second at most.

    aiokafka's producer asks again as soon as it has the answer, as long as a message waits for a topic that is gone.
    """
    update: Callable[[], Awaitable[Any]] = client.force_metadata_update
    asked_s = float("-inf")
    asking: asyncio.Task[Any] | None = None

    async def paced() -> Any:
        nonlocal asked_s
        await asyncio.sleep(asked_s + METADATA_PAUSE_S - time.monotonic())
        asked_s = time.monotonic()
        return await update()

    def ask() -> "asyncio.Future[Any]":
        nonlocal asking
        if asking is None or asking.done():
            asking = asyncio.ensure_future(paced())
        return asyncio.shield(asking)

    client.force_metadata_update = ask


def admin(config: Config, client_id: str) -> AIOKafkaAdminClient:
    """Return an admin client."""
    return AIOKafkaAdminClient(
        bootstrap_servers=config.brokers,
        client_id=client_id,
        metadata_max_age_ms=METADATA_AGE_MS,
        request_timeout_ms=CALL_MS,
    )


def redis_client(config: Config, wait_s: float = CALL_S, retries: int = 0) -> "Redis":
    """Return a client of Redis; to be closed by ``aclose``.

    By default it never tries again by itself. Who only reads may let it: a server whose ``timeout`` is set closes a
    connection that was not used for so long.
    """
    pool = BlockingConnectionPool.from_url(
        config.redis_url,
        max_connections=MOST_REDIS_CONNECTIONS,
        timeout=wait_s,
        socket_timeout=wait_s,
        socket_connect_timeout=wait_s,
        retry=Retry(NoBackoff(), retries),
    )
    return Redis.from_pool(pool)


def is_other_type(error: BaseException) -> bool:
    """Tell whether Redis answered that a key is of another type than its command needs: somebody has replaced it."""
    return isinstance(error, ResponseError) and "WRONGTYPE" in str(error)


def refusal_code(error: ResponseError) -> str:
    """Return the code with which an answer of Redis begins, such as ``NOREPLICAS``, or else the kind of the error.

    >>> refusal_code(ResponseError("NOREPLICAS Not enough good replicas to write."))
    'NOREPLICAS'
    """
    code = str(error).partition(" ")[0]
    return code if code.isalpha() and code.isupper() and code != "ERR" else type(error).__name__


def client_id(role: str) -> str:
    """Return the name under which a role's consumer is a member of its group.

    >>> client_id("join")
    'bowerbird-join'
    """
    return f"bowerbird-{role}"


def is_unreadable(error: BaseException) -> bool:
    """Tell whether a script in Redis has found a value that it cannot read: somebody has written it.

    Redis 7 says ``user_script:31: attempt to ...``, Redis 6.2 puts before it that it ran a script.
    """
    said = str(error)
    in_script = re.search(r"(?:^|: )user_script:\d+: ", said) is not None
    return isinstance(error, ResponseError) and (in_script or "value is not an integer" in said)


class _Connection(aiokafka.conn.AIOKafkaConnection):  # type: ignore[misc]
    """A connection that is not used again when it may be half open.

    A role has several connections to a broker. When one request is given up without an answer, each connection on which
    nothing has come since is replaced at its next use; otherwise every one of them would cost a time-out of its own.
    """

    silent_since: ClassVar[dict[tuple[str, int], float]] = {}
    """By broker: when the newest request was sent that was given up."""

    def connected(self) -> bool:
        connected = bool(super().connected())
        if not connected and self._reader is not None and asyncio._get_running_loop() is self._loop:
            # The broker has closed it. aiokafka's client drops such a connection, and one that is dropped stays open.
            self.close(reason=CloseReason.CONNECTION_BROKEN)
        if connected and self._last_action < self.silent_since.get((self.host, self.port), 0.0):
            self.close(reason=CloseReason.IDLE_DROP)
            return False
        return connected

    def send(self, request: Any, expect_response: bool = True) -> Any:
        # The broker answers when every member has joined, or when the rebalance timeout of the slowest is over.
        waits_ms = getattr(request, "_rebalance_timeout", 0)
        limit_s = float(self._request_timeout)
        self._request_timeout: float = limit_s + max(0, waits_ms) / 1000
        try:
            return self._answer(super().send(request, expect_response), time.monotonic())
        finally:
            self._request_timeout = limit_s

    async def _answer(self, answer: Awaitable[Any], sent_s: float) -> Any:
        try:
            return await answer
        except TimeoutError:
            self._doubt(sent_s)
            # aiokafka's client would close whichever connection it has by now, and fail where it has none.
            self.close(reason=CloseReason.CONNECTION_TIMEOUT)
            raise RequestTimedOutError from None
        except asyncio.CancelledError:
            # A caller with a shorter limit cancels; that leaves the connection open.
            self._doubt(sent_s)
            raise

    def _doubt(self, sent_s: float) -> None:
        if time.monotonic() - sent_s >= DOUBT_S:
            broker = self.host, self.port
            self.silent_since[broker] = max(sent_s, self.silent_since.get(broker, 0.0))


aiokafka.conn.AIOKafkaConnection = _Connection
