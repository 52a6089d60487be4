"""The learn role: outcomes of ``rewards`` in, published versions out.

One Faust agent reads ``rewards`` and acknowledges by itself: a message is acknowledged when a saved position
covers all of its outcomes, so a learner that dies repeats and never skips. How learning works is defined in
:mod:`policies.learner`, how a version is published in :mod:`policies.publisher`; here they meet messages, clocks, and
servers that go away.
"""

import asyncio
import contextlib
import logging
from functools import partial
from typing import Any, cast

import mode
from faust.types import EventT, StreamT

from policies.learn_worker import LearnWorker, Load, Take
from policies.publish_schedule import PublishSchedule
from records.errors import StateRefused
from stream import metrics
from stream.config import Config
from stream.kafka.dead_letters import DeadLetters
from stream.kafka.faust_app import RoleApp, log_time_ms, make_app
from stream.kafka.log import Partition
from stream.liveness import dead_client
from stream.retry import AWAY, until_recovered, until_there
from stream.role import LEARN
from stream.roles.connections import Connections
from stream.roles.learnability import Watch
from stream.roles.learned_policy import LearnedPolicy, monotonic_ms
from stream.roles.policy_states import PolicyStates
from stream.roles.refused_outcomes import letters_of
from stream.roles.stopped_partitions import StoppedPartitions
from stream.run import PutRight, RoleParts
from stream.shutdown import Opened, ended

log = logging.getLogger(__name__)

LOOK_EVERY_S = 0.05
LAG_EVERY_S = 2.0
LOOK_AGAIN_MS = 2000.0
MISSING_LOOKS = 2
"""A broker that has just started may not know a topic yet."""


