"""The join on a real broker: three partitions a topic, one never written, one that wakes late, two workers."""

import asyncio
import json
import signal
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from typing import Any

import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewPartitions
from redis.asyncio import Redis

from embedded.servers import EmbeddedKafka, EmbeddedRedis
from records.rule import Reward, StreamReward
from stream.config import Config
from tests.real.loop import WINDOW_MS, Loop, RoleProcess, decision, loop_of, numbered, until
from tests.serving import served, tables

pytestmark = pytest.mark.real

ADDED_WITHIN_S = 60.0
"""Partitions that were added are found within 5 s; then the group has a rebalance, and their windows close."""


@pytest.fixture
def config(kafka: EmbeddedKafka, redis_server: EmbeddedRedis, prefix: str) -> Config:
    reward = Reward(streams={"clicks": StreamReward(weight=1.0)}, close_on=("purchases",))
    return Config(
        brokers=kafka.address,
        redis_url=redis_server.url,
        prefix=prefix,
        shards=2,
        early_s=5.0,
        dedup_horizon_s=60.0,
        session_timeout_s=2.0,
        **tables({"front": served(window_s=1.0, reward=reward)}),
    )


@pytest.fixture
async def loop(config: Config) -> AsyncIterator[Loop]:
    async with loop_of(config) as made:
        yield made


def two_workers(loop: Loop) -> tuple[RoleProcess, RoleProcess]:
    """Start two join workers, which share the partitions."""
    return loop.role("join"), loop.role("join")


def partition_of(number: int, wakes_at: int) -> int:
    """Return where a record goes: partition 0 is never written, partition 2 wakes late."""
    return 1 if number < wakes_at else 1 + number % 2


async def until_log_time(loop: Loop, time_ms: int) -> None:
    """Wait until the broker's clock has passed a time."""

    async def passed() -> bool:
        return await loop.send("ticks", {"v": 1}) > time_ms

    await until(passed)


async def outcomes(loop: Loop) -> list[dict[str, Any]]:
    return await loop.records("rewards")


async def test_feedback_is_joined_in_whatever_partition_it_comes(loop: Loop) -> None:
    """Partition 0 of every topic is never written, partition 2 wakes when the others are done."""
    two_workers(loop)
    # Few messages, so that no window passes meanwhile.
    await loop.send("clicks", *({"event_id": f"e{n}", "id": "early"} for n in range(20)), partition=1)
    await loop.send("decisions", *(decision(f"e{n}") for n in range(20)), partition=1)
    await loop.send("clicks", *({"event_id": f"e{n}", "id": "one"} for n in range(0, 20, 2)), partition=1)
    await loop.send("clicks", *({"event_id": f"e{n}", "id": "one"} for n in range(0, 20, 2)), partition=1)
    await until(lambda: seen(loop, 20))
    await loop.send("decisions", decision("late"), partition=2)
    await loop.send("clicks", {"event_id": "late"}, partition=2)
    joined = await until(lambda: seen(loop, 21))
    rewards = {outcome["event_id"]: outcome["reward"] for outcome in joined}
    assert rewards == {f"e{n}": 2.0 if n % 2 == 0 else 1.0 for n in range(20)} | {"late": 1.0}
    for shard in (0, 1):
        of_shard = numbered(outcome for outcome in joined if outcome["shard"] == shard)
        assert sorted(of_shard) == list(range(1, len(of_shard) + 1))
        assert len({outcome["event_id"] for outcome in of_shard.values()}) == len(of_shard)


async def seen(loop: Loop, count: int) -> list[dict[str, Any]]:
    joined = await outcomes(loop)
    return joined if len({outcome["event_id"] for outcome in joined}) >= count else []


