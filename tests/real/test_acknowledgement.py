"""What a role has read is acknowledged only when what it made of it is safe: else a kill would lose it."""

import asyncio
from dataclasses import replace
from typing import Any

import pytest
from aiokafka.admin import AIOKafkaAdminClient, RecordsToDelete
from aiokafka.structs import TopicPartition
from prometheus_client import REGISTRY
from redis.asyncio import Redis

from embedded.servers import EmbeddedKafka, EmbeddedRedis
from stream.config import Config
from stream.redis.store import shard_key
from stream.roles.appender import Appender
from stream.roles.decide import Decide
from tests.real.asking import caller_of, request
from tests.real.loop import Loop, decision, loop_of, until
from tests.real.test_learn import append, saved_up_to
from tests.serving import served, tables


@pytest.fixture
def config(kafka: EmbeddedKafka, redis_server: EmbeddedRedis, prefix: str) -> Config:
    return Config(
        brokers=kafka.address,
        redis_url=redis_server.url,
        prefix=prefix,
        session_timeout_s=2.0,
        request_ttl_ms=60_000,
        **tables({"front": served(kind="vw", arguments="--cb_explore_adf", window_s=1.0)}),
    )


async def acknowledged(loop: Loop, role: str, topic: str, partition: int = 0) -> int:
    where = (loop.config.topic(topic), partition)
    return (await loop.reader.committed(loop.config.group(role), [where])).get(where, 0)


async def test_decide_answers_and_commits_what_is_appended(config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    """Partition 0 waits for the broker; partition 1, asked after it, is answered and committed before it."""
    append, may_append = Appender.append, asyncio.Event()

    async def held(self: Appender, messages: Any) -> Any:
        if b'"held"' in messages[0].value:
            await may_append.wait()
        return await append(self, messages)

    monkeypatch.setattr(Appender, "append", held)
    service = Decide(config)
    async with loop_of(config) as loop, caller_of(config) as caller, service:

        async def ready() -> bool:
            return service.ready

        await until(ready, every_s=0.02)
        waits = await caller.send(request("held"), partition=0)
        for number in range(2):
            # The second is decided after the first was answered: by then the one before both has been, too.
            assert (await caller.ask(request(f"e{number}"), partition=1))["chosen"]

        async def committed() -> bool:
            return await acknowledged(loop, "decide", "decision-requests", 1) == 2

        await until(committed)
        assert waits not in caller.replies
        assert await acknowledged(loop, "decide", "decision-requests", 0) == 0
        may_append.set()
        assert (await caller.reply(waits))["chosen"]


async def test_the_join_acknowledges_what_every_shard_has_stored(config: Config) -> None:
    """One shard refuses: what the other has stored is not acknowledged, and both have it later."""
    config = replace(config, shards=2)
    async with loop_of(config) as loop, Redis.from_url(config.redis_url) as redis:
        join = loop.role("join")
        await loop.send("decisions", decision("first"), partition=0)

        async def outcomes(count: int) -> bool:
            return len(await loop.records("rewards")) >= count

        await until(lambda: outcomes(1))
        log_of_1 = shard_key(config.prefix, 1, "log")
        its_own = await redis.get(log_of_1)
        assert isinstance(its_own, bytes)
        await redis.set(log_of_1, "another log")
        for number in range(10):
            await loop.send("decisions", decision(f"e{number}"), partition=0)

        async def stored_by_shard_0() -> bool:
            offsets = await redis.hgetall(shard_key(config.prefix, 0, "offsets"))
            return int(offsets.get(f"{config.topic('decisions')} 0".encode(), 0)) > 1

        await until(stored_by_shard_0)
        assert join.stop() == 0
        assert await acknowledged(loop, "join", "decisions") == 1
        await redis.set(log_of_1, its_own)
        join.start()
        await until(lambda: outcomes(11))


async def test_the_learner_acknowledges_what_is_published(config: Config) -> None:
    """It takes everything, publishes nothing and ends: its successor takes everything again."""
    never = replace(config.policies["front"], publish_examples=1_000_000, publish_ms=3_600_000)
    async with loop_of(replace(config, policies={"front": never})) as loop, Redis.from_url(config.redis_url) as redis:
        learn = loop.role("learn")
        await append(loop, 1, 30)
        await loop.producer.send_and_wait(config.topic("rewards"), b"the learner is here", partition=0)

        async def taken() -> bool:
            topic = config.topic("dead-letters")
            ends = await loop.reader.ends([(topic, partition) for partition in range(config.partitions)])
            return sum(ends.values()) == 1

        await until(taken)
        assert learn.stop() == 0
        assert await acknowledged(loop, "learn", "rewards") == 0
        learn.config = config
        learn.start()
        saved = await saved_up_to(loop, redis, 30)
        assert saved.position.examples == 30


async def test_requests_that_were_removed_before_decide_read_them_are_counted_and_named(config: Config) -> None:
    """Retention was faster: the log starts above what was committed, and one letter says so."""
    async with loop_of(config) as loop, caller_of(config) as caller:
        async with Decide(config):
            assert (await caller.ask(request("first"), partition=1))["chosen"]
            await until(lambda: committed(loop, 1))
        where = (config.topic("decision-requests"), 1)
        for number in range(5):
            await loop.send("decision-requests", {"event_id": f"removed {number}"}, partition=1)
        admin = AIOKafkaAdminClient(bootstrap_servers=config.brokers)
        await admin.start()
        try:
            await admin.delete_records({TopicPartition(*where): RecordsToDelete(before_offset=5)})
        finally:
            await admin.close()
        before = REGISTRY.get_sample_value("bowerbird_requests_lost_total")
        async with Decide(config):
            assert (await caller.ask(request("last"), partition=1))["chosen"]
        assert REGISTRY.get_sample_value("bowerbird_requests_lost_total") == (before or 0.0) + 4
        letters = [each async for each in loop.reader.read_since(config.topic("dead-letters"), 0)]
        headers = [{name: content.decode() for name, content in each.headers} for each in letters]
        (letter,) = [each for each in headers if each["reason"] == "removed_unread"]
        assert (letter["topic"], letter["partition"], letter["offset"]) == (where[0], "1", "1")
        assert "4 messages" in letter["message"]


async def committed(loop: Loop, offset: int) -> bool:
    return await acknowledged(loop, "decide", "decision-requests", 1) >= offset
