"""The learn role on a real broker and a real Redis, in processes of its own."""

import asyncio
import signal
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from functools import partial
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer
from aiokafka.admin import AIOKafkaAdminClient, RecordsToDelete
from aiokafka.structs import TopicPartition
from redis.asyncio import Redis

from embedded.servers import EmbeddedKafka, EmbeddedRedis
from policies.learner import Learner
from policies.policy import digest
from policies.policy_store import Saved
from policies.registry import make
from policies.training import outcomes_of
from stream.config import Config
from stream.redis.policy_store import RedisPolicyStore, read_published
from stream.roles.learn import LOOK_AGAIN_MS
from tests.real.loop import Loop, RoleProcess, decision, loop_of, until
from tests.serving import served, tables

VW = served(kind="vw", arguments="--cb_explore_adf --bag 3 -q uA", publish_examples=50, publish_ms=100)


@pytest.fixture
def config(kafka: EmbeddedKafka, redis_server: EmbeddedRedis, prefix: str) -> Config:
    return Config(
        brokers=kafka.address,
        redis_url=redis_server.url,
        prefix=prefix,
        session_timeout_s=2.0,
        **tables({"front": VW, "side": VW.but(arguments="--cb_explore_adf --epsilon 0.2"), "even": served()}),
    )


@pytest.fixture
async def loop(config: Config) -> AsyncIterator[Loop]:
    async with loop_of(config) as made:
        yield made


@pytest.fixture
async def redis(config: Config) -> AsyncIterator[Redis]:
    client = Redis.from_url(config.redis_url)
    yield client
    await client.aclose()


def outcome(seq: int, policy: str = "front", *, learn: bool = True, reward: float | None = None, **fields: Any) -> Any:
    """Return an outcome as the join would have appended it."""
    reward = float(seq % 2) if reward is None else reward
    context = {"user": {"age": seq % 90, "taste": "abc"[seq % 3]}}
    actions = [{"id": "a", "features": {"size": 1}}, {"id": "b", "features": {"size": 2.5}}]
    return {
        "v": 1,
        "event_id": f"{policy}-{seq}",
        "placement": policy,
        "policy": policy,
        "shard": 0,
        "outcome_seq": seq,
        "revision": 0,
        "reward": reward,
        "learn": learn,
        "why": "window" if learn else "expired",
        "closed_ms": seq,
        "decision_position": [seq, "decisions", 0, seq, 0],
        "feedback": [],
        "decision": decision(
            f"{policy}-{seq}", policy, context=context, actions=actions, chosen="ab"[seq % 2], **fields
        ),
    }


async def append(loop: Loop, first: int, last: int, policy: str = "front", **fields: Any) -> None:
    """Append outcomes with seqs from first to last, ten a message."""
    partition = loop.config.rewards_partition(policy)
    for begin in range(first, last + 1, 10):
        some = [outcome(seq, policy, **fields) for seq in range(begin, min(begin + 10, last + 1))]
        await loop.send("rewards", some, partition=partition)


async def saved_up_to(loop: Loop, redis: Redis, seq: int, policy: str = "front") -> Saved:
    """Wait until what is saved of a policy covers a seq."""
    store = RedisPolicyStore(redis, loop.config)

    async def found() -> Saved | None:
        saved = await store.read(policy)
        return saved if saved is not None and saved.position.last_seqs.get(f"{policy}/0") == seq else None

    saved: Saved = await until(found)
    return saved


async def acknowledged(loop: Loop, policy: str = "front") -> int:
    where = (loop.config.topic("rewards"), loop.config.rewards_partition(policy))
    return (await loop.reader.committed(loop.config.group("learn"), [where])).get(where, 0)


async def all_acknowledged(loop: Loop, policy: str = "front") -> None:
    where = (loop.config.topic("rewards"), loop.config.rewards_partition(policy))
    end = (await loop.reader.ends([where]))[where]

    async def there() -> bool:
        return await acknowledged(loop, policy) == end

    await until(there)


async def versions(loop: Loop, policy: str = "front") -> list[dict[str, Any]]:
    """Return the versions of a policy, repeats dropped by number; a repeat is the same record."""
    by_number: dict[int, dict[str, Any]] = {}
    for record in await loop.records("versions"):
        if record.get("policy") == policy:
            assert by_number.setdefault(record["number"], record) == record
    assert sorted(by_number) == list(range(1, len(by_number) + 1))
    return [by_number[number] for number in sorted(by_number)]


