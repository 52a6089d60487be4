"""Ending tasks and clients for certain: a cancellation may get lost inside a library, and a client may hang."""

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

from aiokafka.errors import ProducerClosed

log = logging.getLogger(__name__)

CANCEL_AGAIN_S = 0.2


async def ended(*tasks: "asyncio.Future[Any]") -> None:
    """Cancel tasks, again and again until all have ended; what they raise is dropped."""
    left = {task for task in tasks if not task.done()}
    while left:
        for task in left:
            task.cancel()
        _, left = await asyncio.wait(left, timeout=CANCEL_AGAIN_S)
    for task in tasks:
        if not task.cancelled():
            # Looked at, so that nobody complains that nobody did.
            task.exception()


async def closed(client: Any, within_s: float) -> None:
    """Close a client of aiokafka; one that hangs after the time, since the broker is away, is torn down."""
    close: Callable[[], Coroutine[Any, Any, None]] = client.stop if hasattr(client, "stop") else client.close
    closing = asyncio.create_task(close())
    await asyncio.wait({closing}, timeout=within_s)
    if not closing.done():
        # A producer waits in vain until all that it was given is written: it has no method to give up.
        sending = _task(client, "_sender", "sender_task")
        if sending is not None:
            sending.cancel()
        connections = client.client if hasattr(client, "client") else client._client
        await connections.close()
        await asyncio.wait({closing}, timeout=within_s)
        names = [("_fetcher", "_fetch_task"), ("_sender", "sender_task")]
        names += [("_coordinator", f"_{task}_task") for task in ("coordination", "heartbeat", "commit_refresh")]
        left = [task for owner, name in names if (task := _task(client, owner, name)) is not None]
        await ended(closing, *left)
        if (accumulator := getattr(client, "_message_accumulator", None)) is not None:
            # Whoever waits for an acknowledgement must learn that there will be none.
            accumulator.fail_all(ProducerClosed())
    if not closing.cancelled() and (error := closing.exception()) is not None:
        log.debug("closing %r: %r", client, error)


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
