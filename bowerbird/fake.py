"""The whole loop in one process, for the tests of a program that uses a client: no Kafka, no Redis, no waiting.

The log and the store are in memory. What happens between them is the real thing: requests are decided, windows
closed, rewards computed and policies learned by the same code as in the service. Time stands still until the test
moves it.
"""

import asyncio
from collections import defaultdict
from collections.abc import Coroutine, Mapping, Sequence
from dataclasses import dataclass
from threading import RLock
from types import TracebackType
from typing import Any, NamedTuple, Self, TypeVar
from uuid import uuid4

import msgspec

from policies.decide import LoadedPolicy
from policies.learn_position import Position
from policies.learn_worker import LearnWorker, Take
from policies.learner import Learner
from policies.policy import Policy
from policies.policy_store import MemoryPolicyStore
from policies.publish_schedule import PublishSchedule
from policies.publisher import NOTHING_SAVED, Publisher, Seen
from records.codec import encode, items
from records.errors import WrongConfiguration
from records.log_identity import LogIdentity
from records.versions import versions_in
from rewards.join_items import InputMessage, JoinSettings
from rewards.join_worker import Fetched, JoinState, JoinWorker, Work, carry_out
from rewards.memory_store import MemoryStore
from rewards.outcome import messages_of
from rewards.store import DEAD_LETTERS, ClosedWindow, Unusable
from stream.clients import LARGE_MESSAGE_BYTES
from stream.config import Config, identity_in
from stream.kafka.dead_letters import DeadLetter, letter_of
from stream.kafka.headers import CORRELATION_HEADERS, EXPIRES_HEADER, REPLY_TOPIC_HEADERS
from stream.kafka.log import LogRecord
from stream.kafka.topics import needed
from stream.roles.deciding import LOG_APPEND_TIME, Requests

START_MS = 1_700_000_000_000
TICK_MS = 1
"""Log time that a message takes, so that each has one of its own."""
AT_ONCE = 500
PATIENCE_S = 30.0
"""A reply comes at once; a machine that stands still for a moment is no time-out."""

Headers = Sequence[tuple[str, bytes]]
Result = TypeVar("Result")


class _Record(NamedTuple):
    """A message as a consumer hands it to decide."""

    topic: str
    partition: int
    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: Headers


class _Appended(NamedTuple):
    """What a broker says of a message that it has appended."""

    timestamp: int
    timestamp_type: int = LOG_APPEND_TIME


@dataclass(slots=True)
class _Policies:
    """The versions in use, and the counts of what waits."""

    config: Config
    choosers: dict[str, LoadedPolicy]
    pending: dict[str, int]

    def overloaded(self, placement: str) -> bool:
        return self.pending.get(placement, 0) > self.config.placements[placement].max_pending


class _Versions:
    """The topic ``versions``; see :class:`policies.publisher.VersionsLog`."""

    def __init__(self, loop: "FakeLoop") -> None:
        self._loop = loop
        self._seen: dict[str, Seen] = {}
        self._highest: dict[str, int] = {}
        self.position = 0

    async def append(self, policy: str, record: bytes) -> None:
        self._loop._append("versions", record, policy.encode())

    async def read(self, start: int, saved: Mapping[str, int] = NOTHING_SAVED) -> None:
        messages = self._loop.messages("versions")
        for message in messages[self.position :]:
            for version in versions_in(message.value, self._highest):
                self._seen.setdefault(version.policy, Seen()).add(version)
        self.position = len(messages)

    async def refuse_hidden(self) -> None:
        pass

    def seen(self, policy: str) -> Seen:
        return self._seen.get(policy, Seen())