async def test_a_worker_that_slept_past_its_session_repeats_nothing(loop: Loop) -> None:
    """SIGSTOP, a successor takes over, SIGCONT: every write of the sleeper is fenced by the offsets."""
    sleeper, other = two_workers(loop)
    for number in range(30):
        await loop.send("decisions", decision(f"e{number}"), partition=partition_of(number, 20))
    await until(lambda: seen(loop, 30))
    for number in range(30, 60):
        await loop.send("decisions", decision(f"e{number}"), partition=partition_of(number, 20))
        if number == 40:
            sleeper.signal(signal.SIGSTOP)
    await until(lambda: seen(loop, 60))
    sleeper.signal(signal.SIGCONT)
    for number in range(60, 90):
        await loop.send("decisions", decision(f"e{number}"), partition=partition_of(number, 20))
    joined = await until(lambda: seen(loop, 90))
    for shard in (0, 1):
        of_shard = numbered(outcome for outcome in joined if outcome["shard"] == shard)
        assert sorted(of_shard) == list(range(1, len(of_shard) + 1))
    assert sorted({o["event_id"] for o in joined}) == sorted(f"e{number}" for number in range(90))
    assert len({(o["shard"], o["outcome_seq"]) for o in joined}) == 90
    assert sleeper.stop() == other.stop() == 0


async def test_late_unknown_and_unusable_feedback_becomes_dead_letters(loop: Loop) -> None:
    two_workers(loop)
    await loop.send("clicks", {"event_id": "nobody"}, partition=1)
    await loop.send("decisions", decision("e"), partition=1)
    await until(lambda: seen(loop, 1))
    await loop.send("clicks", {"event_id": "e", "id": "late"}, partition=2)
    bad: list[bytes | None] = [
        b"not json",
        b'{"event_id": 7}',
        b'{"event_id": "e", "value": NaN}',
        b'{"event_id": "e", "value": 1e300}',
        b'{"event_id": "e", "value": "high"}',
        b'{"event_id": ""}',
        b'{"event_id": "a\\u0000b"}',
        b'{"value": 1}',
        b"[" * 10_000 + b"]" * 10_000,
        b'{"event_id": ' + b"[" * 10_000 + b"]" * 10_000 + b"}",
        b"\xff\xfe",
        b"[1, ",
        None,
        b'{"v": 2, "event_id": "e"}',
        b'{"event_id": "e", "more": "' + b"x" * 1_000_000 + b'"}',
        b'{"event_id": "' + b"y" * 129 + b'"}',
    ]
    for value in bad:
        await loop.producer.send_and_wait(loop.config.topic("clicks"), value, key=b"e", partition=1)
    await loop.send("clicks", {"event_id": "e2", "value": None}, partition=2)
    await loop.send("decisions", decision("e2"), partition=2)
    joined = await until(lambda: seen(loop, 2))
    assert {outcome["event_id"]: outcome["reward"] for outcome in joined} == {"e": 0.0, "e2": 1.0}
    letters = await until(lambda: dead_letters(loop, len(bad) + 2))
    reasons = [reason for reason, _ in letters]
    assert sorted(reason for reason in reasons if reason in ("late", "unknown_decision")) == [
        "late",
        "unknown_decision",
    ]
    assert sorted(value or b"" for reason, value in letters if reason not in ("late", "unknown_decision")) == sorted(
        value or b"" for value in bad
    )


async def dead_letters(loop: Loop, count: int) -> list[tuple[str, bytes | None]]:
    """Return the reasons and values, once a message: a worker that takes over may send one again."""
    name = loop.config.topic("dead-letters")
    by_place: dict[tuple[bytes, ...], tuple[str, bytes | None]] = {}
    for partition in await loop.reader.partitions(name):
        async for message in loop.reader.read(name, partition, 0):
            headers = dict(message.headers)
            place = tuple(headers[each] for each in ("topic", "partition", "offset", "index"))
            by_place[place] = (headers["reason"].decode(), message.value)
    return list(by_place.values()) if len(by_place) >= count else []


