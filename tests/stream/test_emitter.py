"""The emitter over a store in memory: what leaves it in one turn."""

import asyncio
import json
from typing import Any, cast

import pytest

from records.errors import LossDetected
from rewards.memory_store import MemoryStore
from rewards.store import DEAD_LETTERS, ClosedWindow, Unusable
from stream import stopped
from stream.config import Config
from stream.redis.spoilt import unreadable
from stream.roles.outbox import LETTER_HEADS, Emitter
from tests.laws.test_store import TTL_MS, Reader, decided, happened
from tests.real.loop import decision
from tests.serving import served, tables


class _OneByOne(MemoryStore):
    """A store whose entries are so large that each is a head of its own."""

    needed = False
    redis: Any = None

    def key(self, shard: int, name: str) -> str:
        return name

    async def lease(self, shard: int, owner: str) -> bool:
        return True

    async def need_recovery(self, shard: int) -> None:
        self.needed = True

    async def head(
        self, shard: int, outbox: str, limit: int, limit_bytes: int = 1
    ) -> list[ClosedWindow] | list[Unusable]:
        return await super().head(shard, outbox, limit, 1)


class _Producer:
    def __init__(self) -> None:
        self.sent: list[list[str]] = []

    async def send_and_wait(self, topic: str, value: bytes, **_: Any) -> None:
        self.sent.append([outcome["event_id"] for outcome in json.loads(value)])


class _Log:
    """What ``rewards`` holds of the one outbox."""

    def __init__(self, last_seq: int | None = 0) -> None:
        self.last = last_seq

    async def last_seq(self, placement: str, shard: int, wanted: int) -> int | None:
        return self.last


def emitter_of(store: _OneByOne, producer: _Producer, log: _Log | None = None) -> Emitter:
    config = Config(**tables({"front": served()}))
    return Emitter(cast(Any, store), cast(Any, producer), cast(Any, None), cast(Any, log or _Log()), config)


async def store_with(*event_ids: str) -> _OneByOne:
    store = _OneByOne()
    reader = Reader(store)
    bodies = {event_id: json.dumps(decision(event_id)).encode() for event_id in event_ids}
    await reader.apply(*(decided(event_id, 0, at, body=body) for at, (event_id, body) in enumerate(bodies.items())))
    await reader.advance_to(TTL_MS)
    return store


@pytest.mark.parametrize(("in_log", "sent"), [(0, []), (1, []), (2, [["c"]]), (7, [["c"]]), (None, [["c"]])])
async def test_an_outcome_does_not_leave_before_those_with_lower_seqs(
    in_log: int | None, sent: list[list[str]]
) -> None:
    """Somebody has deleted the outcomes of a and b from Redis, or another worker has brought them into the log."""
    store, producer = await store_with("a", "b", "c"), _Producer()
    await store.trim(0, "front", 2)
    emitter = emitter_of(store, producer, _Log(in_log))
    if sent:
        await emitter._empty(0, "front", 3)
    else:
        with pytest.raises(
            LossDetected, match=f"found seq 3, expected seq {in_log + 1 if in_log else 1}, which rewards"
        ):
            await emitter._empty(0, "front", 3)
    assert producer.sent == sent
    assert store.needed == (not sent)


async def test_a_hole_within_an_outbox_stops_the_shard() -> None:
    store, producer = await store_with("a", "b", "c"), _Producer()
    windows = cast(list[ClosedWindow], await MemoryStore.head(store, 0, "front", 9))
    with pytest.raises(LossDetected, match="found 2 seqs from 1 to 3, expected all seqs between"):
        await emitter_of(store, producer)._emit(0, "front", [windows[0], windows[2]])
    assert store.needed
    assert not producer.sent


async def test_large_outcomes_leave_in_small_heads_and_in_one_turn() -> None:
    store, producer = _OneByOne(), _Producer()
    reader = Reader(store)
    bodies = {event_id: json.dumps(decision(event_id)).encode() for event_id in "abc"}
    await reader.apply(*(decided(event_id, 0, at, body=body) for at, (event_id, body) in enumerate(bodies.items())))
    await reader.advance_to(TTL_MS)
    emitter = emitter_of(store, producer)
    await emitter._empty(0, "front", (await store.outboxes(0))["front"])
    assert producer.sent == [["a"], ["b"], ["c"]]
    assert await reader.closed() == []


class _Buried:
    """Takes dead letters, and counts them."""

    def __init__(self) -> None:
        self.count = 0

    async def send(self, *letters: Any) -> None:
        self.count += len(letters)


async def test_a_flood_of_dead_letters_leaves_in_several_turns() -> None:
    """So that an outcome waits for no more than one of them."""
    store, buried = _OneByOne(), _Buried()
    reader = Reader(store)
    await reader.apply(*(happened("nobody", 0, number) for number in range(LETTER_HEADS + 3)))
    await reader.advance_to(TTL_MS)
    config = Config(**tables({"front": served()}))
    emitter = Emitter(cast(Any, store), cast(Any, None), cast(Any, buried), cast(Any, _Log()), config)
    for left in (3, 0):
        emitter._wake[0].clear()
        await emitter._empty(0, DEAD_LETTERS, (await store.outboxes(0))[DEAD_LETTERS])
        assert buried.count == LETTER_HEADS + 3 - left
        assert emitter._wake[0].is_set() == (left > 0)


class _Spoilt(_OneByOne):
    """A store whose outbox somebody else has written."""

    async def head(
        self, shard: int, outbox: str, limit: int, limit_bytes: int = 1
    ) -> list[ClosedWindow] | list[Unusable]:
        raise unreadable(outbox)


async def emitted(store: _OneByOne) -> tuple[str, bool]:
    """Return what an emitter says of shard 0, and whether the shard waits for a recovery."""
    running = asyncio.create_task(emitter_of(store, _Producer()).run(0))
    try:
        async with asyncio.timeout(5):
            while not (said := stopped.stopped_parts("join")):
                await asyncio.sleep(0.01)
        return said["outcomes of shard 0"], store.needed
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        stopped.go_on("join")


@pytest.mark.parametrize("body", [b"{}", b"no JSON", b"\xff", b"[1]"])
async def test_a_body_that_the_join_has_not_written_stops_the_shard_with_a_sentence(body: bytes) -> None:
    store = _OneByOne()
    reader = Reader(store)
    await reader.apply(decided("a", 0, body=body))
    await reader.advance_to(TTL_MS)
    sentence, needed = await emitted(store)
    assert "outbox:front in Redis: found what cannot be read" in sentence
    assert "`bowerbird recover`" in sentence
    assert needed


async def test_an_outbox_that_cannot_be_read_stops_the_shard_with_a_sentence() -> None:
    store = _Spoilt()
    await Reader(store).apply(decided("a", 0))
    await Reader(store).advance_to(TTL_MS)
    sentence, needed = await emitted(store)
    assert "`bowerbird recover`" in sentence
    assert needed
