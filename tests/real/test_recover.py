"""What Redis has forgotten is computed again from the logs while the roles wait: the proof is `verify`."""

import asyncio
import random
import re
import shutil
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer
from aiokafka.errors import KafkaError
from aiokafka.structs import TopicPartition
from redis.asyncio import Redis

from bowerbird.check import findings
from bowerbird.recovery.logs import LogAccess
from bowerbird.recovery.options import RecoverOptions
from bowerbird.recovery.recover import Recovered, recover
from bowerbird.status.alarms import alarms
from bowerbird.status.observer import Observer
from bowerbird.verification import verify
from embedded.servers import EmbeddedKafka, EmbeddedRedis
from records.errors import StateRefused
from records.rule import Reward, StreamReward
from stream.config import Config
from tests.real.loop import Loop, RoleProcess, decision, loop_of, make_anew, numbered, run_named, stop_sentence, until
from tests.serving import served, tables

pytestmark = pytest.mark.real

POLICIES = ("front", "side")
REWARD = Reward(streams={"clicks": StreamReward(weight=1.0)}, close_on=("purchases",))
RULE = {"window_s": 2.0, "early_s": 5.0, "reward": {"streams": {"clicks": {"weight": 1.0}}, "close_on": ["purchases"]}}
NOW_MS = 1_800_000_000_000


@pytest.fixture
def server(own_redis: Callable[..., EmbeddedRedis]) -> EmbeddedRedis:
    return own_redis()


@pytest.fixture
def config(kafka: EmbeddedKafka, server: EmbeddedRedis, prefix: str) -> Config:
    return shop_config(kafka, server, prefix)


def shop_config(kafka: EmbeddedKafka, server: EmbeddedRedis, prefix: str) -> Config:
    """Return the settings of a :class:`Shop`."""
    vw = served("vw", "--cb_explore_adf --epsilon 0.2", window_s=2.0, reward=REWARD, publish_examples=20)
    return Config(
        brokers=kafka.address,
        redis_url=server.url,
        prefix=prefix,
        shards=2,
        early_s=5.0,
        dedup_horizon_s=120.0,
        session_timeout_s=2.0,
        **tables(dict.fromkeys(POLICIES, vw)),
    )


class Shop:
    """Decisions and feedback of every kind, and the roles that join and learn them."""

    def __init__(self, loop: Loop, server: EmbeddedRedis) -> None:
        self.loop, self.server, self.config = loop, server, loop.config
        self.random = random.Random(1)
        self.count = 0
        self.joins: Sequence[RoleProcess] = [loop.role("join"), loop.role("join")]
        self.learner = loop.role("learn")

    async def trade(self, count: int) -> None:
        """Let things happen: clicks before and after decisions, late ones, ends of windows, copies, rubbish."""
        choose = self.random
        for _ in range(count):
            number = self.count
            self.count += 1
            event_id, policy, partition = f"e{number}", POLICIES[number % 2], choose.randrange(3)
            if choose.random() < 0.2:
                await self.loop.send("clicks", {"event_id": event_id, "id": "before"}, partition=choose.randrange(3))
            await self.loop.send(
                "decisions", decision(event_id, policy, rule=RULE, chosen="ab"[number % 3 % 2]), partition=partition
            )
            for nth in range(choose.randrange(3)):
                await self.loop.send("clicks", {"event_id": event_id, "id": f"{nth}"}, partition=choose.randrange(3))
            if choose.random() < 0.2:
                await self.loop.send("purchases", {"event_id": event_id}, partition=choose.randrange(3))
            if choose.random() < 0.2:
                old = f"e{choose.randrange(self.count)}"
                await self.loop.send("clicks", {"event_id": old, "id": f"again {number}"}, partition=0)
            if choose.random() < 0.1:
                await self.loop.send("decisions", decision(event_id, policy, rule=RULE), partition=choose.randrange(3))
            if choose.random() < 0.1:
                await self.loop.send("clicks", {"event_id": f"unknown {number}"}, partition=1)

    def revive(self) -> None:
        """Start again what has ended since its state can be continued, as a supervisor does."""
        for role in (*self.joins, self.learner):
            if role.process is not None and role.process.poll() is not None:
                assert role.process.returncode == 1
                role.start()

    async def joined(self, count: int) -> None:
        """Wait until so many decisions have their outcomes."""

        async def enough() -> bool:
            self.revive()
            return await self.has_joined(count)

        await until(enough)

    async def has_joined(self, count: int) -> bool:
        """Tell whether so many decisions have their outcomes."""
        joined = await self.loop.records("rewards")
        return len({(each["policy"], each["shard"], each["outcome_seq"]) for each in joined}) >= count

    async def all_is_right(self) -> None:
        """Every decision has its outcome, as the raw streams say, and live weights equal recomputed weights."""
        await self.joined(self.count)

        async def learned() -> bool:
            self.revive()
            verdicts = [await verify(self.config, policy) for policy in POLICIES]
            return all(verdict.waiting == 0 for verdict in verdicts)

        await until(learned)
        for policy in POLICIES:
            verdict = await verify(self.config, policy)
            assert verdict.ok, verdict.findings
            assert verdict.missing == verdict.doubled == verdict.wrong == verdict.pending == 0
        joined = await self.loop.records("rewards")
        for policy in POLICIES:
            for shard in (0, 1):
                own = [each for each in joined if (each["policy"], each["shard"]) == (policy, shard)]
                assert list(numbered(own)) == list(range(1, len(numbered(own)) + 1))
        assert len({each["event_id"] for each in joined}) == self.count

    async def letters(self) -> list[tuple[str, ...]]:
        """Return source and reason of every dead letter."""
        rows: list[tuple[str, ...]] = []
        async for message in self.loop.reader.read_since(self.config.topic("dead-letters"), 0):
            headers = dict(message.headers)
            names = ("topic", "partition", "offset", "index")
            rows.append(tuple(headers[name].decode() for name in names))
        return rows


