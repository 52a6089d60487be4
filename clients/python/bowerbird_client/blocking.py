"""The client for programs without asyncio."""

import asyncio
import atexit
import os
from collections.abc import Callable, Coroutine
from concurrent.futures import CancelledError
from dataclasses import fields
from functools import wraps
from threading import Lock, Thread
from types import TracebackType
from typing import Any, Concatenate, ParamSpec, Self, TypeVar, cast

from bowerbird_client.asynchronous import Client
from bowerbird_client.calls import ClientOptions
from bowerbird_client.errors import BowerbirdError, BrokerAway
from bowerbird_client.options import method_takes

ENDED_WITHIN_S = 1.0
CANCELLED_TIMES = 3
Result = TypeVar("Result")


Keywords = ParamSpec("Keywords")


def _waiting(
    method: Callable[Concatenate[Client, Keywords], Coroutine[Any, Any, Result]],
) -> "Callable[Concatenate[BlockingClient, Keywords], Result]":
    """Return a method of a client as one that waits for what it returns."""

    @wraps(method)
    def wait(self: "BlockingClient", /, *args: Keywords.args, **kwargs: Keywords.kwargs) -> Result:
        self._check_usable()
        return self._run(method(self._client, *args, **kwargs))

    return wait


class BlockingClient:
    """As :class:`bowerbird_client.Client`, but its methods wait. Any thread may call them. A context manager.

    It works in a thread of its own from the start. A program that ends without :meth:`close` still sends its feedback.

    Parameters
    ----------
    brokers, **options
        As of :class:`bowerbird_client.Client`.

    Examples
    --------
    ::

        with BlockingClient("127.0.0.1:9092", reply_topic="replies.shop") as client:
            answer = client.decide("front", ["boots", "hat"], default="hat")
            client.reward(answer.event_id, "clicks")
    """

    @method_takes(ClientOptions)
    def __init__(self, options: ClientOptions) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = Thread(target=self._loop.run_forever, name="bowerbird-client", daemon=True)
        self._thread.start()
        self._closing = Lock()
        self._process = os.getpid()
        self._closed = False
        try:
            self._client = self._run(_opened(options))
        except BaseException:
            self._stop()
            raise
        atexit.register(self.close)

    decide = _waiting(Client.decide)
    reward = _waiting(Client.reward)
    activate = _waiting(Client.activate)
    flush = _waiting(Client.flush)

    def close(self) -> None:
        """Send the remaining feedback and stop; a second call does nothing.

        Raises
        ------
        BowerbirdError
            Some feedback was not acknowledged in time.
        """
        if os.getpid() != self._process:
            # Its thread is not here; the process that opened it sends what is left.
            return
        with self._closing:
            if self._closed:
                return
            self._closed = True
        atexit.unregister(self.close)
        try:
            self._run(self._client.__aexit__(None, None, None))
        finally:
            self._stop()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _check_usable(self) -> None:
        if os.getpid() != self._process:
            raise BowerbirdError("the client was opened by another process: open one in each, after the fork")
        if self._closed:
            raise BowerbirdError("the client is closed")

    def _run(self, work: Coroutine[Any, Any, Result]) -> Result:
        try:
            return asyncio.run_coroutine_threadsafe(work, self._loop).result()
        except CancelledError:
            raise BrokerAway("the client was closed meanwhile") from None

    def _stop(self) -> None:
        """End what still works in the loop, and the loop."""
        asyncio.run_coroutine_threadsafe(_others_ended(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


async def _others_ended() -> None:
    others = asyncio.all_tasks() - {cast("asyncio.Task[Any]", asyncio.current_task())}
    if others:
        # Closing has cancelled or answered most of them.
        _, left = await asyncio.wait(others, timeout=ENDED_WITHIN_S)
        # A cancellation may get lost on its way through what a task waits for.
        for _ in range(CANCELLED_TIMES):
            for task in left:
                task.cancel()
            if left:
                _, left = await asyncio.wait(left, timeout=ENDED_WITHIN_S)


async def _opened(options: ClientOptions) -> Client:
    # Made in the loop that it works in.
    return await Client(**{field.name: getattr(options, field.name) for field in fields(options)}).__aenter__()
