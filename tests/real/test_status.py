"""What `bowerbird status` shows of a loop on real servers, and what it says is wrong."""

import asyncio
import json
import re
import signal
import socket
import sys
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
import pytest
import tomli_w
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from redis.asyncio import Redis

from bowerbird.commands.status import lines
from bowerbird.status.alarms import alarms, notes
from bowerbird.status.observer import Observer
from bowerbird.status.records import Backlog, Status
from embedded.servers import EmbeddedKafka, EmbeddedRedis
from policies.controls import FREEZE
from records.rule import Reward, StreamReward
from stream.config import Config
from stream.controls import operator_session
from stream.kafka.newest_messages import NewestMessages
from stream.role import ROLES
from tests.real.loop import Loop, decision, delete, loop_of, until
from tests.real.test_commands import bowerbird, run_json
from tests.real.test_learn import append, saved_up_to
from tests.serving import served, split, tables

REWARD = Reward(close_on=("clicks",), streams={"clicks": StreamReward(weight=1.0)})
FRONT = served(kind="vw", arguments="--cb_explore_adf --epsilon 0.1", window_s=0.5, publish_ms=100, reward=REWARD)


@pytest.fixture
def config(kafka: EmbeddedKafka, redis_server: EmbeddedRedis, prefix: str) -> Config:
    return Config(
        brokers=kafka.address,
        redis_url=redis_server.url,
        prefix=prefix,
        session_timeout_s=2.0,
        request_ttl_ms=60_000,
        **tables(
            {
                "front": FRONT,
                "idle": FRONT.but(kind="uniform", arguments=""),
                "slow": served(window_s=300),
            }
        ),
    )


@pytest.fixture
async def loop(config: Config) -> AsyncIterator[Loop]:
    async with loop_of(config) as made:
        yield made


def policy(status: Status, name: str = "front") -> Any:
    return next(each for each in status.policies if each.name == name)


def backlog(status: Status, role: str) -> Backlog:
    return next(each for each in status.backlogs if each.role == role)


async def test_a_loop_that_learns_and_what_is_wrong_when_its_parts_die(loop: Loop, config: Config) -> None:
    roles = {name: loop.role(name) for name in ("decide", "join", "learn")}
    for number in range(20):
        request = {"event_id": f"v{number}", "placement": "front", "actions": [{"id": "a"}, {"id": "b"}]}
        await loop.send("decision-requests", request, partition=number % 3)
        if number % 4 == 0:
            await loop.send("clicks", {"event_id": f"v{number}", "id": "1"}, partition=0)
    await loop.send("clicks", {"event_id": 7}, partition=0)
    slow = {"placement": "slow", "actions": [{"id": "a"}]}
    await loop.send("decision-requests", slow, partition=0)
    await loop.send("decision-requests", slow, partition=0)
    async with Observer(config) as observer:

        async def well() -> Status | None:
            status = await observer.look()
            # What was learned may have been looked at after what was joined.
            caught_up = policy(status).examples == policy(status).outcomes == 20
            done = (
                caught_up and policy(status, "slow").pending == 2 and all(one.workers == 1 for one in status.backlogs)
            )
            return status if done and not alarms(config, status) else None

        status: Status = await until(well)
        front, idle = policy(status), policy(status, "idle")
        assert (front.decisions, front.outcomes, front.joined, front.learnable) == (20, 20, 5, 20)
        assert front.reward == pytest.approx(0.25)
        assert front.why == {"window": 15, "early": 5}
        assert sum(front.by_version.values()) == 20
        assert (front.by, front.control, front.pending) == ("learning", None, 0)
        assert (idle.version, idle.decisions, idle.reward, idle.by) == ("0", 0, None, "arguments")
        assert status.dead_letters == {"invalid_field of clicks": 1}
        assert "dead-letters list" in notes(config, status)[-1]
        closes_ms = policy(status, "slow").closes_ms
        assert closes_ms is not None
        assert 0 < closes_ms - status.now_ms <= 300_000
        assert any("slow waits for its windows: the first closes in" in note for note in notes(config, status))
        assert front.closes_ms is None
        assert any("slow: waits for windows" in line for line in lines(config, status))
        assert status.now_ms - status.watermarks[0].watermark_ms < 30_000

        async with operator_session(config, "front") as at:
            await at.control(FREEZE, 0)
        status = await observer.look()
        assert (policy(status).control, policy(status).by) == ("freeze", "freeze")
        assert "policy unfreeze front" in notes(config, status)[0]

        roles["join"].kill()
        roles["decide"].kill()
        for number in range(5):
            await loop.send("decision-requests", {"placement": "front"}, partition=number % 3)

        async def alarmed() -> Status | None:
            status = await observer.look()
            return status if len(alarms(config, status)) == 2 else None

        status = await until(alarmed)
        assert [sentence.split(".")[0] for sentence in alarms(config, status)] == [
            "No worker runs the role decide",
            "No worker runs the role join",
        ]
        assert backlog(status, "decide").messages == 5
        assert backlog(status, "decide").topic == "decision-requests"


