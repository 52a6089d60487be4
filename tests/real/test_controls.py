"""Freeze, uniform, unfreeze and rebuild on real servers: every worker hears of it, and all of it can be proved."""

import asyncio
import json
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import tomli_w
from aiokafka.admin import AIOKafkaAdminClient, RecordsToDelete
from aiokafka.structs import TopicPartition
from redis.asyncio import Redis

from archive.reader import Archive
from bowerbird.recovery.logs import LogAccess
from bowerbird.recovery.rebuild import rebuild
from bowerbird.settings import load
from bowerbird.verification import verify_decision
from embedded.servers import EmbeddedKafka, EmbeddedRedis
from policies.controls import FREEZE, UNFREEZE, UNIFORM
from records.errors import StateRefused
from stream.config import ArchiveConfig, Config
from stream.controls import operator_session
from stream.redis.policy_store import RedisPolicyStore, policy_key
from tests.real.loop import Loop, loop_of, until
from tests.real.test_commands import bowerbird, run_json
from tests.real.test_learn import append, saved_up_to, versions
from tests.serving import split

ACTS_WITHIN_S = 30.0
"""Two seconds, but for machines on which others compute."""


@pytest.fixture
def file(kafka: EmbeddedKafka, redis_server: EmbeddedRedis, prefix: str, tmp_path: Path) -> Path:
    settings = {
        "brokers": kafka.address,
        "redis_url": redis_server.url,
        "prefix": prefix,
        "session_timeout_s": 2.0,
        "request_ttl_ms": 60_000,
        **split(
            {
                "front": {
                    "kind": "vw",
                    "arguments": "--cb_explore_adf --epsilon 0.1 -q uA",
                    "window_s": 1.5,
                    "publish_ms": 100,
                    "reward": {"close_on": ["clicks"], "streams": {"clicks": {"weight": 1.0}}},
                }
            }
        ),
    }
    made = tmp_path / "bowerbird.toml"
    made.write_text(tomli_w.dumps(settings))
    return made


@pytest.fixture
def config(file: Path) -> Config:
    return load(file, {})


@pytest.fixture
async def loop(config: Config) -> AsyncIterator[Loop]:
    async with loop_of(config) as made:
        yield made


@pytest.fixture
async def redis(config: Config) -> AsyncIterator[Redis]:
    client = Redis.from_url(config.redis_url)
    yield client
    await client.aclose()


class Visits:
    """People who come, and click what is called "good"."""

    def __init__(self, loop: Loop) -> None:
        self.loop, self.count = loop, 0

    async def come(self, number: int, *, click: bool = True) -> list[dict[str, Any]]:
        """Let some come, and return their decisions, in their order."""
        names = [f"visit-{self.count + one}" for one in range(number)]
        self.count += number
        actions = [{"id": "good", "features": {"a": 1}}, {"id": "bad", "features": {"b": 1}}]
        for place, name in enumerate(names):
            request = {"event_id": name, "placement": "front", "context": {"u": {"x": 1}}, "actions": actions}
            await self.loop.send("decision-requests", request, partition=place % 3)

        async def decided() -> list[dict[str, Any]]:
            by_id = {one["event_id"]: one for one in await self.loop.records("decisions")}
            return [by_id[name] for name in names] if set(names) <= set(by_id) else []

        decisions: list[dict[str, Any]] = await until(decided)
        for decision in decisions:
            if click and decision["chosen"] == "good":
                await self.loop.send("clicks", {"event_id": decision["event_id"], "id": "1"}, partition=0)
        return decisions

    async def closed(self) -> None:
        """Wait until everybody's window has closed, and the learner has passed it."""
        store_of = Redis.from_url(self.loop.config.redis_url)
        try:
            store = RedisPolicyStore(store_of, self.loop.config)

            async def there() -> bool:
                saved = await store.read("front", model=False)
                return saved is not None and saved.position.last_seqs.get("front/0") == self.count

            await until(there)
        finally:
            await store_of.aclose()