@pytest.fixture
async def shop(config: Config, server: EmbeddedRedis) -> AsyncIterator[Shop]:
    async with loop_of(config) as loop:
        yield Shop(loop, server)


async def stands(shop: Shop) -> None:
    """Wait until the join says that it needs a recovery."""
    async with Redis.from_url(shop.config.redis_url) as redis:
        keys = [f"{{{shop.config.prefix}join-{shard}}}:hold" for shard in range(shop.config.shards)]

        async def held() -> bool:
            shop.revive()
            return any([await redis.get(key) for key in keys])

        await until(held)


async def all_acknowledged(shop: Shop) -> bool:
    """Tell whether the join has acknowledged all of its inputs."""
    reader, config = shop.loop.reader, shop.config
    topics = map(config.topic, ("decisions", *config.streams))
    ends = await reader.ends([(topic, number) for topic in topics for number in await reader.partitions(topic)])
    acknowledged = await reader.committed(config.group("join"), sorted(ends))
    return all((acknowledged.get(name) or 0) >= end for name, end in ends.items())


async def published(shop: Shop) -> bool:
    """Tell whether each policy has a version."""
    return {each.get("policy") for each in await shop.loop.records("versions")} >= set(POLICIES)


async def test_a_redis_that_was_emptied_is_rebuilt_while_the_roles_wait(shop: Shop) -> None:
    await shop.trade(60)
    await shop.joined(20)
    await until(lambda: published(shop))
    async with Redis.from_url(shop.config.redis_url) as redis:
        await redis.flushall()
    await shop.trade(40)
    await stands(shop)

    async def missing() -> bool:
        await shop.loop.send("ticks", {"v": 1})  # As the decide role goes on to do.
        verdict = await verify(shop.config, "front")
        assert not verdict.ok
        assert verdict.found["state"]
        return verdict.missing > 0

    await until(missing)
    assert [each.subject async for each in findings(shop.config) if not each.holds and each.subject == "join state"]
    dry = await recover(shop.config, NOW_MS, RecoverOptions(dry_run=True))
    assert dry.join.needed
    assert dry.join.messages
    assert not dry.rebuilt
    await stands(shop)
    done = await recover(shop.config, NOW_MS)
    assert done.join.needed
    assert done.join.remembered
    assert set(done.rebuilt) == set(POLICIES)
    await shop.trade(20)
    await shop.all_is_right()
    letters = await shop.letters()
    assert len(letters) == len(set(letters))
    again = await recover(shop.config, NOW_MS)
    assert again == Recovered(again.join)
    assert not again.join.needed
    assert again.join.from_ms is None


