"""Puts files into the archive so that no crash leaves half of one, and no second worker writes a range again.

In a local folder (also one that several machines share) a file is written aside, synced, and renamed under a lock
of its partition, if nobody has archived its offsets meanwhile. An object store has no lock, and needs no renaming: an
object is there as a whole or not at all.
"""

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

from policies.errors import StateRefused
from rewards.archive_names import ArchiveFile, held, log_file
from rewards.archive_place import place_of
from rewards.records import LogIdentity, encode

ASIDE = ".writing"
LOCKS = ".locks"


class ArchiveStore:
    """The archive of one service, for writing. All methods block; several threads may use it.

    Parameters
    ----------
    url
        A folder, or the URL of one in an object store.
    prefix
        Of the service.
    """

    def __init__(self, url: str, prefix: str) -> None:
        self._url, self._prefix = url, prefix
        self._place = place_of(url)
        self._local = self._place.local

    def belongs_to(self, log: str) -> None:
        """Note whose copy the archive is, or compare.

        Raises
        ------
        StateRefused
            It is the copy of another log: its offsets mean other records.
        """
        content = encode(LogIdentity(log_id=log))
        name = log_file(self._prefix)
        found = self._place.read(name)
        if found is None:
            self._put(name, content, f"log-{uuid4().hex}")
        elif found != content:
            raise StateRefused(
                f"archive {self._place.root}",
                f"in {name} {found.decode(errors='replace')}",
                f"the log {log}",
                "set archive.url to an empty folder, or point the service at the archive's own Kafka",
            )

    def begin(self, topic: str, partition: int) -> int | None:
        """Return the offset after the last one that the archive holds; None where it holds nothing.

        What a worker that died has left unfinished is removed.
        """
        if self._local is None:
            return self._end(topic, partition)
        with self._locked(topic, partition):
            for rest in (self._local / ASIDE).glob(f"{topic}+{partition}+*"):
                rest.unlink(missing_ok=True)
            files = [file for file in self._place.files(topic) if file.partition == partition]
            if files:
                # Its name may not have reached the disk when the worker that gave it died.
                _sync(self._local / max(files).folder)
            return _end_of(files)

    def put(self, file: ArchiveFile, content: bytes | memoryview) -> bool:
        """Add a file; False where the archive holds a record of its range already, and nothing was done.

        Raises
        ------
        OSError
            It could not be written; nothing of it can be seen.
        """
        if self._local is None:
            if not self._is_new(file):
                return False
            self._put(file.path, content, "")
            return True
        aside = self._write_aside(content, f"{file.topic}+{file.partition}+{uuid4().hex}")
        try:
            with self._locked(file.topic, file.partition):
                # A successor has swept up what lay aside: it is at work, so this worker is none any more.
                if not self._is_new(file) or not aside.exists():
                    return False
                self._rename(aside, file.path)
        finally:
            aside.unlink(missing_ok=True)
        return True

    def _is_new(self, file: ArchiveFile) -> bool:
        # Whoever archived the same first record put it into the folder of the same day.
        there = self._place.files(file.folder)
        return not any(other.partition == file.partition and other.last >= file.first for other in there)

    def _end(self, topic: str, partition: int) -> int | None:
        return _end_of([file for file in self._place.files(topic) if file.partition == partition])

    def _put(self, name: str, content: bytes | memoryview, aside: str) -> None:
        if self._local is not None:
            self._rename(self._write_aside(content, aside), name)
            return
        with self._place.system.open_output_stream(self._place.path(name)) as stream:
            stream.write(content)

    def _write_aside(self, content: bytes | memoryview, name: str) -> Path:
        assert self._local is not None
        aside = self._local / ASIDE / name
        aside.parent.mkdir(parents=True, exist_ok=True)
        try:
            with aside.open("wb") as stream:
                stream.write(content)
                stream.flush()
                os.fsync(stream.fileno())
        except OSError:
            aside.unlink(missing_ok=True)
            raise
        return aside

    def _rename(self, aside: Path, name: str) -> None:
        assert self._local is not None
        to = self._local / name
        new = [folder for folder in (to.parent, *to.parent.parents) if not folder.exists()]
        to.parent.mkdir(parents=True, exist_ok=True)
        aside.rename(to)
        for folder in {to.parent, *(folder.parent for folder in new)}:
            _sync(folder)

    @contextlib.contextmanager
    def _locked(self, topic: str, partition: int) -> Iterator[None]:
        assert self._local is not None
        lock = self._local / LOCKS / f"{topic}+{partition}"
        lock.parent.mkdir(parents=True, exist_ok=True)
        with lock.open("wb") as handle:
            fcntl.flock(handle, fcntl.LOCK_EX)
            yield


def _end_of(files: list[ArchiveFile]) -> int | None:
    range_held = held(files)
    return None if range_held is None else range_held[1]


def _sync(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
