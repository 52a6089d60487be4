"""The broker's time, learned by appending a tick and reading the log time that it was given."""

import asyncio
import logging
import time
from collections.abc import Callable
from typing import Protocol

from aiokafka.errors import KafkaError

from records.codec import encode
from records.tick import Tick
from stream import metrics

log = logging.getLogger(__name__)

TICK = encode(Tick())
RETRY_S = 0.2


class Appended(Protocol):
    """What Kafka says of a record that it has appended."""

    offset: int
    timestamp: int


class Appends(Protocol):
    """The part of ``AIOKafkaProducer`` that appends a record and waits for the acknowledgement."""

    async def send_and_wait(self, topic: str, value: bytes) -> Appended:
        """Append and return where and when."""


class BrokerClock:
    """The broker's now: the last tick's log time plus the monotonic time since.

    It never runs ahead of the broker, but for the drift of this machine's clock within one tick's interval: the
    time since is counted from the acknowledgement, which comes after the log time was taken.

    Parameters
    ----------
    producer
        Appends with ``acks="all"``.
    topic
        The full name of the topic of ticks, whose timestamps are log-append times.
    role
        Whose metrics count the errors.
    ticked
        Called at each acknowledged tick.
    """

    def __init__(
        self,
        producer: Appends,
        topic: str,
        role: str = "decide",
        monotonic: Callable[[], float] = time.monotonic,
        ticked: Callable[[], None] = lambda: None,
    ) -> None:
        self._producer = producer
        self._topic = topic
        self._role = role
        self._monotonic = monotonic
        self._ticked = ticked
        self._log_ms = 0
        self._at: float | None = None

    @property
    def started(self) -> bool:
        """Whether a first tick was acknowledged."""
        return self._at is not None

    async def tick(self) -> int:
        """Append a tick, wait for its acknowledgement, and return its log time in ms."""
        appended = await self._producer.send_and_wait(self._topic, TICK)
        self._at = self._monotonic()
        self._log_ms = int(appended.timestamp)
        self._ticked()
        metrics.broker_answered(self._role)
        return self._log_ms

    def now_ms(self) -> int:
        """Return the broker's time in ms.

        Raises
        ------
        RuntimeError
            Nothing is known of the broker's clock yet: no tick was acknowledged.
        """
        if self._at is None:
            raise RuntimeError("the broker's time is unknown before the first acknowledged tick")
        return self._log_ms + int((self._monotonic() - self._at) * 1000)

    async def run(self, every_ms: int) -> None:
        """Tick for ever; a broker that is away is asked again."""
        while True:
            try:
                await self.tick()
                await asyncio.sleep(every_ms / 1000)
            except (KafkaError, OSError) as error:
                metrics.broker_failed(self._role)
                log.warning("no tick: %r", error)
                await asyncio.sleep(RETRY_S)
