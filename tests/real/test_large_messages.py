"""Arrays of very many items cost about what their bytes cost, and hold nothing else up."""

import asyncio
import json
import time
from pathlib import Path
from typing import Any

from embedded.servers import EmbeddedKafka, EmbeddedRedis
from records.limits import ACTION_BYTES, ITEMS_LIMIT, RECORD_DEPTH
from records.rule import Reward, StreamReward
from stream.config import Config
from stream.kafka.dead_letter_log import Letter, letters
from tests.real.asking import caller_of, request
from tests.real.loop import Loop, decision, loop_of, until
from tests.serving import Served, served, tables

ZEROS = b"[" + b",".join([b"0"] * 450_000) + b"]"
MOST_ZEROS = b"[" + b",".join([b"0"] * ITEMS_LIMIT) + b"]"
CLICKS = Reward(streams={"clicks": StreamReward(weight=1.0)})
WITHIN_S = 60.0
MEMORY_KB = 500_000


def configured(kafka: EmbeddedKafka, server: EmbeddedRedis, prefix: str, front: Served, **settings: Any) -> Config:
    common = {"brokers": kafka.address, "redis_url": server.url, "prefix": prefix, "partitions": 1}
    return Config(**common, request_ttl_ms=60_000, **settings, **tables({"front": front}))  # type: ignore[arg-type]


async def _send(loop: Loop, topic: str, value: bytes) -> None:
    await loop.producer.send_and_wait(loop.config.topic(topic), value, partition=0)


def _most_memory_kb(pid: int) -> int:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))


async def test_arrays_of_very_many_items_hold_nothing_up(
    kafka: EmbeddedKafka, redis_server: EmbeddedRedis, prefix: str
) -> None:
    """450,000 zeros in 900 kB, and 30 arrays of as many as are allowed."""
    front = served(window_s=1.0, reward=CLICKS)
    config = configured(kafka, redis_server, prefix, front, early_s=1.0, session_timeout_s=3.0)
    async with loop_of(config) as loop, caller_of(config) as caller:
        workers = [loop.role("join"), loop.role("join"), loop.role("decide")]
        await loop.send("decisions", decision("before"), partition=0)
        await until(lambda: _outcome(loop, "before"))
        for _ in range(3):
            await _send(loop, "clicks", ZEROS)
        for _ in range(30):
            await _send(loop, "clicks", MOST_ZEROS)
        asked = await caller.send(ZEROS, partition=0)
        await loop.send("decisions", decision("after"), partition=0)
        await loop.send("clicks", {"event_id": "after"}, partition=0)
        since = time.monotonic()
        assert (await until(lambda: _outcome(loop, "after"), WITHIN_S))["reward"] == 1.0
        assert (await caller.reply(asked))["error"]["code"] == "too_many_items"
        assert "chosen" in await caller.ask(request("e1"), partition=0)
        assert time.monotonic() - since < WITHIN_S
        buried = await until(lambda: _letters(loop, 34))
        counts = sorted((letter.reason, dict(letter.headers).get("count")) for letter in buried)
        assert [reason for reason, _ in counts].count("too_many_items") == 4
        whole = [letter for letter in buried if letter.reason == "too_many_items"]
        assert {letter.value for letter in whole} == {ZEROS}
        assert all("450000" in letter.message for letter in whole)
        rest = [letter for letter in buried if letter.reason != "too_many_items"]
        assert [len(json.loads(letter.value or b"")) for letter in rest] == [ITEMS_LIMIT] * 30
        for worker in workers:
            assert worker.process is not None
            assert worker.process.poll() is None
            assert _most_memory_kb(worker.process.pid) < MEMORY_KB


async def test_what_is_nested_deeply_and_what_is_said_often_stops_nobody(
    kafka: EmbeddedKafka, redis_server: EmbeddedRedis, prefix: str
) -> None:
    """Unknown fields as deep as one reader could still read and another not; all feedback that a decision may have."""
    front = served("vw", "--cb_explore_adf -b 10", window_s=4.0, reward=CLICKS)
    config = configured(kafka, redis_server, prefix, front, early_s=5.0, shards=1)
    depths = (RECORD_DEPTH, RECORD_DEPTH + 1, 950, 960, 966, 967, 968, 980)
    async with loop_of(config) as loop, caller_of(config) as caller:
        for role in ("decide", "join", "learn"):
            loop.role(role)
        asked = [await caller.send(_with_deep(request(f"deep-{depth}"), depth), partition=0) for depth in depths]
        replies = [await caller.reply(each) for each in asked]
        assert [reply.get("error", {}).get("code") for reply in replies] == [None, *["too_deep"] * 7]
        await caller.ask(request("often"), partition=0)
        for depth in depths:
            await _send(loop, "clicks", _with_deep({"event_id": f"deep-{depths[0]}"}, depth))
        often = {"event_id": "often", "action": "\u00e9" * (ACTION_BYTES // 2 - 1), "x": "x" * 1000}
        for part in range(10):
            await _send(loop, "clicks", json.dumps([often | {"id": f"{part}-{each}"} for each in range(100)]).encode())
        assert (await until(lambda: _outcome(loop, f"deep-{depths[0]}"), WITHIN_S))["reward"] == 1.0
        assert len((await until(lambda: _outcome(loop, "often"), WITHIN_S))["feedback"]) == 1000
        await caller.ask(request("after"), partition=0)
        await loop.send("clicks", {"event_id": "after"}, partition=0)
        last = await until(lambda: _outcome(loop, "after"), WITHIN_S)
        await until(lambda: _learned(loop, last["outcome_seq"]), WITHIN_S)


def _with_deep(record: dict[str, Any], depth: int) -> bytes:
    """Return a record with an unknown field, so that it is as deep."""
    return json.dumps(record)[:-1].encode() + b', "x": ' + b"[" * (depth - 1) + b"]" * (depth - 1) + b"}"


async def _learned(loop: Loop, outcome_seq: int) -> bool:
    return any(
        outcome_seq <= seq
        for version in await loop.records("versions")
        for seq in version.get("last_seqs", {}).values()
    )


async def _outcome(loop: Loop, event_id: str) -> Any:
    return next((each for each in await loop.records("rewards") if each["event_id"] == event_id), None)


async def _letters(loop: Loop, count: int) -> list[Letter]:
    """Return the letters, once a message: a worker that takes over may send one again."""
    by_source = {letter.source: letter async for letter in letters(loop.config, loop.reader)}
    await asyncio.sleep(0)
    return list(by_source.values()) if len(by_source) >= count else []
