"""Whether the archive is a copy of the log as it is now, and what is done where it is not: the old files go aside.

An archive whose topic was deleted and created again holds other messages under the same offsets. They stay readable in
a folder of their own; the archive begins anew with what Kafka holds.
"""

import asyncio
from dataclasses import dataclass, field
from datetime import UTC, datetime

from archive.schema import TOPICS
from archive.writer import ArchiveStore
from stream.config import Config
from stream.kafka.log import LogReader
from stream.roles.archive_partition import beyond, made_anew


@dataclass(slots=True)
class ArchiveRecovered:
    """What was wrong with the archive.

    Attributes
    ----------
    needed
        Why it may not be continued, a sentence each; none: it is sound.
    moved_to
        Where the old files are now; empty: they were not moved.
    """

    needed: list[str] = field(default_factory=list)
    moved_to: str = ""


async def recover_archive(
    config: Config, reader: LogReader, log: str, now_ms: int, *, dry_run: bool = False
) -> ArchiveRecovered:
    """Set aside what the archive holds of topics that are others now; ``log`` is the name of the log."""
    if config.archive.url is None:
        return ArchiveRecovered()
    store = ArchiveStore(config.archive.url, config.prefix)
    topics = [config.topic(name) for name in TOPICS]
    if (refused := await asyncio.to_thread(store.other_log, log)) is not None:
        needed, whole, wrong = [str(refused)], True, topics
    else:
        problem_of = {topic: await _problem(store, reader, topic) for topic in topics}
        needed, whole = [each for each in problem_of.values() if each], False
        wrong = [topic for topic in topics if problem_of[topic]]
    if not needed or dry_run:
        return ArchiveRecovered(needed)
    folder = datetime.fromtimestamp(now_ms / 1000, UTC).strftime("%Y-%m-%dT%H-%M-%S.%f")
    return ArchiveRecovered(needed, await asyncio.to_thread(store.set_aside, wrong, folder, whole=whole))


async def _problem(store: ArchiveStore, reader: LogReader, topic: str) -> str:
    """Say why what the archive holds of a topic may not be continued; nothing: it may."""
    now = (await reader.topics([topic])).get(topic)
    if now is None:
        return ""
    known = (await asyncio.to_thread(store.topic_ids, {})).get(topic)
    if now.id and known and now.id != known:
        return str(made_anew(topic, now.id, known))
    ends = await reader.ends([(topic, number) for number in now.partitions])
    for number, taken in (await asyncio.to_thread(store.ends, topic)).items():
        if (end := ends.get((topic, number), 0)) < taken:
            return str(beyond((topic, number), taken, end))
    return ""
