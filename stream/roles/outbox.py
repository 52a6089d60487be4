"""Outcomes leave the join's store for ``rewards``, once and in the order of their seq.

An outbox is emptied from its head with one unacknowledged record batch; it is trimmed by seq when Kafka has
acknowledged. Any error starts again from the head: two emitters repeat, they never skip.
"""

import asyncio
import logging
from collections.abc import Awaitable, Iterator, Sequence
from typing import TypeVar
from uuid import uuid4

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError
from redis.exceptions import RedisError

from records.errors import RECOVER, BowerbirdError, LossDetected, StateRefused
from records.fields import EXTERNAL
from records.outcome import Outcome
from rewards.outcome import messages_of
from rewards.store import DEAD_LETTERS, ClosedWindow, Unusable
from stream import clients, metrics, stopped
from stream.config import Config
from stream.kafka.dead_letters import DeadLetters, letter_of
from stream.kafka.last_seqs import LastSeqs
from stream.kafka.renewable_producer import RenewableProducer
from stream.redis.partitions import Partitions
from stream.redis.spoilt import Unreadable, reading
from stream.redis.store import RedisStore
from stream.retry import count_failure, say_server_refuses
from stream.role import JOIN
from stream.shutdown import started, within

log = logging.getLogger(__name__)

HEAD = 500
LETTER_HEADS = 10
"""Of the outbox of dead letters, in one turn."""
OUTBOXES_AT_ONCE = 32
"""Decisions may name any number of placements."""
IDLE_S = 0.1
BACKOFF_S = (0.1, 0.2, 0.5, 1.0)

Result = TypeVar("Result")


class OutcomeProducer(RenewableProducer):
    """An idempotent producer, which is made anew when the broker has refused a batch.

    aiokafka counts a refused batch as sent: to the broker all that came later would be out of order, for ever.
    """

    def __init__(self, config: Config) -> None:
        super().__init__(
            lambda: started(clients.producer(config, clients.client_id(JOIN), enable_idempotence=True)),
        )

    async def send_and_wait(self, topic: str, value: bytes, *, key: bytes, partition: int) -> None:
        """Append a message; return when it is acknowledged.

        Raises
        ------
        KafkaError
            It was not appended, as far as is known.
        """
        producer = self.current
        assert producer is not None
        try:
            await producer.send_and_wait(topic, value, key=key, partition=partition)
        except KafkaError as error:
            if not error.retriable:
                await self.renew(producer)
            raise


