"""Starting clients, and ending clients and tasks, for certain: a client may hang, and may lose a cancellation."""

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Coroutine
from types import TracebackType
from typing import Any, Self

from aiokafka.errors import ProducerClosed

log = logging.getLogger(__name__)

CANCEL_AGAIN_S = 0.2
STOP_S = 0.3
"""A client that has not closed by itself after so long is torn down."""
TEAR_S = 0.1


async def ended(*tasks: "asyncio.Future[Any]") -> None:
    """Cancel tasks, again and again until all have ended; what they raise is dropped."""
    left = {task for task in tasks if not task.done()}
    while left:
        for task in left:
            task.cancel()
        _, left = await asyncio.wait(left, timeout=CANCEL_AGAIN_S)
    for task in tasks:
        if not task.cancelled():
            # Retrieve the exception so asyncio does not log "never retrieved".
            task.exception()


async def finished(work: Coroutine[Any, Any, None]) -> None:
    """Wait for work that must not be cut off, however often the caller is cancelled; that is raised afterwards."""
    task, cancelled = asyncio.create_task(work), False
    while not task.done():
        try:
            await asyncio.wait({task})
        except asyncio.CancelledError:
            cancelled = True
    task.result()
    if cancelled:
        raise asyncio.CancelledError


async def started(client: Any) -> Any:
    """Start a client of aiokafka; one that could not be started is closed."""
    starting = asyncio.ensure_future(client.start())
    try:
        await asyncio.shield(starting)
    except BaseException:
        await finished(_given_up(client, starting))
        raise
    return client


async def _given_up(client: Any, starting: "asyncio.Future[Any]") -> None:
    # A start that is cancelled while a broker is asked for its metadata leaves that connection open.
    await asyncio.wait({starting}, timeout=STOP_S)
    await ended(starting)
    await _closed(client, STOP_S)


async def closed(client: Any, within_s: float = STOP_S) -> None:
    """Close a client of aiokafka; one that hangs after the time, since the broker is away, is torn down."""
    await finished(_closed(client, within_s))


async def _closed(client: Any, within_s: float) -> None:
    close: Callable[[], Coroutine[Any, Any, None]] = client.stop if hasattr(client, "stop") else client.close
    closing = asyncio.create_task(close())
    await asyncio.wait({closing}, timeout=within_s)
    if not closing.done() or closing.cancelled() or closing.exception() is not None:
        # What fails has not come to its connections. And a producer waits in vain until all that it was given is
        # written: it has no method to give up.
        sending = _task(client, "_sender", "sender_task")
        if sending is not None:
            sending.cancel()
        connections = client.client if hasattr(client, "client") else client._client
        tearing = asyncio.create_task(connections.close())
        await asyncio.wait({closing, tearing}, timeout=TEAR_S, return_when=asyncio.ALL_COMPLETED)
        names = [("_fetcher", "_fetch_task"), ("_sender", "sender_task")]
        names += [
            ("_coordinator", f"_{task}_task")
            for task in ("coordination", "heartbeat", "commit_refresh", "reset_committed")
        ]
        left = [task for owner, name in names if (task := _task(client, owner, name)) is not None]
        await ended(closing, tearing, *left)
        # It may not have come to its connections, and what was ended now may have opened another one.
        for connection in list(connections._conns.values()):
            connection.close()
        if (accumulator := getattr(client, "_message_accumulator", None)) is not None:
            # A batch that was to be sent again is no pending one: aiokafka then fails to take it out, as a traceback.
            for batches in accumulator._batches.values():
                accumulator._pending_batches.update(batches)
            # A caller that waits for an acknowledgement must learn that there will be none.
            accumulator.fail_all(ProducerClosed())
    if not closing.cancelled() and (error := closing.exception()) is not None:
        log.debug("closing %r: %r", client, error)


class Opened:
    """What was opened, to be closed all at once: where a server is away each closing takes its whole time.

    An asynchronous context manager: leaving it closes what :meth:`kept` has not taken out.
    """

    def __init__(self) -> None:
        self._closings: list[Callable[[], Awaitable[object]]] = []

    def add(self, close: Callable[[], Awaitable[object]]) -> None:
        """Add what closes something."""
        self._closings.append(close)

    def kept(self) -> "Opened":
        """Take out all that was added."""
        kept = Opened()
        kept._closings, self._closings = self._closings, []
        return kept

    async def close(self) -> None:
        """Close everything."""
        closings, self._closings = self._closings, []
        for result in await asyncio.gather(*(close() for close in closings), return_exceptions=True):
            if isinstance(result, BaseException):
                log.debug("closing: %r", result)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()


async def within(wait: Awaitable[object], seconds: float) -> None:
    """Wait for something for a limited time; a cancellation always gets through.

    ``asyncio.wait_for`` of Python 3.11 drops a cancellation that comes at the moment at which the wait ends, and the
    loop that it should end runs on.
    """
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await wait


def _task(client: Any, owner: str, name: str) -> "asyncio.Task[Any] | None":
    return getattr(getattr(client, owner, None), name, None)