class KilledError(Exception):
    """A recovery dies here."""


async def test_a_recovery_that_was_killed_is_finished_by_the_next(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    """It dies while it sets up what has closed, then while it reads the inputs; the roles wait in between."""
    monkeypatch.setattr("bowerbird.recovery.join.PORTION_ITEMS", 20)
    await shop.trade(60)
    await shop.joined(20)
    async with Redis.from_url(shop.config.redis_url) as redis:
        await redis.flushall()

    def dies(at: str, after: int) -> Callable[[str, int, int], None]:
        def progress(what: str, passed: int, of: int) -> None:
            if what == at and passed > after:
                raise KilledError

        return progress

    for at, after in (("reading decisions", 0), ("inputs", 50)):
        with pytest.raises(KilledError):
            await recover(shop.config, NOW_MS, access=LogAccess(progress=dies(at, after)))
        await shop.trade(10)
        await stands(shop)
    done = await recover(shop.config, NOW_MS)
    assert done.join.resumed
    await shop.all_is_right()


async def test_a_redis_that_is_older_than_the_log_is_rebuilt(shop: Shop, tmp_path: Path) -> None:
    """A copy that is seconds old, then an append-only file that was cut by one byte: both workers stop."""
    await shop.trade(40)
    await shop.joined(10)
    shutil.copytree(shop.server.folder, tmp_path / "copy")
    await shop.trade(30)
    await shop.joined(45)
    shop.server.kill()
    shutil.rmtree(shop.server.folder)
    shutil.copytree(tmp_path / "copy", shop.server.folder)
    shop.server.restart()
    await stands(shop)
    assert (await recover(shop.config, NOW_MS)).join.needed
    await shop.trade(20)
    await shop.all_is_right()
    await shop.trade(10)
    # The last step has been answered, so that its worker stands above what the cut leaves.
    await until(lambda: all_acknowledged(shop))
    shop.server.kill()
    newest = max(shop.server.folder.glob("**/*.incr.aof"), key=lambda path: path.stat().st_mtime)
    # The cut is in the last step of a shard; what follows it is lost with it.
    with newest.open("r+b") as file:
        file.truncate(newest.read_bytes().rindex(b"}:offsets"))
    shop.server.restart()
    await shop.trade(10)
    await stands(shop)
    assert (await recover(shop.config, NOW_MS)).join.needed
    await shop.all_is_right()


async def test_a_feedback_topic_that_was_made_anew_stops_the_join_until_a_recovery(shop: Shop) -> None:
    """Nothing of the new topic is passed over, though it is soon longer than the one that was read."""
    await recovered_from_new_clicks(shop, 40)


async def test_a_topic_of_which_nothing_was_read_is_known_by_its_id(shop: Shop) -> None:
    """Whether it held a record that nobody has read, no offset and no message tells."""
    for number in range(6):
        await shop.loop.send("decisions", decision(f"e{number}", POLICIES[number % 2], rule=RULE), partition=number % 3)
    shop.count = 6
    await shop.joined(6)
    for role in shop.joins:
        role.kill()
    await make_anew(shop.loop, "purchases")
    for role in shop.joins:
        role.start()
    await stands(shop)
    done = await recover(shop.config, NOW_MS)
    assert any("made anew" in sentence for sentence in done.join.needed)
    await shop.trade(10)
    await shop.joined(shop.count)


async def test_a_topic_that_is_shorter_than_what_was_acknowledged_is_read_from_its_beginning(shop: Shop) -> None:
    """The group has acknowledged more of the old topic than the new one holds."""
    await recovered_from_new_clicks(shop, 0)


async def test_what_a_worker_acknowledges_at_its_end_does_not_matter_after_a_recovery(shop: Shop) -> None:
    """It may have read more of a log that is gone than there is of the present one."""
    await recovered_before_an_acknowledgement(shop, former=False)
    await shop.all_is_right()


async def test_what_was_acknowledged_of_a_former_log_does_not_matter_when_the_present_one_has_grown(shop: Shop) -> None:
    await recovered_before_an_acknowledgement(shop, former=True)
    await shop.joined(shop.count)
    for policy in POLICIES:
        verdict = await verify(shop.config, policy)
        assert verdict.missing == verdict.doubled == verdict.wrong == 0, verdict.findings


async def recovered_before_an_acknowledgement(shop: Shop, former: bool) -> None:
    """Recover, and acknowledge clicks in the workers' name: up to the former end, of a topic made anew, or beyond."""
    await shop.trade(30)
    await shop.joined(30)
    for role in shop.joins:
        role.kill()
    clicks = [(shop.config.topic("clicks"), number) for number in range(3)]
    ends = await shop.loop.reader.ends(clicks)
    if former:
        await make_anew(shop.loop, "clicks")
    await recover(shop.config, NOW_MS, RecoverOptions(force=True))
    # Another one reads on meanwhile, which ends the matter only for what is acknowledged beyond.
    shop.joins[0].start()
    await shop.trade(4)
    await until(lambda: shop.has_joined(34))
    shop.joins[0].kill()
    if former:
        await shop.trade(60)
    where = {TopicPartition(*each): end if former else 1_000_000 for each, end in ends.items()}
    consumer = AIOKafkaConsumer(
        bootstrap_servers=shop.config.brokers, group_id=shop.config.group("join"), enable_auto_commit=False
    )
    await consumer.start()
    try:
        consumer.assign(list(where))
        await until(lambda: committed(consumer, where))
    finally:
        await consumer.stop()
    for role in shop.joins:
        role.start()
    await shop.trade(20)


async def committed(consumer: AIOKafkaConsumer, offsets: dict[TopicPartition, int]) -> bool:
    """Acknowledge offsets in the name of a group; tell whether the group is free of the workers that were killed."""
    try:
        await consumer.commit(offsets)
    except KafkaError:
        return False
    return True


async def recovered_from_new_clicks(shop: Shop, refilled: int) -> None:
    """Make the topic of clicks anew, with so many records a partition, and recover."""
    await shop.trade(30)
    await shop.joined(30)
    await make_anew(shop.loop, "clicks")
    first = shop.count
    for partition in range(3):
        for number in range(refilled):
            await shop.loop.send("clicks", {"event_id": f"nobody {number}"}, partition=partition)
    await stands(shop)
    for number in range(first, first + 12):
        await shop.loop.send("decisions", decision(f"e{number}", POLICIES[number % 2], rule=RULE), partition=number % 3)
        await shop.loop.send("clicks", {"event_id": f"e{number}", "id": "1"}, partition=number % 3)
    shop.count += 12
    done = await recover(shop.config, NOW_MS)
    assert any("made anew" in sentence for sentence in done.join.needed)
    await shop.joined(shop.count)
    joined = await shop.loop.records("rewards")
    assert {each["reward"] for each in joined if int(each["event_id"][1:]) >= first} == {1.0}
    await shop.trade(10)
    await shop.joined(shop.count)
    assert len({each["event_id"] for each in await shop.loop.records("rewards")}) == shop.count
    for policy in POLICIES:
        verdict = await verify(shop.config, policy)
        assert verdict.missing == verdict.doubled == verdict.wrong == 0, verdict.findings
        # What counted clicks of the old topic cannot be proved any more, and nothing else.
        assert verdict.not_verifiable
        assert set(verdict.found) == {"not_verifiable"}


async def test_a_broker_that_lost_its_tail_stops_the_join_until_a_recovery(
    own_kafka: Callable[..., EmbeddedKafka], config: Config, server: EmbeddedRedis, tmp_path: Path
) -> None:
    """A broker restored from a copy, with roles that run on, and with roles that start when it has grown again."""
    kafka = own_kafka(tmp_path / "kafka")
    config = replace(config, brokers=kafka.address)
    async with loop_of(config) as loop:
        shop = Shop(loop, server)
        await shop.trade(30)
        await shop.joined(30)
        for number, (restarted, grown) in enumerate([(False, 0), (True, 60)]):
            kafka.stop()
            shutil.copytree(kafka.folder, tmp_path / f"copy-{number}")
            kafka.restart()
            await shop.trade(30)
            await shop.joined(shop.count)
            kafka.kill()
            if restarted:
                for role in (*shop.joins, shop.learner):
                    role.kill()
            shutil.rmtree(kafka.folder)
            shutil.copytree(tmp_path / f"copy-{number}", kafka.folder)
            kafka.restart()
            shop.count -= 30
            # Grown beyond what was read, offsets alone tell nothing.
            await shop.trade(grown)
            if restarted:
                for role in (*shop.joins, shop.learner):
                    role.start()
            await stands(shop)
            done = await recover(config, NOW_MS)
            reason = "has lost its tail" if grown else "the log ends at"
            assert any(reason in sentence for sentence in done.join.needed)
            await shop.trade(20)
            await shop.joined(shop.count)
            joined = await loop.records("rewards")
            assert len({each["event_id"] for each in joined}) == shop.count
            for policy in POLICIES:
                verdict = await verify(config, policy)
                assert verdict.missing == verdict.doubled == verdict.wrong == 0, verdict.findings


async def test_a_version_with_a_number_far_ahead_is_settled_by_a_rebuild(shop: Shop) -> None:
    """What is no whole version stops nobody; what is one stops the learner, and a recovery goes on above it.

    So does one with other arguments: no learner of this policy has written it.
    """
    await shop.trade(30)
    await shop.joined(30)
    await until(lambda: published(shop))
    newest = [each for each in await shop.loop.records("versions") if each.get("policy") == "front"][-1]
    await shop.loop.send("versions", {"policy": "front", "number": 2_000_000, "rebuilt_to": None}, partition=0)
    for number in (2**53 - 1, 1_000_000):
        # The first one leaves no number for the versions after it, so it is none.
        forged = newest | {"number": number, "version": f"{number}-00000000"}
        await shop.loop.send("versions", forged, partition=0)
    other = {"number": 1_500_000, "version": "1500000-00000000", "arguments": "--cb_explore_adf --squarecb"}
    await shop.loop.send("versions", newest | other, partition=0)
    await shop.trade(40)

    async def refused() -> bool:
        return "front" in (await recover(shop.config, NOW_MS, RecoverOptions(dry_run=True))).refused

    await until(refused)
    done = await recover(shop.config, NOW_MS)
    assert done.rebuilt["front"].version.number == 1_500_001
    await shop.joined(shop.count)

    async def goes_on() -> bool:
        shop.revive()
        versions = [each for each in await shop.loop.records("versions") if each.get("policy") == "front"]
        return (
            any(each["number"] == 1_500_001 for each in versions) and (await verify(shop.config, "front")).waiting == 0
        )

    await until(goes_on)
    assert not (await recover(shop.config, NOW_MS, RecoverOptions(dry_run=True))).refused


async def test_outcomes_whose_topic_was_made_anew_are_made_again_from_the_inputs(shop: Shop) -> None:
    """Also when two recover at once: one of them gives way, with a sentence."""
    await shop.trade(40)
    await shop.joined(40)
    await until(lambda: published(shop))
    await make_anew(shop.loop, "rewards")
    await stands(shop)
    assert await shop.loop.records("rewards") == []
    results = await asyncio.gather(*(recover(shop.config, NOW_MS) for _ in range(2)), return_exceptions=True)
    assert all(isinstance(each, Recovered | StateRefused) for each in results), results
    if not any(isinstance(each, Recovered) for each in results):
        await recover(shop.config, NOW_MS)
    await shop.trade(10)
    await shop.joined(shop.count)

    async def only_what_is_gone_is_missed() -> bool:
        """The versions of before were learned from a topic that is gone; the learner goes on from what it has."""
        verdicts = [await verify(shop.config, policy) for policy in POLICIES]
        assert all(verdict.missing == verdict.doubled == verdict.wrong == 0 for verdict in verdicts), verdicts
        return all(set(verdict.found) <= {"cut", "digest", "examples", "last_seqs"} for verdict in verdicts)

    await until(only_what_is_gone_is_missed)


async def test_keys_of_another_type_stop_the_roles_until_a_recovery(shop: Shop) -> None:
    await shop.trade(30)
    await shop.joined(30)
    await until(lambda: published(shop))
    prefix = shop.config.prefix
    async with Redis.from_url(shop.config.redis_url) as redis:
        for role, key in (("learn", "policy-front}:model"), ("join", "join-0}:watermarks")):
            await replace_by_list(redis, f"{{{prefix}{key}")
            await shop.trade(10)
            await stop_sentence(shop.config, role, "another type")
    assert "another type" in " ".join((await recover(shop.config, NOW_MS, RecoverOptions(dry_run=True))).join.needed)
    await recover(shop.config, NOW_MS)
    await shop.all_is_right()
    await values_that_cannot_be_read(shop)

    async with Redis.from_url(shop.config.redis_url) as redis:
        home = f"{{{prefix}policy-front}}:home"
        await replace_by_list(redis, home)
        await shop.trade(10)
        await run_named(shop.config, await stop_sentence(shop.config, "learn", "another type"), "--yes")
        await shop.all_is_right()
        shop.learner.stop()
        await redis.delete(home)
        await redis.set(home, "hostile")
        shop.learner.start()
        # It waits: were it to end, `bowerbird up` would end with it, and with the servers that a recovery needs.
        assert await stop_sentence(shop.config, "learn", "policy rebuild front")
        failed = {
            each.subject: f"{each.found}: {each.remedy}" async for each in findings(shop.config) if not each.holds
        }
        assert "another type" in failed["state of policy front"]
        assert "another type" in failed["redis"]
        assert set((await recover(shop.config, NOW_MS)).rebuilt) == {"front"}
    await shop.all_is_right()


async def replace_by_list(redis: Redis, key: str) -> None:
    """Replace a key by one of another type, before a role writes it again."""
    async with redis.pipeline(transaction=True) as pipeline:
        pipeline.delete(key)
        pipeline.lpush(key, "hostile")
        await pipeline.execute()


async def values_that_cannot_be_read(shop: Shop) -> None:
    """Somebody writes into the join's hashes, and an outbox: the join stands until a recovery, and all say so."""
    config = shop.config
    async with Redis.from_url(config.redis_url) as redis:
        for name in ("offsets", "watermarks", "seq"):
            key = f"{{{config.prefix}join-0}}:{name}"
            fields: list[Any] = await redis.hkeys(key)
            field = next(each for each in fields if not each.startswith(b"."))
            await redis.hset(key, field, "abc")
        await redis.zadd(f"{{{config.prefix}join-0}}:outbox:front", {b"nonsense": 1})
    await shop.trade(10)
    await stop_sentence(config, "join", "what cannot be read")
    async with Observer(config) as observer:
        assert any("what cannot be read" in each for each in alarms(config, await observer.look()))
    failed = [each async for each in findings(config) if not each.holds and each.subject == "join state"]
    assert {each.remedy for each in failed} == {"run `bowerbird recover`"}
    assert len(failed) == 3
    assert (await recover(config, NOW_MS, RecoverOptions(dry_run=True))).join.needed == [each.found for each in failed]
    await recover(config, NOW_MS)
    await shop.all_is_right()


async def test_keys_that_somebody_deleted_are_missed(shop: Shop) -> None:
    """A part of the join's state, and a policy: `check` says so, and a recovery puts them right."""
    await shop.trade(30)
    await shop.joined(30)
    await until(lambda: published(shop))
    prefix = shop.config.prefix
    async with Redis.from_url(shop.config.redis_url) as redis:
        await redis.delete(f"{{{prefix}policy-front}}:position", f"{{{prefix}policy-front}}:model")
        # On a busy machine all windows may have closed before it is looked at.
        for _ in range(10):
            await shop.trade(5)
            for shard in range(shop.config.shards):
                await redis.delete(f"{{{prefix}join-{shard}}}:bodies")
            failed = [each async for each in findings(shop.config) if not each.holds]
            if "join state" in {each.subject for each in failed}:
                break
    assert {each.subject for each in failed} >= {"join state", "state of policy front"}
    # Decisions that came since have their text.
    assert any(re.search(r"of \d+ decisions that wait, \d+ have their text", each.found) for each in failed), failed
    await recover(shop.config, NOW_MS)
    await shop.all_is_right()
    assert not {each.subject async for each in findings(shop.config) if not each.holds and "state" in each.subject}
