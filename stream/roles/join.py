"""The join role: decisions and feedback in, outcomes out. It drives a :class:`rewards.join_worker.JoinWorker`.

Three loops share it: the agent offers what Faust hands over, the applier carries out its work on the store, the ticker
tells the store of inputs on which nothing happens. A fourth, a task a shard, empties the outboxes
(``stream.roles.outbox``).
"""

import asyncio
import logging
import time
from collections.abc import AsyncIterable, Awaitable, Callable
from functools import partial
from typing import Any
from uuid import uuid4

import mode
from aiokafka.errors import KafkaError
from faust.types import TP
from redis.exceptions import RedisError

from records.errors import LossDetected, StateRefused
from rewards.join_items import Input, InputMessage
from rewards.join_worker import Fetched, JoinWorker, Work, carry_out
from rewards.store import TransactionResult
from rewards.watermark import partition_name
from stream import clients, metrics, stopped
from stream.config import Config
from stream.kafka.broker_clock import BrokerClock
from stream.kafka.dead_letters import DeadLetters, gathered, letter_of
from stream.kafka.faust_app import log_time_ms, make_app
from stream.kafka.last_seqs import LastSeqs
from stream.kafka.log import LogReader, Mark, identify
from stream.kafka.topic_ids import Watched
from stream.liveness import dead_among
from stream.redis.spoilt import Unreadable
from stream.redis.store import RedisStore
from stream.retry import REFUSED_PAUSE_S, retry_pause, until_recovered, until_there
from stream.roles.input_guard import InputGuard, compare_state, read_before
from stream.roles.join_display import JoinDisplay
from stream.roles.join_settings import input_topics, join_settings
from stream.roles.outbox import Emitter, OutcomeProducer
from stream.run import PutRight, RoleParts
from stream.shutdown import Opened, closed, ended, started, within

log = logging.getLogger(__name__)

PAUSE_AT, RESUME_AT = 400, 100
"""Messages of one partition that wait here before it is not fetched any more, and is again."""
HELD_POLL_S = 1.0


