"""A file of the archive while it grows: rows as they come, compressed in memory as Parquet."""

import threading
import time
from collections import deque
from datetime import UTC, datetime, timedelta

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from archive.names import ArchiveFile
from archive.rows import LAST_MS, Row, rows_of, table_of
from archive.schema import REPEATED, SCHEMAS
from records.message import WholeMessage

GROUP_ROWS = 5_000
GROUP_BYTES = 8 * 1024 * 1024
"""So many rows, or bytes of records, become a row group; until then they are kept in memory, uncompressed."""
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class GrowingFile:
    """Collects the messages of one partition and one day, from offset ``first`` on.

    Parameters
    ----------
    name
        The topic without the prefix.

    Attributes
    ----------
    rows, size_bytes
        How many rows it has, and how many bytes their records have as they came.
    opened_s
        When it began, on the monotonic clock.
    """

    def __init__(self, name: str, day: str, first: int) -> None:
        self.name, self.day, self.first = name, day, first
        self.rows = self.size_bytes = 0
        self.opened_s = time.monotonic()
        self._pending: list[Row] = []
        self._pending_bytes = 0
        self._groups: deque[list[Row]] = deque()
        self._writing = threading.Lock()
        self._failed = False
        self._stream = pa.BufferOutputStream()
        schema = SCHEMAS[name]
        self._writer = pq.ParquetWriter(
            self._stream,
            schema,
            compression="zstd",
            compression_level=1,
            use_dictionary=[column for column in REPEATED if column in schema.names],
        )
        self._content: memoryview | None = None

    @property
    def full_groups(self) -> int:
        """How many groups :meth:`write_groups` has not written yet."""
        return len(self._groups)

    def add(self, message: WholeMessage) -> None:
        """Add a message: one row a record. It may run while another thread writes."""
        rows = rows_of(self.name, message)
        self._pending += rows
        self.rows += len(rows)
        size = len(message.value or b"")
        self._pending_bytes += size
        self.size_bytes += size
        if len(self._pending) >= GROUP_ROWS or self._pending_bytes >= GROUP_BYTES:
            self._groups.append(self._pending)
            self._pending, self._pending_bytes = [], 0

    def write_groups(self) -> None:
        """Compress the full groups. Where it raises, the file cannot be finished any more."""
        with self._writing:
            self._write_groups()

    def finish(self) -> memoryview:
        """Return the whole file; nothing more can be added. It may be called again."""
        with self._writing:
            if self._content is None:
                self._groups.append(self._pending)
                self._pending = []
                self._write_groups()
                self._writer.close()
                self._content = memoryview(self._stream.getvalue())
            return self._content

    def keep_before(self, time_ms: int) -> int:
        """Keep only the messages from before a log time; nothing more can be added.

        Returns
        -------
        int
            The offset after the last one that is kept.
        """
        table = pq.read_table(pa.BufferReader(self.finish()))
        kept = table.filter(pc.less(table["log_time"], pa.scalar(time_ms, table.schema.field("log_time").type)))
        stream = pa.BufferOutputStream()
        pq.write_table(kept, stream, compression="zstd")
        self._content = memoryview(stream.getvalue())
        self.rows = kept.num_rows
        return 1 + pc.max(kept["offset"]).as_py() if kept.num_rows else self.first

    def _write_groups(self) -> None:
        if self._failed:
            raise RuntimeError("a row group could not be written")
        self._failed = True
        while self._groups:
            if rows := self._groups[0]:
                self._writer.write_table(table_of(self.name, rows), row_group_size=len(rows))
            self._groups.popleft()
        self._failed = False

    def called(self, topic: str, partition: int, following: int) -> ArchiveFile:
        """Return its name, where ``following`` is the offset after its last one."""
        return ArchiveFile(topic, partition, self.first, following - 1, self.day)


def day_of(time_ms: int) -> str:
    """Return the day of a log time, UTC.

    >>> day_of(0), day_of(1_795_478_399_999)
    ('1970-01-01', '2026-11-23')
    """
    return (_EPOCH + timedelta(milliseconds=min(max(time_ms, 0), LAST_MS))).date().isoformat()
