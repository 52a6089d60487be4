"""The decide role on a real Kafka and a real Redis."""

import asyncio
import contextlib
import json
import signal
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import redis
from aiokafka.admin import AIOKafkaAdminClient, NewPartitions, NewTopic
from aiokafka.errors import KafkaError
from aiokafka.structs import TopicPartition

from policies.policy import digest, version_name
from policies.registry import make
from records.codec import encode
from records.errors import StateRefused
from records.policy_version import PolicyVersion
from records.rule import Reward, StreamReward
from stream import metrics, stopped
from stream.config import Config
from stream.redis.policy_cache import TIMES_TO_BELIEVE, PolicyCache
from stream.redis.policy_store import channel, model_key
from stream.redis.store import shard_key
from stream.roles import replies
from stream.roles.appender import Appender
from stream.roles.decide import Decide
from tests.policies.asking import learn_one
from tests.real.asking import Caller, caller_of, request
from tests.real.loop import Loop, loop_of, stop_sentence, until
from tests.serving import served, tables

VW = served(kind="vw", arguments="--cb_explore_adf --epsilon 0.2", window_s=1.0)


def configured(kafka, redis_server, prefix, **settings) -> Config:
    defaults: dict[str, Any] = {**tables({"front": served(window_s=1.0)}), "request_ttl_ms": 60_000}
    return Config(
        brokers=kafka.address,
        redis_url=redis_server.url,
        prefix=prefix,
        session_timeout_s=2.0,
        **(defaults | settings),
    )


@asynccontextmanager
async def running(config: Config) -> AsyncIterator[Decide]:
    service = Decide(config)
    async with service:

        async def ready() -> Any:
            return service.ready

        await until(ready, every_s=0.02)
        yield service


@asynccontextmanager
async def deciding(config: Config) -> AsyncIterator[tuple[Loop, Caller]]:
    async with loop_of(config) as loop, caller_of(config) as caller, running(config):
        yield loop, caller


def test_a_request_is_decided_logged_and_answered(kafka, redis_server, prefix):
    async def scenario():
        async with deciding(configured(kafka, redis_server, prefix)) as (loop, caller):
            asked = request("e1", note={"free": [1, "ü"]}, user_id="u1")
            reply = await caller.ask(asked)
            assert {name: reply[name] for name in asked} == asked
            assert reply["chosen"] == reply["ranking"][0]
            assert sorted(reply["ranking"]) == ["a0", "a1", "a2"]
            assert reply["propensity"] == pytest.approx(1 / 3)
            assert await loop.records("decisions") == [reply]

    asyncio.run(scenario())


def test_a_decision_lies_in_the_partition_of_its_request(kafka, redis_server, prefix):
    async def scenario():
        config = configured(kafka, redis_server, prefix)
        async with deciding(config) as (loop, caller):
            for number in range(6):
                await caller.ask(request(f"e{number}"), partition=number % 3)
            for partition in range(3):
                topic = config.topic("decisions")
                records = [record async for record in loop.reader.read(topic, partition, 0)]
                assert [record.key for record in records] == [f"e{partition}".encode(), f"e{partition + 3}".encode()]

    asyncio.run(scenario())


def test_law_3_a_redelivered_request_makes_the_same_decision(kafka, redis_server, prefix):
    async def scenario():
        config = configured(kafka, redis_server, prefix)
        async with loop_of(config) as loop, caller_of(config) as caller:
            async with running(config):
                unnamed = await caller.ask(request(None), partition=0)
                named = await caller.ask(request("e1"), partition=0)
            requests = TopicPartition(config.topic("decision-requests"), 0)
            await _rewind(config, requests)
            async with running(config):
                await until(lambda: _as_many(loop, 4))
            assert await loop.records("decisions") == [unnamed, named, unnamed, named]

    asyncio.run(scenario())


async def _as_many(loop: Loop, decisions: int) -> Any:
    return len(await loop.records("decisions")) >= decisions


