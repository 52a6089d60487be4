"""The learn role: outcomes of ``rewards`` in, published versions out.

One Faust agent reads ``rewards`` and acknowledges by itself: a message is acknowledged when a saved position
covers all of its outcomes, so a learner that dies repeats and never skips. How learning works is defined in
:mod:`policies.learner`, how a version is published in :mod:`policies.publisher`; here they meet messages, clocks, and
servers that go away.
"""

import asyncio
import contextlib
import logging
import time
from collections.abc import Awaitable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, cast

import mode
from aiokafka import AIOKafkaProducer
from faust.types import TP, EventT, StreamT

from policies.learn_worker import LearnWorker
from policies.learner import Learner, LearnResult
from policies.publish_schedule import PublishSchedule
from policies.publisher import Publisher
from policies.registry import make
from policies.training import OutcomeToLearn, outcomes_of
from records.errors import BadInput, LossDetected, StateRefused, WrongConfiguration
from stream import clients, metrics, stopped
from stream.config import Config, identity_in
from stream.kafka.dead_letters import DeadLetter, DeadLetters
from stream.kafka.faust_app import RoleApp, log_time_ms, make_app
from stream.kafka.log import LogReader, Partition, identify
from stream.kafka.topic_ids import Watched
from stream.kafka.versions import KafkaVersions
from stream.liveness import dead_client
from stream.redis.policy_store import RedisPolicyStore
from stream.retry import AWAY, until_recovered, until_there
from stream.roles.learnability import Watch
from stream.roles.refused_outcomes import refused_records, unexpected
from stream.run import PutRight, RoleParts
from stream.shutdown import Opened, closed, ended, started

log = logging.getLogger(__name__)

ROLE = "learn"
LOOK_EVERY_S = 0.05
LAG_EVERY_S = 2.0
LOOK_AGAIN_MS = 2000.0
MISSING_LOOKS = 2
"""A broker that has just started may not know a topic yet."""


@dataclass(slots=True)
class _Standing:
    """A partition of ``rewards`` that stands still; ``refused``: because of a state that an operator can put right."""

    refused: bool = False


