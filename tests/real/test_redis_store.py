"""The laws of the join's store and its state machine, over the script in a real Redis in cluster mode."""

import asyncio
import secrets
from collections.abc import AsyncIterator, Callable, Iterator

import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import run_state_machine_as_test
from redis.asyncio import Redis

from embedded.servers import EmbeddedRedis
from rewards.store import JoinStore
from stream.redis.store import KEYS, RedisStore
from tests.laws.join_world import World, random_schedule, run_schedule
from tests.laws.test_join_machine import JoinMachine
from tests.laws.test_store import StoreLaws

BUSY_S = 60.0
"""A machine that does much else may let an answer wait so long."""


class TestRedisStore(StoreLaws):
    """The laws over the script."""

    @pytest.fixture
    async def store(self, redis_server: EmbeddedRedis, prefix: str) -> AsyncIterator[JoinStore]:
        async with Redis.from_url(redis_server.url, socket_timeout=BUSY_S) as redis:
            yield RedisStore(redis, prefix)


WorldOf = Callable[[int], World]


@pytest.fixture
def world_of(redis_server: EmbeddedRedis) -> Iterator[WorldOf]:
    """Give a maker of worlds around the script, each under its own prefix."""
    with asyncio.Runner() as runner:
        run = runner.get_loop().run_until_complete
        redis = Redis.from_url(redis_server.url, socket_timeout=BUSY_S)

        def make(seed: int) -> World:
            prefix = f"t-{secrets.token_hex(4)}-"
            return World(
                RedisStore(redis, prefix),
                shards=1 + seed % 2,
                prefix=prefix,
                close_limit=(500, 500, 1)[seed % 3],
                portion_items=3 + seed % 5,
                run=run,
            )

        yield make
        run(redis.aclose())


def test_whatever_the_schedule_the_outcomes_and_seqs_are_the_oracles(world_of: WorldOf) -> None:
    class RedisJoinMachine(JoinMachine):
        def make_world(self, shape: int) -> World:
            return world_of(shape)

    run_state_machine_as_test(
        RedisJoinMachine,
        settings=settings(
            max_examples=25, stateful_step_count=40, deadline=None, suppress_health_check=list(HealthCheck)
        ),
    )


@pytest.mark.parametrize("first", range(0, 60, 20))
def test_random_schedules_give_the_outcomes_and_seqs_of_the_oracle(world_of: WorldOf, first: int) -> None:
    for seed in range(first, first + 20):
        run_schedule(world_of(seed), random_schedule(seed, 60 + seed % 200))


def test_nothing_is_left_in_redis_of_what_has_closed(world_of: WorldOf, redis_server: EmbeddedRedis) -> None:
    """Law 7: memory is bounded by what is pending and remembered."""
    world = world_of(0)
    run_schedule(world, random_schedule(5, 200))
    for _ in range(3):
        world.advance(9_000)
        world.round(0)
        world.round(1)
    store = world.store
    assert isinstance(store, RedisStore)

    async def left() -> dict[str, int]:
        sizes: dict[str, int] = {}
        for name in set(KEYS) - {"outbox:", "log"}:
            key = store.key(0, name)
            kind = await store.redis.type(key)
            sizes[name] = await (store.redis.hlen(key) if kind == b"hash" else store.redis.zcard(key))
        return sizes

    sizes = world._run(left())
    kept = {"offsets", "watermarks", "seq", "pending"}
    assert {name: size for name, size in sizes.items() if name not in kept and size} == {}
