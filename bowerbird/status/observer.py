"""The figures of a status, from Kafka and Redis alone, so also when no worker answers any more.

:mod:`bowerbird.status.alarms` judges them.
"""

import asyncio
import time
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from typing import NamedTuple, Self

import msgspec

from bowerbird.status.records import (
    LATE_MS,
    OPEN_S,
    WAITED_MS,
    Backlog,
    OpenTransaction,
    OpenWindows,
    PolicyStatus,
    RedisMemory,
    ShardWatermark,
    Status,
)
from policies.controls import in_force, made_by
from policies.learnability import Sights
from policies.policy_store import version_of
from records.errors import StateRefused, shorten
from records.outcome import parse_outbox
from records.policy_version import PolicyVersion
from rewards.watermark import shard_watermark
from stream.clients import client_id, redis_client
from stream.config import Config
from stream.kafka.log import LogReader, LogRecord, Partition
from stream.kafka.newest_messages import NewestMessages
from stream.kafka.topics import needed
from stream.preflight import used_memory
from stream.redis.policy_store import RedisPolicyStore
from stream.redis.spoilt import Unreadable
from stream.redis.store import RedisStore
from stream.role import DECIDE, DECLARED
from stream.stopped import StoppedPart, kept
from stream.unread import Unread

MOST_MESSAGES = 2000
"""Of each partition at most so many of the newest messages are read; then the figures are of a shorter time."""
KEPT_RECORDS = 200_000
RATE_OVER_S = 15.0
"""A backlog's rate is taken over the last so many seconds at most."""


class _Decided(msgspec.Struct, frozen=True):
    placement: str
    policy_version: str


class _Closed(msgspec.Struct, frozen=True):
    placement: str
    shard: int
    outcome_seq: int
    why: str
    learn: bool
    reward: float
    feedback: list[msgspec.Raw]
    revision: int = 0


class _Seen(NamedTuple):
    """What is kept of a record: of which topic (without the prefix), when, where, and what it says."""

    topic: str
    time_ms: int
    offset: int
    content: _Decided | _Closed | str


class _Sample(NamedTuple):
    at_s: float
    acknowledged: dict[str, int]
    messages: dict[str, int]


