"""Rebuilds the join's state from the logs: what Redis has forgotten is computed again.

The shards are held while it works, so the roles wait. Last seqs and closed event ids come from ``rewards``; every
decision that may have no outcome yet, and all feedback since its window opened, goes through the same worker and the
same script as in the join. Each step is stored with its offsets, so a recovery that was killed goes on where it stood.
"""

import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from archive.names import ARCHIVED_STREAMS
from bowerbird.recovery.join_problems import acknowledged_at_most, inputs, known_topics, made_anew, problems, topic_ids
from bowerbird.recovery.join_recovered import JoinRecovered, moment
from records.errors import LossDetected, WrongConfiguration
from rewards.join_items import Input
from rewards.recovery import Frontiers, outcome_heads
from rewards.rules import milliseconds
from rewards.store import DEAD_LETTERS, Closing, DecisionItem, FeedbackItem, not_free, other_log
from rewards.watermark import partition_name
from stream.config import Config
from stream.kafka.broker_clock import BrokerClock
from stream.kafka.dead_letter_log import Source, read_letter
from stream.kafka.dead_letters import DeadLetters, letter_of
from stream.kafka.log import LogReader, LogRecord, identify
from stream.kafka.topics import describe_topics
from stream.redis.store import ReadOn, RedisStore, shard_key
from stream.roles.join_settings import input_topics, join_settings
from stream.roles.refeed import Ends, Refeed

if TYPE_CHECKING:
    from archive.reader import Archive

Progress = Callable[[str, int, int], None]
"""Called while logs are read: what is read, how many of how many offsets have been passed."""

OTHERS = "of another recovery"
SEEDING, FEEDING = "seeding", "feeding"
"""A hold begins with what the recovery does now; one that feeds can be taken over."""
PORTION_ITEMS = 1000
SEED = 5000
"""So many closed event ids are remembered by one call."""
SETTLED = frozenset({"late", "early", "unknown_decision"})
"""Reasons of letters whose feedback has no further part in any window."""


