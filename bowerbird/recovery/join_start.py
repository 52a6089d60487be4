"""Where a recovery of the join begins to read each input."""

from collections.abc import Mapping

from bowerbird.recovery.join_losses import gaps, never_read, outcomes_gone
from bowerbird.recovery.join_problems import inputs, known_topics, made_anew
from bowerbird.recovery.join_recovered import JoinRecovered
from bowerbird.recovery.logs import RecoveryLogs
from records.errors import LossDetected, WrongConfiguration
from records.outcome import parse_outbox
from rewards.join_items import Input
from rewards.recovery import Frontiers, outcome_heads
from rewards.rules import milliseconds
from rewards.watermark import partition_name
from stream.config import Config
from stream.kafka.versions_tail import versions_tail
from stream.redis.store import RedisStore
from stream.roles.refeed import Ends


async def read_frontiers(config: Config, logs: RecoveryLogs) -> Frontiers:
    """Find the last outcome of every placement and shard.

    Raises
    ------
    WrongConfiguration
        The outcomes were joined with another number of shards.
    """
    frontiers = Frontiers()
    seen, elsewhere, example = 0, 0, ""
    async for message in logs.messages("rewards", 0):
        for head in outcome_heads(message.value):
            seen += 1
            if head.shard != config.shard(head.event_id):
                elsewhere, example = elsewhere + 1, f"{head.event_id} was joined in shard {head.shard}"
            if head.shard < config.shards:
                frontiers.see(head)
    # By another number of shards at least half of them stand elsewhere; a few are what another program wrote.
    if elsewhere > seen / 4:
        raise WrongConfiguration(
            f"shards: found {config.shards}, expected another number: {example};"
            " set it back, and see that `bowerbird check` agrees"
        )
    await _note_outboxes_without_outcomes(config, logs, frontiers)
    return frontiers


async def _note_outboxes_without_outcomes(config: Config, logs: RecoveryLogs, frontiers: Frontiers) -> None:
    """Take from ``versions`` how far an outbox goes whose outcomes were all removed."""
    topic = config.topic("rewards")
    begins = await logs.reader.beginning(await logs.reader.partitions_of(topic))
    if not any(begins.values()):
        return  # nothing was removed, or the topic was made anew
    versions = config.topic("versions")
    newest = (await versions_tail(logs.reader, versions)).newest()
    learned: dict[str, tuple[int, int]] = {}
    for logged in newest.by_policy.values():
        async for record in logs.reader.read(versions, 0, logged.offset, logged.offset + 1):
            for outbox, seq in logged.version.last_seqs.items():
                # Of several policies that learn an outbox one has come farthest.
                learned[outbox] = max((seq, record.time_ms), learned.get(outbox, (0, 0)))
    for outbox, (seq, time_ms) in learned.items():
        placement, shard = parse_outbox(outbox)
        if begins.get((topic, config.rewards_partition(placement))):
            frontiers.none_left(placement, shard, seq, time_ms)