class Observer:
    """Looks at a service again and again; an asynchronous context manager that changes nothing.

    Parameters
    ----------
    minutes
        Over how many minutes things are counted.
    """

    def __init__(self, config: Config, minutes: float = 5.0) -> None:
        self._config, self._minutes = config, minutes
        self._clients = AsyncExitStack()
        self._seen: deque[_Seen] = deque(maxlen=KEPT_RECORDS)
        self._complete_from_ms = 0
        self._samples: deque[_Sample] = deque()
        self._unread = {role: Unread(config) for role in config.roles}
        self._sights = Sights(config.learners())

    async def __aenter__(self) -> Self:
        config = self._config
        async with AsyncExitStack() as clients:
            redis = redis_client(config, retries=1)
            clients.push_async_callback(redis.aclose)
            self._join, self._store = RedisStore(redis, config.prefix), RedisPolicyStore(redis, config)
            self._reader = await clients.enter_async_context(LogReader(config))
            topics = [config.topic(name) for name in ("decisions", "rewards", "dead-letters")]
            self._recent = await clients.enter_async_context(
                NewestMessages(config, self._reader, topics, MOST_MESSAGES)
            )
            self._clients = clients.pop_all()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._clients.aclose()

    async def look(self) -> Status:
        """Return how it stands.

        Raises
        ------
        KafkaError, RedisError
            A server does not answer.
        """
        now_ms = time.time_ns() // 1_000_000
        since_ms = now_ms - round(self._minutes * 60_000)
        self._complete_from_ms = max(self._complete_from_ms, since_ms)
        recent = await self._recent.look(since_ms)
        for record in recent.records:
            self._take(record)
            now_ms = max(now_ms, record.time_ms)
        for topic, number in recent.skipped:
            times = [record.time_ms for record in recent.records if (record.topic, record.partition) == (topic, number)]
            self._complete_from_ms = max(self._complete_from_ms, min(times, default=now_ms))
        if len(self._seen) == KEPT_RECORDS:
            self._complete_from_ms = max(self._complete_from_ms, self._seen[0].time_ms)
        self._seen = deque((seen for seen in self._seen if seen.time_ms >= self._complete_from_ms), KEPT_RECORDS)
        watermarks: dict[int, tuple[int, str]] = {}
        pending: Counter[str] = Counter()
        closes: dict[str, int] = {}
        unreadable: list[StoppedPart] = []
        try:
            await _look_at_join(self._join, self._config.shards, watermarks, pending, closes)
        except Unreadable as refused:
            unreadable.append(StoppedPart("join", refused.what, str(refused)))
        return Status(
            now_ms=now_ms,
            looked_at_s=max(0.0, (now_ms - self._complete_from_ms) / 1000),
            backlogs=await self._backlogs(now_ms),
            watermarks=[await self._watermark(shard, at, by, now_ms) for shard, (at, by) in watermarks.items()],
            policies=[await self._policy(name, pending, closes) for name in self._config.policies],
            dead_letters=dict(
                Counter(seen.content for seen in self._seen if isinstance(seen.content, str)).most_common()
            ),
            stopped=[*unreadable, *await kept(self._join.redis, self._config)],
            transactions=await self._transactions(),
            missing_topics=await self._missing_topics(),
            redis_memory=await self._redis_memory(),
        )

    async def _missing_topics(self) -> list[str]:
        names = [need.name for need in needed(self._config)]
        there = await self._reader.topics(names)
        return [name for name in names if name not in there]

    async def _redis_memory(self) -> RedisMemory | None:
        used = await used_memory(self._join.redis)
        return RedisMemory(used_bytes=used[0], most_bytes=used[1]) if used is not None else None

    async def _transactions(self) -> list[OpenTransaction]:
        roles = {
            self._config.topic(topic): role.name
            for role in DECLARED.values()
            if role.held
            for topic in self._config.read_by(role.name)
        }
        partitions = [each for topic in roles for each in await self._reader.partitions_of(topic)]
        open_now = await self._reader.open_transactions(partitions)
        if open_now:
            # One that ends soon is as it should be.
            await asyncio.sleep(OPEN_S)
            later = await self._reader.open_transactions(list(open_now))
            open_now = {name: held for name, held in open_now.items() if name in later and later[name][0] == held[0]}
        return [
            OpenTransaction(role=roles[topic], topic=topic, partition=number, offset=offset)
            for (topic, number), (offset, _) in sorted(open_now.items())
        ]

    async def _watermark(self, shard: int, watermark_ms: int, held_by: str, now_ms: int) -> ShardWatermark:
        watermark = ShardWatermark(shard=shard, watermark_ms=watermark_ms, held_by=held_by)
        topic, _, partition = held_by.rpartition(" ")
        if now_ms - watermark_ms < LATE_MS or not topic or not partition.isdecimal():
            return watermark
        name = topic, int(partition)
        now = (await self._reader.topics([topic])).get(topic)
        if now is None or name[1] not in now.partitions:
            return watermark
        held = await self._reader.open_transactions([name])
        return msgspec.structs.replace(watermark, open_transaction=held[name][0] if name in held else None)

    def _take(self, record: LogRecord) -> None:
        topic = self._config.stream_of(record.topic)
        if topic == "decisions":
            self._sights.decisions(record.value, record.time_ms)
        elif topic == "rewards":
            self._sights.outcomes(record.value, record.time_ms)
        for content in _READERS[topic](record):
            if isinstance(content, str):
                content = content.replace(f" of {self._config.prefix}", " of ")
            self._seen.append(_Seen(topic, record.time_ms, record.offset, content))

    async def _backlogs(self, now_ms: int) -> list[Backlog]:
        config = self._config
        acknowledged: dict[str, int] = {}
        behind: dict[str, dict[str, int]] = {}
        members: dict[str, list[str]] = {}
        late: set[str] = set()
        for role in config.roles:
            group = config.group(role)
            members[role] = await self._reader.members(group)
            partitions: list[Partition] = []
            for topic in map(config.topic, config.read_by(role)):
                partitions += await self._reader.partitions_of(topic)
            done = await self._reader.committed(group, partitions)
            begins, ends = await self._reader.beginning(partitions), await self._reader.ends(partitions)
            behind[role] = {}
            acknowledged[role] = 0
            starts = {name: max(done.get(name, 0), begins[name]) for name in partitions}
            spans = {name: (at, ends[name]) for name, at in starts.items() if at < ends[name]}
            for name in await self._unread[role].nothing(spans):
                starts[name] = ends[name]
            if role == DECIDE:
                by_then = await self._reader.at(partitions, now_ms - WAITED_MS)
                if any(starts[name] < min(by_then[name], ends[name]) for name in partitions):
                    late.add(role)
            for name, at in starts.items():
                acknowledged[role] += at
                stream = config.stream_of(name[0])
                behind[role][stream] = behind[role].get(stream, 0) + max(0, ends[name] - at)
        messages = {role: sum(lags.values()) for role, lags in behind.items()}
        now = _Sample(time.monotonic(), acknowledged, messages)
        self._samples.append(now)
        while len(self._samples) > 2 and now.at_s - self._samples[1].at_s > RATE_OVER_S:
            self._samples.popleft()
        former = self._samples[0]
        seconds = now.at_s - former.at_s
        return [
            Backlog(
                role=role,
                workers=members[role].count(client_id(role)),
                strangers=tuple(shorten(each) for each in members[role] if each != client_id(role)),
                late=role in late,
                messages=messages[role],
                topic=max(behind[role], key=lambda topic: behind[role][topic], default="") if messages[role] else "",
                done_per_s=(acknowledged[role] - former.acknowledged[role]) / seconds if seconds else None,
                growth_per_s=(messages[role] - former.messages[role]) / seconds if seconds else None,
            )
            for role in config.roles
        ]

    async def _policy(self, name: str, pending: Mapping[str, int], closes: Mapping[str, int]) -> PolicyStatus:
        config = self._config
        decides_for = config.decided_by(name)
        learns = config.placements_of(name)
        record: PolicyVersion | None = None
        cut, problem = 0, ""
        try:
            saved = await self._store.read(name, model=False)
            if saved is not None:
                cut = saved.position.cut
                problem = await self._ahead(saved.position.last_seqs)
                record = version_of(name, saved.record) if saved.record is not None else None
        except StateRefused as error:
            problem = str(error)
        decided = [
            seen.content
            for seen in self._seen
            if isinstance(seen.content, _Decided) and seen.content.placement in decides_for
        ]
        closed: dict[tuple[str, int, int], tuple[_Seen, _Closed]] = {}
        for seen in self._seen:
            if isinstance(seen.content, _Closed) and seen.content.placement in learns and not seen.content.revision:
                outcome = seen.content
                closed.setdefault((outcome.placement, outcome.shard, outcome.outcome_seq), (seen, outcome))
        outcomes = [outcome for _, outcome in closed.values()]
        rewards = [outcome.reward for outcome in outcomes if outcome.learn]
        waiting = [seen.time_ms for seen, outcome in closed.values() if outcome.learn and seen.offset >= cut]
        control = in_force(record.shape) if record is not None else None
        sight = self._sights.of.get(name)
        return PolicyStatus(
            name=name,
            version=record.version if record is not None else "0",
            number=record.number if record is not None else 0,
            by=made_by(record),
            control=control,
            published_ms=record.published_ms if record is not None else None,
            examples=record.examples if record is not None else 0,
            waiting_since_ms=min(waiting, default=None),
            decisions=len(decided),
            by_version=dict(Counter(decision.policy_version for decision in decided).most_common(3)),
            outcomes=len(outcomes),
            joined=sum(bool(outcome.feedback) for outcome in outcomes),
            learnable=len(rewards),
            reward=sum(rewards) / len(rewards) if rewards else None,
            why=dict(Counter(outcome.why for outcome in outcomes).most_common()),
            pending=sum(pending.get(placement, 0) for placement in decides_for),
            fullest=_fullest(config, decides_for, pending),
            closes_ms=min((closes[placement] for placement in decides_for if placement in closes), default=None),
            problem=problem,
            symptoms=sight.symptoms(name, config.policies[name].arguments, held=control is not None)
            if sight is not None
            else [],
        )

    async def _ahead(self, learned: Mapping[str, int]) -> str:
        """Say that a policy has learned seqs which the join has not given yet; empty: it has not."""
        for outbox, seq in sorted(learned.items()):
            placement, shard = parse_outbox(outbox)
            if shard >= self._config.shards:
                continue
            given = (await self._join.outboxes(shard)).get(placement, 0)
            # Where the join itself has forgotten its seqs, it says so.
            if seq > given and not await self._join.held(shard):
                return (
                    f"outcomes up to seq {seq} of {outbox} were learned, and the join has given {given}: another"
                    " program writes rewards, and what the join gives is skipped; keep that program out, then run"
                    " `bowerbird recover`"
                )
        return ""


