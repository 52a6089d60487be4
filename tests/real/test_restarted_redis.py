"""A Redis that was restarted may have forgotten: nothing is written before it was compared with the log."""

from collections.abc import Callable

import pytest
from redis.asyncio import Redis

from bowerbird.recovery.recover import recover
from embedded.servers import EmbeddedKafka, EmbeddedRedis
from records.errors import StateRefused
from rewards.store import NEEDED, Claim, Transaction
from stream.config import Config
from stream.redis.store import RedisStore, shard_key
from tests.laws.test_store import DECISIONS, decided
from tests.real.loop import Loop, decision, loop_of, until
from tests.serving import served, tables


async def test_a_restarted_redis_is_compared_before_it_is_written(
    own_redis: Callable[..., EmbeddedRedis], prefix: str
) -> None:
    server = own_redis()
    compared: list[int] = []

    async def compare(store: RedisStore) -> None:
        compared.append(len(await store.outboxes(0)))
        if len(compared) == 2:
            raise StateRefused("the state", "less", "more", "restore it")

    async with Redis.from_url(server.url) as redis:
        store = RedisStore(redis, prefix, compare)
        await store.apply(0, "log", Transaction([Claim(DECISIONS, 0, 0, 1, None, True)], [decided("a", 0)]))
        await store.apply(0, "log", Transaction())
        assert len(compared) == 1
        server.kill()
        server.restart()
        await redis.connection_pool.disconnect()
        more = Transaction([Claim(DECISIONS, 0, 1, 2)], [decided("b", 0, 1)])
        with pytest.raises(StateRefused, match="the state"):
            await store.apply(0, "log", more)
        assert await store.pending(0) == {"front": 1}
        await store.apply(0, "log", more)
        await store.apply(0, "log", Transaction())
        assert len(compared) == 3
        assert await store.pending(0) == {"front": 2}


async def test_a_redis_whose_seq_lies_behind_rewards_is_refused(
    kafka: EmbeddedKafka, redis_server: EmbeddedRedis, prefix: str
) -> None:
    """`rewards` holds what this Redis has never given: the join closes nothing, and waits for a recovery."""
    config = Config(
        brokers=kafka.address,
        redis_url=redis_server.url,
        prefix=prefix,
        session_timeout_s=2.0,
        **tables({"front": served(window_s=1.0)}),
    )
    async with loop_of(config) as loop:
        await loop.send(
            "rewards",
            {"v": 1, "placement": "front", "policy": "front", "shard": 0, "outcome_seq": 9},
            "no outcome",
            partition=0,
        )
        place = {"time_ms": 1, "topic": "decisions", "partition": 0, "offset": 0, "index": 0}
        outcome = {
            "placement": "front",
            "policy": "front",
            "shard": 0,
            "outcome_seq": 5,
            "event_id": "d",
            "closed_ms": 2,
            "decision_position": place,
        }
        await loop.send("rewards", outcome, partition=0)
        await loop.send("decisions", decision("e"), partition=0)
        join = loop.role("join")
        async with Redis.from_url(config.redis_url) as redis:

            async def refused() -> bool:
                return await redis.get(shard_key(prefix, 0, "hold")) == NEEDED.encode()

            await until(refused)
        assert len(await loop.records("rewards")) == 3
        assert join.process is not None
        assert join.process.poll() is None
        await recover(config, 0)
        await until(lambda: closed(loop))
        assert join.stop() == 0


async def closed(loop: Loop) -> bool:
    """Tell whether the window of the decision has closed, under the seq after the last one in `rewards`."""
    return [each.get("outcome_seq") for each in (await loop.records("rewards"))[3:] if each["event_id"] == "e"] == [6]
