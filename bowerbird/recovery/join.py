"""Rebuilds the join's state from the logs: what Redis has forgotten is computed again.

The shards are held while it works, so the roles wait. Last seqs and closed event ids come from ``rewards``; every
decision that may have no outcome yet, and all feedback since its window opened, goes through the same worker and the
same script as in the join. Each step is stored with its offsets, so a recovery that was killed goes on where it stood.
"""

import time
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from bowerbird.recovery.join_problems import acknowledged_at_most, inputs, problems, topic_ids
from bowerbird.recovery.join_recovered import JoinRecovered
from bowerbird.recovery.join_start import JoinStart, read_frontiers
from bowerbird.recovery.logs import RecoveryLogs
from bowerbird.recovery.options import RecoverOptions
from records.errors import LossDetected, WrongConfiguration
from rewards.join_items import Input
from rewards.join_worker import JoinState
from rewards.recovery import Frontiers, Window, outcome_heads
from rewards.rules import milliseconds
from rewards.store import DEAD_LETTERS, Closing, DecisionItem, FeedbackItem, not_free, other_log
from rewards.watermark import partition_name
from stream.config import Config
from stream.kafka.broker_clock import BrokerClock
from stream.kafka.dead_letter_log import Source, read_letter
from stream.kafka.dead_letters import DeadLetters, letter_of
from stream.kafka.log import identify
from stream.kafka.open_transactions import refuse_open_transactions
from stream.redis.store import ReadOn, RedisStore, shard_key
from stream.roles.join_settings import input_topics, join_settings
from stream.roles.refeed import Ends, Refeed