class FakeLoop:
    """A service with its Kafka and its Redis, in this process.

    Every topic has one partition. What is learned is published at once; otherwise it differs from the service in
    nothing that a caller or a producer can see.

    Parameters
    ----------
    config
        As of the service: its policies and streams. From a file: ``bowerbird.settings.load(path)``.

    Attributes
    ----------
    now_ms
        The broker's clock. Only :meth:`advance` and what is appended move it.
    answering
        False: requests get no reply and no decision, as if the decide role were away.

    Examples
    --------
    >>> from bowerbird_client import BlockingClient
    >>> from rewards.rules import Reward, StreamReward
    >>> from stream.config import Config, PlacementConfig, PolicyConfig
    >>> clicks = Reward(streams={"clicks": StreamReward(weight=1.0)})
    >>> front = PlacementConfig(window_s=60, reward=clicks)
    >>> loop = FakeLoop(Config(placements={"front": front}, policies={"front": PolicyConfig("uniform")}))
    >>> with BlockingClient(connection=loop.connection()) as client:
    ...     answer = client.decide("front", ["boots", "hat"])
    ...     feedback_id = client.reward(answer.event_id, "clicks")
    >>> loop.advance(61)
    >>> [(outcome["why"], outcome["reward"]) for outcome in loop.records("rewards")]
    [('window', 1.0)]
    """

    def __init__(self, config: Config) -> None:
        self.config = config
        self.now_ms = START_MS
        self.answering = True
        self._lock = RLock()
        self._log: dict[str, list[LogRecord]] = defaultdict(list)
        self._topics = {need.name for need in needed(config)}
        self._name = uuid4().hex
        self._store = MemoryStore()
        self._worker = JoinWorker(
            JoinSettings(
                decisions=config.topic("decisions"),
                prefix=config.prefix,
                shards=config.shards,
                shard_of=config.shard,
                early_s=config.early_s,
                close_grace_ms=0,
                dedup_horizon_s=config.dedup_horizon_s,
                feedback_limit=config.limits.max_feedback,
            )
        )
        self._inputs = [config.topic(name) for name in ("decisions", *config.streams)]
        for topic in self._inputs:
            self._worker.assign(topic, 0, 0, fresh=True)
        self._learn_worker: LearnWorker[int] = LearnWorker(
            dict.fromkeys(config.policies, 0), {name: config.placements_of(name) for name in config.policies}
        )
        self._publishers: dict[str, Publisher] = {}
        self._policies = _Policies(config, {}, {})
        self._loaded: dict[str, Policy] = {}
        store, versions = MemoryPolicyStore(), _Versions(self)
        for name in config.policies:
            identity = identity_in(config, name)
            self._publishers[name] = Publisher(name, identity, store, versions)
            learner = Learner(name, identity.make)
            self._learn_worker.load(learner, PublishSchedule(1, 0), self.now_ms)
            self._use(name, learner.saved, learner.policy.dump())
        self._requests = Requests(config, self._policies, self._name)
        self._append("versions", encode(LogIdentity(log_id=self._name)))

    def connection(self) -> "FakeConnection":
        """Return what a client speaks through: ``bowerbird_client.Client(connection=loop.connection())``."""
        return FakeConnection(self, self.config.topic(f"replies.{uuid4().hex}"))

    def append(self, topic: str, value: bytes | None, *, key: bytes | None = None, headers: Headers = ()) -> LogRecord:
        """Append a message, as any producer may, and let the loop do what follows from it.

        Parameters
        ----------
        topic
            Its name without the prefix.

        Raises
        ------
        WrongConfiguration
            There is no such topic.
        """
        with self._lock:
            record = self._append(topic, value, key, headers)
            if topic == "decision-requests":
                if self.answering:
                    self._decide(record)
            elif record.topic in self._inputs:
                self._offer(record)
            self._turn()
            return record

    def advance(self, seconds: float) -> None:
        """Let log time go on, without anything happening meanwhile: windows close, policies learn."""
        with self._lock:
            self.now_ms += round(seconds * 1000)
            self._turn()

    def messages(self, topic: str) -> list[LogRecord]:
        """Return the messages of a topic of the loop, or of a stream, in the order of the log."""
        with self._lock:
            return list(self._log[self.config.topic(topic)])

    def replies(self, topic: str) -> list[LogRecord]:
        """Return the messages of a topic for replies, by its full name."""
        with self._lock:
            return list(self._log[topic])

    def records(self, topic: str) -> list[dict[str, Any]]:
        """Return the records of a topic, arrays unpacked; those of ``dead-letters`` may be no records: see messages."""
        return [msgspec.json.decode(body) for message in self.messages(topic) for body in items(message.value)]

    def version(self, placement: str) -> str:
        """Return the version that decides now."""
        return self._policies.choosers[placement].version

    def _append(self, topic: str, value: bytes | None, key: bytes | None = None, headers: Headers = ()) -> LogRecord:
        name = self.config.topic(topic)
        if name not in self._topics:
            raise WrongConfiguration(
                f"topic: found {name}, expected one that the configuration names: {', '.join(sorted(self._topics))}"
            )
        return self._write(name, value, key, headers)

    def _write(self, name: str, value: bytes | None, key: bytes | None, headers: Headers) -> LogRecord:
        record = LogRecord(name, 0, len(self._log[name]), self.now_ms, key, value, tuple(headers))
        self._log[name].append(record)
        self.now_ms += TICK_MS
        return record

    def _decide(self, asked: LogRecord) -> None:
        record = _Record(asked.topic, 0, asked.offset, asked.time_ms, asked.key, asked.value, asked.headers)
        request = self._requests.open(record, self.now_ms)
        _done(self._requests.read([request]))
        self._requests.decide(request, self.now_ms)
        decided = [self._append("decisions", message.value, message.key) for message in request.messages()]
        for decision in decided:
            self._offer(decision)
        request.appended([_Appended(decision.time_ms) for decision in decided])
        self._bury(*request.letters)
        if request.envelope.reply_topic is not None:
            self._write(request.envelope.reply_topic, request.reply(), request.key(), request.envelope.reply_headers)

    def _offer(self, record: LogRecord) -> None:
        self._worker.offer(
            InputMessage(record.topic, record.partition, record.offset, record.time_ms, record.value, record.key)
        )

    def _turn(self) -> None:
        """Join and learn all that can be."""
        # So that what was appended may be applied: see rewards.watermark.hold_line.
        self._tick()
        self._join()
        self._tick()
        for shard in range(self.config.shards):
            for outbox in _done(self._store.outboxes(shard)):
                self._emit(shard, outbox)
        self._policies.pending = {}
        for shard in range(self.config.shards):
            for placement, waiting in _done(self._store.pending(shard)).items():
                self._policies.pending[placement] = self._policies.pending.get(placement, 0) + waiting

    def _join(self) -> None:
        while (work := self._worker.next()) is not None:
            self._bury(*map(letter_of, work.rejected))
            self._carry_out(work)

    def _tick(self) -> None:
        ends = {(topic, 0): len(self._log[topic]) for topic in self._inputs}
        fetched = {name: Fetched(end, end) for name, end in ends.items()}
        self._carry_out(self._worker.tick(self.now_ms, ends, fetched, list(ends)))

    def _carry_out(self, work: Work) -> None:
        for part in work.parts:
            for shard, transaction in part.items():
                _done(carry_out(self._worker, JoinState(self._store, self._name), shard, transaction))
        self._worker.done(work)

    def _emit(self, shard: int, outbox: str) -> None:
        while entries := _done(self._store.head(shard, outbox, AT_ONCE)):
            if outbox == DEAD_LETTERS:
                self._bury(*(letter_of(entry) for entry in entries if isinstance(entry, Unusable)))
            else:
                windows = [entry for entry in entries if isinstance(entry, ClosedWindow)]
                for message in messages_of(shard, self.config.prefix, windows):
                    self._learn(self._append("rewards", message.value, outbox.encode()))
            _done(self._store.trim(shard, outbox, entries[-1].seq))

    def _learn(self, message: LogRecord) -> None:
        worker = self._learn_worker
        worker.offer(0, message.offset, message.value, message.offset)
        for work in worker.work(0, self.now_ms):
            if isinstance(work, Take):
                for refused in worker.take(work).refused:
                    code, why = refused.error.code, refused.error.message
                    self._bury(DeadLetter(message.topic, 0, message.offset, 0, code, why, message.value))
                continue
            learner = worker.learners[work.name]
            result = _done(self._publishers[work.name].save(learner, self.now_ms))
            worker.saved(work.name, self.now_ms, self.now_ms, anything=result != "nothing")
            if result == "published":
                self._use(work.name, learner.saved, learner.policy.dump())
        worker.acknowledgements(0)

    def _use(self, name: str, position: Position, model: bytes) -> None:
        config, policy = self.config, self._publishers[name].identity.make(model)
        for placement in config.decided_by(name):
            self._policies.choosers[placement] = LoadedPolicy(
                name, policy, position.version, config.salt(name), encode(config.rule(placement))
            )
        if (former := self._loaded.get(name)) is not None:
            former.close()
        self._loaded[name] = policy

    def _bury(self, *letters: DeadLetter) -> None:
        for letter in letters:
            value, headers = letter.wire(LARGE_MESSAGE_BYTES)
            self._append("dead-letters", value, letter.topic.encode(), headers)