class JoinStart:
    """Finds where to begin, and notes in the recovery what it needs there that is gone."""

    def __init__(self, config: Config, logs: RecoveryLogs, store: RedisStore, ends: Ends, frontiers: Frontiers) -> None:
        self._config, self._logs, self._store = config, logs, store
        self._ends, self._frontiers = ends, frontiers

    async def resumed(self, done: JoinRecovered) -> dict[Input, int]:
        """Return where a recovery that was stopped stood."""
        done.from_ms = 0
        shards = [await self._store.offsets(shard) for shard in range(self._config.shards)]
        starts: dict[Input, int] = {}
        for name, begin in self._ends.begins.items():
            stored = [offsets[partition_name(*name)] for offsets in shards if partition_name(*name) in offsets]
            starts[name] = min(self._ends.readable[name], min(stored, default=begin))
        done.gone += never_read(self._logs, self._ends, starts)
        await self._note_outcomes_gone(done, await self._unread_from_ms(starts))
        return starts

    async def anew(self, done: JoinRecovered) -> dict[Input, int]:
        """Return where all that may have a part in an unfinished window lies, at or beyond."""
        replaced = await made_anew(self._store, await self._logs.reader.topics(known_topics(self._config)))
        self._refuse_lost_outcomes(replaced)
        read = list(self._ends.readable)
        acknowledged = await self._logs.reader.committed(self._config.group("join"), read)
        unread = {name: 0 if name[0] in replaced else acknowledged.get(name, 0) for name in read}
        begin_ms = await self._unfinished_from_ms(done) - milliseconds(self._config.early_s)
        done.from_ms = from_ms = max(0, min(begin_ms, await self._unread_from_ms(unread)))
        starts = await self._logs.reader.at(read, from_ms)
        starts = {name: min(start, self._ends.readable[name]) for name, start in starts.items()}
        for name in read:
            for archived in self._logs.archived(name, self._ends.begins[name], from_ms):
                starts[name] = archived.offset
                break
        known = await self._read_up_to(acknowledged)
        known = {name: offset for name, offset in known.items() if name[0] not in replaced}
        done.gone += never_read(self._logs, self._ends, known)
        done.gone += await gaps(self._config, self._logs, self._ends, from_ms)
        await self._note_outcomes_gone(done, from_ms)
        return starts

    async def _note_outcomes_gone(self, done: JoinRecovered, from_ms: int) -> None:
        since_ms = from_ms - milliseconds(self._config.dedup_horizon_s)
        done.gone += await outcomes_gone(self._config, self._logs, self._frontiers, max(0, since_ms))

    def _refuse_lost_outcomes(self, replaced: set[str]) -> None:
        rewards = self._config.topic("rewards")
        if rewards in replaced and (
            late := [first.outcome_seq for first in self._frontiers.first.values() if first.outcome_seq > 1]
        ):
            raise LossDetected(
                f"topic {rewards}",
                f"outcomes from seq {min(late)} on in a topic that was made anew",
                "none, or those from seq 1 on",
                "while the roles wait, delete it and run `bowerbird topics create`, then `bowerbird recover`: all"
                " outcomes are made again",
            )

    async def _unfinished_from_ms(self, done: JoinRecovered) -> int:
        """Count the decisions that may lack an outcome, and return the log time of the first."""
        config = self._config
        longest_ms = milliseconds(config.dedup_horizon_s) // 2
        scan_ms = self._frontiers.scan_from_ms(config.placements, config.shards, longest_ms)
        begin_ms = self._ends.tick_ms
        async for message in self._logs.messages("decisions", scan_ms):
            count = self._frontiers.unfinished_in(message.value, message.time_ms, config.shard)
            done.unfinished += count
            if count:
                begin_ms = min(begin_ms, message.time_ms)
        return begin_ms

    async def _unread_from_ms(self, unread: Mapping[Input, int]) -> int:
        """Return the log time of the first message that was never applied.

        It may lie before all windows: feedback that no window takes is a dead letter still to be written.
        """
        begin_ms = self._ends.tick_ms
        for name, offset in unread.items():
            start = max(offset, self._ends.begins[name])
            async for record in self._logs.reader.read(*name, start, self._ends.readable[name]):
                begin_ms = min(begin_ms, record.time_ms)
                break
        return begin_ms

    async def _read_up_to(self, acknowledged: Mapping[Input, int]) -> dict[Input, int]:
        """Return up to where each input that was ever read is known to have been read."""
        shards = [await self._store.offsets(shard) for shard in range(self._config.shards)]
        names = {partition_name(*name): name for name in await inputs(self._config, self._logs.reader)}
        stored = {names[each]: min(offsets.get(each, 0) for offsets in shards) for each in names if each in shards[0]}
        return {name: max(acknowledged.get(name, 0), stored.get(name, 0)) for name in {*acknowledged, *stored}}
