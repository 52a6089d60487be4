"""The laws of publishing, and the machine of learners, over Redis and its script."""

import asyncio
from collections.abc import Iterator
from secrets import token_hex

import pytest
from hypothesis import settings
from hypothesis.stateful import run_state_machine_as_test
from redis.asyncio import Redis

from embedded.servers import EmbeddedRedis
from records.errors import StateRefused
from stream import preflight
from stream.config import Config
from stream.redis.policy_store import RedisPolicyStore, model_key, policy_key, read_published
from tests.laws.learn_world import World
from tests.laws.test_learn_machine import LearnMachine
from tests.serving import served, tables
from tests.stream.test_publish import *  # noqa: F403 (the same laws, over another store)
from tests.stream.test_publish import append, save, take_all


@pytest.fixture(scope="module")
def run() -> Iterator[asyncio.Runner]:
    with asyncio.Runner() as runner:
        yield runner


@pytest.fixture(scope="module")
def redis(redis_server: EmbeddedRedis, run: asyncio.Runner) -> Iterator[Redis]:
    client = Redis.from_url(redis_server.url)
    yield client
    run.run(client.aclose())


@pytest.fixture  # type: ignore[no-redef]
def world(redis: Redis, run: asyncio.Runner, prefix: str) -> World:
    return World(RedisPolicyStore(redis, Config(prefix=prefix)), run.run)


def test_saved_weights_are_a_replay_of_the_log(redis: Redis, run: asyncio.Runner) -> None:
    """Law 4, over Redis."""

    class RedisMachine(LearnMachine):
        def make_world(self) -> World:
            return World(RedisPolicyStore(redis, Config(prefix=f"t-{token_hex(4)}-")), run.run)

    run_state_machine_as_test(RedisMachine, settings=settings(max_examples=60, stateful_step_count=30, deadline=None))


def test_a_new_version_is_told(redis: Redis, run: asyncio.Runner, world: World, prefix: str) -> None:
    config = Config(prefix=prefix)

    async def subscribed() -> object:
        listener = redis.pubsub()
        await listener.subscribe(f"{prefix}policy-versions")
        await listener.get_message(timeout=180)
        return listener

    async def next_message(listener: object) -> object:
        message = await listener.get_message(timeout=180)  # type: ignore[attr-defined]
        await listener.aclose()  # type: ignore[attr-defined]
        return message["data"]

    listener = run.run(subscribed())
    append(world, 1)
    take_all(world.workers[0])
    assert save(world.workers[0]) == "published"
    assert run.run(next_message(listener)) == b"left"
    published = run.run(read_published(redis, config, "left"))
    assert published is not None
    assert (published.record.number, published.model) == (1, b'[["left-0-1"]]')
    assert run.run(read_published(redis, config, "right")) is None


def test_what_is_no_version_is_refused(redis: Redis, run: asyncio.Runner, prefix: str) -> None:
    config = Config(prefix=prefix)
    key = model_key(config, "left")
    run.run(redis.hset(key, mapping={"record": b"{}", "bytes": b""}))  # type: ignore[arg-type]
    with pytest.raises(StateRefused, match="policy left in Redis"):
        run.run(read_published(redis, config, "left"))


def test_a_policy_stays_where_it_was(redis: Redis, run: asyncio.Runner, prefix: str) -> None:
    store = RedisPolicyStore(redis, Config(prefix=prefix))
    home = {"log": "cluster/log", "rewards_partitions": "3", "partition": "1"}
    run.run(store.remember_home("left", home))
    run.run(store.remember_home("left", home))
    for what in home:
        with pytest.raises(StateRefused, match=f"{what} of policy left: found other"):
            run.run(store.remember_home("left", {**home, what: "other"}))


def test_a_home_of_another_type_is_refused_until_it_is_discarded(
    redis: Redis, run: asyncio.Runner, prefix: str
) -> None:
    config = Config(prefix=prefix, **tables({"left": served()}))
    store, key = RedisPolicyStore(redis, config), policy_key(prefix, "left", "home")
    home = {"log": "cluster/log"}

    async def scenario() -> None:
        await store.remember_home("left", home)
        assert not await store.discard_spoilt_home("left")
        assert not await store.discard_other("left", "cluster/log")
        for discard in (store.discard_spoilt_home("left"), store.discard_other("left", "cluster/log")):
            await redis.delete(key)
            await redis.set(key, "hostile")
            for refused in (store.read("left"), store.remember_home("left", home), preflight.remembered(redis, config)):
                with pytest.raises(StateRefused, match=r"key of another type.*`bowerbird policy rebuild left`"):
                    await refused
            assert await discard
            assert await store.read("left") is None
            await store.remember_home("left", home)

    run.run(scenario())
