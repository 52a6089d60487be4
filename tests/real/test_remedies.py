"""What a role says when it stands still: exactly the command that its sentence names ends it, and the role goes on."""

import asyncio
import re
from collections.abc import AsyncIterator, Callable
from dataclasses import replace

import pytest
from aiokafka.admin import AIOKafkaAdminClient, RecordsToDelete
from aiokafka.structs import TopicPartition
from redis.asyncio import Redis

from bowerbird.check import findings
from bowerbird.status.alarms import alarms
from bowerbird.status.observer import Observer
from bowerbird.verification import verify
from embedded.servers import EmbeddedKafka, EmbeddedRedis
from stream.config import Config
from stream.redis.store import RedisStore, shard_key
from stream.stopped import kept
from tests.real.loop import Loop, decision, delete, loop_of, make_anew, run_named, stop_sentence, until
from tests.real.test_recover import POLICIES, REWARD, RULE, Shop, published, shop_config

pytestmark = pytest.mark.real


@pytest.fixture
def server(own_redis: Callable[..., EmbeddedRedis]) -> EmbeddedRedis:
    return own_redis()


@pytest.fixture
def config(kafka: EmbeddedKafka, server: EmbeddedRedis, prefix: str) -> Config:
    return shop_config(kafka, server, prefix)


@pytest.fixture
async def shop(config: Config, server: EmbeddedRedis) -> AsyncIterator[Shop]:
    async with loop_of(config) as loop:
        yield Shop(loop, server)


async def test_a_role_that_may_not_go_on_names_the_command_that_ends_it(shop: Shop) -> None:
    """An emptied Redis (the learner's sentence first, then the join's), a recovery that died, a topic made anew."""
    config = shop.config
    await shop.trade(30)
    await shop.joined(30)
    await until(lambda: published(shop))
    async with Redis.from_url(config.redis_url) as redis:
        await redis.flushall()
        shop.learner.kill()
        shop.learner.start()
        await shop.trade(10)
        for policy in POLICIES:
            sentence = await stop_sentence(config, "learn", f"policy rebuild {policy}")
            await run_named(config, sentence, "--yes")
        await run_named(config, await stop_sentence(config, "join"))
        await shop.all_is_right()
        for shard in range(config.shards):
            await redis.set(shard_key(config.prefix, shard, "hold"), "feeding nobody")
        sentence = await stop_sentence(config, "join", "has not finished")
        await run_named(config, sentence)
        await shop.all_is_right()
    await make_anew(shop.loop, "clicks")
    await run_named(config, await stop_sentence(config, "join", "made anew", shop.revive))
    await shop.trade(10)
    await shop.joined(shop.count)


async def remove(loop: Loop, topic: str) -> None:
    """Remove all that a topic holds, as retention does."""
    name = loop.config.topic(topic)
    ends = await loop.reader.ends(await loop.reader.partitions_of(name))
    admin = AIOKafkaAdminClient(bootstrap_servers=loop.config.brokers)
    await admin.start()
    try:
        await admin.delete_records(
            {TopicPartition(*where): RecordsToDelete(before_offset=end) for where, end in ends.items() if end}
        )
    finally:
        await admin.close()


async def test_input_that_was_removed_unread_is_given_up_by_a_command(shop: Shop) -> None:
    """Retention was faster than the join: no window closes as if nobody had clicked, though no message follows."""
    config = shop.config
    await shop.trade(20)
    await shop.joined(20)
    for join in shop.joins:
        join.stop()
    await shop.trade(15)
    await remove(shop.loop, "clicks")
    for join in shop.joins:
        join.start()
    sentence = await stop_sentence(config, "join", "removed")
    assert "clicks" in sentence
    assert len({each["event_id"] for each in await shop.loop.records("rewards")}) == 20
    refused = await run_named(config, sentence, code=2)
    assert "never read" in refused
    accepting = next(each for each in re.findall("`[^`]+`", refused) if "--accept-loss" in each)
    assert "gone for good" in await run_named(config, accepting)
    await shop.trade(10)
    await shop.joined(shop.count)


async def test_a_redis_of_another_log_is_discarded_by_a_command(shop: Shop) -> None:
    """The topic that holds the log's name is deleted below the roles: they say so, and all is computed again."""
    config = shop.config
    await shop.trade(30)
    await shop.joined(30)
    await until(lambda: published(shop))
    await delete(shop.loop, "versions")
    await shop.trade(5)
    sentence = await stop_sentence(config, "learn", "versions: found no such topic")
    assert shop.learner.process is not None
    assert await asyncio.to_thread(shop.learner.process.wait, 30) == 2
    await run_named(config, sentence)
    shop.learner.start()

    async def noticed() -> bool:
        return all(role.process is not None and role.process.poll() == 1 for role in shop.joins)

    await until(noticed)
    shop.revive()
    await stop_sentence(config, "learn", "--discard-other-log")
    sentence = await stop_sentence(config, "join", "--discard-other-log")
    failed = {each.subject: each async for each in findings(config) if not each.holds}
    assert "expected log" in failed["join state"].found
    assert "`bowerbird recover --discard-other-log`" in failed["join state"].remedy
    said = await run_named(config, sentence)
    assert "policy front: it was learned from another log" in said
    await shop.trade(10)
    await shop.joined(shop.count)

    async def learned() -> bool:
        shop.revive()
        verdicts = [await verify(config, policy) for policy in POLICIES]
        return all(verdict.ok and not verdict.waiting for verdict in verdicts)

    await until(learned)


