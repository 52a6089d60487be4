"""Puts files into the archive so that no crash leaves half of one, and no second worker writes a range again.

In a local folder (also one that several machines share) a file is written aside, synced, and renamed under a lock
of its partition, if nobody has archived its offsets meanwhile. An object store has no lock, and needs no renaming: an
object is there as a whole or not at all.
"""

import contextlib
import fcntl
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from uuid import uuid4

import msgspec

from archive.location import place_of
from archive.names import ArchiveFile, held, log_file, topics_file
from archive.schema import TOPICS
from records.codec import encode
from records.errors import RECOVER, StateRefused, shorten
from records.log_identity import LogIdentity

ASIDE = ".writing"
LOCKS = ".locks"
FORMER = "_former"


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
            It is the copy of another log: its offsets mean other records. Or the folder has other files in it.
        """
        if (refused := self.other_log(log)) is not None:
            raise refused
        if not self.has_name():
            self._refuse_other_files()
            self._put(log_file(self._prefix), encode(LogIdentity(log_id=log)), f"log-{uuid4().hex}")

    def has_name(self) -> bool:
        """Tell whether it says whose copy it is; not so once its folder was emptied, or another one was mounted."""
        return self._place.read(log_file(self._prefix)) is not None

    def _refuse_other_files(self) -> None:
        """Refuse to begin an archive in a folder with files that are no archive's, such as a package's."""
        if self._local is None or not self._local.is_dir():
            return
        others = sorted(
            each.name
            for each in self._local.iterdir()
            if each.is_file() and not each.name.startswith(".") and not each.name.endswith(("log.json", "topics.json"))
        )
        if others:
            raise StateRefused(
                f"archive {self._local}",
                f"a folder with other files ({shorten(', '.join(others))})",
                "an empty or a new folder",
                "name another one in archive.url, and see that `bowerbird check` agrees",
            )

    def other_log(self, log: str) -> StateRefused | None:
        """Return the refusal of a log whose copy the archive is not; None where it is, or where it is empty."""
        name = log_file(self._prefix)
        identity = self._place.read(name)
        if identity == encode(LogIdentity(log_id=log)):
            return None
        if identity is None:
            return self._without_name()
        return StateRefused(
            f"archive {self._place.root}",
            f"in {name} {identity.decode(errors='replace')}",
            f"the log {log}",
            f"point the service at the archive's own Kafka, or {RECOVER}: it sets the old copy aside",
        )

    def _without_name(self) -> StateRefused | None:
        """Return the refusal of files that were written after the beginning of their archive had been removed."""
        if not any(True for topic in TOPICS for _ in self._place.files(self._prefix + topic)):
            return None
        return StateRefused(
            f"archive {self._place.root}",
            f"files without {log_file(self._prefix)}",
            "an archive from its beginning",
            f"the folder was emptied, or another one was mounted: {RECOVER}: it sets the files aside and begins anew",
        )

    def topic_ids(self, now: Mapping[str, str]) -> dict[str, str]:
        """Return the ids of the topics that this is a copy of; those of topics that are new to it are noted."""
        name = topics_file(self._prefix)
        known = _ids(self._place.read(name) or b"{}")
        if new := {topic: topic_id for topic, topic_id in now.items() if topic not in known}:
            known |= new
            self._put(name, msgspec.json.encode(known), f"topics-{uuid4().hex}")
        return known

    def ends(self, topic: str) -> dict[int, int]:
        """Return the offset after the last one that the archive holds, by partition of a topic."""
        ends: dict[int, int] = {}
        for file in self._place.files(topic):
            ends[file.partition] = max(ends.get(file.partition, 0), file.last + 1)
        return ends

    def set_aside(self, topics: Sequence[str], folder: str, *, whole: bool) -> str:
        """Move the files of topics to where they are no part of the archive, and return that place.

        Parameters
        ----------
        folder
            Is below :data:`FORMER`; it can be read as an archive of its own.
        whole
            The archive is another log's, and forgets whose copy it was.
        """
        to = f"{FORMER}/{folder}"
        system, path = self._place.system, self._place.path
        identity, ids = (self._place.read(name(self._prefix)) for name in (log_file, topics_file))
        system.create_dir(path(to), recursive=True)
        if identity is not None:
            self._put(f"{to}/{log_file(self._prefix)}", identity, f"log-{uuid4().hex}")
        for topic in topics:
            if self._local is not None and (self._local / topic).exists():
                system.move(path(topic), path(f"{to}/{topic}"))
            elif self._local is None:
                for file in list(self._place.files(topic)):
                    system.move(path(file.path), path(f"{to}/{file.path}"))
        left = {name: topic_id for name, topic_id in _ids(ids or b"{}").items() if name not in topics}
        self._put(topics_file(self._prefix), msgspec.json.encode(left), f"topics-{uuid4().hex}")
        if whole and identity is not None:
            system.delete_file(path(log_file(self._prefix)))
        return path(to)

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
                # A successor has removed the file that was set aside: it owns the partition now.
                if not self._is_new(file) or not aside.exists():
                    return False
                self._rename(aside, file.path)
        finally:
            aside.unlink(missing_ok=True)
        return True

    def _is_new(self, file: ArchiveFile) -> bool:
        # Another worker that archived the same first record put it into the folder of the same day.
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


def _ids(content: bytes) -> dict[str, str]:
    try:
        return msgspec.json.decode(content, type=dict[str, str])
    except msgspec.DecodeError:
        # What cannot be read proves nothing; offsets are compared all the same.
        return {}


def _end_of(files: list[ArchiveFile]) -> int | None:
    range_held = held(files)
    return None if range_held is None else range_held[1]


def _sync(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
