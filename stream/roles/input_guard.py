"""What the join refuses to go on from: logs that are not what was read of them."""

from collections.abc import Mapping, Sequence

from records.errors import RECOVER, LossDetected
from rewards.join_items import Input
from rewards.join_worker import JoinWorker
from rewards.watermark import partition_name
from stream.config import Config
from stream.kafka.faust_app import Progress
from stream.kafka.log import LogReader
from stream.kafka.shorter_logs import ShorterLogs, ends_before
from stream.kafka.topic_ids import TopicNow
from stream.redis.store import RedisStore


class InputGuard:
    """Compares the inputs with what was read of them. Each refusal holds all shards until a recovery.

    ``reader`` reads the log, ``store`` is the join's state.
    """

    def __init__(self, config: Config, reader: LogReader, store: RedisStore) -> None:
        self._config, self.reader, self.store = config, reader, store
        self._shorter = ShorterLogs()

    async def removed_unread(self, name: Input, next_offset: int, begins: int) -> LossDetected:
        """Hold all shards, and return why: retention was faster than this input was read."""
        await self.need_recovery()
        return LossDetected(
            f"{name[0]}[{name[1]}]", f"a log that starts at offset {begins}", f"offset {next_offset}, the next one",
            f"retention has removed what lies between: {RECOVER}",
        )  # fmt: skip

    async def refuse_replaced(self, names: Sequence[Input]) -> None:
        """Refuse a log that holds another message where the last one was read: offsets alone do not tell."""
        marks = await self.store.marks()
        known = {name: marks[each] for name in names if (each := partition_name(*name)) in marks}
        if replaced := await self.reader.replaced(known):
            await self.need_recovery()
            topic, number = replaced[0]
            raise LossDetected(
                f"{topic}[{number}]", f"another message at offset {known[replaced[0]].offset}",
                f"that of log time {known[replaced[0]].time_ms}, which was read there",
                f"the log has lost its tail and has grown since: {RECOVER}",
            )  # fmt: skip

    async def refuse_holes(
        self, worker: JoinWorker, ends: Mapping[Input, int], fetched: Mapping[Input, Progress]
    ) -> None:
        """Refuse to pass over what was removed: no message comes of it, as of the markers of transactions."""
        passed = {name: worker.applied_to(*name) for name in ends if not worker.waiting_of(*name)}
        silent = {
            name: next_offset
            for name, next_offset in passed.items()
            if next_offset is not None and name in fetched and next_offset < min(ends[name], fetched[name].position)
        }
        for name, begins in (await self.reader.beginning(sorted(silent))).items():
            if begins > silent[name]:
                raise await self.removed_unread(name, silent[name], begins)

    async def refuse_new(self, topics: Mapping[str, TopicNow]) -> None:
        """Hold all shards where a topic is not the one that was read: its id is another one."""
        known = await self.store.topic_ids({name: topic.id for name, topic in topics.items() if topic.id})
        for name, topic in topics.items():
            if topic.id and known[name] != topic.id:
                await self.need_recovery()
                raise LossDetected(
                    f"topic {name}", f"id {topic.id}", f"id {known[name]}",
                    f"the topic was deleted and made anew: {RECOVER}",
                )  # fmt: skip

    async def need_recovery(self) -> None:
        """Hold all shards: they wait for a recovery."""
        for shard in range(self._config.shards):
            await self.store.need_recovery(shard)

    async def held(self) -> bool:
        """Tell whether a shard waits for a recovery, or for the end of one."""
        for shard in range(self._config.shards):
            if await self.store.held(shard):
                return True
        return False

    async def refuse_shorter(self, read: Mapping[Input, int], ends: dict[Input, int]) -> None:
        """Hold all shards where a log ends before what was read of it; take out ends that may be known late."""
        for name in self._shorter.look(read, ends):
            await self.need_recovery()
            raise ends_before(name, read[name], ends[name])
        for name in [name for name, end in ends.items() if end < read[name]]:
            del ends[name]


def read_before(acknowledged: int | None, stored: Sequence[int | None]) -> int | None:
    """Return up to which offset an input has been read; None: never.

    What every shard has stored may not have been acknowledged: a worker was killed, or the group has expired.

    Parameters
    ----------
    acknowledged
        What Kafka has as read.
    stored
        What each shard has stored; None: nothing of this input.

    Examples
    --------
    >>> read_before(12, [17, 15]), read_before(None, [17, None]), read_before(None, [None, None])
    (15, 0, None)
    """
    if acknowledged is None and not any(stored):
        return None
    return max(acknowledged or 0, min(offset or 0 for offset in stored))