class JoinRecovery:
    """A recovery of the join's state.

    Parameters
    ----------
    producer
        Of Kafka, started; see :func:`stream.clients.producer`.
    archive
        Gives the decisions and outcomes that Kafka has forgotten.
    accept_loss
        Go on where messages that are needed are gone for good.
    """

    def __init__(
        self,
        config: Config,
        reader: LogReader,
        store: RedisStore,
        producer: Any,
        archive: "Archive | None",
        progress: Progress,
        accept_loss: bool = False,
    ) -> None:
        self._config, self._reader, self._store, self._producer = config, reader, store, producer
        self._archive, self._progress, self._accept_loss = archive, progress, accept_loss
        self._topics = input_topics(config)
        self._frontiers = Frontiers()
        self._lettered: dict[int, int] = {}
        self._dedup_horizon_ms = milliseconds(config.dedup_horizon_s)
        self._log = ""
        self._holds = False

    async def run(self, *, force: bool, dry_run: bool) -> JoinRecovered:
        """Recover the state, unless it is sound; ``force``: also then.

        Raises
        ------
        StateRefused
            Redis holds the state of another log, or what is needed is gone.
        """
        self._log = await identify(self._reader, self._config, self._producer)
        if dry_run and (spoilt := await self._store.spoilt(self._config.shards)):
            return JoinRecovered(list(spoilt.values()))
        needed = await self._store.discard_spoilt(self._config.shards)
        whole = not needed
        holds = [await self._check(shard) for shard in range(self._config.shards)]
        needed += await problems(self._config, self._reader, self._store)
        done = JoinRecovered(needed, resumed=whole and all(hold.startswith(FEEDING) for hold in holds))
        if not done.needed and not force:
            return done
        token = uuid4().hex
        if not dry_run:
            await self._hold(f"{FEEDING if done.resumed else SEEDING} {token}")
        ends = await self._ends()
        await self._read_outcomes()
        if done.resumed:
            starts = await self._stored(ends)
            done.from_ms = 0
            self._look_for_unread(ends, starts, done)
            self._refuse_gone(done)
        else:
            starts = await self._plan(ends, done)
        done.messages = sum(ends.readable[name] - start for name, start in starts.items())
        if dry_run:
            return done
        await self._read_letters(done.from_ms or 0)
        if not done.resumed:
            await self._seed(done)
            await self._hold(f"{FEEDING} {token}")
        await self._feed(f"{FEEDING} {token}", starts, ends, done)
        await self._settle()
        self._holds = True
        counts = [await self._store.pending(shard) for shard in range(self._config.shards)]
        done.pending = sum(sum(count.values()) for count in counts)
        return done

    async def release(self) -> None:
        """Let the roles go on, where a recovery has held them."""
        if self._holds:
            await self._hold("")

    async def _check(self, shard: int) -> str:
        """Refuse a state that is not this service's; return its hold."""
        known = await self._store.log_name(shard)
        if known not in (None, self._log):
            raise other_log(shard, str(known), self._log)
        key = shard_key(self._config.prefix, "s", "count")
        kept = await self._store.redis.get(key)
        if kept is not None and int(kept) != self._config.shards:
            raise WrongConfiguration(
                f"shards: found {self._config.shards}, expected {int(kept)}, which the join's state was begun with;"
                " set it back, and see that `bowerbird check` agrees"
            )
        return await self._store.held(shard)

    async def _hold(self, hold: str) -> None:
        for shard in range(self._config.shards):
            await self._store.hold(shard, hold)

    async def _ends(self) -> Ends:
        tick_ms = await BrokerClock(self._producer, self._config.topic("ticks"), "join").tick()
        read = await inputs(self._config, self._reader)
        if missing := set(self._topics) - {topic for topic, _ in read}:
            raise LossDetected(
                f"topic {', '.join(sorted(missing))}", "none", "all inputs", "run `bowerbird topics create`"
            )
        begins = await self._reader.beginning(read)
        return Ends(tick_ms, begins, await self._reader.ends(read), await self._reader.written_ends(read))

    # What the logs say.

    async def _read_outcomes(self) -> None:
        """Find the last outcome of every placement and shard."""
        if self._frontiers.last:
            return
        seen, elsewhere, example = 0, 0, ""
        async for message in self._messages("rewards", 0):
            for head in outcome_heads(message.value):
                seen += 1
                if head.shard != self._config.shard(head.event_id):
                    elsewhere, example = elsewhere + 1, f"{head.event_id} was joined in shard {head.shard}"
                if head.shard < self._config.shards:
                    self._frontiers.see(head)
        # By another number of shards at least half of them stand elsewhere; a few are what another program wrote.
        if elsewhere > seen / 4:
            raise WrongConfiguration(
                f"shards: found {self._config.shards}, expected another number: {example};"
                " set it back, and see that `bowerbird check` agrees"
            )

    async def _plan(self, ends: Ends, done: JoinRecovered) -> dict[Input, int]:
        """Find where to begin: all that may have a part in an unfinished window lies at or beyond."""
        config = self._config
        anew = await made_anew(self._store, await self._reader.topics(known_topics(config)))
        rewards = config.topic("rewards")
        if rewards in anew and (late := [seq for seq in self._frontiers.first.values() if seq > 1]):
            raise LossDetected(
                f"topic {rewards}",
                f"outcomes from seq {min(late)} on in a topic that was made anew",
                "none, or those from seq 1 on",
                "while the roles wait, delete it and run `bowerbird topics create`, then `bowerbird recover`: all"
                " outcomes are made again",
            )
        scan_ms = self._frontiers.scan_from_ms(config.placements, config.shards, self._dedup_horizon_ms // 2)
        begin_ms = ends.tick_ms
        async for message in self._messages("decisions", scan_ms):
            count = self._frontiers.unfinished_in(message.value, message.time_ms, config.shard)
            done.unfinished += count
            if count:
                begin_ms = min(begin_ms, message.time_ms)
        begin_ms -= milliseconds(config.early_s)
        read = list(ends.readable)
        acknowledged = await self._reader.committed(config.group("join"), read)
        for name in read:
            # What was never applied may lie before: feedback that no window takes is a dead letter still to be written.
            unread = max(0 if name[0] in anew else acknowledged.get(name, 0), ends.begins[name])
            async for record in self._reader.read(*name, unread, ends.readable[name]):
                begin_ms = min(begin_ms, record.time_ms)
                break
        done.from_ms = max(0, begin_ms)
        starts = await self._reader.at(read, done.from_ms)
        starts = {name: min(start, ends.readable[name]) for name, start in starts.items()}
        for name in read:
            for archived in self._from_archive(name, ends.begins[name], done.from_ms):
                starts[name] = archived.offset
                break
        known = await self._read_up_to(acknowledged)
        self._look_for_unread(ends, {name: known[name] for name in known if name[0] not in anew}, done)
        await self._look_for_gaps(ends, done)
        self._refuse_gone(done)
        return starts

    async def _read_up_to(self, acknowledged: Mapping[Input, int]) -> dict[Input, int]:
        """Return up to where each input that was ever read is known to have been read."""
        shards = [await self._store.offsets(shard) for shard in range(self._config.shards)]
        names = {partition_name(*name): name for name in await inputs(self._config, self._reader)}
        stored = {names[each]: min(offsets.get(each, 0) for offsets in shards) for each in names if each in shards[0]}
        return {name: max(acknowledged.get(name, 0), stored.get(name, 0)) for name in {*acknowledged, *stored}}

    def _look_for_unread(self, ends: Ends, unread: Mapping[Input, int], done: JoinRecovered) -> None:
        """Name what was removed before it was read, however old it is by now; ``unread``: where that begins."""
        for name, offset in sorted(unread.items()):
            held = self._archived(*name, ends.begins[name])
            if offset < ends.begins[name] and (held is None or held[0] > offset):
                done.gone.append(f"{name[0]}[{name[1]}] offsets {offset} to {ends.begins[name] - 1}, never read")

    async def _look_for_gaps(self, ends: Ends, done: JoinRecovered) -> None:
        """Name what is needed, has been removed from Kafka, and is in no archive."""
        from_ms, rewards = done.from_ms or 0, self._config.topic("rewards")
        outcomes = [(rewards, number) for number in await self._reader.partitions(rewards)]
        begins = ends.begins | await self._reader.beginning(outcomes)
        readable = ends.readable | await self._reader.ends(outcomes)
        topics = await describe_topics(self._config, [*self._topics, rewards])
        for name, begin in begins.items():
            # What retention has removed is older than it: younger windows have lost nothing.
            kept_ms = int(topics[name[0]].settings["retention.ms"])
            if not begin or kept_ms < 0 or from_ms >= ends.tick_ms - kept_ms:
                continue
            first_ms = ends.tick_ms
            async for record in self._reader.read(*name, begin, readable[name]):
                first_ms = record.time_ms
                break
            held = self._archived(*name, begin)
            if first_ms > from_ms and (held is None or held[0] > 0):
                where = f"{name[0]}[{name[1]}]"
                done.gone.append(f"{where} from {moment(first_ms)} on, needed from {moment(from_ms)} on")

    def _refuse_gone(self, done: JoinRecovered) -> None:
        if done.gone and not self._accept_loss:
            raise LossDetected(
                "the logs", "; ".join(done.gone), "all that belongs to windows that are open",
                "name an archive of decisions and outcomes (`bowerbird recover --archive DIR`), or do without"
                " (`bowerbird recover --accept-loss`)",
            )  # fmt: skip

    async def _stored(self, ends: Ends) -> dict[Input, int]:
        """Return where a recovery that was stopped stood."""
        shards = [await self._store.offsets(shard) for shard in range(self._config.shards)]
        starts: dict[Input, int] = {}
        for name, begin in ends.begins.items():
            stored = [offsets[partition_name(*name)] for offsets in shards if partition_name(*name) in offsets]
            starts[name] = min(ends.readable[name], min(stored, default=begin))
        return starts

    def _archived(self, topic: str, partition: int, before: int) -> tuple[int, int] | None:
        stream = self._config.stream_of(topic)
        if self._archive is None or stream not in ARCHIVED_STREAMS:
            return None
        return self._archive.held(stream, partition, before)

    async def _messages(self, name: str, from_ms: int) -> AsyncIterator["LogRecord"]:
        """Yield the messages of decisions or rewards from a log time on, also those that only the archive has."""
        topic = self._config.topic(name)
        partitions = [(topic, number) for number in await self._reader.partitions(topic)]
        begins = await self._reader.beginning(partitions)
        starts = await self._reader.at(partitions, from_ms) if from_ms > 0 else begins
        ends = await self._reader.ends(partitions)
        passed, total = 0, sum(ends[each] - starts[each] for each in partitions)
        for each in partitions:
            for archived in self._from_archive(each, begins[each], from_ms):
                yield archived
            async for record in self._reader.read(*each, starts[each], ends[each]):
                yield record
                if record.offset % 500 == 0:
                    self._progress(f"reading {name}", passed + record.offset - starts[each], total)
            passed += ends[each] - starts[each]
            self._progress(f"reading {name}", passed, total)

    def _from_archive(self, name: Input, begin: int, from_ms: int) -> Iterator[LogRecord]:
        """Yield the messages that the archive holds and Kafka no longer does."""
        held = self._archived(*name, begin) if begin else None
        if held is None or self._archive is None:
            return
        stream = self._config.stream_of(name[0])
        for message in self._archive.messages(stream, name[1], held[0], min(begin, held[1])):
            if message.time_ms >= from_ms:
                yield LogRecord(*name, message.offset, message.time_ms, None, message.value, ())

    async def _read_letters(self, from_ms: int) -> None:
        """Note which feedback has become a dead letter already: it need not become one again."""
        async for record in self._reader.read_since(self._config.topic("dead-letters"), from_ms):
            letter = read_letter(record)
            if letter.source is not None and letter.reason in SETTLED:
                self._lettered[hash(letter.source)] = letter.time_ms

    @property
    def log(self) -> str:
        """The name of the log, after :meth:`run`."""
        return self._log

    # What is done.

    async def _seed(self, done: JoinRecovered) -> None:
        """Forget the state, then set the last seqs and remember what has closed."""
        shards = range(self._config.shards)
        await self._store.redis.set(shard_key(self._config.prefix, "s", "count"), self._config.shards)
        for shard in shards:
            seqs = self._frontiers.seqs(shard)
            # An emitter that was stopped may still trim by its own number: letters begin above it.
            seqs[DEAD_LETTERS] = time.time_ns() // 1000
            await self._store.reset(shard, self._log, await self._store.held(shard), seqs)
        closings: dict[int, list[Closing]] = {shard: [] for shard in shards}
        async for message in self._messages("rewards", max(0, (done.from_ms or 0) - self._dedup_horizon_ms)):
            for head in outcome_heads(message.value):
                dedup_until_ms = head.decision_place.time_ms + self._dedup_horizon_ms
                if head.shard not in closings:
                    continue
                # What came since the last outcome was found will close again.
                if (
                    dedup_until_ms < (done.from_ms or 0)
                    or head.outcome_seq > self._frontiers.last[head.placement, head.shard].outcome_seq
                ):
                    continue
                closings[head.shard].append(Closing(head.event_id, dedup_until_ms, head.closed_ms))
                done.remembered += 1
                if len(closings[head.shard]) >= SEED:
                    await self._store.remember(head.shard, closings[head.shard])
                    closings[head.shard] = []
        for shard, rest in closings.items():
            await self._store.remember(shard, rest)

    async def _feed(self, hold: str, starts: dict[Input, int], ends: Ends, done: JoinRecovered) -> None:
        config = self._config
        settings = replace(
            join_settings(config),
            portion_items=PORTION_ITEMS,
            hold=hold,
            passes_over=self._passes_over(bool(done.gone)),
        )
        acknowledged = await self._reader.committed(config.group("join"), list(starts))
        feed = Refeed(
            self._store, self._log, settings, starts, ends, lambda passed, of: self._progress("inputs", passed, of)
        )
        letters = DeadLetters(self._producer, config, "join")
        from_ms = done.from_ms or 0
        async for rejected in feed.run(
            config, from_ms, lambda name: self._from_archive(name, ends.begins[name], from_ms)
        ):
            # What was acknowledged has its letter already.
            unread = [one for one in rejected if one.message.offset >= acknowledged.get(one.message[:2], 0)]
            await letters.send(*map(letter_of, unread))

    async def _settle(self) -> None:
        """Note which topics these are now, and from where each input is read on."""
        read = await inputs(self._config, self._reader)
        shards = [await self._store.offsets(shard) for shard in range(self._config.shards)]
        if any(partition_name(*name) not in offsets for offsets in shards for name in read):
            raise not_free(0, OTHERS)
        at_most = await acknowledged_at_most(self._config, self._reader, self._store, read)
        read_on = {name: ReadOn(min(offsets[name] for offsets in shards), to) for name, to in at_most.items()}
        await self._store.void_acknowledgements(read_on)
        await self._store.topic_ids(await topic_ids(self._config, self._reader), forget=True)
        await self._store.forget_marks()

    def _passes_over(self, outcomes_gone: bool) -> "Callable[[DecisionItem | FeedbackItem], bool]":
        def passes_over(item: DecisionItem | FeedbackItem) -> bool:
            if isinstance(item, FeedbackItem):
                place = item.place
                # In a topic that was made anew, other feedback may stand at a place that had a letter.
                source = Source(place.topic, place.partition, place.offset, place.index)
                return self._lettered.get(hash(source), -1) >= place.time_ms
            return outcomes_gone and not self._frontiers.unfinished(
                item.placement, self._config.shard(item.event_id), item.deadline_ms
            )

        return passes_over
