"""What is read of ``versions`` gives what reading all of it gives, and does not grow with its age."""

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator, Collection
from types import SimpleNamespace
from typing import Any, Self, cast

import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.errors import MessageSizeTooLargeError
from hypothesis import example, given
from hypothesis import strategies as st

from records.codec import encode
from records.log_identity import LogIdentity
from records.newest_versions import NewestVersions, snapshot_in
from records.policy_version import PolicyVersion
from records.sequence import MAX_GAP
from records.versions_snapshot import LoggedVersion, VersionsSnapshot
from stream.config import Config
from stream.kafka import versions, versions_tail
from stream.kafka.follower import Follower
from stream.kafka.last_seqs import LastSeqs
from stream.kafka.log import LogReader, LogRecord, Partition
from stream.kafka.versions import KafkaVersions
from stream.redis import saved_policies
from tests.serving import served, tables

POLICIES = ("front", "side", "quiet", "gone")
CONFIG = Config(shards=2, **tables({name: served() for name in ("front", "side", "quiet", "new")}))
FEW = 4
"""So many records make a snapshot due in the laws, where logs are short."""


class MemoryLog:
    """A service's logs in memory, as a reader and a producer have them; it counts what is read.

    ``racing``: how often another learner publishes while a snapshot is made.
    """

    def __init__(self, racing: int = 0) -> None:
        self.racing = racing
        self.logs: dict[str, list[LogRecord]] = {"versions": [], "rewards": []}
        self.read_of: Counter[str] = Counter()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        pass

    def append(self, topic: str, value: bytes | None) -> int:
        offset = len(self.logs[topic])
        self.logs[topic].append(LogRecord(topic, 0, offset, 1000 + offset, None, value, ()))
        return offset

    async def send_and_wait(self, topic: str, value: bytes, key: bytes | None = None, partition: int = 0) -> Any:
        if b'"end_offset"' in value:
            for _ in range(self.racing):
                self.append("versions", encode(version("racing", len(self.logs["versions"]))))
        return SimpleNamespace(offset=self.append(topic, value))

    async def partitions_of(self, topic: str) -> list[tuple[str, int]]:
        return [(topic, number) for number in await self.partitions(topic)]

    async def partitions(self, topic: str) -> list[int]:
        return [0]

    async def beginning(self, partitions: Collection[Partition]) -> dict[Partition, int]:
        return dict.fromkeys(partitions, 0)

    async def ends(self, partitions: Collection[Partition]) -> dict[Partition, int]:
        return {name: len(self.logs[name[0]]) for name in partitions}

    async def read(self, topic: str, partition: int, start: int, end: int | None = None) -> AsyncIterator[LogRecord]:
        for record in self.logs[topic][start:end]:
            self.read_of[topic] += 1
            yield record

    def of_versions(self) -> KafkaVersions:
        """Return ``versions`` as a learner that has just started has it."""
        made = KafkaVersions(CONFIG, cast(AIOKafkaProducer, self), cast(LogReader, self))
        made._follower = cast(Follower, MemoryFollower(self))
        return made

    def without_snapshots(self) -> "MemoryLog":
        """Return the same with other records where snapshots stood."""
        plain = MemoryLog()
        for record in self.logs["versions"]:
            plain.append("versions", b"{}" if b'"end_offset"' in (record.value or b"") else record.value)
        return plain

    def snapshots(self) -> list[VersionsSnapshot]:
        found = (snapshot_in(record.value, record.offset) for record in self.logs["versions"])
        return [snapshot for snapshot in found if snapshot is not None]


class MemoryFollower:
    def __init__(self, log: MemoryLog) -> None:
        self.log, self.position = log, 0

    async def to_end(self) -> list[LogRecord]:
        records = [record async for record in self.log.read("versions", 0, self.position)]
        self.position = len(self.log.logs["versions"])
        return records


def version(policy: str, number: int, **fields: Any) -> PolicyVersion:
    return PolicyVersion(
        **{
            "policy": policy,
            "number": number,
            "version": f"{number}-0a1b2c3d",
            "kind": "uniform",
            "arguments": "",
            "salt": policy,
            "placements": [policy],
            "cut": 10 * number,
            "last_seqs": {f"{policy}/0": 3 * number, f"{policy}/1": number},
            "digest": "d" * 64,
            "examples": number,
            **fields,
        }
    )


EVENTS = st.lists(
    st.tuples(
        st.sampled_from(["publish", "publish", "publish", "repeat", "rebuild", "differ", "foreign", "far", "array"]),
        st.sampled_from(POLICIES),
        st.integers(0, 1),
    ),
    max_size=40,
)


