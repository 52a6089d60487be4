"""The end of ``versions``, from its last snapshot on: what is read of it does not grow with its age."""

from typing import NamedTuple

from records.newest_versions import NewestVersions, snapshot_in
from records.versions_snapshot import VersionsSnapshot
from stream.kafka.log import LogReader, LogRecord
from stream.kafka.newest_first import newest_first

SNAPSHOT_EVERY = 1_000
"""A snapshot follows when ``versions`` holds so many records that no snapshot holds."""


class VersionsTail(NamedTuple):
    """A snapshot, and the records that it does not hold.

    Attributes
    ----------
    snapshot
        The last one; None: there is none above the offset that was asked for.
    records
        What follows what the snapshot holds, in the log's order.
    end
        Everything below this offset is in one of both.
    """

    snapshot: VersionsSnapshot | None
    records: list[LogRecord]
    end: int

    def newest(self) -> NewestVersions:
        """Return the newest version of every policy, as reading everything would give it."""
        newest = NewestVersions(self.snapshot)
        for record in self.records:
            newest.take(record.offset, record.value)
        return newest


async def versions_tail(reader: LogReader, topic: str, start: int = 0, end: int | None = None) -> VersionsTail:
    """Read ``versions`` from an offset (default: its end) back to the last snapshot before it, at most to ``start``."""
    snapshot: VersionsSnapshot | None = None
    records: list[LogRecord] = []
    async for window in newest_first(reader, topic, window=2 * SNAPSHOT_EVERY, begin=start, end=end):
        records[:0] = window
        found = (snapshot_in(record.value, record.offset) for record in reversed(window))
        # One that does not reach the start knows nothing of what lies between.
        snapshot = snapshot or next((each for each in found if each is not None and each.end_offset >= start), None)
        if snapshot is not None and records and records[0].offset <= snapshot.end_offset:
            break
    if snapshot is not None:
        records = [record for record in records if record.offset >= snapshot.end_offset]
    return VersionsTail(snapshot, records, records[-1].offset + 1 if records else start)
