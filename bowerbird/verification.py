"""Reads the logs for a verification, which itself knows neither Kafka nor Redis.

A running service goes on meanwhile. So everything is asked in an order in which what came later cannot look like an
error: the watermark; what the join had closed by then is waited for; the end of ``versions``; Redis; the ends
of ``versions`` and ``rewards``; the ends of the inputs.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import msgspec

from archive.names import ARCHIVED_STREAMS
from bowerbird.recovery.join_problems import problems
from policies.assemble import deciding
from policies.policy import version_name
from policies.policy_store import identity_of, version_of
from records.errors import LossDetected, WrongConfiguration
from records.fields import EXTERNAL
from records.message import Message
from records.policy_version import PolicyVersion
from replay.proof.published import published_in
from replay.proof.rebuild import Rebuild
from replay.proof.recompute import (
    FoundDecision,
    Recomputed,
    decisions_of,
    external,
    not_recomputable,
    recompute,
    version_number,
)
from replay.proof.request import DECISIONS, Live, VerificationRequest
from replay.proof.verdict import Verdict
from replay.proof.verify import Verification
from rewards.watermark import INPUTS, shard_watermark
from stream.clients import redis_client
from stream.config import Config, identity_in
from stream.kafka.log import MESSAGES_A_REPORT, LogReader
from stream.kafka.open_transactions import refuse_open_transactions
from stream.redis.policy_store import RedisPolicyStore
from stream.redis.store import RedisStore

if TYPE_CHECKING:
    from archive.reader import Archive

Progress = Callable[[str, int, int], None]
"""Called while logs are read: the topic, the number of offsets passed, and of all offsets."""

SETTLE_S = 10.0
LAST_TICKS = 100
ORDERED = ("versions", "rewards")
"""Of these nothing may be missing in the middle."""
_POLL_S = 0.05


def _silent(topic: str, passed: int, of: int) -> None:
    pass


async def verify(
    config: Config,
    policy: str,
    progress: Progress = _silent,
    settle_s: float = SETTLE_S,
    archive: "Archive | None" = None,
) -> Verdict:
    """Verify a policy of a service, which may be running.

    Parameters
    ----------
    config
        Of the service.
    policy
        A policy that it names.
    progress
        Called with how far the logs have been read.
    settle_s
        For so long the outcomes that the join has closed are waited for; then they are missing.
    archive
        Gives what Kafka has forgotten. Feedback is in no archive: where its streams have lost it, each outcome's own
        is used (``Verdict.own_feedback``).

    Raises
    ------
    WrongConfiguration
        The configuration names no such policy, or the archive is another log's.
    StateRefused
        Redis holds something that cannot be read, retention removes what is being read, or a transaction hides it.
    """
    if policy not in config.policies:
        known = ", ".join(config.policies) or "none"
        raise WrongConfiguration(f"policy: found {policy}, expected one that the configuration names ({known})")
    redis = redis_client(config)
    try:
        async with LogReader(config) as reader:
            join = _Join(RedisStore(redis, config.prefix), config)
            await join.ask(config.placements_of(policy), settle_s, reader)
            versions, rewards = config.topic("versions"), config.topic("rewards")
            await compare_log(archive, reader)
            await refuse_open_transactions(config, reader, [(versions, 0), (rewards, config.learn_partition(policy))])
            logs = _Logs(reader, progress, archive, config)
            await logs.find([versions])
            versions_end = sum(logs.ends.values())
            live = await _live(RedisPolicyStore(redis, config), policy)
            partition = config.learn_partition(policy)
            await logs.find([versions])
            await logs.find([rewards], only=partition)
            decisions = config.topic(DECISIONS)
            streams = join.streams | set(config.streams)
            await logs.find([decisions, *map(config.topic, sorted(streams))])
            request = VerificationRequest(
                policy=policy,
                identity=identity_in(config, policy),
                live=live,
                watermark_ms=join.watermark_ms,
                rewards_end=logs.ends.get((rewards, partition), 0),
                dedup_horizon_ms=round(config.dedup_horizon_s * 1000),
                shards=config.shards,
                limits=config.limits,
                versions_end=versions_end,
                starts=logs.named_starts,
                unsent=join.unsent,
                lost=join.lost,
                own_feedback=archive is not None,
            )
            return await _verdict(Verification(request), logs, config, streams)
    finally:
        await redis.aclose()


async def _verdict(verification: Verification, logs: "_Logs", config: Config, streams: set[str]) -> Verdict:
    with verification:
        async for message in logs.read(config.topic("versions")):
            verification.versions(message)
        async for message in logs.read(config.topic(DECISIONS)):
            verification.decisions(message)
        # A stream that a decision names counts, whether or not the configuration of today names it.
        further = verification.streams - streams
        await logs.find([config.topic(stream) for stream in sorted(further)])
        for stream in sorted(streams | further):
            async for message in logs.read(config.topic(stream)):
                verification.feedback(stream, message)
        async for message in logs.read(config.topic("rewards")):
            verification.rewards(message)
        return verification.verdict()


async def verify_decision(
    config: Config, event_id: str, progress: Progress = _silent, archive: "Archive | None" = None
) -> list[Recomputed]:
    """Find the decisions of an event id and decide them again, each by the version that decided it.

    Returns
    -------
    list of Recomputed
        In the order of their positions, copies that are the same bytes left out. None: the log holds no such
        decision.

    Raises
    ------
    StateRefused
        Retention removes what is being read.
    """
    async with LogReader(config) as reader:
        await compare_log(archive, reader)
        logs = _Logs(reader, progress, archive, config)
        topic = config.topic(DECISIONS)
        await logs.find([topic])
        by_content: dict[bytes, FoundDecision] = {}
        async for message in logs.read(topic):
            for each in decisions_of(message, event_id):
                content = msgspec.json.encode(each.decision)
                if content not in by_content or each.position < by_content[content].position:
                    by_content[content] = each
        in_order = sorted(by_content.values(), key=lambda each: each.position)
        return [await _decided_again(config, each, reader, progress, archive) for each in in_order]


async def compare_log(archive: "Archive | None", reader: LogReader) -> None:
    """Refuse an archive that is a copy of another log than that of the brokers."""
    if archive is not None and (log := await reader.log_name()) != archive.log:
        raise WrongConfiguration(
            f"archive: found the copy of log {archive.log}, expected that of {log}, which the brokers hold"
        )


async def _decided_again(
    config: Config, located: FoundDecision, reader: LogReader, progress: Progress, archive: "Archive | None"
) -> Recomputed:
    decision = located.decision
    if decision.policy_version == EXTERNAL:
        return external(located)
    number = version_number(decision.policy_version)
    if number is None:
        return not_recomputable(located, f"no policy has a version called {decision.policy_version}")
    versions, versions_start = await _versions(config, reader, decision.policy, progress)
    first = next(iter(versions.values()), None)
    if first is not None:
        identity, partition = identity_of(first), first.partition
    elif decision.policy in config.policies:
        identity, partition = identity_in(config, decision.policy), config.learn_partition(decision.policy)
    else:
        return not_recomputable(located, f"neither the configuration nor `versions` knows the policy {decision.policy}")
    removed = (
        f"not verifiable before version {first.number}: `versions` starts at offset {versions_start}, so the version "
        "cannot be rebuilt"
        if versions_start and first is not None and first.number > 1
        else ""
    )
    if number and number not in versions:
        if removed and first is not None and number < first.number:
            return not_recomputable(located, removed)
        return not_recomputable(located, f"`versions` has no version {number} of {decision.policy}")
    chain = [version for each, version in sorted(versions.items()) if each <= number]
    rebuild = Rebuild(decision.policy, identity, chain)
    try:
        if not chain:
            return recompute(located, rebuild.policy, version_name(0, rebuild.digest()), identity.salt)
        version = chain[-1]
        logs = _Logs(reader, progress, archive, config)
        await logs.find([config.topic("rewards")], only=version.partition)
        start = logs.starts.get((config.topic("rewards"), partition), 0)
        async for message in logs.read(config.topic("rewards"), until=version.cut):
            rebuild.until(message.offset)
            rebuild.learn(message)
        rebuild.until(version.cut)
        gone = [seq for seq in rebuild.first_seqs.values() if seq > 1]
        if start and (gone or not rebuild.first_seqs):
            before = max(gone, default=max(version.last_seqs.values(), default=0) + 1)
            return not_recomputable(
                located,
                f"not verifiable before seq {before}: `rewards` starts at offset {start}, "
                "so the version cannot be rebuilt",
            )
        if removed and rebuild.digest() != version.digest:
            return not_recomputable(located, removed)
        policy = deciding(version, lambda: rebuild.policy)
        return recompute(located, policy, version_name(number, rebuild.digest()), version.salt)
    finally:
        rebuild.close()


async def _versions(
    config: Config, reader: LogReader, policy: str, progress: Progress
) -> tuple[dict[int, PolicyVersion], int]:
    """Return the versions by number, the live one with those of the log, and the offset at which their log starts."""
    logs = _Logs(reader, progress)
    topic = config.topic("versions")
    await logs.find([topic])
    versions: dict[int, PolicyVersion] = {}
    highest: dict[str, int] = {}
    async for message in logs.read(topic):
        for version in published_in(message, policy, highest):
            versions.setdefault(version.number, version)
    redis = redis_client(config)
    try:
        live = await _live(RedisPolicyStore(redis, config), policy)
    finally:
        await redis.aclose()
    if live.record is not None:
        versions.setdefault(live.record.number, live.record)
    return dict(sorted(versions.items())), logs.starts.get((topic, 0), 0)


async def _live(store: RedisPolicyStore, policy: str) -> Live:
    saved = await store.read(policy)
    if saved is None:
        return Live(None, None)
    record = None if saved.record is None else version_of(policy, saved.record)
    return Live(record, saved.model, saved.position.cut, dict(saved.position.last_seqs))


@dataclass(slots=True)
class _Join:
    """What the join's state says of how far it is.

    ``streams``: what it reads, decisions left out. ``unsent``: above 0 where something that had to close before
    the watermark has not left it in time. ``lost``: why it may not be continued, a sentence each.
    """

    store: RedisStore
    config: Config
    watermark_ms: int = 0
    streams: set[str] = field(default_factory=set)
    unsent: int = 0
    lost: list[str] = field(default_factory=list)

    async def ask(self, placements: Sequence[str], settle_s: float, reader: LogReader) -> None:
        """Note the watermark, then wait until ``rewards`` holds every window that had to close before it."""
        watermarks = [await self.store.watermarks(shard) for shard in range(self.config.shards)]
        self.watermark_ms = min(shard_watermark(each)[0] for each in watermarks)
        names = {name.rsplit(" ", 1)[0] for each in watermarks for name in each if name != INPUTS}
        self.streams = {self.config.stream_of(topic) for topic in names} - {DECISIONS}
        self.lost = await problems(self.config, reader, self.store)
        if self.lost:
            # What had closed by the last tick of any role had to have an outcome.
            self.watermark_ms = max(self.watermark_ms, await self._last_tick_ms(reader) - self.config.close_grace_ms)
            return
        ends_at = time.monotonic() + settle_s
        # Redis tells nobody when an outbox is empty.
        while await self._held_back(placements) and time.monotonic() < ends_at:  # noqa: ASYNC110
            await asyncio.sleep(_POLL_S)

    async def _last_tick_ms(self, reader: LogReader) -> int:
        ticks = (self.config.topic("ticks"), 0)
        end = (await reader.ends([ticks]))[ticks]
        begin = max((await reader.beginning([ticks]))[ticks], end - LAST_TICKS)
        return max([record.time_ms async for record in reader.read(*ticks, begin, end)], default=0)

    async def _held_back(self, placements: Sequence[str]) -> bool:
        self.unsent = 0
        for shard in range(self.config.shards):
            self.unsent += await self._due(shard)
            for placement in placements:
                self.unsent += await self._waiting(shard, placement)
        return self.unsent > 0

    async def _due(self, shard: int) -> int:
        key = self.store.key(shard, "due")
        return int(await self.store.redis.zcount(key, "-inf", f"({self.watermark_ms}"))

    async def _waiting(self, shard: int, placement: str) -> int:
        head: list[Any] = await self.store.head(shard, placement, 1)
        return sum(entry.deadline_ms < self.watermark_ms for entry in head)


class _Logs:
    """The logs that are read, as far as they reached when found; the archive gives what Kafka has forgotten."""

    def __init__(
        self, reader: LogReader, progress: Progress, archive: "Archive | None" = None, config: Config | None = None
    ) -> None:
        self.starts: dict[tuple[str, int], int] = {}
        self.ends: dict[tuple[str, int], int] = {}
        self.named_starts: dict[tuple[str, int], int] = {}
        self._reader, self._progress = reader, progress
        self._archive = archive
        self._archived_to: dict[tuple[str, int], int] = {}
        self._name = config.stream_of if config is not None else str
        self._passed = 0

    async def find(self, topics: Iterable[str], only: int | None = None) -> None:
        """Note where the logs of topics start and end now; ``only``: of one partition."""
        for topic in topics:
            partitions = await self._reader.partitions(topic)
            names = [(topic, number) for number in partitions if only is None or number == only]
            self.ends.update(await self._reader.ends(names))
            for name, begins in (await self._reader.beginning(names)).items():
                self.starts[name] = begins
                if begins and self._archive is not None and self._name(topic) in ARCHIVED_STREAMS:
                    held = await asyncio.to_thread(self._archive.held, self._name(topic), name[1], begins)
                    if held is not None and held[0] < begins:
                        self.starts[name], self._archived_to[name] = held[0], begins
                self._named(name, self.starts[name])

    def _named(self, name: tuple[str, int], start: int) -> None:
        """Keep the start of a log that has lost its head, under the name of its stream."""
        if start:
            self.named_starts[self._name(name[0]), name[1]] = start

    async def read(self, topic: str, until: int | None = None) -> AsyncIterator[Message]:
        """Yield the messages of a topic, partition after partition; ``until``: below this offset."""
        for name in sorted(self.ends):
            if name[0] != topic:
                continue
            start, end = self.starts[name], self.ends[name]
            end = end if until is None else min(end, until)
            total = sum(max(0, self.ends[each] - self.starts[each]) for each in self.ends)
            count = 0
            async for record in self._records(name, start, end):
                yield record
                count += 1
                if count % MESSAGES_A_REPORT == 0:
                    self._progress(topic, self._passed + record.offset - start, total)
            self._passed += max(0, end - start)
            self._progress(topic, self._passed, total)

    async def _records(self, name: tuple[str, int], start: int, end: int) -> AsyncIterator[Message]:
        begins = self._archived_to.get(name, start)
        if self._archive is not None and start < begins:
            for record in self._archive.messages(self._name(name[0]), name[1], start, min(begins, end)):
                yield record
        while True:
            try:
                async for logged in self._reader.read(*name, begins, end):
                    yield logged
                return
            except LossDetected:
                if self._name(name[0]) in ORDERED:
                    raise
                # Retention was faster; what it has removed cannot be verified.
                begins = (await self._reader.beginning([name]))[name]
                self._named(name, begins)
