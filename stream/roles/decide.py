"""The decide role: a request is read, decided, appended to ``decisions``, acknowledged, replied to; then committed.

A plain loop over aiokafka, since this is the path that a person waits for. Each fetched batch of a partition is
finished by a task of its own, so that one partition that cannot be written does not hold up the others. Offsets are
committed in order, never beyond what was answered.
"""

import asyncio
import gc
import logging
from collections.abc import Sequence
from time import perf_counter
from typing import Any

import mode
from aiokafka.errors import InvalidSessionTimeoutError, KafkaError
from aiokafka.structs import TopicPartition
from redis.asyncio import Redis

from records.errors import BowerbirdError, WrongConfiguration
from records.limits import DAY_MS
from stream import clients, metrics
from stream.config import Config
from stream.kafka import topics
from stream.kafka.broker_clock import BrokerClock
from stream.kafka.consumer import reading, session_refused
from stream.kafka.dead_letters import DeadLetter, DeadLetters, gathered
from stream.liveness import Pulse, dead_among
from stream.redis.policy_cache import REDIS_FAILURES, PolicyCache
from stream.retry import Outage, until_recovered
from stream.role import DECIDE
from stream.roles.appender import Appender, ProducerRecord
from stream.roles.decide_progress import AssignedPartitions, PartitionProgress
from stream.roles.deciding import Request, Requests
from stream.roles.replies import Replies, Reply
from stream.roles.turn import Turn
from stream.run import RoleParts
from stream.shutdown import closed, ended, started

log = logging.getLogger(__name__)

FETCH_WAIT_MS = 100
"""After a stall a partition waits at most this long for the others' long poll."""
FETCHED_MESSAGES = 500
POLL_MS = 200
STALLED_S = 0.2
"""A partition that takes longer to write is not waited for before others are read on."""
REDIS_TIMEOUT_S = 2.0
RECONNECT_S = 1.0
ITS_TOPICS = ("decision-requests", "decisions", "ticks", "dead-letters")


def build(config: Config) -> RoleParts:
    """Return the parts of the decide role."""
    service = Decide(config)
    return RoleParts((service,), None, lambda: service.ready, service.pulse, (service.dead,))


