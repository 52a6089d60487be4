"""Requests on their way, and the replies that they wait for."""

import asyncio
import logging
from itertools import count

from bowerbird_client.connection import Connection
from bowerbird_client.contract import LONGEST_EXPIRES_MS
from bowerbird_client.errors import BrokerAway

log = logging.getLogger(__name__)

PAUSE_S = 0.2


class Requests:
    """Sends requests, and hands each reply to the request that it answers.

    Parameters
    ----------
    name
        No other client has it; the correlation ids begin with it.
    """

    def __init__(self, connection: Connection, name: str) -> None:
        self._connection, self._name = connection, name
        self._numbers = count(1)
        self._waiting: dict[str, asyncio.Future[bytes]] = {}
        self._reading: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to read the replies."""
        self._reading = asyncio.create_task(self._read())

    async def close(self) -> None:
        """Stop reading; who still waits gets no reply."""
        for reply in self._waiting.values():
            if not reply.done():
                reply.set_exception(BrokerAway("the client was closed meanwhile"))
        if self._reading is not None:
            self._reading.cancel()
            await asyncio.gather(self._reading, return_exceptions=True)

    async def ask(self, event_id: str, value: bytes, timeout_s: float) -> bytes:
        """Send a request and return its reply; the service decides within half of the time, or not at all.

        Raises
        ------
        TimeoutError
            There was no reply in time.
        BrokerAway
            The request was not acknowledged.
        BadInput
            It is larger than its topic takes.
        """
        correlation_id = f"{self._name}-{next(self._numbers)}"
        reply: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self._waiting[correlation_id] = reply
        expires_ms = min(max(1, round(timeout_s * 500)), LONGEST_EXPIRES_MS)
        try:
            async with asyncio.timeout(timeout_s):
                await self._connection.ask(value, event_id, correlation_id, expires_ms)
                return await reply
        finally:
            del self._waiting[correlation_id]

    async def _read(self) -> None:
        """Hand each reply to its request, for ever; those of others, and what comes too late, are dropped."""
        while True:
            try:
                replies = await self._connection.replies()
            except BrokerAway as error:
                log.warning("replies are read again: %s", error)
                await asyncio.sleep(PAUSE_S)
                continue
            for correlation_id, value in replies:
                waiting = self._waiting.get(correlation_id)
                if waiting is not None and not waiting.done():
                    waiting.set_result(value)
