"""A producer that can be replaced while others use it."""

import asyncio
import logging
from collections.abc import Awaitable, Callable

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError

from stream.shutdown import STOP_S, closed

log = logging.getLogger(__name__)


class RenewableProducer:
    """Holds a producer, and replaces it when somebody has found it spoilt.

    Parameters
    ----------
    make
        Returns a producer that is started.
    replaced_within_s
        So long may one that was replaced take to send what it was given.
    """

    def __init__(self, make: Callable[[], Awaitable[AIOKafkaProducer]], replaced_within_s: float = STOP_S) -> None:
        self._make, self._replaced_within_s = make, replaced_within_s
        self._current: AIOKafkaProducer | None = None
        self._renewing = asyncio.Lock()

    async def start(self) -> None:
        """Connect."""
        self._current = await self._make()

    async def stop(self) -> None:
        """Close; what is not acknowledged by then may or may not be in the log."""
        producer, self._current = self._current, None
        if producer is not None:
            await closed(producer)

    @property
    def current(self) -> AIOKafkaProducer | None:
        """The producer; None: it is not connected."""
        return self._current

    async def renew(self, spoilt: AIOKafkaProducer | None) -> None:
        """Replace a producer, once for all who found it spoilt; while the broker is away it stays."""
        async with self._renewing:
            if self._current is not spoilt:
                return
            try:
                self._current = await self._make()
            except (KafkaError, OSError) as error:
                log.warning("no connection to the broker: %r", error)
                return
            if spoilt is not None:
                await closed(spoilt, self._replaced_within_s)