def build(config: Config) -> RoleParts:
    """Return the parts of the join role (see ``stream.run``)."""
    app = make_app(config, "join")
    role = JoinRole(config, app)
    topics = [config.topic("decisions"), *map(config.topic, config.streams)]

    @app.agent(app.topic(*topics), name="join")
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
        self._events: dict[tuple[str, int, int], Any] = {}
        self._paused: set[Input] = set()
        self._wake = asyncio.Event()
        self._synchronised = asyncio.Lock()
        self._ticked = False
        app.void_acknowledgements = self._void_acknowledgements
        self._loops: list[asyncio.Future[Any]] = []
        self._opened = Opened()

    async def on_start(self) -> None:
        """Connect, and refuse a state that is not this log's; servers, and a recovery, are waited for."""
        await until_recovered("join", partial(until_there, "join", "starting", self._connect))
        emitting = (self._emitter.run(shard) for shard in range(self._config.shards))
        self._loops = [self.add_future(loop) for loop in (self._apply_forever(), self._tick_forever(), *emitting)]

    async def _connect(self) -> None:
        config = self._config
        async with Opened() as opened:
            outcomes = OutcomeProducer(partial(clients.producer, config, "bowerbird-join", enable_idempotence=True))
            opened.add(outcomes.stop)
            await outcomes.start()
            plain_producer = await started(clients.producer(config, "bowerbird-join"))
            opened.add(partial(closed, plain_producer))
            self._reader = await LogReader(config).__aenter__()
            opened.add(self._reader.close)
            redis = clients.redis_client(config)
            opened.add(redis.aclose)
            self._versions = Watched(config.topic("versions"))
            self._versions.made_anew(await self._reader.topics([self._versions.topic]))
            self._clock = BrokerClock(plain_producer, config.topic("ticks"), "join")
            self._log = await identify(self._reader, config, plain_producer)
            compare = partial(compare_state, config, LastSeqs(config, self._reader))
            self._outcomes, self._plain_producer = outcomes, plain_producer
            self._store = RedisStore(redis, config.prefix, compare)
            self._guard = InputGuard(config, self._reader, self._store)
            self._display = JoinDisplay(config, self._reader, self._store)
            self._dead_letters = DeadLetters(plain_producer, config, "join")
            self._emitter = Emitter(self._store, outcomes, self._dead_letters, config, uuid4().hex)
            await compare(self._store)
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
            "the producer of outcomes": self._outcomes.producer,
            "the producer of dead letters": self._plain_producer,
        }
        return self._reader.dead() or dead_among(producers)

    # What Faust hands over.

    async def consume(self, events: AsyncIterable[Any]) -> None:
        """Offer every message to the worker. Nothing escapes: Faust would take it as acknowledged."""
        async for event in events:
            try:
                await self._receive(event)
            except PutRight as right:
                await self.crash(right)
                return
            except Exception:
                metrics.UNEXPECTED_ERRORS.labels("join").inc()
                log.exception("a message could not be taken in; it is read again after the next start")

    async def _receive(self, event: Any) -> None:
        record = event.message
        name: Input = (record.topic, record.partition)
        message = InputMessage(*name, record.offset, log_time_ms(record.timestamp), record.value, record.key)
        while self._worker.expected(*name) is None:
            try:
                await self._synchronise()
                break
            except LossDetected as loss:
                await self._refused(loss.what, loss)
        await self._fill_gap(message)
        if self._worker.offer(message) or self._worker.waits(message):
            self._events[(*name, message.offset)] = event
        elif self._worker.expected(*name) is not None:
            event.ack()
        if self._worker.waiting_of(*name) >= PAUSE_AT and name not in self._paused:
            self._paused.add(name)
            self._app.consumer.pause_partitions({TP(*name)})
        self._wake.set()

    async def _fill_gap(self, message: InputMessage) -> None:
        """Read from the log itself what lies between the last message and this one: mostly nothing (markers)."""
        attempt = 0
        while True:
            expected = self._worker.expected(message.topic, message.partition)
            if expected is None or expected >= message.offset:
                return
            try:
                missing = self._reader.read(message.topic, message.partition, expected, message.offset)
                async for record in missing:
                    self._worker.offer(InputMessage(*record[:4], record.value, record.key))
                return
            except LossDetected:
                begins = (await self._reader.beginning([message[:2]]))[message[:2]]
                loss = await self._guard.removed_unread(message[:2], expected, begins)
                await self._refused(loss.what, loss)
            except (KafkaError, OSError) as error:
                metrics.broker_failed("join")
                log.warning("reading %s[%d]: %r", message.topic, message.partition, error)
                await retry_pause(attempt)
                attempt += 1

    async def _synchronise(self) -> None:
        """Begin with partitions that were assigned, forget those that were given away."""
        async with self._synchronised:
            for name in set(self._worker.inputs) - self._app.assigned:
                self._worker.revoke(*name)
                self._paused.discard(name)
                metrics.forget_lag("join", self._config.stream_of(name[0]), name[1])
            new = [name for name in self._app.assigned if self._worker.expected(*name) is None]
            if not new:
                return
            acknowledged = await self._reader.committed(self._config.group("join"), new)
            acknowledged |= await self._recovered_offsets()
            beginnings = await self._reader.beginning(new)
            stored = [await self._store.offsets(shard) for shard in range(self._config.shards)]
            await self._guard.refuse_replaced(new)
            for name in self._app.assigned & set(new):
                offset = acknowledged.get(name)
                read = read_before(offset, [offsets.get(partition_name(*name)) for offsets in stored])
                if read is not None and read < beginnings[name]:
                    raise await self._guard.removed_unread(name, read, beginnings[name])
                if offset is not None and offset < beginnings[name]:
                    offset = read
                start = beginnings[name] if offset is None else offset
                self._worker.assign(name[0], name[1], start, offset is None)

    async def _void_acknowledgements(self) -> dict[Input, int]:
        offsets = partial(until_there, "join", "beginning to read", self._recovered_offsets)
        return await until_recovered("join", offsets, waits_after=Unreadable)

    async def _recovered_offsets(self) -> dict[Input, int]:
        """Return where inputs are read on of which the group has acknowledged only what is void since a recovery."""
        voided = await self._store.voided()
        if not voided:
            return {}
        topics = await self._reader.topics(self._topics)
        there = [(name, number) for name, topic in topics.items() for number in topic.partitions]
        names = {name: partition_name(*name) for name in there if partition_name(*name) in voided}
        acknowledged = await self._reader.committed(self._config.group("join"), list(names))
        ends = await self._reader.ends(list(names))
        shards = [await self._store.offsets(shard) for shard in range(self._config.shards)]
        return {
            where: max(voided[name].offset, min(offsets.get(name, 0) for offsets in shards))
            for where, name in names.items()
            if not voided[name].void_to < acknowledged.get(where, 0) <= ends[where]
        }

    # What is applied.

    async def _apply_forever(self) -> None:
        while not self.should_stop:
            work = self._worker.next()
            if work is None:
                self._wake.clear()
                await within(self._wake.wait(), 0.2)
                continue
            await self._until_done(partial(self._apply, work))

    async def _apply(self, work: Work) -> None:
        await self._dead_letters.send(*gathered(map(letter_of, work.rejected)))
        marks = {partition_name(*message[:2]): Mark(message.offset, message.time_ms) for message in work.messages}
        await self._store.mark(marks)
        await self._carry_out(work)
        for message in self._worker.done(work):
            metrics.APPLIED.labels(self._config.stream_of(message.topic)).inc()
            event = self._events.pop((message.topic, message.partition, message.offset), None)
            if event is not None:
                event.ack()
        self._resume()

    def _resume(self) -> None:
        enough = {name for name in self._paused if self._worker.waiting_of(*name) <= RESUME_AT}
        if again := enough & self._app.assigned:
            self._app.consumer.resume_partitions({TP(*name) for name in again})
        self._paused -= enough

    # What is said when nothing happens.

    async def _tick_forever(self) -> None:
        while not self.should_stop:
            began = time.monotonic()
            await self._until_done(self._tick)
            await asyncio.sleep(max(0.0, self._config.join_tick_ms / 1000 - (time.monotonic() - began)))

    async def _tick(self) -> None:
        tick_ms = await self._clock.tick()
        rewards = self._config.topic("rewards")
        topics = await self._reader.topics([*self._topics, rewards, self._versions.topic])
        if self._versions.made_anew(topics):
            raise PutRight(f"topic {self._versions.topic} was made anew: starting anew, to compare the logs")
        topics.pop(self._versions.topic, None)
        missing = set(self._topics) - topics.keys()
        self._display.say_missing(missing)
        await self._guard.refuse_new(topics)
        topics.pop(rewards, None)
        partitions = [(name, partition) for name, topic in topics.items() for partition in topic.partitions]
        inputs = None if missing else partitions
        await self._synchronise()
        read = await self._read_up_to()
        # A message of an open transaction may still count: such an input is not read to its end.
        ends = await self._reader.written_ends(read)
        await self._guard.refuse_shorter(read, ends)
        fetched = await self._app.caught_up(self._worker.inputs)
        await self._synchronise()
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
                metrics.show_lag("join", self._config.stream_of(name[0]), name[1], end - applied_to)
        await self._display.show()

    async def _read_up_to(self) -> dict[Input, int]:
        """Return up to where each input of this worker was read, here or by others before a restart."""
        shards = [await self._store.offsets(shard) for shard in range(self._config.shards)]
        return {
            name: max(self._worker.applied_to(*name) or 0, *(stored.get(partition_name(*name), 0) for stored in shards))
            for name in self._worker.inputs
        }

    # What both do.

    async def _carry_out(self, work: Work) -> None:
        for part in work.parts:
            transactions = (
                carry_out(self._worker, self._store, self._log, shard, transaction, self._note)
                for shard, transaction in part.items()
            )
            await asyncio.gather(*transactions)

    def _note(self, shard: int, done: TransactionResult) -> None:
        metrics.redis_answered("join")
        metrics.WATERMARK.labels(str(shard)).set(done.watermark_ms / 1000)
        if done.repeats:
            metrics.REPEATS.labels("join", "record").inc(done.repeats)
        if done.behind_watermark:
            metrics.BEHIND_WATERMARK.inc(done.behind_watermark)
            log.error(
                "%d records were older than their input was read to: close_grace_ms is too small for the"
                " clocks of these brokers",
                done.behind_watermark,
            )
        if done.closed:
            self._emitter.wake(shard)

    async def _until_done(self, work: Callable[[], Awaitable[None]]) -> None:
        """Try again what cannot be done now; hold back what may not be done."""
        attempt = 0
        refused_parts: set[str] = set()
        while not self.should_stop:
            try:
                await work()
                for part in refused_parts:
                    stopped.go_on("join", part)
                return
            except PutRight:
                raise
            except StateRefused as refused:
                if isinstance(refused, Unreadable):
                    await until_there("join", "holding its state", self._guard.need_recovery)
                refused_parts.add(refused.what)
                await self._refused(refused.what, refused)
            except (RedisError, KafkaError, OSError) as error:
                failed = metrics.redis_failed if isinstance(error, RedisError) else metrics.broker_failed
                failed("join")
                log.warning("cannot go on now: %r", error)
                await retry_pause(attempt, longest_s=1.0)
            except Exception:
                metrics.UNEXPECTED_ERRORS.labels("join").inc()
                log.exception("cannot go on now")
                await retry_pause(attempt)
            attempt += 1

    async def _refused(self, part: str, refused: StateRefused) -> None:
        stopped.stop("join", part, refused)
        log.error("stopped: %s", refused)
        if not await self._held():
            await asyncio.sleep(REFUSED_PAUSE_S)
            return
        # Nothing looks for them meanwhile, and the recovery is what is to be done.
        self._display.say_missing(set())
        while await self._held():
            self._app.pulse.stepped()
            await asyncio.sleep(HELD_POLL_S)
        # What waits here was read before the recovery, which may have begun elsewhere.
        raise PutRight("the recovery has finished: starting anew")

    async def _held(self) -> bool:
        """Tell whether a shard waits for a recovery, or for the end of one."""
        for shard in range(self._config.shards):
            if await until_there("join", "waiting for a recovery", partial(self._store.held, shard)):
                return True
        return False