async def _written(events: list[tuple[str, str, int]], racing: int) -> MemoryLog:
    """Return the log that two learners, and others, have written."""
    log = MemoryLog(racing)
    log.append("versions", encode(LogIdentity(log_id="x")))
    writers = [log.of_versions(), log.of_versions()]
    newest: dict[str, PolicyVersion] = {}
    for what, policy, writer in events:
        last = newest.get(policy) or version(policy, 0)
        match what:
            case "publish" | "rebuild" | "repeat":
                if what != "repeat" or not last.number:
                    rebuilt_to = 5 if what == "rebuild" else None
                    newest[policy] = version(policy, last.number + 1, rebuilt_to=rebuilt_to)
                await writers[writer].append(policy, encode(newest[policy]))
            case "differ" if last.number:
                log.append("versions", encode(version(policy, last.number, digest="e" * 64)))
            case "far":
                log.append("versions", encode(version(policy, last.number + MAX_GAP + 1)))
            case "array":
                newest[policy] = version(policy, last.number + 2)
                log.append("versions", encode([version(policy, last.number + 1), newest[policy]]))
            case _:
                log.append("versions", [None, b"[", b'{"end_offset": 1}', b'{"v": 1, "policy": "front"}'][writer])
    return log


async def _everything(log: MemoryLog) -> tuple[Any, ...]:
    """Return what every reader makes of the log."""
    reader = cast(LogReader, log)
    tail = await versions_tail.versions_tail(reader, "versions")
    learner = log.of_versions()
    await learner.read(0)
    seen = {name: (learner.seen(name).newest, learner.seen(name).differing) for name in POLICIES}
    held = {name: learner.seen(name).fingerprints.get(learner.seen(name).newest) for name in POLICIES}
    return tail.newest().by_policy, await LastSeqs(CONFIG, reader).last_seqs(), seen, held, learner.position