async def test_a_learner_that_stands_still_is_told(loop: Loop, config: Config) -> None:
    """It is there, and a jump of the seqs has stopped it; what was aborted before is no backlog."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    loop.config = replace(config, metrics_port=port - ROLES.index("learn"))
    loop.role("learn")
    redis = Redis.from_url(config.redis_url)
    try:
        await append(loop, 1, 10)
        await saved_up_to(loop, redis, 10)
    finally:
        await redis.aclose()
    await abort(config, "rewards", 3)
    async with Observer(config) as observer:

        async def nothing_left() -> bool:
            return backlog(await observer.look(), "learn").messages == 0 and await learn_lag(port) == 0

        await until(nothing_left)
        await append(loop, 15, 20)
        await until(lambda: something_left(observer))

        async def waits() -> Status | None:
            status = await observer.look()
            return status if policy(status).waiting_since_ms is not None else None

        status: Status = await until(waits)
        assert not any("does not learn" in sentence for sentence in alarms(config, status))
        # Once the learner has said that it stands still, its own sentence is what is to be done.
        sentences = ("front does not learn", "learn stands still: policy front")

        async def alarmed() -> bool:
            status = await observer.look()
            later = msgspec.structs.replace(status, now_ms=status.now_ms + 20_000)
            return any(sentence in each for sentence in sentences for each in alarms(config, later))

        await until(alarmed)


async def abort(config: Config, topic: str, count: int) -> None:
    """Append messages in a transaction that is aborted: they take offsets, and nobody reads them."""
    async with AIOKafkaProducer(bootstrap_servers=config.brokers, transactional_id=config.topic("other")) as other:
        await other.begin_transaction()
        for _ in range(count):
            await other.send_and_wait(config.topic(topic), b"{}", partition=config.rewards_partition("front"))
        await other.abort_transaction()


async def learn_lag(port: int) -> float | None:
    """Return how far the learner is behind, by its metrics."""
    async with aiohttp.ClientSession() as http, http.get(f"http://127.0.0.1:{port}/metrics") as answer:
        lags = re.findall(r'^bowerbird_input_lag\{.*role="learn".*\} (\S+)$', await answer.text(), re.MULTILINE)
    return float(lags[0]) if lags else None


async def something_left(observer: Observer) -> bool:
    behind = backlog(await observer.look(), "learn")
    return behind.topic == "rewards" and behind.messages > 0


async def test_what_a_policy_cannot_learn_is_an_alarm_and_fails_the_check(
    loop: Loop, config: Config, tmp_path: Path
) -> None:
    """Its arguments cross nothing, so the user who is sent with each request changes no decision."""
    await loop.send("decisions", *(decision(f"v{number}") for number in range(20)), partition=0)
    async with Observer(config) as observer:
        status = await observer.look()
    assert [symptom.reason for symptom in policy(status).symptoms] == ["sent_not_used"]
    assert any("namespace user" in sentence for sentence in alarms(config, status))
    file = tmp_path / "bowerbird.toml"
    front = {"kind": "vw", "arguments": FRONT.policy.arguments}
    servers = {"brokers": config.brokers, "redis_url": config.redis_url, "prefix": config.prefix}
    file.write_text(tomli_w.dumps({**servers, "policies": {"front": front}, "placements": {"front": {}}}))
    report = await run_json("check", file=file, code=1)
    (learning,) = [each for each in report["findings"] if each["subject"] == "learning front"]
    assert not learning["holds"]
    assert "`-q uA`" in learning["remedy"]


async def test_however_much_there_is_a_look_is_bounded(loop: Loop, config: Config) -> None:
    name = config.topic("clicks")
    for number in range(50):
        await loop.send("clicks", {"event_id": str(number)}, partition=1)
    await loop.send("clicks", {"event_id": "other"}, partition=0)
    async with NewestMessages(config, loop.reader, [name, config.topic("missing")], most=10) as recent:
        looked = await recent.look(0)
        assert [json.loads(record.value or b"")["event_id"] for record in looked.records if record.partition] == [
            str(number) for number in range(40, 50)
        ]
        assert looked.skipped == {(name, 1)}
        assert await recent.look(0) == ([], set())
        time_ms = await loop.send("clicks", {"event_id": "new"}, partition=1)
        looked = await recent.look(0)
        assert [record.value for record in looked.records] == [b'{"event_id": "new"}']
    async with NewestMessages(config, loop.reader, [name], most=100) as recent:
        looked = await recent.look(time_ms)
        assert {record.time_ms >= time_ms for record in looked.records} == {True}
        assert [record.value for record in looked.records] == [b'{"event_id": "new"}']


async def test_requests_that_wait_and_a_stranger_in_a_group_are_seen(
    loop: Loop, config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    await loop.send("decision-requests", {"event_id": "a", "placement": "front", "actions": [{"id": "x"}]})
    async with (
        AIOKafkaConsumer(
            config.topic("clicks"), bootstrap_servers=config.brokers, group_id=config.group("join"), client_id="other"
        ) as stranger,
        Observer(config) as observer,
    ):
        await stranger.seek_to_end()
        backlogs = {each.role: each for each in (await observer.look()).backlogs}
        assert (backlogs["join"].workers, backlogs["join"].strangers) == (0, ("other",))
        assert not backlogs["decide"].late
        monkeypatch.setattr("bowerbird.status.observer.WAITED_MS", 0)
        await asyncio.sleep(0.1)
        backlogs = {each.role: each for each in (await observer.look()).backlogs}
        assert (backlogs["decide"].late, backlogs["join"].late) == (True, False)


async def test_the_command_tells_what_to_do_and_exits_with_1(loop: Loop, config: Config, tmp_path: Path) -> None:
    file = tmp_path / "bowerbird.toml"
    servers = {"brokers": config.brokers, "redis_url": config.redis_url, "prefix": config.prefix}
    file.write_text(tomli_w.dumps({**servers, **split({"front": {"kind": "uniform"}})}))
    shown = await run_json("status", file=file, code=1)
    assert len(shown["alarms"]) == 3
    assert [backlog["workers"] for backlog in shown["backlogs"]] == [0, 0, 0]
    watching = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "bowerbird", "status", "--watch", "--config", str(file)), stdout=asyncio.subprocess.PIPE
    )
    assert watching.stdout is not None
    try:
        line = await asyncio.wait_for(watching.stdout.readline(), 120)
    finally:
        watching.send_signal(signal.SIGINT)
        await watching.wait()
    assert "front: nothing to learn, version 0, 0 decisions" in line.decode()
    code, output = await bowerbird("status", file=file)
    assert code == 1
    assert "Start `bowerbird worker --roles learn`" in output

    await delete(loop, "dead-letters")
    await delete(loop, "ticks")
    async with Redis.from_url(config.redis_url) as redis:
        # Less than it uses: it answers, and takes nothing.
        await redis.config_set("maxmemory", "1kb")
        try:
            shown = await run_json("status", file=file, code=1)
        finally:
            await redis.config_set("maxmemory", "0")
    missing, full = shown["alarms"][:2]
    gone = ", ".join(map(config.topic, ("ticks", "dead-letters")))
    assert missing == f"Topics {gone} are missing. Run `bowerbird topics create`."
    assert full.startswith("Redis is full")


async def test_a_redis_that_closes_idle_connections_is_asked_again(config: Config, loop: Loop) -> None:
    async with Redis.from_url(config.redis_url) as redis, Observer(config) as observer:
        await observer.look()
        await redis.config_set("timeout", 1)
        try:
            # As a command does that computes meanwhile: the event loop does not hear that it was closed.
            time.sleep(3.5)
            await observer.look()
        finally:
            async with Redis.from_url(config.redis_url) as again:
                await again.config_set("timeout", 0)