def _fullest(config: Config, placements: Sequence[str], pending: Mapping[str, int]) -> OpenWindows | None:
    """Return the placement with the largest share of the open windows that it may have."""
    every = [
        OpenWindows(placement=name, pending=pending.get(name, 0), max_pending=config.placements[name].max_pending)
        for name in placements
    ]
    return max(every, key=lambda each: each.pending / each.max_pending, default=None)


async def _look_at_join(
    join: RedisStore,
    shards: int,
    watermarks: dict[int, tuple[int, str]],
    pending: Counter[str],
    closes: dict[str, int],
) -> None:
    """Note of each shard how far it is, how many decisions wait, and when the next window closes, by placement."""
    for shard in range(shards):
        watermarks[shard] = shard_watermark(await join.watermarks(shard))
        pending.update(await join.pending(shard))
    for shard in range(shards) if pending.total() else ():
        for name, closes_ms in (await join.next_closes(shard)).items():
            closes[name] = min(closes_ms, closes.get(name, closes_ms))


def _decided(record: LogRecord) -> list[_Decided]:
    return _all(record.value, _Decided)


def _closed(record: LogRecord) -> list[_Closed]:
    return _all(record.value, _Closed)


def _letter(record: LogRecord) -> list[str]:
    headers = {name: (content or b"").decode("utf-8", "replace") for name, content in record.headers}
    # Another program may have written it, and what it says goes to a terminal.
    return [shorten(f"{headers.get('reason', 'no reason')} of {headers.get('topic', 'no topic')}")]


_READERS: Mapping[str, Callable[[LogRecord], list[_Decided] | list[_Closed] | list[str]]] = {
    "decisions": _decided,
    "rewards": _closed,
    "dead-letters": _letter,
}


def _all(value: bytes | None, kind: type[msgspec.Struct]) -> list:  # type: ignore[type-arg]
    """Return the records of a message; what is not a record is left out, since others report it."""
    try:
        if (value or b"").lstrip()[:1] == b"[":
            return msgspec.json.decode(value or b"", type=list[kind])  # type: ignore[valid-type]
        return [msgspec.json.decode(value or b"", type=kind)]
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        return []
