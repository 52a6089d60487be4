"""Verification of a running service: all of it is right, and what was damaged is found."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiokafka.admin import AIOKafkaAdminClient, RecordsToDelete
from aiokafka.structs import TopicPartition
from redis.asyncio import Redis

import bowerbird.verification as verification_module
from bowerbird.verification import verify, verify_decision
from embedded.servers import EmbeddedKafka, EmbeddedRedis
from records.errors import WrongConfiguration
from records.rule import Reward, StreamReward
from replay.proof.verdict import Verdict
from replay.proof.verify import Verification
from stream.config import Config, PolicyConfig
from stream.redis.policy_store import model_key
from tests.real.loop import Loop, decision, loop_of, until
from tests.serving import served, tables

pytestmark = pytest.mark.real


@pytest.fixture
def config(kafka: EmbeddedKafka, redis_server: EmbeddedRedis, prefix: str) -> Config:
    reward = Reward(streams={"clicks": StreamReward(weight=1.0)}, close_on=("purchases",))
    named = tables(
        {
            "front": served(
                kind="vw",
                arguments="--cb_explore_adf --epsilon 0.2",
                window_s=1.0,
                reward=reward,
                publish_examples=10,
                publish_ms=200,
            ),
            "side": served(window_s=1.0, reward=reward),
        }
    )
    # It decides nowhere, and learns what the others decided.
    named["policies"]["both"] = PolicyConfig("vw", "--cb_explore_adf", placements=("front", "side"), publish_ms=200)
    return Config(
        brokers=kafka.address,
        redis_url=redis_server.url,
        prefix=prefix,
        shards=2,
        early_s=5.0,
        dedup_horizon_s=60.0,
        session_timeout_s=2.0,
        request_ttl_ms=60_000,
        **named,
    )


@pytest.fixture
async def loop(config: Config) -> AsyncIterator[Loop]:
    async with loop_of(config) as made:
        yield made


def request(number: int) -> dict[str, Any]:
    return {
        **({"top": 2} if number % 6 == 1 else {}),
        "v": 1,
        "event_id": f"visit-{number}",
        "placement": "side" if number % 5 == 4 else "front",
        "context": {"user": {"age": number % 7}},
        "actions": [{"id": "a"}, {"id": "b", "features": {"price": number % 3}}],
    }


async def settled(config: Config, policy: str, outcomes: int) -> Verdict:
    """Return the first verdict by which all is closed and learned."""

    async def done() -> Verdict | None:
        verdict = await verify(config, policy)
        return verdict if verdict.outcomes >= outcomes and not verdict.pending + verdict.waiting else None

    return await until(done)  # type: ignore[no-any-return]


async def traffic(loop: Loop, start: int, stop: int) -> None:
    for number in range(start, stop):
        if number % 4 == 0:
            await loop.send("clicks", {"event_id": f"visit-{number}", "id": "before"}, partition=1)
        await loop.send("decision-requests", request(number), partition=number % 2)
        if number % 3 == 0:
            await loop.send("clicks", *[{"event_id": f"visit-{number}", "id": "c"}] * 2, partition=number % 3)
        if number % 6 == 1:
            await loop.send("clicks", {"event_id": f"visit-{number}", "action": "b"}, partition=1)
        if number % 10 == 0:
            await loop.send("purchases", {"event_id": f"visit-{number}"}, partition=0)


async def decided_by_several_versions(loop: Loop) -> None:
    """Send half of the traffic, and the rest while what it taught comes to decide."""

    async def published() -> bool:
        return any(record.get("policy") == "front" for record in await loop.records("versions"))

    await traffic(loop, 0, 1)
    # Clicks that come long before their decision do not count.
    await until(lambda: decisions(loop, 1))
    await traffic(loop, 1, 60)
    await until(published)
    for number in range(60, 120):
        await traffic(loop, number, number + 1)
        await asyncio.sleep(0.05)


async def test_a_service_is_verified_while_it_runs_and_after(loop: Loop, monkeypatch: pytest.MonkeyPatch) -> None:
    for role in ("decide", "join", "learn"):
        loop.role(role)
    config = loop.config
    sending = asyncio.create_task(decided_by_several_versions(loop))
    meanwhile = [await verify(config, "front") for _ in range(3)]
    await sending
    await loop.send("decisions", decision("imported", policy_version="external"), partition=2)
    assert [verdict.findings for verdict in meanwhile] == [[]] * 3

    front = await settled(config, "front", 97)
    assert front.ok, front.findings
    assert front.identical
    assert front.versions > 1
    assert (front.decisions, front.outcomes, front.external) == (97, 97, 1)
    assert front.learned + front.refused == front.closed["window"] + front.closed.get("early", 0)
    side = await settled(config, "side", 24)
    assert side.ok, side.findings
    assert side.live_version == "version 0"
    assert side.learned == 24
    both = await settled(config, "both", 121)
    assert both.ok, both.findings
    assert (both.identical, both.decisions, both.outcomes) == (True, 121, 121)
    assert both.learned + both.refused == front.learned + front.refused + side.learned

    # One decision of every version again.
    decided = {record["policy_version"]: record["event_id"] for record in await loop.records("decisions")}
    assert len(decided) > 2
    for version, event_id in decided.items():
        (again,) = await verify_decision(config, event_id)
        assert again.policy_version == version
        assert again.ok == (version != "external"), again
    assert await verify_decision(config, "nobody") == []
    await versions_without_their_head(config, decided)
    await retention_is_faster(config, monkeypatch)


async def versions_without_their_head(config: Config, decided: dict[str, str]) -> None:
    """What retention has removed is not verifiable, and no fault; what it has left is."""
    numbers = {int(version.partition("-")[0]): version for version in decided if version != "external"}
    admin = AIOKafkaAdminClient(bootstrap_servers=config.brokers)
    await admin.start()
    try:
        versions = TopicPartition(config.topic("versions"), 0)
        await admin.delete_records({versions: RecordsToDelete(before_offset=2)})
    finally:
        await admin.close()
    verdict = await verify(config, "front")
    assert [each.message for each in verdict.findings] == [
        "not verifiable before version 2: `versions` starts at offset 2"
    ]
    assert verdict.identical
    (again,) = await verify_decision(config, decided[numbers[max(numbers)]])
    assert again.ok, again
    if 1 in numbers:
        (again,) = await verify_decision(config, decided[numbers[1]])
        assert "not verifiable before version 2" in again.reason


async def retention_is_faster(config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    """Remove clicks after a verification has asked where their log starts: it goes on, and says what is unproved."""

    async def removes(verification: Verification, logs: Any, *arguments: Any) -> Verdict:
        admin = AIOKafkaAdminClient(bootstrap_servers=config.brokers)
        await admin.start()
        try:
            everything = {
                TopicPartition(topic, partition): RecordsToDelete(before_offset=end)
                for (topic, partition), end in logs.ends.items()
                if topic == config.topic("clicks") and end
            }
            await admin.delete_records(everything)
        finally:
            await admin.close()
        return await judged(verification, logs, *arguments)

    judged = verification_module._verdict
    monkeypatch.setattr("bowerbird.verification._verdict", removes)
    verdict = await verify(config, "front")
    assert set(verdict.found) == {"not_verifiable"}, verdict.findings
    assert verdict.wrong == verdict.missing == 0
    assert verdict.not_verifiable >= 30


async def test_damage_is_found(loop: Loop, config: Config, redis_server: EmbeddedRedis) -> None:
    roles = [loop.role(role) for role in ("decide", "join", "learn")]
    await traffic(loop, 0, 30)
    sound = await settled(config, "front", 24)
    assert sound.ok, sound.findings
    # The join stops; what it was given meanwhile is pending, not missing.
    for role in roles[1:]:
        role.stop()
    await traffic(loop, 30, 33)
    await until(lambda: decisions(loop, 33))
    assert (await verify(config, "front")).pending == 3

    async with Redis.from_url(redis_server.url) as redis:
        key = model_key(config, "front")
        model = bytearray(await redis.hget(key, "bytes"))  # type: ignore[arg-type]
        model[-1] ^= 1
        await redis.hset(key, "bytes", bytes(model))
    spoilt = await verify(config, "front")
    assert set(spoilt.found) == {"live"}
    assert not spoilt.identical
    assert spoilt.live_digest != spoilt.recomputed_digest == sound.live_digest

    # Someone writes into `rewards` what no window has closed.
    first = next(outcome for outcome in await loop.records("rewards") if outcome["policy"] == "front")
    await loop.send("rewards", [first | {"outcome_seq": 10_000}], partition=0)
    assert {"live", "doubled", "gap", "order"} <= set((await verify(config, "front")).found)


async def decisions(loop: Loop, count: int) -> bool:
    return len(await loop.records("decisions")) >= count


async def test_a_policy_that_nobody_knows(config: Config) -> None:
    with pytest.raises(WrongConfiguration, match="front, side"):
        await verify(config, "other")