def build(config: Config) -> RoleParts:
    """Return the parts of the learn role."""
    app = make_app(config, LEARN)
    learn = Learn(config, app)
    topic = app.topic(config.topic("rewards"), key_serializer="raw", value_serializer="raw")

    @app.agent(topic, name=LEARN)
    async def outcomes(stream: StreamT[bytes]) -> None:
        async for event in cast(Any, stream).noack().events():
            await learn.handle(event)

    return RoleParts([learn], app, learn.ready, app.pulse, (app.dead, learn.dead))


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
        self._partitions = {name: config.learn_partition(name) for name in config.policies}
        placements = {name: config.placements_of(name) for name in config.policies}
        self._worker: LearnWorker[EventT[Any]] = LearnWorker(self._partitions, placements)
        self._policies: dict[str, LearnedPolicy] = {}
        self._stopped_parts = StoppedPartitions(config.topic("rewards"), app, self._worker)
        self._generation = 0
        self._looked_at_ms = 0.0
        self._unlike: set[int] = set()
        self._watch = Watch(config)
        # One thing at a time: a message, a publish by the clock, a new assignment.
        self._lock = asyncio.Lock()
        self._opened = Opened()
        self._connections: Connections
        self._connected = False
        app.void_acknowledgements = self._void_acknowledgements

    async def on_start(self) -> None:
        """Connect and compare the configuration with what is remembered; servers that are away are waited for.

        Raises
        ------
        StateRefused
            The policies are not what they were, or not where they were.
        """
        await until_recovered(LEARN, partial(until_there, LEARN, "starting", self._connect), part=LEARN)

    async def _connect(self) -> None:
        config = self._config
        async with Opened() as opened:
            connections = await Connections.open(config, LEARN, opened)
            self._states = PolicyStates(config, connections)
            opened.add(self._states.close)
            await self._states.compare_homes()
            self._dead_letters = DeadLetters(connections.producer, config, LEARN)
            self._connections, self._connected = connections, True
            self._opened = opened.kept()

    async def _void_acknowledgements(self) -> dict[Partition, int]:
        return await until_there(LEARN, "beginning to read", self._states.void_acknowledgements)

    async def on_stop(self) -> None:
        """Disconnect. What was not published is read again by the next worker."""
        await ended(*self._futures)
        await self._opened.close()

    def ready(self) -> bool:
        """Tell whether every policy of the assigned partitions is loaded, or stopped with a sentence."""
        return self._app.joined and self._generation == self._app.consumer_generation_id and not self._missing()

    def dead(self) -> str | None:
        """Return what has died of the clients, None: nothing has."""
        if self.should_stop or not self._connected:
            return None
        return self._connections.reader.dead() or dead_client("the producer", self._connections.producer)

    # What Faust hands over.

    async def handle(self, event: EventT[Any]) -> None:
        """Take one message of ``rewards``; never raises on account of the message."""
        number = event.message.partition
        with self._stopped_parts.stopping(number, event.message.offset):
            async with self._lock:
                self._follow_assignment()
                if number not in self._stopped_parts:
                    await self._take(event)

    async def _take(self, event: EventT[Any]) -> None:
        message = event.message
        offered = self._worker.offer(message.partition, message.offset, message.value, event)
        if offered.unreadable:
            await self._dead_letters.send(*letters_of(message, offered.unreadable))
        if offered.others:
            metrics.NOT_LEARNED.labels(metrics.OTHER).inc(offered.others)
        self._watch.take(message.value, log_time_ms(message.timestamp), monotonic_ms())
        await self._work(message.partition)
        # Learning blocks the loop for the length of a message; let the consumer have its turn.
        await asyncio.sleep(0)

    async def _work(self, number: int) -> None:
        """Do what is to be done for a partition, and acknowledge what saved positions cover."""
        for work in self._worker.work(number, monotonic_ms()):
            if isinstance(work, Load):
                await self._load(work.name)
            elif isinstance(work, Take):
                await self._policies[work.name].take(work)
            else:
                await self._policies[work.name].save(work)
        for event in self._worker.acknowledgements(number):
            event.ack()

    async def _load(self, name: str) -> None:
        configured = self._config.policies[name]
        policy = LearnedPolicy(name, self._worker, self._states, self._dead_letters, self._app.pulse)
        await policy.load(PublishSchedule(configured.publish_examples, configured.publish_ms))
        self._policies[name] = policy

    def _follow_assignment(self) -> None:
        """Forget everything at a new assignment: Faust reads again from what is acknowledged."""
        generation = self._app.consumer_generation_id
        if generation == self._generation:
            return
        self._generation = generation
        for number in self._worker.partitions | self._stopped_parts.numbers:
            metrics.forget_lag(LEARN, "rewards", number)
        self._worker.forget()
        self._policies.clear()
        self._stopped_parts.forget()
        self._unlike.clear()

    def _missing(self) -> list[str]:
        """Return the policies of the assigned partitions that are neither loaded nor stopped."""
        return self._worker.missing({number for _, number in self._app.assigned} - self._stopped_parts.numbers)

    # What is done by the clock.

    @mode.Service.task
    async def _look(self) -> None:
        while not self.should_stop:
            await self.sleep(LOOK_EVERY_S)
            if not self._app.joined:
                continue
            async with self._lock:
                self._follow_assignment()
                await self._work_by_the_clock()
                if monotonic_ms() - self._looked_at_ms >= LOOK_AGAIN_MS:
                    self._looked_at_ms = monotonic_ms()
                    await self._miss_forgotten()
                    await self._look_again()
            self._app.pulse.stepped()

    async def _work_by_the_clock(self) -> None:
        """Load what was assigned, and publish what waits."""
        assigned = {number for _, number in self._app.assigned}
        for number in sorted(assigned.intersection(self._partitions.values()) - self._stopped_parts.numbers):
            with self._stopped_parts.stopping(number):
                await self._work(number)
        if self._watch.due(monotonic_ms()):
            for name, policy in self._policies.items():
                self._watch.judge(name, policy.learner.saved.held)

    async def _miss_forgotten(self) -> None:
        """Stop a partition of which Redis has forgotten a version, also while nothing comes to be learned."""
        for name, policy in self._policies.items():
            number = self._partitions[name]
            if number not in self._stopped_parts:
                with self._stopped_parts.stopping(number):
                    try:
                        await policy.compare_saved()
                    except AWAY:
                        return

    async def _look_again(self) -> None:
        """End the process where what stopped a partition has been put right; the next one goes on from there."""
        for number in self._stopped_parts.refused:
            if await self._put_right(number):
                raise PutRight(f"rewards[{number}] can be learned again: starting anew")

    async def _put_right(self, number: int) -> bool:
        """Tell whether each policy of a partition can be continued, and one that could not has another state now.

        A state that was refused counts as another one: Redis may hold the very state again that it did not hold then.
        """
        changed = number in self._unlike
        for name in [name for name, partition in self._partitions.items() if partition == number]:
            try:
                saved = await self._states.publisher(name).load(model=False)
            except StateRefused as refused:
                # Another policy of the partition than the one that was put right.
                self._stopped_parts.say(number, str(refused))
                self._unlike.add(number)
                return False
            except AWAY:
                return False
            known = self._policies.get(name)
            newest = saved.position.number if saved is not None else 0
            changed = changed or known is None or newest != known.learner.saved.number
        return changed

    @mode.Service.task
    async def _watch_versions(self) -> None:
        """End the process where ``versions`` is gone, or was made anew: the next one says so, or compares the logs.

        It waits for nothing else, and publishing for the topic: what was waiting would go into the one that is made
        in its place.
        """
        topic, missing = self._connections.versions_topic, 0
        while not self.should_stop:
            await self.sleep(LAG_EVERY_S)
            try:
                topics = await self._connections.reader.topics([topic])
            except AWAY:
                continue
            self._connections.refuse_new_log(topics)
            missing = 0 if topic in topics else missing + 1
            if missing == MISSING_LOOKS:
                raise StateRefused(f"topic {topic}", "no such topic", "the topic", "run `bowerbird topics create`")

    @mode.Service.task
    async def _measure_lag(self) -> None:
        while not self.should_stop:
            await self.sleep(LAG_EVERY_S)
            assigned = self._app.assigned
            with contextlib.suppress(*AWAY):
                ends = await self._connections.reader.ends(assigned)
                fetched = await self._app.caught_up(assigned)
                for (topic, number), end in ends.items():
                    taken, progress = self._worker.next_offset(number), fetched.get((topic, number))
                    if taken is None:
                        continue
                    if progress is not None and taken >= progress.handed:
                        # What was passed over on the way is no message: aborted, or the mark of a transaction's end.
                        taken = max(taken, progress.position)
                    metrics.show_lag(LEARN, self._config.stream_of(topic), number, end - taken)
