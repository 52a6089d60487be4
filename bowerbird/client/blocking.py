"""The client for programs without asyncio."""

import asyncio
import atexit
from collections.abc import Coroutine, Mapping, Sequence
from threading import Lock, Thread
from types import TracebackType
from typing import Any, Self, TypeVar

from bowerbird.client.answer import Answer
from bowerbird.client.asynchronous import Client

Result = TypeVar("Result")


class BlockingClient:
    """As :class:`bowerbird.client.Client`, but its methods wait. Any thread may call them. A context manager.

    It works in a thread of its own from the start. A program that ends without :meth:`close` still sends its feedback.

    Parameters
    ----------
    brokers, **options
        As of :class:`bowerbird.client.Client`.

    Examples
    --------
    ::

        with BlockingClient("127.0.0.1:9092", reply_topic="replies.shop") as client:
            answer = client.decide("front", ["boots", "hat"], default="hat")
            client.reward(answer.event_id, "clicks")
    """

    def __init__(self, brokers: str = "127.0.0.1:9092", **options: Any) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = Thread(target=self._loop.run_forever, name="bowerbird-client", daemon=True)
        self._thread.start()
        self._closing = Lock()
        self._closed = False
        try:
            self._client = self._run(_opened(brokers, options))
        except BaseException:
            self._stop()
            raise
        atexit.register(self.close)

    def decide(
        self,
        placement: str,
        actions: Sequence[str | int | Mapping[str, Any]],
        context: Mapping[str, Any] | None = None,
        *,
        top: int | None = None,
        default: str | int | Sequence[str | int] | None = None,
        event_id: str | int | None = None,
        user_id: str | int | None = None,
        activate: bool = True,
        timeout_s: float | None = None,
    ) -> Answer:
        """Ask what to show; see :meth:`bowerbird.client.Client.decide`."""
        return self._run(
            self._client.decide(
                placement,
                actions,
                context,
                top=top,
                default=default,
                event_id=event_id,
                user_id=user_id,
                activate=activate,
                timeout_s=timeout_s,
            )
        )

    def reward(
        self,
        event_id: str | int,
        stream: str,
        *,
        action: str | int | None = None,
        value: float | None = None,
        id: str | int | None = None,  # noqa: A002
        activate: bool | None = None,
    ) -> str | None:
        """Tell what a person did; see :meth:`bowerbird.client.Client.reward`."""
        return self._run(self._client.reward(event_id, stream, action=action, value=value, id=id, activate=activate))

    def activate(self, event_id: str | int, stream: str = "views") -> str | None:
        """Tell that what was decided was seen; see :meth:`bowerbird.client.Client.activate`."""
        return self._run(self._client.activate(event_id, stream))

    def flush(self) -> None:
        """Return when all feedback is acknowledged; see :meth:`bowerbird.client.Client.flush`."""
        self._run(self._client.flush())

    def close(self) -> None:
        """Send the remaining feedback and stop; a second call does nothing.

        Raises
        ------
        BowerbirdError
            Some feedback was not acknowledged in time.
        """
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

    def _run(self, work: Coroutine[Any, Any, Result]) -> Result:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    def _stop(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


async def _opened(brokers: str, options: Mapping[str, Any]) -> Client:
    # Made in the loop that it works in.
    return await Client(brokers, **options).__aenter__()