class _Connection:
    """One connection to the broker: from :meth:`start` until an error or :meth:`stop`."""

    def __init__(self, config: Config, lookup: PolicyCache, pulse: Pulse) -> None:
        self._config, self._lookup, self._pulse = config, lookup, pulse
        self._topic = config.topic("decision-requests")
        self._admin = clients.admin(config, "bowerbird-decide")
        self._control = clients.producer(config, "bowerbird-decide-control")
        self._consumer = reading(
            bootstrap_servers=config.brokers,
            client_id=clients.client_id(DECIDE),
            group_id=config.group(DECIDE),
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            fetch_max_wait_ms=FETCH_WAIT_MS,
            session_timeout_ms=round(config.session_timeout_s * 1000),
            heartbeat_interval_ms=round(config.session_timeout_s * 250),
            # Input may be held back for as long as the broker cannot write; that is no reason to lose it.
            max_poll_interval_ms=DAY_MS,
        )
        self._appender = Appender(config, config.topic("decisions"))
        self._replies = Replies(config, self._admin, lambda: self._appender.producer.current)
        self._dead_letters = DeadLetters(self._control, config, DECIDE)
        self._clock = BrokerClock(self._control, config.topic("ticks"), DECIDE, ticked=pulse.stepped)
        self._requests: Requests | None = None
        self.partitions = AssignedPartitions(self._consumer)
        self._runs = False

    async def start(self) -> None:
        """Connect, look at the topics, learn the broker's time, and join the group."""
        await started(self._admin)
        await self._check_topics()
        cluster_id = str((await self._admin.describe_cluster())["cluster_id"])
        self._requests = Requests(self._config, self._lookup, cluster_id)
        await started(self._control)
        await self._clock.tick()
        await self._appender.producer.start()
        await self._replies.producer.start()
        self._consumer.subscribe([self._topic], listener=self.partitions)
        await started(self._consumer)

    async def _check_topics(self) -> None:
        own = {self._config.topic(name) for name in ITS_TOPICS}
        wrong = [problem for problem in await topics.problems(self._config, self._admin) if problem.topic in own]
        if missing := [problem for problem in wrong if problem.found == topics.MISSING]:
            raise KafkaError("; ".join(map(str, missing)))
        if wrong:
            raise WrongConfiguration("\n".join(map(str, wrong)))

    async def stop(self) -> None:
        """Finish what is in flight within a short time, commit it, and close."""
        await self.partitions.leave()
        await asyncio.gather(
            self._replies.stop(),
            self._appender.producer.stop(),
            *map(closed, (self._consumer, self._control, self._admin)),
        )

    def dead(self) -> str | None:
        """Return what has died of the clients while it runs, None: nothing has."""
        opened = {
            "the consumer": self._consumer,
            "the producer of ticks": self._control,
            "the producer of decisions": self._appender.producer.current,
            "the producer of replies": self._replies.producer.current,
            "the admin client": self._admin,
        }
        if not self._runs:
            return None
        return dead_among(opened)

    async def run(self) -> None:
        """Decide until something fails; that is raised."""
        self._runs = True
        tasks = [
            asyncio.create_task(work)
            for work in (
                self._read(),
                self.partitions.commit_now_and_then(),
                self._clock.run(self._config.decide_tick_ms),
            )
        ]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            self._runs = False
            await ended(*tasks)

    async def _read(self) -> None:
        requests = self._requests
        assert requests is not None
        while True:
            fetched = await self._consumer.getmany(timeout_ms=POLL_MS, max_records=FETCHED_MESSAGES)
            self._pulse.polled()
            begun: list[asyncio.Task[None]] = []
            for partition, records in fetched.items():
                progress = self.partitions.progress_of(partition)
                if progress is None:
                    # Taken away meanwhile: its next owner decides them.
                    continue
                await self._note_hole(partition, progress, records[0].offset)
                progress.next_offset = records[-1].offset + 1
                batch = await self._decided(requests, records)
                if self.partitions.progress_of(partition) is progress:
                    begun.append(asyncio.create_task(self._finish(batch)))
                    self.partitions.add(partition, records[-1].offset + 1, begun[-1])
            if begun:
                # Meanwhile requests gather, so that under load one round trip carries many.
                await asyncio.wait(begun, timeout=STALLED_S)
            self.partitions.trim()

    async def _note_hole(self, partition: TopicPartition, progress: PartitionProgress, offset: int) -> None:
        """Say which requests were removed before they were read, where the log goes on above the next offset."""
        expected = progress.next_offset
        if expected is None or offset <= expected:
            return
        # Markers of transactions are no loss.
        begins = min(offset, (await self._consumer.beginning_offsets([partition]))[partition])
        if begins <= expected:
            return
        lost = (
            f"offsets {expected} to {begins - 1} were removed before they were read: up to {begins - expected} messages"
            " have neither decision nor answer"
        )
        metrics.REQUESTS_LOST.inc(begins - expected)
        log.error("%s[%d]: %s", partition.topic, partition.partition, lost)
        await self._dead_letters.send(
            DeadLetter(partition.topic, partition.partition, expected, 0, "removed_unread", lost, b"")
        )

    async def _decided(self, requests: Requests, records: Sequence[Any]) -> list[Request]:
        """Open what was fetched at once, read what all of it needs, and decide it."""
        batch: list[Request] = []
        turn = Turn()
        for record in records:
            batch.append(requests.open(record, self._clock.now_ms()))
            await turn.over()
        await requests.read(batch)
        for request in batch:
            requests.decide(request, self._clock.now_ms())
            await turn.over()
        return batch

    async def _finish(self, batch: Sequence[Request]) -> None:
        """Append, wait, reply, and write the dead letters of what was fetched at once."""
        try:
            await self._append_and_reply(batch)
        except Exception:
            metrics.UNEXPECTED_ERRORS.labels(DECIDE).inc()
            log.exception("a batch goes to the dead letters")
            for request in batch:
                request.give_up()
        letters = gathered(letter for request in batch for letter in request.letters)
        if letters:
            await self._dead_letters.send(*letters)

    async def _append_and_reply(self, batch: Sequence[Request]) -> None:
        messages: list[ProducerRecord] = []
        appended: list[tuple[Request, int]] = []
        for request in batch:
            messages_of_request = request.messages()
            if messages_of_request:
                appended.append((request, len(messages_of_request)))
                messages += messages_of_request
            else:
                await self._reply(request)
        if not messages:
            return
        began = perf_counter()
        answers = await self._appender.append(messages)
        metrics.APPEND_SECONDS.observe(perf_counter() - began)
        metrics.broker_answered(DECIDE)
        at = 0
        for request, count in appended:
            if request.appended(answers[at : at + count]):
                await self._reply(request)
            at += count

    async def _reply(self, request: Request) -> None:
        topic = request.envelope.reply_topic
        if topic is None:
            metrics.REPLIES.labels("not_asked").inc()
            return
        await self._replies.send(Reply(topic, request.reply(), request.key(), request.envelope.reply_headers))
        metrics.REQUEST_SECONDS.observe(max(0, self._clock.now_ms() - request.record.timestamp) / 1000)


