"""Connections that are cut, swallowed or half open: every role works again soon after the network is back."""

import asyncio
import contextlib
import os
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Self

import pytest
from redis.asyncio import Redis

from archive.writer import ArchiveStore
from embedded.server import HOST
from embedded.servers import EmbeddedKafka, EmbeddedRedis
from stream.config import ArchiveConfig, Config
from stream.redis.policy_store import read_published
from tests.real.asking import Caller, caller_of, request
from tests.real.loop import Loop, RoleProcess, decision, loop_of, until
from tests.real.network import Network, seen_through_a_network
from tests.serving import served, tables

ROLES = ("decide", "join", "join", "learn", "archive")
BACK_S = 15.0
"""All roles work again so long after the network is back."""
PUBLISH_S = 5.0
START_S = 120.0
TIMES = 2
"""So often in a row a role must be late until that is taken for a fault."""
RULE = {"window_s": 0.5, "early_s": 1.0, "reward": {"streams": {"clicks": {"weight": 1.0}}}}

LONG = pytest.mark.skipif("BOWERBIRD_LONG" not in os.environ, reason="two minutes more: set BOWERBIRD_LONG=1")


@pytest.fixture
def broker(own_kafka: Callable[..., EmbeddedKafka]) -> Iterator[tuple[EmbeddedKafka, Network]]:
    """Give a broker with a second address, behind a network."""
    kafka, seen = seen_through_a_network(own_kafka)
    with Network(seen.behind, seen.port) as network:
        yield kafka, network


class Kept:
    """Keeps the roles running as a supervisor does, until they are ended; an asynchronous context manager.

    Attributes
    ----------
    codes
        The exit codes of those that ended.
    """

    def __init__(self, config: Config) -> None:
        self._roles = [RoleProcess(config, role) for role in ROLES]
        self.codes: list[int] = []

    async def __aenter__(self) -> Self:
        for role in self._roles:
            role.start()
        self._keeping = asyncio.create_task(self._keep())
        return self

    async def __aexit__(self, *_: object) -> None:
        self._keeping.cancel()
        for role in self._roles:
            role.kill()

    async def _keep(self) -> None:
        while True:
            for role in self._roles:
                if role.process is not None and (code := role.process.poll()) is not None:
                    self.codes.append(code)
                    role.start()
            await asyncio.sleep(0.1)


class Works:
    """Asks every role for something that it has not done yet."""

    def __init__(self, loop: Loop, caller: Caller, redis: Redis, archive: ArchiveStore) -> None:
        self._loop, self._caller, self._redis, self._archive = loop, caller, redis, archive
        self._number = 0

    async def check(self, within_s: float) -> dict[str, float]:
        """Return after how many seconds each role had worked."""
        began = time.monotonic()
        ends = began + within_s
        self._number += 1
        asked = asyncio.create_task(self._answered(ends))
        examples = await self._examples()
        for partition in range(2):
            ids = [f"{self._number}-{partition}-{index}" for index in range(4)]
            await self._loop.send("decisions", *(decision(name, rule=RULE) for name in ids), partition=partition)
        topic = self._loop.config.topic("decisions")
        written = await self._loop.reader.ends([(topic, 0), (topic, 1)])
        took: dict[str, float] = {}

        async def joined() -> bool:
            outcomes = {outcome["event_id"] for outcome in await self._loop.records("rewards")}
            return {f"{self._number}-{p}-{i}" for p in range(2) for i in range(4)} <= outcomes

        async def learned() -> bool:
            return await self._examples() >= examples + 8

        async def archived() -> bool:
            return all((self._archive._end(*name) or 0) >= end for name, end in written.items())

        async def measure(role: str, condition: Callable[[], object]) -> None:
            await until(condition, max(1.0, ends - time.monotonic()))  # type: ignore[arg-type]
            took[role] = round(time.monotonic() - began, 1)

        await asyncio.gather(measure("join", joined), measure("learn", learned), measure("archive", archived))
        took["decide"] = round(await asked - began, 1)
        return took

    async def _answered(self, ends: float) -> float:
        while True:
            name = await self._caller.send(request(None))
            with contextlib.suppress(AssertionError):
                await self._caller.reply(name, 1.0)
                return time.monotonic()
            assert time.monotonic() < ends, "decide does not answer"

    async def _examples(self) -> int:
        published = await read_published(self._redis, self._loop.config, "front")
        return published.record.examples if published is not None else 0


async def works_soon_after(harm: Callable[[], Awaitable[None]], works: Works, within_s: float) -> None:
    """Harm, and again if a role was late: what hangs hangs again; what is late because others compute is not."""
    late: list[dict[str, float]] = []
    while True:
        await harm()
        took = await works.check(START_S)
        if max(took.values()) <= within_s:
            return
        late.append(took)
        assert len(late) < TIMES, (harm.__name__, late)


@pytest.mark.parametrize(
    ("hole_s", "away_s"), [(7.0, 7.0), pytest.param(25.0, 45.0, marks=LONG)], ids=["short", "long"]
)
async def test_every_role_works_again_soon_after_the_network_is_back(
    broker: tuple[EmbeddedKafka, Network],
    redis_server: EmbeddedRedis,
    prefix: str,
    tmp_path: Path,
    hole_s: float,
    away_s: float,
) -> None:
    kafka, network = broker
    with Network(redis_server.port) as to_redis:
        direct = Config(
            brokers=kafka.address,
            redis_url=redis_server.url,
            prefix=prefix,
            partitions=2,
            shards=2,
            request_ttl_ms=5_000,
            early_s=1.0,
            archive=ArchiveConfig(url=str(tmp_path), max_s=0.5),
            **tables({"front": served("vw", "--cb_explore_adf", window_s=0.5, publish_ms=100)}),
        )
        proxied = replace(direct, brokers=f"{HOST}:{network.port}", redis_url=f"redis://{HOST}:{to_redis.port}/0")
        async with (
            loop_of(direct) as loop,
            caller_of(direct) as caller,
            Redis.from_url(redis_server.url) as redis,
            Kept(proxied) as roles,
        ):
            works = Works(loop, caller, redis, ArchiveStore(str(tmp_path), prefix))
            await works.check(START_S)

            async def half_open() -> None:
                network.forget()

            async def cut() -> None:
                network.cut()

            async def hole() -> None:
                network.swallow()
                await asyncio.sleep(hole_s)
                network.restore()

            async def redis_away() -> None:
                to_redis.swallow()
                await asyncio.sleep(away_s)
                to_redis.restore()

            for harm in (half_open, cut, hole, redis_away):
                await works_soon_after(harm, works, PUBLISH_S if harm is redis_away else BACK_S)
            assert set(roles.codes) <= {1}, roles.codes
