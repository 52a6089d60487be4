"""Ending tasks and clients for certain: a cancellation may get lost inside a library, and a client may hang."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import Any

from aiokafka.errors import KafkaError

CANCEL_AGAIN_S = 0.2


async def ended(*tasks: "asyncio.Task[Any]") -> None:
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
    """Close a client of aiokafka; one that hangs, since the broker is away, is given up after the time."""
    close: Callable[[], Awaitable[None]] = client.stop if hasattr(client, "stop") else client.close
    with contextlib.suppress(KafkaError, OSError, TimeoutError):
        async with asyncio.timeout(within_s):
            await close()
