"""A Faust app as the roles need it: its own group, a fetch wait that can be set, and a stop that is quick."""

import asyncio
import os
import tempfile
from collections.abc import Awaitable, Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple, cast

import faust
from aiokafka.errors import InvalidSessionTimeoutError
from faust.tables.manager import TableManager
from faust.tables.recovery import Recovery
from faust.transport.drivers.aiokafka import AIOKafkaConsumerThread, Consumer, Transport
from faust.types import TP
from mode.threads import QueueServiceThread

from records.limits import DAY_S, LAST_OFFSET
from stream.clients import CALL_S, LARGE_MESSAGE_BYTES, METADATA_AGE_MS, client_id
from stream.config import Config
from stream.kafka.consumer import READ_COMMITTED, limit_calls, session_refused
from stream.liveness import Pulse, dead_client
from stream.shutdown import STOP_S, closed, ended

BUFFERED_MESSAGES = 256
"""Messages that wait in memory for an agent; one may hold 4 MiB, so few."""


class Progress(NamedTuple):
    """How far a consumer is in one partition.

    Attributes
    ----------
    position
        The offset of the next fetch; it moves over offsets that are no message.
    handed
        The offset after the last message that was given to the agent, -1 before the first.
    """

    position: int
    handed: int


def log_time_ms(timestamp_s: float) -> int:
    """Return the log time of a message in ms, from the seconds that Faust makes of it.

    >>> log_time_ms(1700000000.123), log_time_ms((2**63 - 1) / 1000) == 2**63 - 1
    (1700000000123, True)
    """
    # A producer may write any time of 64 bits; the last ones would be rounded beyond them.
    return max(-(2**63), min(LAST_OFFSET, round(timestamp_s * 1000)))


class _Thread(AIOKafkaConsumerThread):
    """The thread that fetches; it notes what it has handed out, see :meth:`RoleApp.caught_up`."""

    app: "RoleApp"

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._handed: dict[TP, int] = {}

    def _create_worker_consumer(self, transport: Any) -> Any:
        consumer = super()._create_worker_consumer(transport)
        # Faust hard-codes 1500 ms: after a stall a partition would wait for the others' long poll.
        consumer._fetch_max_wait_ms = self.app.fetch_max_wait_ms
        consumer._isolation_level = READ_COMMITTED
        # Faust refuses one that is shorter than the session; joining the group has a limit of its own.
        limit_calls(consumer)
        return consumer

    def verify_event_path(self, now: float, tp: TP) -> None:
        """Leave out Faust's own watch for partitions that stand still: it fails where a partition has no position yet.

        What has died is seen by :mod:`stream.liveness`, what stands still by the lag.
        """

    async def _fetch_records(self, *args: Any, **kwargs: Any) -> Any:
        # Faust never asks; a coordinator with an error waits until somebody has.
        self._ensure_consumer()._coordinator.check_errors()
        records = await super()._fetch_records(*args, **kwargs)
        for partition, fetched in records.items():
            self._handed[TP(partition.topic, partition.partition)] = fetched[-1].offset + 1
        return records

    async def on_thread_stop(self) -> None:
        # What is called in this thread ends with the consumer at the latest.
        ending = asyncio.create_task(QueueServiceThread.on_thread_stop(self))
        await asyncio.wait({ending}, timeout=STOP_S)
        if self._consumer is not None:
            await closed(self._consumer)

    async def seek_to_committed(self) -> Any:
        void = await self.app.void_acknowledgements() if self.app.void_acknowledgements is not None else {}
        return await self.call_thread(self._seek_to_committed, void)

    async def _seek_to_committed(self, void: Mapping[tuple[str, int], int]) -> Any:
        """Begin each partition anew, also one of which the group has acknowledged nothing yet.

        There aiokafka leaves the position where it is: what was fetched before Faust was ready to hand it on
        would never come again. Where an acknowledgement is void, what is given here is acknowledged in its place.
        """
        consumer = self._ensure_consumer()
        offsets = await consumer.seek_to_committed()
        if fresh := [partition for partition, offset in offsets.items() if not offset or offset < 0]:
            for partition, offset in (await consumer.beginning_offsets(fresh)).items():
                consumer.seek(partition, offset)
        below = {partition: void[tuple(partition)] for partition in offsets if tuple(partition) in void}
        for partition, offset in below.items():
            consumer.seek(partition, offset)
        if below:
            await consumer.commit(below)
        return {**offsets, **below}

    async def progress(self, partitions: Iterable[TP]) -> dict[TP, Progress]:
        return cast("dict[TP, Progress]", await self.call_thread(self._progress, list(partitions)))

    async def _progress(self, partitions: list[TP]) -> dict[TP, Progress]:
        # Runs in the consumer's thread without awaiting anything, so position and handed belong together.
        subscription = self._ensure_consumer()._subscription.subscription
        assignment = subscription and subscription.assignment
        if not assignment:
            return {}
        progress: dict[TP, Progress] = {}
        for partition in partitions:
            state = assignment.state_value(partition)
            if state is not None and state.has_valid_position:
                progress[partition] = Progress(state.position, self._handed.get(partition, -1))
        return progress


class _Consumer(Consumer):
    def _new_consumer_thread(self) -> _Thread:
        return _Thread(self, loop=self.loop, beacon=self.beacon)

    async def on_stop(self) -> None:
        # What the broker does not acknowledge soon is read again. Faust waits for a commit that is under way, and
        # drops a cancellation meanwhile.
        committing = asyncio.create_task(super().on_stop())
        await asyncio.wait({committing}, timeout=STOP_S)
        await ended(committing)

    async def _wait_next_records(self, *args: Any, **kwargs: Any) -> Any:
        records, _ = await super()._wait_next_records(*args, **kwargs)
        cast("RoleApp", self.app).pulse.polled()
        # Faust would drop what was fetched of a partition that is paused meanwhile, and it would not come again.
        return records, frozenset(records or ())