async def test_freeze_uniform_rebuild_and_unfreeze_from_the_first_to_the_last_proof(
    loop: Loop, config: Config, file: Path
) -> None:
    """A poisoned stream: learn, freeze, decide uniformly, take back, go on; every decision and version is proved."""
    for role in ("decide", "decide", "join", "learn"):
        loop.role(role)
    visits = Visits(loop)
    await visits.come(30)
    await visits.closed()
    before = (await versions(loop))[-1]
    assert before["examples"] == 30
    clean_until_ms = time.time_ns() // 1_000_000
    await visits.come(10, click=False)
    await visits.closed()

    frozen = await run_json("policy", "freeze", "front", file=file)
    assert frozen["changed"]
    assert frozen["control"] == "freeze"
    await decided_by(visits, frozen["version"])
    await visits.closed()
    assert ((await versions(loop))[-1]["version"], frozen["examples"]) == (frozen["version"], 40)

    uniform = await run_json("policy", "uniform", "front", file=file)
    decision = await decided_by(visits, uniform["version"])
    assert decision["pmf"] == [0.5, 0.5]
    assert uniform["digest"] == frozen["digest"]
    (proved,) = await verify_decision(config, decision["event_id"])
    assert proved.ok, proved.reason

    moment = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(clean_until_ms // 1000)) + f".{clean_until_ms % 1000:03d}"
    rebuilt = await run_json("policy", "rebuild", "front", "--until", moment, "--yes", file=file)
    assert rebuilt["examples"] == 30
    assert rebuilt["differing"] == []
    assert rebuilt["digest"] == before["digest"]
    assert rebuilt["shape"] == uniform["shape"], "a rebuild does not end a control"
    assert (await decided_by(visits, rebuilt["version"]))["pmf"] == [0.5, 0.5]

    unfrozen = await run_json("policy", "unfreeze", "front", file=file)
    assert unfrozen["digest"] == rebuilt["digest"]
    decision = await decided_by(visits, unfrozen["version"])
    assert decision["pmf"] != [0.5, 0.5]
    await visits.come(10)
    await visits.closed()

    verdict = await run_json("verify", "front", file=file)
    assert verdict["ok"], verdict["findings"]
    assert verdict["held"] > 0
    assert verdict["taken_back"] == 10
    assert verdict["learned"] + verdict["held"] + verdict["taken_back"] == visits.count
    shown = await run_json("policy", "show", "front", file=file)
    by = [version["by"] for version in reversed(shown["versions"]) if version["by"] != "learning"]
    assert by == ["freeze", "uniform", "rebuild", "unfreeze"]
    (proved,) = await verify_decision(config, decision["event_id"])
    assert proved.ok, proved.reason


async def decided_by(visits: Visits, version: str) -> dict[str, Any]:
    """Let people come until every partition's are decided by a version, and return the last decision."""
    deadline = time.monotonic() + ACTS_WITHIN_S
    while True:
        late = time.monotonic() > deadline
        decisions = await visits.come(3)
        if all(decision["policy_version"] == version for decision in decisions):
            return decisions[-1]
        assert not late, [decision["policy_version"] for decision in decisions]


async def test_two_operators_at_once_and_a_learner_that_goes_on(loop: Loop, config: Config, redis: Redis) -> None:
    """Freezes and unfreezes while the learner publishes: one chain of versions, and it is a replay of the log."""
    loop.role("learn")

    async def operate(number: int) -> None:
        async with operator_session(config, "front") as at:
            for wanted in (FREEZE, UNFREEZE, UNIFORM, UNFREEZE):
                await at.control(wanted, number)

    async def feed() -> None:
        for begin in range(1, 400, 20):
            await append(loop, begin, begin + 19)

    await asyncio.gather(feed(), operate(1), operate(2))
    await append(loop, 401, 410)
    await saved_up_to(loop, redis, 410)
    await assert_proved(config)
    assert {version["control"] for version in await versions(loop)} >= {"unfreeze"}


async def assert_proved(config: Config) -> None:
    """Law 4, by the replay that goes through controls."""
    from replay.proof.rebuild import Rebuild
    from stream.config import identity_in
    from stream.kafka.log import LogReader
    from stream.redis.saved_policies import versions_of

    chain = list(reversed(await versions_of(config, "front", 10_000, None)))
    rebuild = Rebuild("front", identity_in(config, "front"), chain)
    names = []
    async with LogReader(config) as reader:
        async for message in reader.read(config.topic("rewards"), 0, 0):
            names += [each.name for each in rebuild.until(message.offset)]
            rebuild.learn(message)
    names += [each.name for each in rebuild.until(chain[-1].cut)]
    assert names == [version.version for version in chain]


async def test_a_rebuild_beside_a_learner_that_publishes(loop: Loop, config: Config, redis: Redis) -> None:
    """It catches up with the learner, which then goes on from the rebuilt version."""
    loop.role("learn")
    await append(loop, 1, 100)
    await saved_up_to(loop, redis, 100)

    async def feed() -> None:
        for begin in range(101, 400, 10):
            await append(loop, begin, begin + 9)

    _, done = await asyncio.gather(feed(), rebuild(config, "front", 0))
    assert done.differing == []
    assert done.version.rebuilt_to == done.version.cut
    assert (await saved_up_to(loop, redis, 400)).position.examples == 400
    await assert_proved(config)


@pytest.mark.parametrize("lost", ["everything", "the newest version", "what it says"])
async def test_a_redis_that_forgot_is_repaired(loop: Loop, config: Config, redis: Redis, lost: str) -> None:
    role = loop.role("learn")
    await append(loop, 1, 50)
    await saved_up_to(loop, redis, 50)
    keys = [policy_key(config.prefix, "front", part) for part in ("position", "model")]
    kept = [await redis.dump(key) for key in keys]
    await append(loop, 51, 100)
    saved = await saved_up_to(loop, redis, 100)
    await until(lambda: recorded(loop, saved.position.number))
    role.kill()
    newest = (await versions(loop))[-1]
    for key, value in zip(keys, kept, strict=True):
        if lost == "what it says":
            await redis.hset(key, mapping={"number": "none", "record": "none"})
        else:
            await redis.delete(key)
            if lost == "the newest version":
                assert value is not None
                await redis.restore(key, 0, value)
    async with operator_session(config, "front") as at:
        with pytest.raises(StateRefused, match="bowerbird policy rebuild front"):
            await at.publisher.load()
    done = await rebuild(config, "front", 0)
    assert done.version.number == newest["number"] + 1
    assert (done.version.digest, done.version.examples, done.differing) == (newest["digest"], 100, [])
    loop.role("learn")
    await append(loop, 101, 130)
    saved = await saved_up_to(loop, redis, 130)
    assert saved.position.examples == 130
    await assert_proved(config)


async def test_outcomes_that_are_lost_are_passed_by(loop: Loop, config: Config, redis: Redis) -> None:
    """The learner stops at a jump; a rebuild says how many are lost, and the learner goes on after it."""
    role = loop.role("learn")
    await append(loop, 1, 30)
    await saved_up_to(loop, redis, 30)
    role.kill()
    await append(loop, 41, 60)
    done = await rebuild(config, "front", 0)
    assert (done.missing, done.version.examples) == (10, 50)
    loop.role("learn")
    await append(loop, 61, 70)
    assert (await saved_up_to(loop, redis, 70)).position.examples == 60
    await assert_proved(config)


async def test_a_log_that_does_not_start_at_its_start_is_refused_without_an_archive(
    loop: Loop, config: Config, redis: Redis, tmp_path: Path
) -> None:
    url = str(tmp_path / "archive")
    archiving = Loop(replace(config, archive=ArchiveConfig(url=url, max_s=0.2)), loop.producer, loop.reader)
    roles = [loop.role("learn"), archiving.role("archive")]
    try:
        await append(loop, 1, 30)
        saved = await saved_up_to(loop, redis, 30)

        async def archived() -> bool:
            held = Archive.at(url, config.prefix).held("rewards", 0) if any(tmp_path.rglob("*.parquet")) else None
            return held is not None and held[1] >= saved.position.cut

        await until(archived)
        for role in roles:
            role.kill()
        admin = AIOKafkaAdminClient(bootstrap_servers=config.brokers)
        await admin.start()
        try:
            await admin.delete_records({TopicPartition(config.topic("rewards"), 0): RecordsToDelete(before_offset=2)})
        finally:
            await admin.close()
        with pytest.raises(StateRefused, match="--archive"):
            await rebuild(config, "front", 0)
        done = await rebuild(config, "front", 0, access=LogAccess(Archive.at(url, config.prefix)))
        assert (done.version.digest, done.version.examples) == (saved.position.digest, 30)
        assert done.differing == []
    finally:
        archiving.close()


@pytest.mark.usefixtures("loop")
async def test_a_wrong_use_is_told(file: Path) -> None:
    for words, code, sentence in (
        (["freeze", "nobody"], 2, "expected one of front"),
        (["rebuild", "front", "--until", "yesterday", "--yes"], 2, "--until: found 'yesterday'"),
        (["rebuild", "front"], 2, "--yes"),
        (["rebuild", "front", "--archive", str(file.parent), "--yes"], 2, "archive: found no"),
    ):
        exited, output = await bowerbird("policy", *words, file=file)
        assert (exited, sentence in output) == (code, True), output
    assert json.loads((await bowerbird("policy", "unfreeze", "front", "--json", file=file))[1])["changed"] is False


async def recorded(loop: Loop, number: int) -> bool:
    """Tell whether ``versions`` holds the record of a version: it is written after the version is saved."""
    return len(await versions(loop)) >= number
