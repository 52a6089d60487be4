"""One partition as the archive follows it."""

import asyncio
import logging
import time
from collections.abc import Awaitable
from typing import Any, TypeVar

from archive.growing_file import GrowingFile, day_of
from archive.writer import ArchiveStore
from records.errors import RECOVER, StateRefused
from rewards.store import DISCARD
from stream import metrics
from stream.config import Config
from stream.kafka.log import LogRecord, Partition
from stream.role import ARCHIVE

log = logging.getLogger(__name__)

Result = TypeVar("Result")
WAITING_GROUPS = 2
"""More row groups than this do not wait for their compression: the input does."""
OWN_LOG = f"point this service at its own log, {DISCARD}"


class ArchivedPartition:
    """A partition that this worker archives: its messages are collected in a file, which is stored as a whole.

    Parameters
    ----------
    name
        The topic and the number.
    start
        The offset after the last message that the archive holds.

    Attributes
    ----------
    stored
        The offset after the last one that the archive holds.
    taken
        The offset after the last message in ``file``.
    seen
        The offset after the last message that there is known to be; never below ``taken`` for long.
    file
        What collects messages; None: nothing was taken since the last one was stored.
    """

    def __init__(self, name: Partition, start: int, config: Config, store: ArchiveStore) -> None:
        self.name, self._limits, self._store = name, config.archive, store
        self._stream = config.stream_of(name[0])
        self.stored = self.taken = self.seen = start
        self.file: GrowingFile | None = None
        self._writing: asyncio.Task[None] | None = None
        self._events: dict[int, Any] = {}
        self._looked_at = (-1, 0)

    def expect(self, event: Any) -> None:
        """Note a message that Faust has delivered: it is acknowledged when it is stored."""
        offset = event.message.offset
        self._events[offset] = event
        self.seen = max(self.seen, offset + 1)

    def pass_over(self, begins: int) -> None:
        """Go on where the log begins, if that is above what was taken: retention was faster."""
        if begins <= self.taken:
            return
        metrics.ARCHIVE_LOST.labels(self._stream).inc(begins - self.taken)
        log.error(
            "%s[%d]: retention removed offsets %d to %d before they were archived; the archive goes on at %d",
            *(*self.name, self.taken, begins - 1, begins),
        )
        self.stored = self.taken = begins
        self.seen = max(self.seen, begins)

    def look_at_end(self, end: int) -> None:
        """Note where the log ends; what it held at the former look and was not taken since must be read from it."""
        metrics.show_lag(ARCHIVE, self._stream, self.name[1], end - self.taken)
        taken, former_end = self._looked_at
        if self.taken == taken:
            # Faust hands out once what it has fetched, also for a partition that went away and came back.
            self.seen = max(self.seen, former_end)
        self._looked_at = (self.taken, end)

    def is_of_another_day(self, record: LogRecord) -> bool:
        """Tell whether a message belongs into another file than the one that collects."""
        return self.file is not None and self.file.day != day_of(record.time_ms)

    @property
    def full(self) -> bool:
        """Whether the file is to be stored for its size."""
        file, limits = self.file, self._limits
        return file is not None and (file.rows >= limits.max_rows or file.size_bytes >= limits.max_bytes)

    @property
    def old(self) -> bool:
        """Whether the file is to be stored for its age."""
        return self.file is not None and time.monotonic() - self.file.opened_s >= self._limits.max_s

    async def add(self, record: LogRecord) -> None:
        """Add a message to the file of its day, and begin to compress what is enough for a row group."""
        if self.file is None:
            self.file = GrowingFile(self._stream, day_of(record.time_ms), self.stored)
        self.file.add(record)
        self.taken = record.offset + 1
        waiting, writing = self.file.full_groups, self._writing
        # The next group fills while one is compressed, which needs no Python.
        if not self.full and waiting and (writing is None or writing.done() or waiting > WAITING_GROUPS):
            await self._encoded(writing)
            self._writing = asyncio.create_task(asyncio.to_thread(self.file.write_groups))

    async def keep_before(self, time_ms: int) -> None:
        """Drop from the file what is no older than a log time; nothing more can be added."""
        assert self.file is not None
        await self._encoded(self._writing)
        self.taken = await asyncio.to_thread(self.file.keep_before, time_ms)
        if not self.file.rows:
            self.file = None

    async def store_file(self) -> bool:
        """Store the file, and acknowledge what is in it.

        Returns
        -------
        bool
            False where somebody else stored a part of it meanwhile; then this worker goes on behind that.
        """
        if self.file is None:
            return True
        name = self.file.called(*self.name, self.taken)
        await self._encoded(self._writing)
        self._writing = None
        content = await self._encoded(asyncio.to_thread(self.file.finish))
        assert content is not None
        with metrics.ARCHIVE_PUT_SECONDS.time():
            new = await asyncio.to_thread(self._store.put, name, content)
        if new:
            metrics.ARCHIVE_FILES.labels(self._stream).inc()
            metrics.ARCHIVED.labels(self._stream).inc(self.file.rows)
            self.stored = self.taken
        else:
            # Another who had the partition, or this worker itself, whose call failed after it had been done.
            stored = await asyncio.to_thread(self._store.begin, *self.name)
            metrics.REPEATS.labels(ARCHIVE, "file").inc()
            self.stored = self.taken = self.stored if stored is None else stored
        self.file = None
        for offset in [offset for offset in self._events if offset < self.stored]:
            self._events.pop(offset).ack()
        return bool(new)

    async def _encoded(self, work: Awaitable[Result] | None) -> Result | None:
        """Wait for what compresses rows; a file for which that failed is thrown away, and read again."""
        try:
            return None if work is None else await asyncio.shield(work)
        except Exception:
            self.file, self._writing, self.taken = None, None, self.stored
            raise


def beyond(name: tuple[str, int], taken: int, end: int, *, with_log: bool = False) -> StateRefused:
    """Return the refusal of a log that ends before what the archive holds of it; ``with_log`` as of the next one."""
    return StateRefused(
        f"archive of {name[0]}[{name[1]}]",
        f"a log that ends at offset {end}",
        f"one that reaches offset {taken}, up to which it was archived",
        f"the topic was made anew, or has lost its tail: {OWN_LOG if with_log else RECOVER}, which sets the old files"
        " aside",
    )


def made_anew(name: str, found: str, expected: str, *, with_log: bool = False) -> StateRefused:
    """Return the refusal of a topic with another id than that whose copy the archive is.

    Parameters
    ----------
    with_log
        The topic is ``versions``: the log's name has gone with it.
    """
    return StateRefused(
        f"archive of topic {name}",
        f"id {found}",
        f"id {expected}",
        f"the topic was deleted and made anew: {OWN_LOG if with_log else RECOVER}, which sets the old files aside",
    )