async def test_outcomes_that_another_program_wrote_are_named_until_the_join_goes_on_above_them(shop: Shop) -> None:
    """One far ahead stops the learner; after its command `status` and `check` name the one that ends the skipping."""
    config, loop = shop.config, shop.loop
    await shop.trade(30)
    await shop.joined(30)
    await until(lambda: published(shop))
    genuine = next(each for each in await loop.records("rewards") if each["policy"] == "front")
    forged = genuine | {"event_id": "forged", "outcome_seq": genuine["outcome_seq"] + 1000}
    elsewhere = [genuine | {"event_id": "forged", "outcome_seq": 1, "shard": 99}, forged]
    await loop.send("rewards", elsewhere, partition=config.rewards_partition("front"))
    await run_named(config, await stop_sentence(config, "learn", "policy rebuild front"), "--yes")
    async with Observer(config) as observer:

        async def named() -> str:
            shop.revive()
            return next((each for each in alarms(config, await observer.look()) if "another program" in each), "")

        sentence = str(await until(named))
        assert [each.remedy for each in [each async for each in findings(config)] if each.subject == "join state"] == [
            "run `bowerbird recover`"
        ]
        await run_named(config, sentence)
        await shop.trade(20)
        await shop.joined(shop.count + 1)

        async def learned() -> bool:
            shop.revive()
            status = await observer.look()
            versions = [each for each in await loop.records("versions") if each.get("policy") == "front"]
            own = [each for each in await loop.records("rewards") if each["policy"] == "front"]
            newest = max(each["outcome_seq"] for each in own if each["shard"] == forged["shard"])
            caught_up = versions[-1]["last_seqs"][f"front/{forged['shard']}"] == newest > forged["outcome_seq"]
            return caught_up and not any(policy.problem for policy in status.policies)

        await until(learned)


async def test_what_is_set_back_is_right_again(shop: Shop) -> None:
    """Arguments that were changed under a policy's name: the command that is named says so, and when it is right."""
    config = shop.config
    await shop.trade(30)
    await until(lambda: published(shop))
    front = replace(config.policies["front"], arguments="--cb_explore_adf --epsilon 0.3")
    changed = replace(config, policies={**config.policies, "front": front})
    shop.learner.stop()
    shop.loop.config = changed
    role = shop.loop.role("learn")
    sentence = await stop_sentence(config, "learn", "by which it has learned so far")
    assert role.process is not None
    assert role.process.wait(120) == 2
    assert "by which it has learned so far" in await run_named(changed, sentence, code=1)
    assert "by which it has learned so far" not in await run_named(config, sentence, code=None)


async def test_a_worker_that_waits_for_a_recovery_names_nothing_else(shop: Shop) -> None:
    """Another worker has seen the topic that this one misses, made anew: what this one said of it is over."""
    config = shop.config
    await shop.trade(5)
    await shop.joined(5)
    await delete(shop.loop, "purchases")
    await stop_sentence(config, "join", "no topic", shop.revive)
    async with Redis.from_url(config.redis_url) as redis:
        await RedisStore(redis, config.prefix).need_recovery(0)

        async def only_the_recovery() -> bool:
            sentences = [each.sentence for each in await kept(redis, config) if each.role == "join"]
            return bool(sentences) and all("`bowerbird recover`" in each for each in sentences)

        await until(only_the_recovery, 30.0)


async def test_an_input_that_was_deleted_is_created_again_or_given_up(shop: Shop) -> None:
    """Two commands bring it back, and one gives it up when the settings name it no more."""
    config = shop.config
    await shop.trade(20)
    await shop.joined(20)
    await delete(shop.loop, "purchases")
    sentence = await stop_sentence(config, "join", "no topic", shop.revive)
    assert "created" in await run_named(config, sentence)
    sentence = await stop_sentence(config, "join", "made anew", shop.revive)
    async with Redis.from_url(config.redis_url) as redis:

        async def one_command_is_named() -> bool:
            # What waits meanwhile says so in other words.
            return all("`bowerbird recover`" in each.sentence for each in await kept(redis, config))

        await until(one_command_is_named)
    await run_named(config, sentence)
    await shop.trade(10)
    await shop.joined(shop.count)

    # What no role reads as an input is missed by `status`, and its command is enough.
    for topic in ("ticks", "dead-letters"):
        await delete(shop.loop, topic)
    async with Observer(config) as observer:
        sentence = next(each for each in alarms(config, await observer.look()) if "are missing" in each)
    await run_named(config, sentence)
    await shop.trade(10)
    await shop.joined(shop.count)

    for join in shop.joins:
        join.stop()
    await delete(shop.loop, "purchases")
    front = replace(config.placements["front"], reward=replace(REWARD, close_on=()))
    shop.config = shop.loop.config = replace(config, placements=dict.fromkeys(POLICIES, front))
    shop.joins = [shop.loop.role("join")]
    # Decisions of before still name the stream.
    for number in range(shop.count, shop.count + 6):
        await shop.loop.send("decisions", decision(f"e{number}", POLICIES[number % 2], rule=RULE), partition=number % 3)
    shop.count += 6
    sentence = await stop_sentence(shop.config, "join", "give it up", shop.revive)
    assert "no setting names any more" in await run_named(shop.config, sentence)
    await shop.joined(shop.count)
    for policy in POLICIES:
        verdict = await verify(shop.config, policy)
        assert verdict.missing == verdict.wrong == verdict.doubled == 0, verdict.findings