class Decide(mode.Service):
    """Decides requests until it is stopped; a lost broker or Redis is waited for."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self._config = config
        self._redis: Redis = clients.redis_client(config, REDIS_TIMEOUT_S)
        self._lookup = PolicyCache(config, self._redis)
        self._connection: _Connection | None = None
        self._following: asyncio.Future[None] | None = None
        self.pulse = Pulse()

    @property
    def ready(self) -> bool:
        """Whether it has joined its group and knows the broker's time."""
        return self._connection is not None and self._connection.partitions.joined

    def dead(self) -> str | None:
        """Return what has died of the clients, None: nothing has."""
        return None if self.should_stop or self._connection is None else self._connection.dead()

    async def on_start(self) -> None:
        """Take the published versions if Redis answers at once; wait for the rebuild of one that cannot be read."""
        # What was made by now stays: looking through it again and again would only make replies late.
        gc.collect()
        gc.freeze()
        try:
            await until_recovered(DECIDE, self._lookup.ask_policies)
        except REDIS_FAILURES as error:
            metrics.redis_failed(DECIDE)
            log.warning("Redis is away; deciding with version 0 until it is back: %r", error)
        self._following = self.add_future(self._lookup.run())

    async def on_stop(self) -> None:
        """End what follows Redis, however often that takes: a cancellation may get lost in the client of Redis."""
        if self._following is not None:
            await ended(self._following)

    @mode.Service.task
    async def _decide(self) -> None:
        outage = Outage()
        while not self.should_stop:
            connection = self._connection = _Connection(self._config, self._lookup, self.pulse)
            try:
                await connection.start()
                outage.answered()
                await connection.run()
            except BowerbirdError:
                raise
            except InvalidSessionTimeoutError:
                raise session_refused(self._config.session_timeout_s) from None
            except (KafkaError, OSError, TimeoutError) as error:
                metrics.broker_failed(DECIDE)
                outage.failed("connecting to the broker again", error)
            except Exception:
                metrics.UNEXPECTED_ERRORS.labels(DECIDE).inc()
                log.exception("starting again")
            finally:
                await connection.stop()
            await asyncio.sleep(RECONNECT_S)

    async def on_shutdown(self) -> None:
        """Close the connection to Redis."""
        await self._redis.aclose()