async def _rewind(config: Config, partition: TopicPartition) -> None:
    from aiokafka import AIOKafkaConsumer

    consumer = AIOKafkaConsumer(
        bootstrap_servers=config.brokers, group_id=config.group("decide"), enable_auto_commit=False
    )
    await consumer.start()
    consumer.assign([partition])
    await consumer.commit({partition: 0})
    await consumer.stop()


def test_an_array_is_answered_by_an_array_with_errors_in_their_places(kafka, redis_server, prefix):
    async def scenario():
        config = configured(kafka, redis_server, prefix)
        async with deciding(config) as (loop, caller):
            asked = [
                request("e1"),
                request("e2", placement="nobody"),
                request("e3"),
                {"placement": "front", "actions": []},
            ]
            reply = await caller.ask(asked, partition=1)
            assert [part.get("chosen") is not None for part in reply] == [True, False, True, False]
            assert reply[1]["event_id"] == "e2"
            assert [part["error"]["code"] for part in reply[1::2]] == ["unknown_placement", "no_actions"]
            (message,) = [record async for record in loop.reader.read(config.topic("decisions"), 1, 0)]
            assert json.loads(message.value or b"") == [reply[0], reply[2]]
            letters = await dead_letters(loop, 2)
            assert [(letter["index"], letter["reason"]) for letter in letters] == [
                ("1", "unknown_placement"),
                ("3", "no_actions"),
            ]
            assert json.loads(letters[0]["value"]) == asked[1]

    asyncio.run(scenario())


async def dead_letters(loop: Loop, count: int) -> list[dict[str, Any]]:
    """Return the headers of dead letters, and their value, when there are so many."""

    async def found() -> list[dict[str, Any]]:
        letters: list[dict[str, Any]] = []
        topic = loop.config.topic("dead-letters")
        for partition in await loop.reader.partitions(topic):
            async for record in loop.reader.read(topic, partition, 0):
                headers = {name: content.decode("utf-8", "backslashreplace") for name, content in record.headers}
                letters.append({**headers, "value": record.value})
        return letters if len(letters) >= count else []

    return list(await until(found))


def test_decisions_of_a_large_array_go_into_several_messages(kafka, redis_server, prefix):
    async def scenario():
        streams = {f"stream-{number}": StreamReward(weight=1.0) for number in range(60)}
        front = served(window_s=1.0, reward=Reward(streams=streams))
        config = configured(kafka, redis_server, prefix, **tables({"front": front}))
        async with deciding(config) as (loop, caller):
            asked = [request(f"e{number}") for number in range(1500)]
            reply = await caller.ask(asked)
            assert reply["error"]["code"] == "reply_too_large"
            await until(lambda: _as_many(loop, 1500))
            topic = config.topic("decisions")
            sizes = [
                len(record.value or b"")
                for partition in range(3)
                async for record in loop.reader.read(topic, partition, 0)
            ]
            assert len(sizes) > 1
            assert max(sizes) <= 4 * 1024 * 1024

    asyncio.run(scenario())


def test_spring_headers_are_understood(kafka, redis_server, prefix):
    async def scenario():
        async with deciding(configured(kafka, redis_server, prefix)) as (_, caller):
            correlation = b"\x00\x01spring"
            headers = [("kafka_replyTopic", caller.topic.encode()), ("kafka_correlationId", correlation)]
            await caller.send_plain(request("e1"), headers)

            async def answered() -> Any:
                return correlation.decode() in caller.replies

            await until(answered)
            reply, reply_headers = caller.replies[correlation.decode()]
            assert reply["event_id"] == "e1"
            assert reply_headers == {"kafka_correlationId": correlation}

    asyncio.run(scenario())


def test_law_3_what_is_older_than_its_time_to_live_gets_no_decision(kafka, redis_server, prefix):
    async def scenario():
        config = configured(kafka, redis_server, prefix, request_ttl_ms=1)
        async with loop_of(config) as loop, caller_of(config) as caller:
            old = await caller.send(request("old"))
            patient = await caller.send(request("patient"), [("expires-ms", b"60000")])
            async with running(config):
                reply = await caller.reply(old)
                assert (reply["event_id"], reply["error"]["code"]) == ("old", "expired")
                assert (await caller.reply(patient))["chosen"]
                assert [decision["event_id"] for decision in await loop.records("decisions")] == ["patient"]
                assert await loop.records("dead-letters") == []

    asyncio.run(scenario())