class _Transport(Transport):
    Consumer = _Consumer


class _Recovery(Recovery):
    """Begins to read after an assignment, however long that takes.

    After a time of its own Faust would take the wait for the end of the service, and never read again: where to begin
    may be known only when Redis is back (:attr:`RoleApp.void_acknowledgements`).
    """

    async def _wait(self, coro: Any, timeout: Any = None) -> None:  # noqa: ASYNC109 (Faust's signature)
        await super()._wait(coro)


class _Tables(TableManager):
    @property
    def recovery(self) -> Recovery:
        if self._recovery is None:
            self._recovery = _Recovery(self.app, self, beacon=self.beacon, loop=self.loop)
        return self._recovery


class RoleApp(faust.App):
    """A Faust app of one role.

    Attributes
    ----------
    void_acknowledgements
        Called at each assignment: returns where to read on in partitions whose acknowledged offset is void.
    """

    fetch_max_wait_ms = 100

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.pulse = Pulse()
        self.void_acknowledgements: Callable[[], Awaitable[dict[tuple[str, int], int]]] | None = None

    def dead(self) -> str | None:
        """Return what has died of what reads the topics, None: nothing has; raises as :meth:`_refused_by_group`."""
        if not self.started or self.should_stop:
            return None
        consumer = cast(Any, self.consumer)
        thread = consumer._thread
        if thread._thread is not None and not thread._thread.is_alive():
            return "the consumer's thread has ended"
        for part in (consumer, thread, self._fetcher):
            if part.crashed:
                return f"{type(part).__name__} has crashed: {part.crash_reason!r}"
        if any(task.done() for actor in self._role_actors() if (task := actor.actor_task) is not None):
            return "the agent has ended"
        return dead_client("the consumer", thread._consumer) or self._refused_by_group(thread._consumer)

    def _refused_by_group(self, consumer: Any) -> str | None:
        """Say why the group cannot be joined: Faust asks only when it has been, and would wait for ever.

        Raises
        ------
        WrongConfiguration
            The broker refuses the length of the session.
        """
        error = getattr(getattr(consumer, "_coordinator", None), "_pending_exception", None)
        if isinstance(error, InvalidSessionTimeoutError):
            raise session_refused(self.conf.broker_session_timeout)
        return None if error is None else f"the consumer's group cannot be joined: {error!r}"

    def _role_actors(self) -> list[Any]:
        return [actor for agent in self.agents.values() for actor in cast(Any, agent)._actors]

    def _new_transport(self) -> _Transport:
        return _Transport(self.conf.broker_consumer, self)

    @property
    def assigned(self) -> frozenset[tuple[str, int]]:
        """The partitions that this worker has now; none while a rebalance goes on."""
        if self.rebalancing or not self._ready_to_read:
            return frozenset()
        return frozenset((partition.topic, partition.partition) for partition in self.consumer.assignment())

    @property
    def joined(self) -> bool:
        """Whether this worker has its assignment (which may be empty)."""
        return self._ready_to_read and not self.rebalancing

    @property
    def _ready_to_read(self) -> bool:
        return bool(self.started and self.consumer_generation_id > 0)

    async def caught_up(self, partitions: Iterable[tuple[str, int]]) -> dict[tuple[str, int], Progress]:
        """Return how far the consumer is in those of the partitions that it has.

        Nothing waits to be applied in a partition where ``position`` has reached the log's end and what the
        agent has applied has reached ``handed``.
        """
        thread = cast(_Thread, cast(Any, self.consumer)._thread)
        progress_of = await thread.progress(TP(*partition) for partition in partitions)
        return {(partition.topic, partition.partition): progress for partition, progress in progress_of.items()}


def make_app(config: Config, role: str) -> RoleApp:
    """Return the app of a role, in the role's own group: one group for two would split their topics."""
    return RoleApp(
        config.group(role),
        broker_client_id=client_id(role),
        broker=[f"kafka://{broker.strip()}" for broker in config.brokers.split(",")],
        datadir=str(scratch_folder() / config.group(role)),
        store="memory://",
        TableManager=_Tables,
        key_serializer="raw",
        value_serializer="raw",
        autodiscover=False,
        web_enabled=False,
        topic_disable_leader=True,
        topic_allow_declare=False,
        stream_wait_empty=False,
        stream_buffer_maxsize=BUFFERED_MESSAGES,
        stream_recovery_delay=0.0,
        consumer_auto_offset_reset="earliest",
        consumer_metadata_max_age_ms=METADATA_AGE_MS,
        consumer_max_fetch_size=2 * LARGE_MESSAGE_BYTES,
        broker_commit_interval=0.5,
        broker_session_timeout=config.session_timeout_s,
        broker_heartbeat_interval=config.session_timeout_s / 4,
        broker_request_timeout=max(CALL_S, config.session_timeout_s),
        broker_rebalance_timeout=config.session_timeout_s,
        producer_request_timeout=CALL_S,
        producer_metadata_max_age_ms=METADATA_AGE_MS,
        # Input may be held back for as long as Redis is away; that is no reason to lose the assignment.
        broker_max_poll_interval=DAY_S,
        broker_commit_livelock_soft_timeout=DAY_S,
    )


def scratch_folder() -> Path:
    """Return a folder for what Faust insists on keeping in files; nothing of ours lies there."""
    folder = Path(tempfile.gettempdir()) / f"bowerbird-faust-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    return folder