class Emitter:
    """Empties the outboxes of all shards of this service.

    Parameters
    ----------
    store
        The join's state.
    producer
        Its requests may be as large as a message of ``rewards``, ``acks="all"``.
    dead_letters
        Where feedback goes that no window took.
    last_seqs
        Tells what ``rewards`` holds.
    """

    def __init__(
        self,
        store: RedisStore,
        producer: OutcomeProducer | AIOKafkaProducer,
        dead_letters: DeadLetters,
        last_seqs: LastSeqs,
        config: Config,
    ) -> None:
        self._store, self._producer, self._dead_letters = store, producer, dead_letters
        self._last_seqs = last_seqs
        self._partitions = Partitions(store.redis, config)
        self._config = config
        self._owner = uuid4().hex
        """The name of this worker in the advisory leases, so that not everything is sent twice."""
        self._emitted: dict[tuple[int, str], int] = {}
        self._learners: dict[str, list[str]] = {}
        for policy in config.policies:
            for placement in config.placements_of(policy):
                self._learners.setdefault(placement, []).append(policy)
        self._wake = [asyncio.Event() for _ in range(config.shards)]

    def wake(self, shard: int) -> None:
        """Look at the outboxes of a shard now: something closed."""
        self._wake[shard].set()

    async def run(self, shard: int) -> None:
        """Empty the outboxes of a shard, for ever."""
        failures = 0
        while True:
            try:
                self._wake[shard].clear()
                if await self._store.lease(shard, self._owner):
                    outboxes = await self._readable(shard, self._store.outboxes(shard))
                    turns = asyncio.Semaphore(OUTBOXES_AT_ONCE)
                    async with asyncio.TaskGroup() as group:
                        for outbox, last_seq in outboxes.items():
                            group.create_task(self._empty_in_turn(shard, outbox, last_seq, turns))
                else:
                    # Held for a recovery, which may begin the seqs anew, or another worker's now.
                    self._emitted = {key: seq for key, seq in self._emitted.items() if key[0] != shard}
                failures = 0
                stopped.go_on(JOIN, _part(shard))
                await within(self._wake[shard].wait(), IDLE_S)
            except* (RedisError, KafkaError, OSError, BowerbirdError) as errors:
                causes = list(_leaves(errors))
                for error in causes:
                    count_failure(JOIN, error)
                pause_s = BACKOFF_S[min(failures, len(BACKOFF_S) - 1)]
                failures += 1
                self._say_refused(shard, failures, causes[0])
                log.warning("emitting shard %d: %s; again in %.1f s", shard, causes[0], pause_s)
                await asyncio.sleep(pause_s)

    def _say_refused(self, shard: int, failures: int, error: BaseException) -> None:
        """Say that what leaves a shard cannot be read, or is refused, and not for a moment."""
        if isinstance(error, StateRefused):
            stopped.stop(JOIN, _part(shard), error)
        say_server_refuses(JOIN, _part(shard), failures, error)

    async def _empty_in_turn(self, shard: int, outbox: str, last_seq: int, turns: asyncio.Semaphore) -> None:
        async with turns:
            await self._empty(shard, outbox, last_seq)

    async def _empty(self, shard: int, outbox: str, last_seq: int) -> None:
        """Empty an outbox up to the last seq that was given when its turn began; of many dead letters some.

        The next turn begins when every outbox has had its own, so a flood of dead letters would hold up outcomes.
        """
        heads = 0
        while entries := await self._readable(shard, self._store.head(shard, outbox, HEAD)):
            if outbox == DEAD_LETTERS:
                await self._bury(shard, [entry for entry in entries if isinstance(entry, Unusable)])
            else:
                windows = [entry for entry in entries if isinstance(entry, ClosedWindow)]
                await self._readable(shard, self._emit(shard, outbox, windows))
            heads += 1
            if entries[-1].seq >= last_seq or not await self._store.lease(shard, self._owner):
                return
            if outbox == DEAD_LETTERS and heads >= LETTER_HEADS:
                self.wake(shard)
                return

    async def _readable(self, shard: int, asked: Awaitable[Result]) -> Result:
        """Return what the store answers; where it cannot read its state, the shard waits for a recovery."""
        try:
            return await asked
        except Unreadable:
            await self._store.need_recovery(shard)
            raise

    async def _refuse_loss(self, shard: int, placement: str, seqs: list[int]) -> None:
        """Refuse seqs that were given before, and a hole before or among them: their outcomes would never come."""
        first, emitted = seqs[0], self._emitted.get((shard, placement), 0)
        found, expected = "", ""
        if first <= emitted:
            found, expected = f"seq {first}", f"seq {emitted + 1} or above"
        elif seqs[-1] != first + len(seqs) - 1:
            found, expected = f"{len(seqs)} seqs from {first} to {seqs[-1]}", "all seqs between"
        elif first > emitted + 1:
            # Another worker may have emitted meanwhile: what has left Redis was in the log before.
            in_log = await self._last_seqs.last_seq(placement, shard, first - 1)
            if in_log is not None and first > in_log + 1:
                found, expected = f"seq {first}", f"seq {in_log + 1}, which rewards lacks"
        if found:
            await self._store.need_recovery(shard)
            where = f"join state of shard {shard}, placement {placement}"
            raise LossDetected(where, found, expected, f"Redis has forgotten a part: {RECOVER}")

    async def _emit(self, shard: int, placement: str, entries: list[ClosedWindow]) -> None:
        await self._refuse_loss(shard, placement, [entry.seq for entry in entries])
        with reading(self._store.key(shard, f"outbox:{placement}")):
            messages = list(messages_of(shard, self._config.prefix, entries))
        partition = await self._partitions.of(placement)
        for outcomes, value in messages:
            await self._producer.send_and_wait(
                self._config.topic("rewards"),
                value,
                key=placement.encode(),
                partition=self._last_seqs.former_partition(placement) if partition is None else partition,
            )
            await self._store.trim(shard, placement, outcomes[-1].outcome_seq)
            self._emitted[shard, placement] = outcomes[-1].outcome_seq
            self._count_outcomes(outcomes)

    def _count_outcomes(self, outcomes: Sequence[Outcome]) -> None:
        metrics.broker_answered(JOIN)
        for outcome in outcomes:
            for policy in self._learners.get(outcome.placement, (metrics.OTHER,)):
                metrics.OUTCOMES.labels(policy, outcome.why).inc()
            if outcome.policy_version == EXTERNAL:
                metrics.EXTERNAL_DECISIONS.labels(outcome.policy).inc()

    async def _bury(self, shard: int, entries: list[Unusable]) -> None:
        await self._dead_letters.send(*map(letter_of, entries))
        for entry in entries:
            stream = self._config.stream_of(entry.position.topic)
            if entry.reason == "late" and stream not in self._config.weightless:
                metrics.LATE_FEEDBACK.labels(stream).inc()
        await self._store.trim(shard, DEAD_LETTERS, entries[-1].seq)


def _part(shard: int) -> str:
    return f"outcomes of shard {shard}"


def _leaves(error: BaseException) -> Iterator[BaseException]:
    """Yield what a group of errors consists of."""
    if isinstance(error, BaseExceptionGroup):
        for part in error.exceptions:
            yield from _leaves(part)
    else:
        yield error