async def replayed(loop: Loop, policy: str = "front") -> list[str]:
    """Return the digests that the log gives at the published cuts."""
    policy_config = loop.config.policies[policy]
    learner = Learner(policy, partial(make, policy_config.kind, policy_config.arguments))
    topic, partition = loop.config.topic("rewards"), loop.config.rewards_partition(policy)
    messages = [message async for message in loop.reader.read(topic, partition, 0)]
    digests: list[str] = []
    begin = 0
    for version in await versions(loop, policy):
        for message in messages:
            if begin <= message.offset < version["cut"]:
                own = outcomes_of(policy, message.value)
                learner.take(message.offset, own)
        begin = version["cut"]
        position, model = learner.next()
        digests.append(position.digest)
        learner.publish(position, model)
    return digests


async def assert_replayed(loop: Loop, redis: Redis, policy: str = "front") -> None:
    """Law 4: live weights = restarted weights = recomputed weights."""
    published = [version["digest"] for version in await versions(loop, policy)]
    assert published == await replayed(loop, policy)
    live = await read_published(redis, loop.config, policy)
    assert live is not None
    assert digest(live.model) == live.record.digest == published[-1]


async def test_what_is_learned_is_published_and_acknowledged(loop: Loop, redis: Redis) -> None:
    """Three policies in one partition; one learns nothing, but its position moves."""
    loop.role("learn")
    await append(loop, 1, 100)
    await append(loop, 1, 60, "side")
    await append(loop, 1, 30, "even")
    await append(loop, 101, 200)
    await append(loop, 201, 210, learn=False)
    saved = await saved_up_to(loop, redis, 210)
    assert saved.position.examples == 200
    assert (await saved_up_to(loop, redis, 60, "side")).position.examples == 60
    even = await saved_up_to(loop, redis, 30, "even")
    assert (even.position.number, even.record) == (0, None)
    await all_acknowledged(loop)
    for policy in ("front", "side"):
        await assert_replayed(loop, redis, policy)
    assert await versions(loop, "even") == []


@pytest.mark.parametrize("beyond", [0, 1_000_000])
async def test_an_acknowledgement_that_was_moved_keeps_nothing_from_being_learned(
    loop: Loop, redis: Redis, beyond: int
) -> None:
    """To the end of the log, or beyond: what lies below it is learned all the same."""
    learn = loop.role("learn")
    await append(loop, 1, 30)
    await saved_up_to(loop, redis, 30)
    await all_acknowledged(loop)
    learn.stop()
    await append(loop, 31, 60)
    topic, partition = loop.config.topic("rewards"), loop.config.rewards_partition("front")
    end = (await loop.reader.ends([(topic, partition)]))[topic, partition]
    where = TopicPartition(topic, partition)
    consumer = AIOKafkaConsumer(
        bootstrap_servers=loop.config.brokers, group_id=loop.config.group("learn"), enable_auto_commit=False
    )
    await consumer.start()
    try:
        consumer.assign([where])
        await consumer.commit({where: end + beyond})
    finally:
        await consumer.stop()
    loop.role("learn")
    await append(loop, 61, 90)
    await saved_up_to(loop, redis, 90)
    await all_acknowledged(loop)
    await assert_replayed(loop, redis)


async def test_a_learner_that_dies_anywhere_learns_everything_once(loop: Loop, redis: Redis) -> None:
    """Laws 1 and 4: kill -9 of one of two learners, again and again, while outcomes come."""
    roles = [loop.role("learn"), loop.role("learn")]
    done = 0
    for turn in range(6):
        await append(loop, done + 1, done + 150)
        await append(loop, done + 1, done + 150, "side")
        done += 150
        reached = done - 100

        async def some(reached: int = reached) -> bool:
            live = await read_published(redis, loop.config, "front")
            return live is not None and live.record.last_seqs.get("front/0", 0) >= reached

        await until(some)
        roles[turn % 2].kill()
        roles[turn % 2].start()
    await saved_up_to(loop, redis, done)
    await saved_up_to(loop, redis, done, "side")
    await all_acknowledged(loop)
    for policy in ("front", "side"):
        await assert_replayed(loop, redis, policy)
        assert (await versions(loop, policy))[-1]["examples"] == done