async def test_bad_decisions_become_dead_letters_and_the_join_goes_on(loop: Loop) -> None:
    two_workers(loop)
    good = decision("good")
    bad = [
        good | {"propensity": 0},
        good | {"propensity": 1.5},
        good | {"propensity": -0.1},
        good | {"propensity": 0.4},
        good | {"pmf": [0.5, 0.4]},
        good | {"pmf": [1.0]},
        good | {"chosen": "c"},
        good | {"policy": "Not a name"},
        {name: value for name, value in good.items() if name != "propensity"},
        {name: value for name, value in good.items() if name != "rule"},
        good | {"rule": {"window_s": -1}},
        good | {"rule": {"window_s": 1, "reward": {"streams": {"clicks": {}}}}},
        good | {"rule": {"window_s": 1e6}},
        good | {"rule": {"window_s": 1, "reward": {"clip": [2, 1]}}},
    ]
    await loop.send("decisions", *bad, good, partition=1)
    joined = await until(lambda: seen(loop, 1))
    assert [outcome["event_id"] for outcome in joined] == ["good"]
    assert len(await until(lambda: dead_letters(loop, len(bad)))) == len(bad)
    await loop.send("decisions", decision("late"), partition=2)
    assert await until(lambda: seen(loop, 2))


async def test_a_partition_added_while_running_is_waited_for(loop: Loop) -> None:
    """A window does not close on the strength of the partitions that were known before."""
    two_workers(loop)
    await loop.send("decisions", decision("before"), partition=1)
    await until(lambda: seen(loop, 1))
    admin = AIOKafkaAdminClient(bootstrap_servers=loop.config.brokers)
    await admin.start()
    try:
        for topic in ("clicks", "decisions"):
            await admin.create_partitions({loop.config.topic(topic): NewPartitions(4)})
    finally:
        await admin.close()
    # A producer of its own, which knows the new partitions at once; the workers do not yet.
    writer = AIOKafkaProducer(bootstrap_servers=loop.config.brokers)
    await writer.start()
    try:
        await loop.send("decisions", decision("after"), partition=2)
        # All at once, so that no window passes meanwhile.
        made = {"decisions": [decision(f"n{number}") for number in range(20)]}
        made["clicks"] = [{"event_id": name} for name in ("after", *(f"n{number}" for number in range(20)))]
        for stream, records in made.items():
            sent = (
                writer.send_and_wait(loop.config.topic(stream), json.dumps(each).encode(), partition=3)
                for each in records
            )
            await asyncio.gather(*sent)
    finally:
        await writer.stop()
    joined = await until(lambda: seen(loop, 22), ADDED_WITHIN_S)
    rewards = {outcome["event_id"]: outcome["reward"] for outcome in joined}
    assert rewards == {"before": 0.0, "after": 1.0} | {f"n{number}": 1.0 for number in range(20)}


async def test_markers_of_transactions_hold_nothing_back(loop: Loop) -> None:
    """The log ends in an offset that is no record; the partition is idle all the same."""
    writer = AIOKafkaProducer(bootstrap_servers=loop.config.brokers, transactional_id=loop.config.prefix)
    await writer.start()
    try:
        for number in range(3):
            async with writer.transaction():
                await writer.send_and_wait(
                    loop.config.topic("decisions"), json.dumps(decision(f"e{number}")).encode(), partition=1
                )
                await writer.send_and_wait(
                    loop.config.topic("clicks"), json.dumps({"event_id": f"e{number}"}).encode(), partition=1
                )
    finally:
        await writer.stop()
    two_workers(loop)
    assert await until(lambda: seen(loop, 3))
    await loop.send("decisions", decision("late"), partition=2)
    joined = await until(lambda: seen(loop, 4))
    assert {outcome["event_id"]: outcome["reward"] for outcome in joined} == {
        **{f"e{number}": 1.0 for number in range(3)},
        "late": 0.0,
    }


async def test_downtime_is_not_a_no(loop: Loop) -> None:
    """The join was down while the decision, its window and its click went by."""
    decided_ms = await loop.send("decisions", decision("e"), partition=1)
    await loop.send("clicks", {"event_id": "e"}, partition=2)
    await until_log_time(loop, decided_ms + WINDOW_MS)
    two_workers(loop)
    joined = await until(lambda: seen(loop, 1))
    assert [(outcome["reward"], outcome["why"]) for outcome in joined] == [(1.0, "window")]


