"""Writes an archive as the role does, of logs that a test made."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from archive.growing_file import GrowingFile, day_of
from archive.reader import Archive
from archive.writer import ArchiveStore
from records.codec import encode
from records.log_identity import LogIdentity
from tests.replay.world import World

LOG = "a-log"


class Archivable(NamedTuple):
    """A message of a log with all that the archive keeps."""

    topic: str
    partition: int
    offset: int
    time_ms: int
    value: bytes | None
    key: bytes | None = None
    headers: Sequence[tuple[str, bytes]] = ()


def archive_of(world: World, folder: Path, files: int = 2) -> Archive:
    """Archive the outcomes and the versions of a world, the outcomes in so many files."""
    versions = [encode(LogIdentity(log_id=LOG)), *map(encode, world.versions)]
    rewards = [Archivable(*message) for message in world.logs["rewards", 0]]
    each = -(-len(rewards) // files)
    logs = {
        "versions": [[Archivable("versions", 0, offset, 1_000_000, value) for offset, value in enumerate(versions)]],
        "rewards": [rewards[start : start + each] for start in range(0, len(rewards), each)],
    }
    write(folder, logs)
    return Archive.at(str(folder))


def write(folder: Path, logs: Mapping[str, Iterable[Sequence[Archivable]]]) -> None:
    """Write each list of messages as a file; a file begins where the one before ended."""
    store = ArchiveStore(str(folder), "")
    store.belongs_to(LOG)
    for topic, files in logs.items():
        for messages in files:
            first = store.begin(topic, messages[0].partition)
            file = GrowingFile(topic, day_of(messages[0].time_ms), messages[0].offset if first is None else first)
            for message in messages:
                file.add(message)
            assert store.put(file.called(topic, messages[0].partition, messages[-1].offset + 1), file.finish())