async def test_a_zombie_publishes_nothing_of_its_own(loop: Loop, redis: Redis) -> None:
    """A learner that was paused past its session goes on while its successor runs."""
    first = loop.role("learn")
    await append(loop, 1, 100)
    await saved_up_to(loop, redis, 100)
    second = loop.role("learn")
    done = 100
    for zombie in (first, second):
        await append(loop, done + 1, done + 20)
        zombie.signal(signal.SIGSTOP)
        await append(loop, done + 21, done + 100)
        done += 100
        await saved_up_to(loop, redis, done)
        zombie.signal(signal.SIGCONT)
        await append(loop, done + 1, done + 50)
        done += 50
        await saved_up_to(loop, redis, done)
    await all_acknowledged(loop)
    await assert_replayed(loop, redis)


async def test_repeats_are_skipped_and_a_missing_outcome_stops_the_partition(
    loop: Loop, redis: Redis, capfd: pytest.CaptureFixture[str]
) -> None:
    role = loop.role("learn")
    await append(loop, 1, 20)
    await append(loop, 11, 30)
    assert (await saved_up_to(loop, redis, 30)).position.examples == 30
    await append(loop, 41, 50)
    sentence = "found seq 41, expected seq 31; outcomes are missing: run `bowerbird policy rebuild front`"
    await until(logged(capfd, sentence))
    await append(loop, 31, 40, "front")
    assert role.stop() == 0
    assert await acknowledged(loop) <= 4, "what the partition holds is not acknowledged"


def logged(capfd: pytest.CaptureFixture[str], text: str) -> Callable[[], Any]:
    """Return a condition: a role has logged a text."""
    seen: list[str] = []

    async def found() -> bool:
        seen.append(capfd.readouterr().err)
        return text in "".join(seen)

    return found


async def test_what_cannot_be_learned_is_skipped_everywhere(loop: Loop, redis: Redis) -> None:
    """Law 8: it goes to the dead letters with its place and its reason, and a replay skips it as well."""
    role = loop.role("learn")
    await loop.producer.send_and_wait(loop.config.topic("rewards"), b"{not json", partition=0)
    await loop.producer.send_and_wait(loop.config.topic("rewards"), None, key=b"k", partition=0)
    await loop.send("rewards", [outcome(1), {"v": 1, "outcome_seq": 2}, outcome(2, chosen_by="someone")], partition=0)
    bad = outcome(4)
    bad["decision"]["chosen"] = "nobody"
    worse = outcome(5)
    worse["decision"]["context"] = {"user": {"age": {"deep": []}}}
    await loop.send("rewards", [outcome(3), bad, worse, outcome(6, propensity=1e-300)], partition=0)
    await loop.send("rewards", [outcome(1, "nobody-knows")], partition=0)
    await append(loop, 7, 59)
    forged = outcome(60) | {"event_id": "forged"}
    await loop.send("rewards", [forged, outcome(60), forged, outcome(2**53 - 1)], partition=0)
    saved = await saved_up_to(loop, redis, 60)
    assert saved.position.examples == 57
    await all_acknowledged(loop)
    await assert_replayed(loop, redis)
    letters = []
    topic = loop.config.topic("dead-letters")
    for partition in await loop.reader.partitions(topic):
        letters += [
            {name: value.decode() for name, value in message.headers}
            async for message in loop.reader.read(topic, partition, 0)
        ]
    (seq_taken,) = [letter for letter in letters if letter["reason"] == "seq_taken"]
    assert seq_taken["index"] == "1"
    (seq_too_high,) = [letter for letter in letters if letter["reason"] == "seq_too_high"]
    assert (seq_taken["offset"], seq_too_high["index"]) == (seq_too_high["offset"], "3")
    letters.remove(seq_taken)
    letters.remove(seq_too_high)
    skipped = sorted((int(letter["offset"]), int(letter["index"]), letter["reason"]) for letter in letters)
    assert [place for *place, _ in skipped] == [[0, 0], [1, 0], [2, 1], [3, 1], [3, 2], [3, 3]]
    assert [reason for _, _, reason in skipped][:4] == ["not_json", "tombstone", "invalid_field", "chosen_unknown"]
    assert role.stop() == 0


