"""How the files of the archive are called; what the names hold is what the archive holds.

::

    archive/
        _log.json                                                            which log it is a copy of
        _topics.json                                                         the ids of that log's topics
        rewards/day=2026-11-24/00000-00000000000000000000-00000000000000004711.parquet
        (topic) (UTC, log time) (partition)      (first offset)       (last offset)

The ranges of one partition follow each other without gaps: a file begins where the one before ended, also where an
offset is no message (a marker of a transaction). A gap between two files is a loss.
"""

import re
from collections.abc import Iterable
from typing import NamedTuple, Self

ARCHIVE_SCHEMES = ("file", "s3", "gs", "gcs", "abfs", "abfss")
"""Where an archive may be; of object stores those in which an object is there as a whole or not at all."""
ARCHIVED_STREAMS = ("decisions", "rewards")
"""Topics, without the prefix, whose messages can be read from an archive instead of from Kafka."""
SUFFIX = ".parquet"
_NAME = re.compile(
    r"(?P<topic>[A-Za-z0-9._-]+)/day=(?P<day>\d{4}-\d\d-\d\d)"
    r"/(?P<partition>\d{5})-(?P<first>\d{20})-(?P<last>\d{20})\.parquet"
)


class ArchiveFile(NamedTuple):
    """One file of the archive: a range of offsets of one partition, all of one day of log time.

    Attributes
    ----------
    topic
        The topic's full name.
    day
        Of every record in it, UTC, as ``2026-11-24``.
    first, last
        The range of offsets, both included.
    """

    topic: str
    partition: int
    first: int
    last: int
    day: str

    @property
    def folder(self) -> str:
        """The folder, seen from the archive.

        >>> ArchiveFile("rewards", 0, 0, 41, "2026-11-24").folder
        'rewards/day=2026-11-24'
        """
        return f"{self.topic}/day={self.day}"

    @property
    def path(self) -> str:
        """The name, seen from the archive.

        >>> ArchiveFile("rewards", 0, 0, 41, "2026-11-24").path
        'rewards/day=2026-11-24/00000-00000000000000000000-00000000000000000041.parquet'
        """
        return f"{self.folder}/{self.partition:05d}-{self.first:020d}-{self.last:020d}{SUFFIX}"

    @classmethod
    def parse(cls, path: str) -> Self | None:
        """Parse a file's name; return None for a file that does not belong to the archive.

        >>> ArchiveFile.parse(ArchiveFile("rewards", 0, 0, 41, "2026-11-24").path).last
        41
        """
        match = _NAME.fullmatch(path)
        if match is None or int(match["first"]) > int(match["last"]):
            return None
        return cls(match["topic"], int(match["partition"]), int(match["first"]), int(match["last"]), match["day"])


class Piece(NamedTuple):
    """A file and the first offset to read from it; earlier offsets are read from another file."""

    file: ArchiveFile
    start: int


def pieces(files: Iterable[ArchiveFile]) -> list[Piece]:
    """Return the files in the order of partition and offset, so that every offset is read once.

    Two workers on one object store may have written one range twice, for nothing there is locked.
    """
    pieces_to_read: list[Piece] = []
    following: dict[tuple[str, int], int] = {}
    for file in sorted(files):
        start = max(file.first, following.get((file.topic, file.partition), 0))
        if start <= file.last:
            pieces_to_read.append(Piece(file, start))
            following[file.topic, file.partition] = file.last + 1
    return pieces_to_read


def held(files: Iterable[ArchiveFile], end: int | None = None) -> tuple[int, int] | None:
    """Return the last range without a gap that files of one partition hold: first offset, and the one after its last.

    Parameters
    ----------
    end
        Only what reaches up to this offset counts; None where nothing does.

    Examples
    --------
    >>> files = [ArchiveFile("t", 0, first, last, "2026-11-24") for first, last in [(0, 4), (7, 9), (10, 12)]]
    >>> held(files), held(files, 13), held(files, 14)
    ((7, 13), (7, 13), None)
    """
    first = following = -1
    for piece in pieces(files):
        if piece.start != following:
            first = piece.start
        following = piece.file.last + 1
    return (first, following) if following >= 0 and (end is None or following >= end) else None


def log_file(prefix: str) -> str:
    """Return the name of the file that names the log whose copy a service's archive is."""
    return f"_{prefix}log.json"


def topics_file(prefix: str) -> str:
    """Return the name of the file that keeps the ids of the topics that a service's archive is a copy of."""
    return f"_{prefix}topics.json"