if TYPE_CHECKING:
    pass

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

    Attributes
    ----------
    log
        The name of the log, after :meth:`run`.
    """

    def __init__(self, config: Config, logs: RecoveryLogs, store: RedisStore, producer: Any) -> None:
        self._config, self._logs, self._store, self._producer = config, logs, store, producer
        self._frontiers = Frontiers()
        self._lettered: dict[int, int] = {}
        self._dedup_horizon_ms = milliseconds(config.dedup_horizon_s)
        self._holds = False
        self.log = ""

    async def run(self, options: RecoverOptions) -> JoinRecovered:
        """Recover the state, unless it is sound.

        Raises
        ------
        StateRefused
            Redis holds the state of another log, what is needed is gone, or a transaction hides outcomes.
        """
        reader, rewards = self._logs.reader, self._config.topic("rewards")
        outcomes = await reader.partitions_of(rewards)
        # What it hides would be given again.
        await refuse_open_transactions(self._config, reader, outcomes)
        self.log = await identify(reader, self._config, self._producer)
        if options.dry_run and (spoilt := await self._store.spoilt(self._config.shards)):
            return JoinRecovered(list(spoilt.values()))
        needed = await self._store.discard_spoilt(self._config.shards)
        whole = not needed
        holds = [await self._check(shard) for shard in range(self._config.shards)]
        needed += await problems(self._config, self._logs.reader, self._store)
        done = JoinRecovered(needed, resumed=whole and all(hold.startswith(FEEDING) for hold in holds))
        if not done.needed and not options.force:
            return done
        token = uuid4().hex
        if not options.dry_run:
            await self._hold(f"{FEEDING if done.resumed else SEEDING} {token}")
        ends = await self._ends()
        self._frontiers = await read_frontiers(self._config, self._logs)
        start = JoinStart(self._config, self._logs, self._store, ends, self._frontiers)
        starts = await (start.resumed(done) if done.resumed else start.anew(done))
        if done.gone and not options.accept_loss:
            raise _lost(done.gone)
        done.messages = sum(ends.readable[name] - offset for name, offset in starts.items())
        if options.dry_run:
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
        if known not in (None, self.log):
            raise other_log(shard, str(known), self.log)
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
        read = await inputs(self._config, self._logs.reader)
        if missing := set(input_topics(self._config)) - {topic for topic, _ in read}:
            raise LossDetected(
                f"topic {', '.join(sorted(missing))}", "none", "all inputs", "run `bowerbird topics create`"
            )
        begins = await self._logs.reader.beginning(read)
        return Ends(tick_ms, begins, await self._logs.reader.ends(read), await self._logs.reader.written_ends(read))

    async def _read_letters(self, from_ms: int) -> None:
        """Note which feedback has become a dead letter already: it need not become one again."""
        async for record in self._logs.reader.read_since(self._config.topic("dead-letters"), from_ms):
            letter = read_letter(record)
            if letter.source is not None and letter.reason in SETTLED:
                self._lettered[hash(letter.source)] = letter.time_ms

    async def _seed(self, done: JoinRecovered) -> None:
        """Forget the state, then set the last seqs and remember what has closed."""
        shards = range(self._config.shards)
        await self._store.redis.set(shard_key(self._config.prefix, "s", "count"), self._config.shards)
        for shard in shards:
            seqs = self._frontiers.seqs(shard)
            # An emitter that was stopped may still trim by its own number: letters begin above it.
            seqs[DEAD_LETTERS] = time.time_ns() // 1000
            await self._store.reset(shard, self.log, await self._store.held(shard), seqs)
        closings: dict[int, list[Closing]] = {shard: [] for shard in shards}
        async for message in self._logs.messages("rewards", max(0, (done.from_ms or 0) - self._dedup_horizon_ms)):
            for head in outcome_heads(message.value):
                dedup_until_ms = head.decision_position.time_ms + self._dedup_horizon_ms
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
        acknowledged = await self._logs.reader.committed(config.group("join"), list(starts))
        state = JoinState(self._store, self.log)
        feed = Refeed(state, settings, starts, ends, lambda passed, of: self._logs.progress("inputs", passed, of))
        letters = DeadLetters(self._producer, config, "join")
        from_ms = done.from_ms or 0
        async for rejected in feed.run(
            config, from_ms, lambda name: self._logs.archived(name, ends.begins[name], from_ms)
        ):
            # What was acknowledged has its letter already.
            unread = [one for one in rejected if one.message.offset >= acknowledged.get(one.message[:2], 0)]
            await letters.send(*map(letter_of, unread))

    async def _settle(self) -> None:
        """Note which topics these are now, and from where each input is read on."""
        read = await inputs(self._config, self._logs.reader)
        shards = [await self._store.offsets(shard) for shard in range(self._config.shards)]
        if any(partition_name(*name) not in offsets for offsets in shards for name in read):
            raise not_free(0, OTHERS)
        at_most = await acknowledged_at_most(self._config, self._logs.reader, self._store, read)
        read_on = {name: ReadOn(min(offsets[name] for offsets in shards), to) for name, to in at_most.items()}
        await self._store.void_acknowledgements(read_on)
        await self._store.topic_ids(await topic_ids(self._config, self._logs.reader), forget=True)
        await self._store.forget_marks()

    def _passes_over(self, losses: bool) -> "Callable[[DecisionItem | FeedbackItem], bool]":
        def passes_over(item: DecisionItem | FeedbackItem) -> bool:
            if isinstance(item, FeedbackItem):
                position = item.position
                # In a topic that was made anew, other feedback may stand at a position that had a letter.
                source = Source(position.topic, position.partition, position.offset, position.index)
                return self._lettered.get(hash(source), -1) >= position.time_ms
            if not losses:
                return False
            # A window that may have had an outcome gets no second one.
            shard, early = self._config.shard(item.event_id), bool(item.close_on)
            window = Window(item.event_id, item.placement, item.position.time_ms, item.deadline_ms, early)
            unfinished = self._frontiers.unfinished(window.placement, shard, window.deadline_ms)
            return not unfinished or self._frontiers.removed(window, shard)

        return passes_over


def _lost(gone: list[str]) -> LossDetected:
    return LossDetected(
        "the logs", "; ".join(gone), "all that belongs to windows that are open",
        "name an archive of decisions and outcomes (`bowerbird recover --archive DIR`), or do without"
        " (`bowerbird recover --accept-loss`)",
    )  # fmt: skip