async def test_a_redis_that_forgot_is_not_continued(config: Config, own_redis: Callable[..., EmbeddedRedis]) -> None:
    """It waits for a recovery, and closes nothing by what it no longer knows."""
    server = own_redis()
    async with loop_of(replace(config, redis_url=server.url)) as loop:
        workers = two_workers(loop)
        for number in range(5):
            await loop.send("decisions", decision(f"e{number}"), partition=partition_of(number, 3))
        await until(lambda: seen(loop, 5))
        async with Redis.from_url(server.url) as redis:
            await redis.flushall()
        decided_ms = await loop.send("decisions", decision("after"), partition=2)
        # By then its window would have closed, and the log would hold its outcome.
        await until_log_time(loop, decided_ms + WINDOW_MS + 2_000)
        assert len(await outcomes(loop)) == 5
        for worker in workers:
            worker.kill()
        workers = two_workers(loop)
        await until_log_time(loop, decided_ms + WINDOW_MS + 10_000)
        assert len(await outcomes(loop)) == 5
        for worker in workers:
            assert worker.process is not None
            assert worker.process.poll() is None


async def test_other_shards_than_before_are_refused(loop: Loop) -> None:
    workers = two_workers(loop)
    await loop.send("decisions", decision("e"), partition=1)
    await until(lambda: seen(loop, 1))
    await loop.send("decisions", decision("late"), partition=2)
    await until(lambda: seen(loop, 2))
    assert [worker.stop() for worker in workers] == [0, 0]
    other = RoleProcess(replace(loop.config, shards=3), "join").start()
    assert other.process is not None
    assert other.process.wait(120) == 2


@pytest.mark.kill
@pytest.mark.parametrize("victim", ["join", "redis", "kafka"])
async def test_a_kill_loses_and_doubles_nothing(
    config: Config,
    own_kafka: Callable[..., EmbeddedKafka],
    own_redis: Callable[..., EmbeddedRedis],
    victim: str,
) -> None:
    kafka, redis = own_kafka(), own_redis()
    async with loop_of(replace(config, brokers=kafka.address, redis_url=redis.url)) as loop:
        join, _ = two_workers(loop)
        for number in range(120):
            await loop.send("decisions", decision(f"e{number}"), partition=partition_of(number, 40))
            await loop.send("clicks", {"event_id": f"e{number}"}, partition=partition_of(number + 1, 80))
            if number == 60:
                await until(lambda: seen(loop, 1))
                if victim == "join":
                    join.kill()
                    join.start()
                elif victim == "redis":
                    redis.kill()
                    redis.restart()
                else:
                    kafka.kill()
                    kafka.restart()
        joined = await until(lambda: seen(loop, 120))
        for shard in (0, 1):
            of_shard = numbered(outcome for outcome in joined if outcome["shard"] == shard)
            assert sorted(of_shard) == list(range(1, len(of_shard) + 1))
        assert {outcome["event_id"]: outcome["reward"] for outcome in joined} == {f"e{n}": 1.0 for n in range(120)}


async def test_what_is_no_record_in_the_loops_own_topics_stops_nothing(loop: Loop) -> None:
    for topic in ("versions", "rewards", "ticks"):
        deep = b"[" * (100 if topic == "ticks" else 5_000)
        for value in (b"\xff", b'{"policy": "\xff", "number": 1}', deep, b"[1, 2]", b"null"):
            await loop.producer.send_and_wait(loop.config.topic(topic), value, partition=0)
    roles = [*two_workers(loop), loop.role("learn")]
    await loop.send("decisions", decision("e"), partition=1)
    assert await until(lambda: written(loop, "e"))
    await loop.send("decisions", decision("late"), partition=2)
    assert await until(lambda: written(loop, "late"))
    assert await until(lambda: dead_letters(loop, 4))
    assert [role.stop() for role in roles] == [0, 0, 0]


async def written(loop: Loop, event_id: str) -> bool:
    """Tell whether ``rewards`` holds the outcome of a decision, whatever else it holds."""
    name = loop.config.topic("rewards")
    return any(
        [
            f'"event_id":"{event_id}"'.encode() in (message.value or b"")
            async for message in loop.reader.read(name, 0, 0)
        ]
    )