async def test_a_log_without_its_head_is_learned_from_where_it_starts(loop: Loop, redis: Redis) -> None:
    await append(loop, 1, 30)
    admin = AIOKafkaAdminClient(bootstrap_servers=loop.config.brokers)
    await admin.start()
    try:
        where = TopicPartition(loop.config.topic("rewards"), 0)
        await admin.delete_records({where: RecordsToDelete(before_offset=2)})
    finally:
        await admin.close()
    loop.role("learn")
    saved = await saved_up_to(loop, redis, 30)
    assert saved.position.examples == 10


async def test_another_policy_or_another_place_is_refused(loop: Loop, redis: Redis) -> None:
    """A start with other arguments, or another partition of `rewards`, ends with exit code 2."""
    role = loop.role("learn")
    await append(loop, 1, 100)
    await saved_up_to(loop, redis, 100)
    assert role.stop() == 0
    others = (
        replace(loop.config, policies=loop.config.policies | {"front": VW.but(arguments="--cb_explore_adf").policy}),
        replace(loop.config, **tables({"front": VW.but(salt="pepper")})),
        replace(loop.config, rewards_partitions=2),
    )
    processes = [RoleProcess(config, "learn").start().process for config in others]
    for process in processes:
        assert process is not None
        assert await asyncio.to_thread(process.wait, 120) == 2


async def test_a_redis_that_forgot_is_not_continued(
    config: Config, own_redis: Callable[..., EmbeddedRedis], capfd: pytest.CaptureFixture[str]
) -> None:
    """`versions` is ahead of Redis: the partition stops, and nothing is written."""
    server = own_redis()
    async with loop_of(replace(config, redis_url=server.url)) as loop, Redis.from_url(server.url) as redis:
        role = loop.role("learn")
        await append(loop, 1, 100)
        await saved_up_to(loop, redis, 100)
        # It is done with the version, whose record is in `versions`.
        await all_acknowledged(loop)
        await redis.flushall()
        # Nothing comes to be learned, and all the same it says so.
        await until(logged(capfd, "Redis has forgotten it: run `bowerbird policy rebuild front`"))
        await append(loop, 101, 200)
        assert await read_published(redis, loop.config, "front") is None
        role.kill()
        loop.role("learn")
        await until(logged(capfd, "Redis has forgotten"))
        assert await read_published(redis, loop.config, "front") is None


async def test_a_redis_that_holds_the_same_again_is_continued(
    config: Config, own_redis: Callable[..., EmbeddedRedis], capfd: pytest.CaptureFixture[str]
) -> None:
    """Somebody has swapped its databases, and back: the role ends, to be started anew, and goes on."""
    server = own_redis(cluster=False)
    async with loop_of(replace(config, redis_url=server.url)) as loop, Redis.from_url(server.url) as redis:
        role = loop.role("learn")
        await append(loop, 1, 100)
        await saved_up_to(loop, redis, 100)
        await all_acknowledged(loop)
        await redis.swapdb(0, 1)
        await until(logged(capfd, "Redis has forgotten it: run `bowerbird policy rebuild front`"))
        await asyncio.sleep(2 * LOOK_AGAIN_MS / 1000)
        await redis.swapdb(0, 1)
        ended = role.process
        assert ended is not None
        await until(lambda: asyncio.to_thread(ended.poll), 30.0)
        role.start()
        await append(loop, 101, 200)
        await saved_up_to(loop, redis, 200)


@pytest.mark.kill
async def test_redis_and_the_broker_may_be_killed(
    config: Config,
    own_kafka: Callable[..., EmbeddedKafka],
    own_redis: Callable[..., EmbeddedRedis],
) -> None:
    """Laws 1 and 4: what cannot be written now is written later, and nothing is learned twice."""
    kafka, server = own_kafka(), own_redis()
    config = replace(config, brokers=kafka.address, redis_url=server.url)
    async with loop_of(config) as loop, Redis.from_url(server.url) as redis:
        role = loop.role("learn")
        await append(loop, 1, 200)
        await append(loop, 1, 100, "side")
        server.kill()
        await append(loop, 201, 300)
        server.restart()
        await saved_up_to(loop, redis, 300)
        sending = asyncio.create_task(append(loop, 301, 400))
        kafka.kill()
        kafka.restart()
        await sending
        await append(loop, 401, 500)
        await saved_up_to(loop, redis, 500)
        await saved_up_to(loop, redis, 100, "side")
        await all_acknowledged(loop)
        for policy in ("front", "side"):
            await assert_replayed(loop, redis, policy)
        assert (await versions(loop))[-1]["examples"] == 500
        assert role.stop() == 0
