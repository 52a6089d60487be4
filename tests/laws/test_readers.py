"""Whatever the join and the learner take, no reader of the logs fails on: verify, trace, the archive, the letters."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Collection, Iterator
from copy import deepcopy
from itertools import product
from typing import Any, cast

import msgspec
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from archive.rows import rows_of, table_of
from bowerbird.trace import _Tracing
from policies.features import ActionCache
from policies.training import example_of, outcomes_in
from records.codec import encode
from records.errors import BadInput
from records.limits import Limits
from records.newest_versions import snapshot_in
from records.policy_version import PolicyVersion
from replay.proof.published import published_in
from replay.proof.recompute import version_number
from rewards.recovery import outcome_heads
from stream.config import Config
from stream.kafka.dead_letter_log import read_letter
from stream.kafka.log import LogReader, LogRecord, Partition
from tests.replay.world import World, decision
from tests.serving import served, tables

EXAMPLES = 60
NUMBERS: list[Any] = [0, -1, 2**31, 2**53, -(2**53), 2**63, 2**64, 10**40, -(10**40), 0.5, 5e-324, 1.7e308, -1.7e308]
OTHERS: list[Any] = [
    "",
    "9" * 5000 + "-00000000",
    "\x00",
    "é" * 70,
    None,
    True,
    [],
    {},
    [[]],
    {"a": 1},
    "decisions",
    "clicks",
]
WEIRD = st.sampled_from([*NUMBERS, *OTHERS])
TIMES = st.sampled_from([-1, 0, 1, 999, 2**40, 2**46])
DECISION = {**decision("visit"), "expires_at_ms": 10**9, "user_id": "u", "activate": True, "warnings": ["w"]}
CLICK = {"v": 1, "event_id": "visit", "id": "c", "value": 1.0, "activate": True}
VERSION = msgspec.to_builtins(
    PolicyVersion(
        placements=("front",),
        policy="front",
        number=1,
        version="1-00000000",
        kind="vw",
        arguments="--cb_explore_adf",
        salt="front",
        cut=1,
        last_seqs={"front/0": 1, "front/1": 1},
        digest="00",
        examples=1,
        rebuilt_to=1,
    )
)
SNAPSHOT = {"v": 1, "end_offset": 1, "versions": [{"offset": 0, "version": VERSION}]}


class _World(World):
    """A world in which nobody learns: what the policy refuses is of no matter here."""

    def publish(self, cut_each: int) -> None:
        """Publish nothing."""


def _paths(record: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    inner = record.items() if isinstance(record, dict) else enumerate(record) if isinstance(record, list) else ()
    return [path, *(deeper for key, value in inner for deeper in _paths(value, (*path, key)))]


@st.composite
def altered(draw: st.DrawFn, base: dict[str, Any]) -> dict[str, Any]:
    """Return a record with up to two values that nobody expects, anywhere in it."""
    record = json.loads(json.dumps(base))
    for _ in range(draw(st.integers(0, 2))):
        *way, last = draw(st.sampled_from(_paths(record)[1:]))
        place = record
        for key in way:
            place = place[key]
        place[last] = deepcopy(draw(WEIRD))
    return cast("dict[str, Any]", record)


def every(base: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield a record with each value that nobody expects in each place, under event ids of their own."""
    for number, (path, value) in enumerate(product(_paths(base)[1:], (*NUMBERS, *OTHERS))):
        record = {**json.loads(json.dumps(base)), "event_id": f"visit-{number}"}
        *way, last = path
        place = record
        for key in way:
            place = place[key]
        place[last] = deepcopy(value)
        yield record


def _learned(value: bytes | None) -> None:
    """Read outcomes as the learner does."""
    catalogue = ActionCache(Limits())
    outcomes, _ = outcomes_in(value)
    for outcome in outcomes:
        if outcome.placement == "front" and outcome.learn:
            with contextlib.suppress(BadInput):
                example_of(outcome, catalogue)


class _Logs:
    """Logs in memory, as a trace reads them."""

    def __init__(self, world: World) -> None:
        self._world = world

    async def cluster_id(self) -> str:
        return "cluster"

    async def partitions_of(self, topic: str) -> list[tuple[str, int]]:
        return [(topic, number) for number in await self.partitions(topic)]

    async def partitions(self, topic: str) -> list[int]:
        return [0]

    async def beginning(self, partitions: Collection[Partition]) -> dict[Partition, int]:
        return dict.fromkeys(partitions, 0)

    async def at(self, partitions: Collection[Partition], time_ms: int) -> dict[Partition, int]:
        # Its offsets have holes, so one more than the last one before that time is as good.
        before = {name: [each for each in self._world.of(name[0]) if each.time_ms < time_ms] for name in partitions}
        return {name: each[-1].offset + 1 if each else 0 for name, each in before.items()}

    async def read(self, topic: str, partition: int, start: int, end: int) -> AsyncIterator[LogRecord]:
        for message in self._world.of(topic):
            if start <= message.offset < end:
                yield LogRecord(*message[:4], b"key", message.value, ())

    async def read_since(self, topic: str, time_ms: int, until_ms: int | None = None) -> AsyncIterator[LogRecord]:
        for message in self._world.of(topic):
            if topic != "versions" or message.time_ms >= time_ms:
                yield LogRecord(*message[:4], b"key", message.value, ())