@given(EVENTS, st.integers(0, 3 * FEW))
def test_a_snapshot_changes_nothing_that_is_read(events: list[tuple[str, str, int]], racing: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        for module in (versions, versions_tail):
            patch.setattr(module, "SNAPSHOT_EVERY", FEW)

        async def compare() -> None:
            log = await _written(events, racing)
            assert await _everything(log) == await _everything(log.without_snapshots())
            whole = NewestVersions()
            for record in log.logs["versions"]:
                whole.take(record.offset, record.value)
            tail = await versions_tail.versions_tail(cast(LogReader, log), "versions")
            assert tail.newest().by_policy == whole.by_policy

        asyncio.run(compare())


async def _shown(log: MemoryLog) -> list[list[PolicyVersion]]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(saved_policies, "LogReader", lambda config: log)
        return [await saved_policies.versions_of(CONFIG, name, 3, None) for name in (*POLICIES, "racing")]


@given(EVENTS, st.integers(0, 3 * FEW), st.integers(1, 2 * FEW))
@example([("publish", "front", 0), ("differ", "front", 0), ("publish", "side", 0)], 0, 1)
@example([("publish", "front", 0), ("far", "side", 0), ("publish", "front", 0), ("publish", "side", 0)], 0, 1)
def test_policy_show_passes_over_no_version(events: list[tuple[str, str, int]], racing: int, window: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        for module in (versions, versions_tail):
            patch.setattr(module, "SNAPSHOT_EVERY", FEW)
        for name in ("FIRST_WINDOW", "LARGEST_WINDOW"):
            patch.setattr(saved_policies, name, window)

        async def compare() -> None:
            log = await _written(events, racing)
            assert await _shown(log) == await _shown(log.without_snapshots())

        asyncio.run(compare())


async def _aged(thousands: int) -> MemoryLog:
    """Return a log in which `front` has published for long, `side` seldom, `quiet` at the start and the middle only."""
    log = MemoryLog()
    log.append("versions", encode(LogIdentity(log_id="x")))
    writer = log.of_versions()
    for number in range(1, 1000 * thousands + 1):
        if number <= 20 or number == 500 * thousands:
            await writer.append("quiet", encode(version("quiet", min(number, 21))))
        if number % (25 * thousands) == 0:
            await writer.append("side", encode(version("side", number // (25 * thousands))))
        await writer.append("front", encode(version("front", number)))
    return log


async def test_no_start_and_no_display_reads_more_of_an_older_log(monkeypatch: pytest.MonkeyPatch) -> None:
    counts = []
    for thousands in (12, 36):
        log = await _aged(thousands)
        assert len(log.snapshots()) >= thousands
        monkeypatch.setattr(saved_policies, "LogReader", lambda config, log=log: log)
        log.read_of.clear()
        read: dict[str, int] = {}
        for what in ("front", "side", "quiet", "new"):
            shown = await saved_policies.versions_of(CONFIG, what, 20, None)
            last = {"front": 1000 * thousands, "side": 40, "quiet": 21, "new": 0}[what]
            assert [each.number for each in shown] == list(range(last, max(0, last - 20), -1))
            read[what] = log.read_of.pop("versions")
        # Of a policy of which Redis holds nothing, and of one that was saved long ago.
        for start in (0, 50):
            learner = log.of_versions()
            await learner.read(start)
            assert (learner.seen("front").newest, learner.seen("quiet").newest) == (1000 * thousands, 21)
            read[f"start at {start}"] = log.read_of.pop("versions")
        last_seqs = await LastSeqs(CONFIG, cast(LogReader, log)).last_seqs()
        assert last_seqs["quiet", 0] == 63
        assert last_seqs["front", 1] == 1000 * thousands
        read["last seqs"] = log.read_of.pop("versions")
        counts.append(read)
    # Of a policy that published seldom, each version takes a window and a half.
    enough = dict.fromkeys(counts[0], 8 * versions_tail.SNAPSHOT_EVERY) | {"side": 40_000}
    for read in counts:
        assert {what: count for what, count in read.items() if count > enough[what]} == {}


async def test_a_saved_position_near_the_end_is_read_from_there() -> None:
    log = await _aged(3)
    log.read_of.clear()
    end = len(log.logs["versions"])
    learner = log.of_versions()
    await learner.read(end - 5)
    assert (log.read_of["versions"], learner.position, learner.seen("front").newest) == (5, end, 3000)
    # Another policy that was saved earlier needs more.
    await learner.read(0)
    assert learner.seen("quiet").newest == 21


@pytest.mark.parametrize(
    "forged",
    [
        {"end_offset": 10**6, "versions": []},
        {"end_offset": 5, "versions": [{"offset": 5, "version": {}}]},
        {"end_offset": 5, "versions": [{"offset": 6, "version": {}}]},
        {"end_offset": 5, "versions": [{"offset": 1, "version": {"number": 2**53 - 1}}]},
        {"end_offset": 5, "versions": [{"offset": 1, "version": {"number": "many"}}]},
        {"end_offset": 5},
    ],
)
async def test_a_snapshot_that_says_what_it_cannot_know_is_passed_over(forged: dict[str, Any]) -> None:
    log = await _aged(1)
    record = json.loads(encode(version("front", 7)))
    for each in forged.get("versions", []):
        each["version"] = record | each["version"]
    log.append("versions", json.dumps({"v": 1, **forged}).encode())
    tail = await versions_tail.versions_tail(cast(LogReader, log), "versions")
    assert tail.snapshot == log.snapshots()[0]
    assert tail.newest().by_policy["front"].version.number == 1000


async def test_a_learner_starts_on_two_records_that_differ_however_long_ago_they_were_written() -> None:
    """Redis had forgotten a version, and nobody noticed until others had published thousands."""
    log = await _aged(1)
    for digest in "fe":
        log.append("versions", encode(version("side", 41, digest=digest * 64)))
    writer = log.of_versions()
    for number in range(1001, 3001):
        await writer.append("front", encode(version("front", number)))
    learner = log.of_versions()
    await learner.read(0)
    assert learner.seen("side").differing == 41
    await writer.append("side", encode(version("side", 42, rebuilt_to=9)))
    for number in range(3001, 5001):
        await writer.append("front", encode(version("front", number)))
    learner = log.of_versions()
    await learner.read(0)
    assert (learner.seen("side").newest, learner.seen("side").differing) == (42, None)


async def test_a_snapshot_that_cannot_be_written_stops_no_learner(caplog: pytest.LogCaptureFixture) -> None:
    log = await _aged(1)
    writer = log.of_versions()
    send = log.send_and_wait

    async def refused(topic: str, value: bytes, key: bytes | None = None, partition: int = 0) -> Any:
        if b'"end_offset"' in value:
            raise MessageSizeTooLargeError
        return await send(topic, value, key, partition)

    log.send_and_wait = refused  # type: ignore[method-assign]
    for number in range(1001, 3501):
        await writer.append("front", encode(version("front", number)))
    assert len(log.snapshots()) == 1
    assert [record.message for record in caplog.records] == 2 * [
        "no snapshot of versions was written: MessageSizeTooLargeError()"
    ]


def test_the_snapshot_of_a_snapshot_is_the_same() -> None:
    logged = [LoggedVersion(offset=number, version=version("front", 3, cut=number)) for number in (4, 5)]
    snapshot = VersionsSnapshot(end_offset=9, versions=logged)
    assert NewestVersions(snapshot).snapshot(9) == snapshot
    assert snapshot.newest("front") == logged[0]
    assert snapshot.newest("side") is None