def test_law_3_a_stalled_append_is_logged_as_expired_and_not_answered(kafka, redis_server, prefix, monkeypatch):
    append = Appender.append

    async def stalled(self, messages):
        # Until the decision's log time must lie beyond its expiry.
        if b'"late"' in messages[0].value:
            await asyncio.sleep(json.loads(messages[0].value)["expires_at_ms"] / 1000 - time.time() + 0.2)
        return await append(self, messages)

    monkeypatch.setattr(Appender, "append", stalled)

    async def scenario():
        async with deciding(configured(kafka, redis_server, prefix)) as (loop, caller):
            late = await caller.send(request("late"), [("expires-ms", b"2000")], partition=0)
            await until(lambda: _as_many(loop, 1))
            # Its partition's next request is answered after it, so its own reply would be there.
            assert (await caller.ask(request("e2"), partition=0))["chosen"]
            assert late not in caller.replies
            decision = (await loop.records("decisions"))[0]
            (logged,) = [record async for record in loop.reader.read(loop.config.topic("decisions"), 0, 0, 1)]
            assert logged.time_ms > decision["expires_at_ms"]

    asyncio.run(scenario())


def test_a_partition_that_cannot_be_written_holds_up_no_other_and_loses_nothing(
    kafka, redis_server, prefix, monkeypatch
):
    append, open_again = Appender.append, asyncio.Event()

    async def stalled(self, messages):
        if messages[0].partition == 0:
            await open_again.wait()
        return await append(self, messages)

    monkeypatch.setattr(Appender, "append", stalled)

    async def scenario():
        async with deciding(configured(kafka, redis_server, prefix)) as (_, caller):
            held = [await caller.send(request(f"held-{number}"), partition=0) for number in range(30)]
            for number in range(20):
                held.append(await caller.send(request(f"held-{30 + number}"), partition=0))
                assert (await caller.ask(request(f"e{number}"), partition=1))["chosen"]
            assert not caller.replies.keys() & set(held)
            open_again.set()
            for correlation_id in held:
                assert (await caller.reply(correlation_id))["chosen"]

    asyncio.run(scenario())


def test_a_reply_topic_that_is_missing_stalls_nobody_and_is_not_created(
    kafka, redis_server, prefix, monkeypatch, caplog
):
    """Nor does it pass in silence: the log names each topic once, and the metric counts."""
    monkeypatch.setattr(replies, "WAIT_S", 1.0)
    given_up = metrics.REPLIES.labels("unknown_topic")._value.get()

    async def scenario():
        config = configured(kafka, redis_server, prefix)
        async with deciding(config) as (loop, caller):
            for number in range(20):
                missing = config.topic(f"replies.missing-{number}")
                await caller.send(request(f"lost-{number}"), reply_topic=missing, partition=0)
            assert (await caller.ask(request("e1"), partition=0))["chosen"]
            assert len(await loop.records("decisions")) == 21
            assert await loop.reader.partitions(config.topic("replies.missing-0")) == []
            await caller.send(request("again"), reply_topic=config.topic("replies.missing-0"), partition=0)

            async def all_given_up():
                return metrics.REPLIES.labels("unknown_topic")._value.get() == given_up + 21

            await until(all_given_up)
            said = [record.getMessage() for record in caplog.records if "there is no such topic" in record.getMessage()]
            assert sorted(said) == sorted(
                f"a reply to {config.topic(f'replies.missing-{number}')} was given up, since there is no such topic:"
                " its caller must create it"
                for number in range(20)
            )

    asyncio.run(scenario())


