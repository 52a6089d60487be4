"""Feedback on its way: what is added is sent in arrays, again and again until it is acknowledged."""

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Sequence

from bowerbird_client.errors import BadInput, BowerbirdError, BrokerAway

log = logging.getLogger(__name__)

BATCH_BYTES = 512 * 1024
FIRST_RETRY_S = 0.1
LAST_RETRY_S = 2.0

Append = Callable[[str, bytes], Awaitable[None]]
"""Appends a message to a stream, and returns when it is acknowledged."""


class Calls:
    """Counts the calls that put feedback on its way, so that closing waits for them. A context manager of each."""

    def __init__(self) -> None:
        self._count = 0
        self._none = asyncio.Event()
        self._none.set()

    def __enter__(self) -> None:
        self._count += 1
        self._none.clear()

    def __exit__(self, *_: object) -> None:
        self._count -= 1
        if not self._count:
            self._none.set()

    async def over(self) -> None:
        """Return when there are none."""
        await self._none.wait()


class _Stream:
    """What waits for one stream. ``added`` and ``done`` count records, so that a flush knows what it waits for."""

    def __init__(self) -> None:
        self.records: deque[bytes] = deque()
        self.added = self.done = 0
        self.wake = asyncio.Event()
        self.task: asyncio.Task[None] | None = None


class Outgoing:
    """Sends feedback in arrays, one message of a stream at a time; a stream that fails holds no other up.

    A record is sent again until it is acknowledged, so the log may hold it twice: it needs an id of its own.

    Parameters
    ----------
    append
        Sends a message.
    batch_s
        How long the first record of an array waits for others.
    most_waiting
        With so many records waiting, :meth:`add` waits.
    """

    def __init__(self, append: Append, batch_s: float, most_waiting: int) -> None:
        self._append, self._batch_s, self._most_waiting = append, batch_s, most_waiting
        self._streams: dict[str, _Stream] = {}
        self._changed = asyncio.Condition()
        self._refused: BowerbirdError | None = None
        self._closed = False

    @property
    def waiting(self) -> int:
        """How many records are not acknowledged."""
        return sum(stream.added - stream.done for stream in self._streams.values())

    def left(self) -> str:
        """Return what is not acknowledged, by stream, as words; empty: nothing."""
        left = {name: stream.added - stream.done for name, stream in self._streams.items()}
        return ", ".join(f"{count} feedback of {name}" for name, count in sorted(left.items()) if count)

    async def add(self, name: str, record: bytes) -> None:
        """Put a record on its way; returns at once, unless too many wait.

        Raises
        ------
        BrokerAway
            It was closed meanwhile.
        """
        async with self._changed:
            await self._changed.wait_for(lambda: self._closed or self.waiting < self._most_waiting)
        self._check_open()
        stream = self._streams.get(name)
        if stream is None:
            stream = self._streams[name] = _Stream()
            stream.task = asyncio.create_task(self._send_forever(name, stream))
        stream.records.append(record)
        stream.added += 1
        stream.wake.set()

    async def flush(self) -> None:
        """Return when all that was added so far is acknowledged.

        Raises
        ------
        BowerbirdError
            Something was refused for good since the last flush, and dropped; or it was closed meanwhile.
        """
        until = [(stream, stream.added) for stream in self._streams.values()]

        def done() -> bool:
            return all(stream.done >= added for stream, added in until)

        async with self._changed:
            await self._changed.wait_for(lambda: self._closed or done())
        if not done():
            self._check_open()
        if self._refused is not None:
            refused, self._refused = self._refused, None
            raise refused

    def _check_open(self) -> None:
        if self._closed:
            raise BrokerAway("the client was closed meanwhile")

    async def close(self) -> None:
        """Stop sending; what was not acknowledged is dropped."""
        self._closed = True
        tasks = [stream.task for stream in self._streams.values() if stream.task is not None]
        for task in tasks:
            task.cancel()
        async with self._changed:
            self._changed.notify_all()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _send_forever(self, name: str, stream: _Stream) -> None:
        while True:
            await stream.wake.wait()
            await asyncio.sleep(self._batch_s)
            stream.wake.clear()
            while stream.records:
                batch = _taken(stream.records)
                await self._send(name, batch)
                async with self._changed:
                    stream.done += len(batch)
                    self._changed.notify_all()

    async def _send(self, name: str, batch: Sequence[bytes]) -> None:
        retry_s = FIRST_RETRY_S
        while True:
            try:
                await self._append(name, b"[" + b",".join(batch) + b"]")
            except BrokerAway as error:
                log.warning("feedback of %s waits: %s", name, error)
            except BowerbirdError as error:
                if isinstance(error, BadInput) and error.code == "too_large" and len(batch) > 1:
                    # Its topic takes less than it should; each record may fit.
                    half = len(batch) // 2
                    await self._send(name, batch[:half])
                    await self._send(name, batch[half:])
                    return
                log.error("%d feedback of %s dropped: %s", len(batch), name, error)
                self._refused = error
                return
            else:
                return
            await asyncio.sleep(retry_s)
            retry_s = min(2 * retry_s, LAST_RETRY_S)


def _taken(records: "deque[bytes]") -> list[bytes]:
    """Take as many records out of a queue as one message holds, at least one."""
    batch = [records.popleft()]
    size = len(batch[0])
    while records and size + len(records[0]) < BATCH_BYTES:
        batch.append(records.popleft())
        size += len(batch[-1]) + 1
    return batch