async def _traced(world: World, event_id: str) -> bytes:
    config = Config(**tables({"front": served()}), dedup_horizon_s=60.0)
    tracing = _Tracing(config, cast(LogReader, _Logs(world)), event_id, lambda *_: None)
    return msgspec.json.encode(await tracing.trace(world.watermark_ms, "clicks 0"))


def _failure(world: World, *event_ids: str) -> str | None:
    """Return the error of a reader that fails, None: none does."""
    try:
        _read_by_all(world, *event_ids)
    except Exception as error:
        return repr(error)
    return None


def _read_by_all(world: World, *event_ids: str) -> None:
    for topic in ("decisions", "rewards", "versions"):
        for message in world.of(topic):
            whole = LogRecord(*message[:4], b"key", message.value, ())
            table_of(topic, rows_of(topic, whole))
            published_in(whole, "front", {})
            snapshot_in(message.value, message.offset)
    for message in world.of("rewards"):
        _learned(message.value)
        list(outcome_heads(message.value))
    world.verify()
    for event_id in event_ids or ["visit"]:
        asyncio.run(_traced(world, event_id))


def test_whatever_a_field_holds_no_reader_fails_on_what_the_join_takes() -> None:
    world = _World()
    for number, record in enumerate(every(DECISION)):
        world.append("decisions", number % 3, 1000 + number, record)
    for number, record in enumerate(every(CLICK)):
        world.append("clicks", number % 2, 1000 + number, record)
    published = [*every(VERSION), *every(SNAPSHOT)]
    for number, record in enumerate([*published[::2], *published[1::2]]):
        world.append("versions", 0, 999 if number < len(published) / 2 else 1000, record)
    world.run(100_000)
    assert len(world.outcomes()) > 100
    assert _failure(world, *(outcome.event_id for _, outcome in world.outcomes())) is None


def test_whatever_a_field_of_an_outcome_holds_no_reader_fails_on_it() -> None:
    world = _World()
    world.append("decisions", 0, 1000, DECISION)
    world.append("clicks", 0, 1001, CLICK)
    world.run(21_000)
    ((_, outcome),) = world.outcomes()
    written = list(every(msgspec.json.decode(encode(outcome))))
    for record in written:
        world.append("rewards", 0, 22_000, record)
    names = [record["event_id"] for record in written if isinstance(record["event_id"], str)]
    assert _failure(world, *names[:: len(names) // 100]) is None


@settings(max_examples=EXAMPLES, phases=(Phase.explicit, Phase.generate))
@given(st.data())
def test_what_the_join_takes_no_reader_fails_on(data: st.DataObject) -> None:
    world = _World()
    now = data.draw(TIMES)
    world.append("decisions", 0, now, data.draw(altered(DECISION)))
    world.append("clicks", 0, now + 1, data.draw(altered(CLICK)), data.draw(altered(CLICK)))
    world.append("versions", 0, now - data.draw(st.integers(0, 1)), data.draw(altered(VERSION)))
    world.append("versions", 0, now, data.draw(altered(SNAPSHOT)))
    world.run(now + 20_000)
    assert _failure(world) is None


@settings(max_examples=EXAMPLES, phases=(Phase.explicit, Phase.generate))
@given(st.data())
def test_what_anybody_writes_into_rewards_no_reader_fails_on(data: st.DataObject) -> None:
    world = _World()
    world.append("decisions", 0, 1000, DECISION)
    world.append("clicks", 0, 1001, CLICK)
    world.run(21_000)
    ((_, outcome),) = world.outcomes()
    written = data.draw(altered(msgspec.json.decode(encode(outcome))))
    world.append("rewards", 0, 22_000, written, data.draw(altered(written)))
    assert _failure(world) is None


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["topic", "partition", "offset", "index", "count", "cut-from", "source-key", "source-x"]),
            st.none() | st.binary(max_size=30) | st.sampled_from([b"9" * 5000, b"-1", b"7", b"\xc2\xb2"]),
        )
    )
)
def test_whatever_the_headers_of_a_letter_it_is_read(headers: list[tuple[str, bytes]]) -> None:
    record = LogRecord("dead-letters", 0, 1, 2, None, b"x", headers)
    letter = read_letter(record)
    assert letter.source is None or letter.source.offset < 10**19
    table_of("dead-letters", rows_of("dead-letters", record))


def test_a_version_of_very_many_digits_is_none_of_ours() -> None:
    assert version_number("9" * 5000 + "-00000000") is None