class FakeConnection:
    """A client's side of a :class:`FakeLoop`; see :class:`bowerbird_client.connection.Connection`."""

    timeout_s = PATIENCE_S

    def __init__(self, loop: FakeLoop, reply_topic: str) -> None:
        self._loop, self._reply_topic = loop, reply_topic
        self._read = 0
        self._asked = asyncio.Event()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        pass

    async def streams(self) -> Sequence[str]:
        """Return the streams of the configuration."""
        return self._loop.config.streams

    async def append(self, stream: str, value: bytes) -> None:
        """Append feedback."""
        self._loop.append(stream, value)

    async def ask(self, value: bytes, event_id: str, correlation_id: str, expires_ms: int) -> None:
        """Send a request; where the loop answers, the reply is there when this returns."""
        headers = {
            REPLY_TOPIC_HEADERS[0]: self._reply_topic,
            CORRELATION_HEADERS[0]: correlation_id,
            EXPIRES_HEADER: str(expires_ms),
        }
        encoded = [(name, content.encode()) for name, content in headers.items()]
        self._loop.append("decision-requests", value, key=event_id.encode(), headers=encoded)
        self._asked.set()

    async def replies(self) -> list[tuple[str, bytes]]:
        """Wait for replies; return those that came since the last call."""
        await self._asked.wait()
        self._asked.clear()
        replies = self._loop.replies(self._reply_topic)[self._read :]
        self._read += len(replies)
        return [
            (dict(reply.headers)[CORRELATION_HEADERS[0]].decode(), reply.value)
            for reply in replies
            if reply.value is not None
        ]


def _done(work: Coroutine[Any, Any, Result]) -> Result:
    """Return the result of a coroutine that waits for nothing, as those of the store in memory."""
    try:
        work.send(None)
    except StopIteration as stop:
        return stop.value  # type: ignore[no-any-return]
    raise RuntimeError("the store in memory waited for something")
