"""The join role: decisions and feedback in, outcomes out. It drives a :class:`rewards.join_worker.JoinWorker`.

Three loops share it: the agent offers what Faust hands over, the applier carries out its work on the store, the ticker
tells the store of inputs on which nothing happens. A fourth, a task a shard, empties the outboxes
(``stream.roles.outbox``).
"""

import asyncio
import logging
import time
from collections.abc import AsyncIterable
from functools import partial
from typing import Any

import mode

from rewards.join_worker import Fetched, JoinState, JoinWorker, Work, carry_out
from rewards.store import TransactionResult
from rewards.watermark import partition_name
from stream import metrics
from stream.config import Config
from stream.kafka.broker_clock import BrokerClock
from stream.kafka.dead_letters import DeadLetters, gathered, letter_of
from stream.kafka.faust_app import make_app
from stream.kafka.last_seqs import LastSeqs
from stream.kafka.log import Mark
from stream.liveness import dead_among
from stream.redis.store import RedisStore
from stream.retry import until_recovered, until_there
from stream.role import JOIN
from stream.roles.connections import Connections
from stream.roles.forgotten_state import compare_state
from stream.roles.input_guard import InputGuard
from stream.roles.join_display import JoinDisplay
from stream.roles.join_inputs import JoinInputs
from stream.roles.join_retry import JoinRetry
from stream.roles.join_settings import input_topics, join_settings
from stream.roles.outbox import Emitter, OutcomeProducer
from stream.run import PutRight, RoleParts
from stream.shutdown import Opened, ended, within

log = logging.getLogger(__name__)


def build(config: Config) -> RoleParts:
    """Return the parts of the join role (see ``stream.run``)."""
    app = make_app(config, JOIN)
    role = JoinRole(config, app)
    topics = [config.topic("decisions"), *map(config.topic, config.streams)]

    @app.agent(app.topic(*topics), name=JOIN)
    async def join(stream: Any) -> None:
        await role.consume(stream.noack().events())

    return RoleParts([role], app, role.ready, app.pulse, (app.dead, role.dead))