def test_a_reply_topic_that_vanishes_stalls_nobody(kafka, redis_server, prefix):
    async def scenario():
        config = configured(kafka, redis_server, prefix)
        vanishing = config.topic("replies.vanishing")
        admin = AIOKafkaAdminClient(bootstrap_servers=kafka.address)
        await admin.start()
        await admin.create_topics([NewTopic(vanishing, 1, 1)])
        async with deciding(config) as (loop, caller):
            for number in range(5):
                await caller.send(request(f"v{number}"), reply_topic=vanishing, partition=0)
                assert (await caller.ask(request(f"e{number}"), partition=0))["chosen"]
            assert len(await loop.records("replies.vanishing")) == 5
            await admin.delete_topics([vanishing])
            for number in range(5, 30):
                await caller.send(request(f"v{number}"), reply_topic=vanishing, partition=0)
                assert (await caller.ask(request(f"e{number}"), partition=0))["chosen"]
            assert len(await loop.records("decisions")) == 60
        await admin.close()

    asyncio.run(scenario())


def test_law_7_too_many_pending_decisions_are_refused(kafka, redis_server, prefix):
    async def scenario():
        policies = {"front": served(window_s=1.0, max_pending=10), "other": served(window_s=1.0)}
        config = configured(kafka, redis_server, prefix, **tables(policies), shards=2)
        client = redis.Redis.from_url(redis_server.url)
        async with deciding(config) as (loop, caller):
            assert (await caller.ask(request("e1")))["chosen"]
            for shard in range(2):
                client.hset(shard_key(prefix, shard, "pending"), mapping={"front": 6})

            async def overloaded() -> Any:
                reply = await caller.ask(request("e2"))
                return reply.get("error", {}).get("code") == "overloaded"

            await until(overloaded)
            assert (await caller.ask(request("e3", placement="other")))["chosen"]
            client.hset(shard_key(prefix, 1, "pending"), mapping={"front": 4})

            async def decided() -> Any:
                return "chosen" in await caller.ask(request("e4"))

            await until(decided)
            assert await loop.records("dead-letters") == []
        client.close()

    asyncio.run(scenario())


def published(config: Config, number: int, model: bytes, name: str = "front", **changes) -> dict[Any, Any]:
    """Return what Redis holds of a published version."""
    policy = config.policies[name]
    fields: dict[str, Any] = {
        "policy": name,
        "placements": config.placements_of(name),
        "number": number,
        "version": version_name(number, digest(model)),
        "kind": policy.kind,
        "arguments": policy.arguments,
        "salt": config.salt(name),
        "cut": number,
        "last_seqs": {f"{name}/0": number},
        "digest": digest(model),
        "examples": number,
    }
    return {"record": encode(PolicyVersion(**(fields | changes))), "bytes": model}


def learned(times: int) -> bytes:
    """Return the bytes of a Vowpal Wabbit that has learned something."""
    from policies.features import Action

    policy = make(VW.policy.kind, VW.policy.arguments)
    actions = [Action(f"a{number}", {"f": {"price": number}}) for number in range(3)]
    for _ in range(times):
        learn_one(policy, {}, actions, 1, 0.5, 1.0)
    return policy.dump()


def test_a_published_version_is_used_at_once_and_an_older_one_only_when_it_is_told_again(kafka, redis_server, prefix):
    async def scenario():
        config = configured(kafka, redis_server, prefix, **tables({"front": VW}))
        client = redis.Redis.from_url(redis_server.url)
        key = model_key(config, "front")
        async with deciding(config) as (_, caller):
            first = await caller.ask(request("e1"))
            assert first["policy_version"].startswith("0-")
            client.hset(key, mapping=published(config, 5, learned(5)))
            client.publish(channel(config), "front")

            async def uses(number: int) -> Any:
                return (await caller.ask(request("e2")))["policy_version"].startswith(f"{number}-")

            await until(lambda: uses(5))
            assert (await caller.ask(request("e3")))["pmf"] != first["pmf"]
            client.hset(key, mapping=published(config, 4, learned(4)))
            assert await uses(5)
            client.hset(key, mapping=published(config, 6, learned(6)))
            await until(lambda: uses(6))
            client.delete(key)
            client.hset(key, mapping=published(config, 4, learned(4)))
            await until(lambda: uses(4))
        client.close()

    asyncio.run(scenario())