class Learn(mode.Service):
    """Learns the policies whose partition of ``rewards`` this worker has.

    Parameters
    ----------
    config
        The whole service.
    app
        Reads ``rewards``.
    """

    def __init__(self, config: Config, app: RoleApp) -> None:
        super().__init__()
        self._config, self._app = config, app
        self._topic = config.topic("rewards")
        self._partitions = {name: config.learn_partition(name) for name in config.policies}
        self._placements = {name: config.placements_of(name) for name in config.policies}
        self._worker: LearnWorker[EventT[Any]] = LearnWorker(self._partitions, self._placements)
        self._publishers: dict[str, Publisher] = {}
        self._standing: dict[int, _Standing] = {}
        self._generation = 0
        self._looked_at_ms = 0.0
        self._watch = Watch(config)
        # One thing at a time: a message, a publish by the clock, a new assignment.
        self._lock = asyncio.Lock()
        self._opened = Opened()
        self._producer: AIOKafkaProducer | None = None
        app.void_acknowledgements = self._void_acknowledgements

    async def on_start(self) -> None:
        """Connect and compare the configuration with what is remembered; servers that are away are waited for.

        Raises
        ------
        StateRefused
            The policies are not what they were, or not where they were.
        """
        await until_recovered(ROLE, partial(until_there, ROLE, "starting", self._connect), part=ROLE)

    async def on_stop(self) -> None:
        """Disconnect. What was not published is read again by the next worker."""
        await ended(*self._futures)
        await self._opened.close()

    def ready(self) -> bool:
        """Tell whether every policy of the assigned partitions is loaded, or stopped with a sentence."""
        return self._app.joined and self._generation == self._app.consumer_generation_id and not self._missing()

    def dead(self) -> str | None:
        """Return what has died of the clients, None: nothing has."""
        if self.should_stop or self._producer is None:
            return None
        return self._reader.dead() or dead_client("the producer", self._producer)

    async def handle(self, event: EventT[Any]) -> None:
        """Take one message of ``rewards``; never raises on account of the message."""
        number = event.message.partition
        try:
            async with self._lock:
                self._follow_assignment()
                if number not in self._standing:
                    await self._take(event)
        except (StateRefused, WrongConfiguration) as refused:
            self._stop(number, str(refused), refused=True)
        except Exception as error:
            metrics.UNEXPECTED_ERRORS.labels(ROLE).inc()
            log.exception("rewards[%d], offset %d", number, event.message.offset)
            self._stop(number, unexpected(number, error))

    async def _connect(self) -> None:
        config = self._config
        async with Opened() as opened:
            producer = await started(clients.producer(config, "bowerbird-learn"))
            opened.add(partial(closed, producer))
            self._reader = await LogReader(config).__aenter__()
            opened.add(self._reader.close)
            redis = clients.redis_client(config)
            opened.add(redis.aclose)
            self._versions = KafkaVersions(config, producer, self._reader)
            opened.add(self._versions.stop)
            self._store = RedisPolicyStore(redis, config)
            self._versions_topic = Watched(config.topic("versions"))
            self._versions_topic.made_anew(await self._reader.topics([self._versions_topic.topic]))
            self._dead_letters = DeadLetters(producer, config, ROLE)
            await self._compare_homes(await identify(self._reader, config, producer))
            self._producer = producer
            self._opened = opened.kept()

    async def _compare_homes(self, log_name: str) -> None:
        config = self._config
        partitions = len(await self._reader.partitions(self._topic))
        if partitions < config.rewards_partitions:
            raise StateRefused(
                f"topic {self._topic}",
                f"{partitions} partitions",
                f"at least {config.rewards_partitions}, the setting rewards_partitions",
                "set it back, or run `bowerbird topics create` where the topic is missing",
            )
        for name, configured in config.policies.items():
            make(configured.kind, configured.arguments).close()
            home = {
                "log": log_name,
                "rewards_partitions": str(config.rewards_partitions),
                "partition": str(self._partitions[name]),
            }
            await self._store.remember_home(name, home)
            await self._publisher(name).compare_identity()

    async def _void_acknowledgements(self) -> dict[Partition, int]:
        """Return where to begin in a partition that ends before what the group has acknowledged.

        Whatever comes below that would be taken for acknowledged, and never be learned.
        """
        return await until_there(ROLE, "beginning to read", self._beyond_their_ends)

    async def _beyond_their_ends(self) -> dict[Partition, int]:
        asked = [(self._topic, number) for number in await self._reader.partitions(self._topic)]
        acknowledged = await self._reader.committed(self._config.group(ROLE), asked)
        begins, ends = await self._reader.beginning(acknowledged), await self._reader.ends(acknowledged)
        found: dict[Partition, int] = {}
        for where, offset in acknowledged.items():
            if offset > ends[where]:
                found[where] = max(begins[where], min(ends[where], await self._lowest_cut(where[1])))
                log.warning(
                    "%s[%d] ends at %d, %d was acknowledged: begins at %d", *where, ends[where], offset, found[where]
                )
        return found

    async def _lowest_cut(self, number: int) -> int:
        """Return up to where every policy of a partition has learned."""
        try:
            names = [name for name in self._config.policies if self._partitions[name] == number]
            saved = [await self._store.read(name, model=False) for name in names]
        except StateRefused:
            return 0
        return min((each.position.cut if each is not None else 0 for each in saved), default=0)

    def _publisher(self, name: str) -> Publisher:
        config = self._config
        return Publisher(name, identity_in(config, name), self._store, self._versions, self._partitions[name])

    def _follow_assignment(self) -> None:
        """Forget everything at a new assignment: Faust reads again from what is acknowledged."""
        generation = self._app.consumer_generation_id
        if generation == self._generation:
            return
        self._generation = generation
        known = self._worker.partitions | self._standing.keys()
        self._worker.forget()
        self._publishers.clear()
        for number in known:
            stopped.go_on(ROLE, f"rewards[{number}]")
            metrics.forget_lag(ROLE, "rewards", number)
        self._standing.clear()

    def _missing(self) -> list[str]:
        """Return the policies of the assigned partitions that are neither loaded nor stopped."""
        return self._worker.missing({number for _, number in self._app.assigned} - self._standing.keys())

    async def _take(self, event: EventT[Any]) -> None:
        message = event.message
        number, offset = message.partition, message.offset
        began = time.perf_counter()
        outcomes_read = self._worker.read(number, offset, message.value)
        if outcomes_read.unreadable:
            await self._bury(message, [(bad.index, bad.error, bad.value) for bad in outcomes_read.unreadable])
        if outcomes_read.others:
            metrics.NOT_LEARNED.labels(metrics.OTHER).inc(outcomes_read.others)
        for name, outcomes in outcomes_read.outcomes.items():
            await self._loaded(name)
            await self._learn(name, message, outcomes)
        metrics.LEARN_SECONDS.observe(time.perf_counter() - began)
        self._watch.take(message.value, log_time_ms(message.timestamp), _now_ms())
        for name in self._worker.taken(number, offset, event):
            await self._save_if_due(name)
        self._acknowledge(number)
        # Learning blocks the loop for the length of a message; let the consumer have its turn.
        await asyncio.sleep(0)

    async def _learn(self, name: str, message: Any, outcomes: Sequence[OutcomeToLearn]) -> None:
        try:
            taken = self._worker.take(name, message.offset, outcomes)
        except LossDetected:
            # Perhaps somebody else has learned what is missing here, or it was never handed on.
            learner, publisher = self._worker.learners[name], self._publishers[name]
            await until_there(ROLE, f"loading {name}", lambda: publisher.recover(learner))
            try:
                await until_there(ROLE, f"reading what {name} lacks", lambda: self._take_unread(name, message.offset))
                taken = self._worker.take(name, message.offset, outcomes)
            except LossDetected:
                metrics.GAPS.labels(name).inc()
                raise
        await self._note(name, message, taken)

    async def _take_unread(self, name: str, end: int) -> None:
        """Take what the log holds before an offset: somebody may have moved what the group has acknowledged."""
        where = (self._topic, self._partitions[name])
        start = max(self._worker.learners[name].cut, (await self._reader.beginning([where]))[where])
        if start >= end:
            return
        async for record in self._reader.read(*where, start, end):
            taken = self._worker.take(name, record.offset, outcomes_of(self._placements[name], record.value))
            await self._note(name, record, taken)
            await self._save_if_due(name)
            self._app.pulse.stepped()

    async def _note(self, name: str, message: Any, taken: LearnResult) -> None:
        metrics.LEARNED.labels(name).inc(taken.learned)
        metrics.NOT_LEARNED.labels(name).inc(taken.not_learned + len(taken.refused))
        metrics.REPEATS.labels(ROLE, "outcome").inc(taken.repeats)
        if refused := [*taken.refused, *taken.contradicting]:
            metrics.CONTRADICTING.labels(name).inc(len(taken.contradicting))
            await self._bury(message, refused_records(message.value, refused))

    async def _loaded(self, name: str) -> None:
        """Load a policy when it is first asked for."""
        if name in self._publishers:
            return
        policy = self._config.policies[name]
        publisher = self._publisher(name)
        learner = await until_there(ROLE, f"loading {name}", lambda: self._load(name, publisher))
        self._worker.load(learner, PublishSchedule(policy.publish_examples, policy.publish_ms), _now_ms())
        self._publishers[name] = publisher
        log.info("loaded", extra={"policy": name, "version": learner.saved.version, "cut": learner.cut})
        metrics.policy_in_use(ROLE, name, learner.saved.number, publisher.published_ms)
        metrics.CONTRADICTING.labels(name).inc(0)

    async def _load(self, name: str, publisher: Publisher) -> Learner:
        configured = self._config.policies[name]
        where = (self._topic, self._partitions[name])
        log_start = (await self._reader.beginning([where]))[where]
        saved = await publisher.load()
        await self._reader.refuse_shorter(where, saved.position.cut if saved is not None else 0)
        if saved is None:
            return Learner(name, configured.kind, configured.arguments, log_start=log_start)
        return Learner(name, configured.kind, configured.arguments, saved.position, saved.model, log_start)

    async def _save_if_due(self, name: str) -> None:
        now_ms = _now_ms()
        if not self._worker.due(name, now_ms):
            return
        learner, publisher = self._worker.learners[name], self._publishers[name]
        move = self._worker.moves(name, now_ms)
        wall_ms = time.time_ns() // 1_000_000
        began_ms = now_ms

        async def save() -> str:
            # Only the attempt that succeeds is publishing time: an outage must not delay the next publish.
            nonlocal began_ms
            began_ms = _now_ms()
            return await publisher.save(learner, wall_ms, move=move)

        result = await until_there(ROLE, f"publishing {name}", save)
        ended_ms = _now_ms()
        self._worker.saved(name, began_ms, ended_ms, anything=result in ("published", "moved"))
        if result == "published":
            metrics.PUBLISHED.labels(name).inc()
            metrics.PUBLISH_SECONDS.observe((ended_ms - began_ms) / 1000)
            metrics.MODEL_BYTES.labels(name).set(learner.model_bytes)
            metrics.policy_in_use(ROLE, name, learner.saved.number, wall_ms)
        elif result == "lost":
            metrics.LOST_RACES.labels(name).inc()
            log.warning(
                "another learner, or an operator, has published; going on from its version",
                extra={"policy": name, "version": learner.saved.version},
            )

    def _acknowledge(self, number: int) -> None:
        for event in self._worker.acknowledgements(number):
            event.ack()

    async def _bury(self, message: Any, records: Sequence[tuple[int, BadInput, bytes | None]]) -> None:
        await self._dead_letters.send(
            *(
                DeadLetter(
                    self._topic,
                    message.partition,
                    message.offset,
                    index,
                    error.code,
                    error.message,
                    value,
                    message.key,
                )
                for index, error, value in records
            )
        )

    def _stop(self, number: int, sentence: str, refused: bool = False) -> None:
        """Let a partition stand still: its input is held, the others go on."""
        if number in self._standing:
            return
        self._standing[number] = _Standing(refused)
        self._worker.hold(number)
        self._say_stopped(number, sentence)
        self._app.consumer.pause_partitions([TP(self._topic, number)])

    def _say_stopped(self, number: int, sentence: str) -> None:
        part = f"rewards[{number}]"
        if stopped.stopped_parts(ROLE).get(part) != sentence:
            stopped.stop(ROLE, part, sentence)
            log.critical("%s", sentence, extra={"stopped": f"{self._topic}[{number}]"})

    @mode.Service.task
    async def _look(self) -> None:
        """Load what was assigned, publish what waits, by the clock."""
        while not self.should_stop:
            await self.sleep(LOOK_EVERY_S)
            if not self._app.joined:
                continue
            async with self._lock:
                self._follow_assignment()
                for name in self._missing():
                    await self._guarded(self._partitions[name], self._loaded(name))
                judged = self._watch.due(_now_ms())
                for name, learner in self._worker.learners.items():
                    if judged:
                        self._watch.judge(name, learner.saved.held)
                    number = self._partitions[name]
                    if number not in self._standing:
                        await self._guarded(number, self._save_if_due(name))
                        self._acknowledge(number)
                if _now_ms() - self._looked_at_ms >= LOOK_AGAIN_MS:
                    self._looked_at_ms = _now_ms()
                    await self._miss_forgotten()
                    await self._look_again()
            self._app.pulse.stepped()

    async def _miss_forgotten(self) -> None:
        """Stop a partition of which Redis has forgotten a version, also while nothing comes to be learned."""
        for name, publisher in self._publishers.items():
            number = self._partitions[name]
            if number in self._standing:
                continue
            try:
                await publisher.compare_saved(self._worker.learners[name])
            except StateRefused as refused:
                self._stop(number, str(refused), refused=True)
            except AWAY:
                return

    async def _look_again(self) -> None:
        """End the process where what stopped a partition has been put right; the next one goes on from there."""
        for number, standing in self._standing.items():
            if standing.refused and await self._put_right(number):
                raise PutRight(f"rewards[{number}] can be learned again: starting anew")

    async def _put_right(self, number: int) -> bool:
        """Tell whether each policy of a partition can be continued, and one that could not has another state now."""
        changed = False
        for name in self._config.policies:
            if self._partitions[name] != number:
                continue
            try:
                saved = await self._publisher(name).load(model=False)
            except StateRefused as refused:
                # Another policy of the partition than the one that was put right.
                self._say_stopped(number, str(refused))
                return False
            except AWAY:
                return False
            known = self._worker.learners.get(name)
            newest = saved.position.number if saved is not None else 0
            changed = changed or known is None or newest != known.saved.number
        return changed

    async def _guarded(self, number: int, work: Awaitable[object]) -> None:
        try:
            await work
        except (StateRefused, WrongConfiguration) as refused:
            self._stop(number, str(refused), refused=True)
        except Exception as error:
            metrics.UNEXPECTED_ERRORS.labels(ROLE).inc()
            log.exception("rewards[%d]", number)
            self._stop(number, unexpected(number, error))

    @mode.Service.task
    async def _watch_versions(self) -> None:
        """End the process where ``versions`` is gone, or was made anew: the next one says so, or compares the logs.

        It waits for nothing else, and publishing for the topic: what was waiting would go into the one that is made
        in its place.
        """
        topic, missing = self._versions_topic.topic, 0
        while not self.should_stop:
            await self.sleep(LAG_EVERY_S)
            try:
                topics = await self._reader.topics([topic])
            except AWAY:
                continue
            if self._versions_topic.made_anew(topics):
                raise PutRight(f"topic {topic} was made anew: starting anew, to compare the logs")
            missing = 0 if topic in topics else missing + 1
            if missing == MISSING_LOOKS:
                raise StateRefused(f"topic {topic}", "no such topic", "the topic", "run `bowerbird topics create`")

    @mode.Service.task
    async def _measure_lag(self) -> None:
        while not self.should_stop:
            await self.sleep(LAG_EVERY_S)
            assigned = self._app.assigned
            with contextlib.suppress(*AWAY):
                ends = await self._reader.ends(assigned)
                fetched = await self._app.caught_up(assigned)
                for (topic, number), end in ends.items():
                    taken, progress = self._worker.next_offset(number), fetched.get((topic, number))
                    if taken is None:
                        continue
                    if progress is not None and taken >= progress.handed:
                        # What was passed over on the way is no message: aborted, or the mark of a transaction's end.
                        taken = max(taken, progress.position)
                    metrics.show_lag(ROLE, self._config.stream_of(topic), number, end - taken)


def build(config: Config) -> RoleParts:
    """Return the parts of the learn role."""
    app = make_app(config, ROLE)
    learn = Learn(config, app)
    topic = app.topic(config.topic("rewards"), key_serializer="raw", value_serializer="raw")

    @app.agent(topic, name="learn")
    async def outcomes(stream: StreamT[bytes]) -> None:
        async for event in cast(Any, stream).noack().events():
            await learn.handle(event)

    return RoleParts([learn], app, learn.ready, app.pulse, (app.dead, learn.dead))


def _now_ms() -> float:
    return time.monotonic() * 1000
