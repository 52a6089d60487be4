"""The logs as a recovery reads them: what only the archive still holds, then what Kafka holds."""

from collections.abc import AsyncIterator, Callable, Iterator
from typing import TYPE_CHECKING, NamedTuple

from archive.names import ARCHIVED_STREAMS
from rewards.join_items import Input
from stream.config import Config
from stream.kafka.log import LogReader, LogRecord

if TYPE_CHECKING:
    from archive.reader import Archive

Progress = Callable[[str, int, int], None]
"""Called while logs are read: what is read, how many of how many offsets have been passed."""


def _silent(what: str, passed: int, of: int) -> None:
    pass


class LogAccess(NamedTuple):
    """How logs are read.

    Attributes
    ----------
    archive
        Gives the decisions and outcomes that Kafka has forgotten; None: no archive is known.
    progress
        Called while they are read.
    accept_loss
        Learn a policy again from what is left where its first outcomes are gone for good.
    """

    archive: "Archive | None" = None
    progress: Progress = _silent
    accept_loss: bool = False


KAFKA_ONLY = LogAccess()


class RecoveryLogs:
    """The logs of a service."""

    def __init__(self, config: Config, reader: LogReader, access: LogAccess) -> None:
        self.reader = reader
        self.progress = access.progress
        self._config, self._archive = config, access.archive

    async def messages(self, name: str, from_ms: int) -> AsyncIterator[LogRecord]:
        """Yield the messages of decisions or rewards from a log time on, also those that only the archive has."""
        topic = self._config.topic(name)
        partitions = await self.reader.partitions_of(topic)
        begins = await self.reader.beginning(partitions)
        starts = await self.reader.at(partitions, from_ms) if from_ms > 0 else begins
        ends = await self.reader.ends(partitions)
        passed, total = 0, sum(ends[each] - starts[each] for each in partitions)
        for each in partitions:
            for archived in self.archived(each, begins[each], from_ms):
                yield archived
            async for record in self.reader.read(*each, starts[each], ends[each]):
                yield record
                if record.offset % 500 == 0:
                    self.progress(f"reading {name}", passed + record.offset - starts[each], total)
            passed += ends[each] - starts[each]
            self.progress(f"reading {name}", passed, total)

    def archived(self, name: Input, begin: int, from_ms: int) -> Iterator[LogRecord]:
        """Yield the messages from a log time on that only the archive holds: Kafka starts at ``begin``."""
        held = self.archived_offsets(name, begin) if begin else None
        if held is None or self._archive is None:
            return
        stream = self._config.stream_of(name[0])
        for message in self._archive.messages(stream, name[1], held[0], min(begin, held[1])):
            if message.time_ms >= from_ms:
                yield LogRecord(*name, message.offset, message.time_ms, None, message.value, ())

    def archived_offsets(self, name: Input, before: int) -> tuple[int, int] | None:
        """Return from where up to where the archive holds a partition without a gap before an offset; None: nothing."""
        stream = self._config.stream_of(name[0])
        if self._archive is None or stream not in ARCHIVED_STREAMS:
            return None
        return self._archive.held(stream, name[1], before)