def test_an_older_version_needs_as_many_answers_in_a_row(redis_server, kafka, prefix):
    async def scenario():
        config = configured(kafka, redis_server, prefix, **tables({"front": VW}))
        key = model_key(config, "front")
        client = redis.Redis.from_url(redis_server.url)
        async with redis.asyncio.Redis.from_url(redis_server.url) as asking:
            lookup = PolicyCache(config, asking)
            client.hset(key, mapping=published(config, 5, learned(5)))
            await lookup.ask()
            client.hset(key, mapping=published(config, 4, learned(4)))
            for _ in range(TIMES_TO_BELIEVE - 1):
                await lookup.ask()
                assert lookup.choosers["front"].version.startswith("5-")
            await lookup.ask()
            assert lookup.choosers["front"].version.startswith("4-")
        client.close()

    asyncio.run(scenario())


@pytest.mark.parametrize(
    "changes", [{"arguments": "--cb_explore_adf --epsilon 0.3"}, {"kind": "uniform"}, {"salt": "s"}, {"digest": "0"}]
)
def test_a_published_policy_that_is_another_one_is_refused(redis_server, kafka, prefix, changes):
    async def scenario():
        config = configured(kafka, redis_server, prefix, **tables({"front": VW}))
        client = redis.Redis.from_url(redis_server.url)
        client.hset(model_key(config, "front"), mapping=published(config, 1, learned(1), **changes))
        client.close()
        async with redis.asyncio.Redis.from_url(redis_server.url) as asking:
            with pytest.raises(StateRefused, match="front"):
                await PolicyCache(config, asking).ask()

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("key", "remedy"), [("policy-front}:model", "policy rebuild front"), ("join-0}:pending", "recover")]
)
def test_a_key_of_another_type_is_named_with_its_command(redis_server, kafka, prefix, key, remedy):
    """Redis is not away: it answers, and waiting for it would end nothing."""

    async def scenario():
        config = configured(kafka, redis_server, prefix, **tables({"front": VW}))
        async with redis.asyncio.Redis.from_url(redis_server.url) as asking:
            await asking.lpush(f"{{{prefix}{key}", "hostile")
            with pytest.raises(StateRefused, match=f"a key of another type.*`bowerbird {remedy}`"):
                await PolicyCache(config, asking).ask()

    asyncio.run(scenario())


def test_a_published_policy_that_cannot_be_read_is_waited_for(redis_server, kafka, prefix):
    """Else `bowerbird up` would end, with the servers that its rebuild needs."""

    async def scenario():
        config = configured(kafka, redis_server, prefix, **tables({"front": VW}))
        with redis.Redis.from_url(redis_server.url) as client:
            client.hset(model_key(config, "front"), mapping={"record": b"junk", "bytes": b"junk"})
            async with loop_of(config) as loop, caller_of(config) as caller:
                role = loop.role("decide")
                assert "policy rebuild front" in await stop_sentence(config, "decide", "policy front in Redis")
                client.delete(model_key(config, "front"))
                assert (await caller.ask(request("e1")))["event_id"] == "e1"
                assert role.process is not None
                assert role.process.poll() is None

    asyncio.run(scenario())


def test_redis_away_decides_go_on(kafka, own_redis, prefix):
    async def scenario():
        server = own_redis()
        async with deciding(configured(kafka, server, prefix)) as (_, caller):
            assert (await caller.ask(request("e1")))["chosen"]
            server.kill()
            assert (await caller.ask(request("e2")))["chosen"]

    asyncio.run(scenario())


def test_redis_away_at_the_start_decides_with_version_0(kafka, own_redis, prefix):
    async def scenario():
        server = own_redis()
        server.kill()
        async with deciding(configured(kafka, server, prefix)) as (_, caller):
            assert (await caller.ask(request("e1")))["policy_version"].startswith("0-")

    asyncio.run(scenario())