class JoinRole(mode.Service):
    """What surrounds the worker: Kafka, Redis and the loops."""

    def __init__(self, config: Config, app: Any) -> None:
        super().__init__()
        self._config, self._app = config, app
        self._topics = input_topics(config)
        self._worker = JoinWorker(join_settings(config))
        self._wake = asyncio.Event()
        self._ticked = False
        self._loops: list[asyncio.Future[Any]] = []
        self._opened = Opened()

    async def on_start(self) -> None:
        """Connect, and refuse a state that is not this log's; servers, and a recovery, are waited for."""
        await until_recovered(JOIN, partial(until_there, JOIN, "starting", self._connect))
        emitting = (self._emitter.run(shard) for shard in range(self._config.shards))
        self._loops = [self.add_future(loop) for loop in (self._apply_forever(), self._tick_forever(), *emitting)]

    async def _connect(self) -> None:
        config = self._config
        async with Opened() as opened:
            outcomes = OutcomeProducer(config)
            opened.add(outcomes.stop)
            await outcomes.start()
            connections = await Connections.open(config, JOIN, opened)
            reader, producer = connections.reader, connections.producer
            last_seqs = LastSeqs(config, reader)
            compare = partial(compare_state, config, last_seqs)
            self._store = RedisStore(connections.redis, config.prefix, compare)
            await compare(self._store)
            self._outcomes, self._connections = outcomes, connections
            self._clock = BrokerClock(producer, config.topic("ticks"), JOIN)
            self._guard = InputGuard(config, reader, self._store)
            self._display = JoinDisplay(config, reader, self._store)
            self._dead_letters = DeadLetters(producer, config, JOIN)
            self._emitter = Emitter(self._store, outcomes, self._dead_letters, last_seqs, config)
            self._inputs = JoinInputs(config, self._app, self._worker, self._guard)
            self._app.void_acknowledgements = self._inputs.void_acknowledgements
            self._retry = JoinRetry(self._guard, self._display, self._app.pulse, lambda: self.should_stop)
            self._opened = opened.kept()

    async def on_stop(self) -> None:
        """End the loops, then close the connections; what was not acknowledged is read again.

        The order matters: on Python 3.11 a task group whose task fails, as on a closed connection, drops a cancellation
        that comes at the same moment, and the loop around it runs on.
        """
        await ended(*self._loops)
        await self._opened.close()

    def ready(self) -> bool:
        """Tell whether this worker has its partitions and a shard has answered a tick."""
        return self._app.joined and self._ticked

    def dead(self) -> str | None:
        """Return what has died of the clients, None: nothing has."""
        if self.should_stop or not self._loops:
            return None
        producers = {
            "the producer of outcomes": self._outcomes.current,
            "the producer of dead letters": self._connections.producer,
        }
        return self._connections.reader.dead() or dead_among(producers)

    # What Faust hands over.

    async def consume(self, events: AsyncIterable[Any]) -> None:
        """Offer every message to the worker. Nothing escapes: Faust would take it as acknowledged."""
        async for event in events:
            try:
                await self._retry.until_done(partial(self._inputs.take, event))
            except PutRight as right:
                await self.crash(right)
                return
            self._wake.set()

    # What is applied.

    async def _apply_forever(self) -> None:
        while not self.should_stop:
            work = self._worker.next()
            if work is None:
                self._wake.clear()
                await within(self._wake.wait(), 0.2)
                continue
            await self._retry.until_done(partial(self._apply, work))

    async def _apply(self, work: Work) -> None:
        await self._dead_letters.send(*gathered(map(letter_of, work.rejected)))
        marks = {partition_name(*message[:2]): Mark(message.offset, message.time_ms) for message in work.messages}
        await self._store.mark(marks)
        await self._carry_out(work)
        self._inputs.done(work)

    # What is said when nothing happens.

    async def _tick_forever(self) -> None:
        while not self.should_stop:
            began = time.monotonic()
            await self._retry.until_done(self._tick)
            await asyncio.sleep(max(0.0, self._config.join_tick_ms / 1000 - (time.monotonic() - began)))

    async def _tick(self) -> None:
        tick_ms = await self._clock.tick()
        rewards = self._config.topic("rewards")
        versions = self._connections.versions_topic
        topics = await self._connections.reader.topics([*self._topics, rewards, versions])
        self._connections.refuse_new_log(topics)
        topics.pop(versions, None)
        missing = set(self._topics) - topics.keys()
        self._display.say_missing(missing)
        await self._guard.refuse_new(topics)
        topics.pop(rewards, None)
        partitions = [(name, partition) for name, topic in topics.items() for partition in topic.partitions]
        inputs = None if missing else partitions
        await self._inputs.synchronise()
        read = await self._inputs.read_up_to()
        # A message of an open transaction may still count: such an input is not read to its end.
        ends = await self._connections.reader.written_ends(read)
        await self._guard.refuse_shorter(read, ends)
        fetched = await self._app.caught_up(self._worker.inputs)
        await self._inputs.synchronise()
        await self._guard.refuse_holes(self._worker, ends, fetched)
        await self._display.show_transactions(ends, fetched)
        progress = {name: Fetched(*each) for name, each in fetched.items()}
        work = self._worker.tick(tick_ms, ends, progress, inputs)
        await self._carry_out(work)
        self._worker.done(work)
        self._ticked = True
        self._app.pulse.stepped()
        for name, end in ends.items():
            applied_to = self._worker.applied_to(*name)
            if applied_to is not None:
                metrics.show_lag(JOIN, self._config.stream_of(name[0]), name[1], end - applied_to)
        await self._display.show()

    # What both do.

    async def _carry_out(self, work: Work) -> None:
        state = JoinState(self._store, self._connections.log_name, self._note)
        for part in work.parts:
            transactions = (carry_out(self._worker, state, shard, transaction) for shard, transaction in part.items())
            await asyncio.gather(*transactions)

    def _note(self, shard: int, done: TransactionResult) -> None:
        metrics.redis_answered(JOIN)
        metrics.WATERMARK.labels(str(shard)).set(done.watermark_ms / 1000)
        if done.repeats:
            metrics.REPEATS.labels(JOIN, "record").inc(done.repeats)
        if done.behind_watermark:
            metrics.BEHIND_WATERMARK.inc(done.behind_watermark)
            log.error(
                "%d records were older than their input was read to: close_grace_ms is too small for the"
                " clocks of these brokers",
                done.behind_watermark,
            )
        if done.closed:
            self._emitter.wake(shard)