@pytest.mark.kill
def test_the_broker_is_killed_nothing_is_lost_and_what_is_answered_is_logged(own_kafka, redis_server, prefix):
    async def scenario():
        server = own_kafka()
        config = configured(server, redis_server, prefix, request_ttl_ms=60_000)
        async with deciding(config) as (loop, caller):
            assert (await caller.ask(request("before")))["chosen"]
            asked = {await caller.send(request(f"e{number}")): f"e{number}" for number in range(200)}
            server.kill()
            server.restart()

            async def logged() -> Any:
                with contextlib.suppress(KafkaError):
                    return {decision["event_id"] for decision in await loop.records("decisions")} >= set(asked.values())

            await until(logged)
            by_id = {decision["event_id"]: decision for decision in await loop.records("decisions")}
            # Copies, if the kill made any, are identical.
            assert all(decision == by_id[decision["event_id"]] for decision in await loop.records("decisions"))
            for correlation_id, event_id in asked.items():
                if correlation_id in caller.replies:
                    assert caller.replies[correlation_id][0] == by_id[event_id]
            assert (await caller.ask(request("after")))["chosen"]

    asyncio.run(scenario())


@pytest.mark.kill
def test_a_killed_worker_loses_no_request_and_sigterm_ends_it_within_2_s(kafka, redis_server, prefix):
    async def scenario():
        config = configured(kafka, redis_server, prefix)
        async with loop_of(config) as loop, caller_of(config) as caller:
            worker = loop.role("decide")
            assert (await caller.ask(request("e0")))["chosen"]
            asked = [await caller.send(request(f"e{number}")) for number in range(1, 100)]
            worker.kill()
            worker.start()
            await until(lambda: _as_many(loop, 100))
            decisions = await loop.records("decisions")
            assert {decision["event_id"] for decision in decisions} == {f"e{number}" for number in range(100)}
            by_id = {decision["event_id"]: decision for decision in decisions}
            assert all(decision == by_id[decision["event_id"]] for decision in decisions)
            assert (await caller.ask(request("last")))["chosen"]
            assert len(asked) == 99
            worker.signal(signal.SIGTERM)
            assert worker.stop() == 0

    asyncio.run(scenario())


def test_two_workers_share_the_partitions_and_answer_all(kafka, redis_server, prefix):
    async def scenario():
        config = configured(kafka, redis_server, prefix)
        async with deciding(config) as (loop, caller):
            first = [await caller.send(request(f"a{number}")) for number in range(50)]
            async with running(config):
                second = [await caller.send(request(f"b{number}")) for number in range(50)]
                for correlation_id in (*first, *second):
                    assert (await caller.reply(correlation_id))["chosen"]
            assert (await caller.ask(request("after")))["chosen"]
            decisions = await loop.records("decisions")
            by_id = {decision["event_id"]: decision for decision in decisions}
            assert len(by_id) == 101
            assert all(decision == by_id[decision["event_id"]] for decision in decisions)

    asyncio.run(scenario())


async def stopped_part():
    """Return what stands still of a decide in this process, in a list; none: nothing does."""
    return [*stopped.stopped_parts("decide").values()]


def test_partitions_that_are_added_are_decided_from_their_first_request(kafka, redis_server, prefix):
    async def scenario():
        config = configured(kafka, redis_server, prefix)
        async with deciding(config) as (loop, _):
            before = len(await loop.reader.partitions(config.topic("decision-requests")))
            admin = AIOKafkaAdminClient(bootstrap_servers=config.brokers)
            await admin.start()
            await admin.create_partitions({config.topic("decision-requests"): NewPartitions(before + 1)})
            # A producer of its own, which knows the new partition at once; decide does not yet.
            async with caller_of(config) as another:
                asked = [await another.send(request(f"n{number}"), partition=before) for number in range(20)]
                # A decision is in the partition of its request, and `decisions` has none for these.
                (sentence,) = await until(stopped_part)
                topic = config.topic("decisions")
                assert sentence.endswith(f"kafka-topics --alter --topic {topic} --partitions {before + 1}")
                await admin.create_partitions({topic: NewPartitions(before + 1)})
                replies = [await another.reply(one) for one in asked]
            await admin.close()
            assert [reply["event_id"] for reply in replies] == [f"n{number}" for number in range(20)]

            async def gone() -> bool:
                return not await stopped_part()

            await until(gone)

    asyncio.run(scenario())
