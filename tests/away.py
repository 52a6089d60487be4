"""SIGTERM while servers are away, in every state of a role: each ends within two seconds, and so does a client."""

import asyncio
import contextlib
import itertools
import secrets
import signal
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

import msgspec
from redis.asyncio import Redis

from bowerbird_client import Client
from embedded.server import HOST
from embedded.servers import EmbeddedKafka, EmbeddedRedis
from stream.config import Config
from stream.kafka import topics
from stream.redis.store import RedisStore
from stream.role import ROLES
from tests.ends import CHILD, ROOT, WITHIN_S, End, config_of, work
from tests.real.network import Network, Seen

SERVERS = ("kafka", "redis")
SAYS = {"running": "ready\n", "starting": '"listening"', "held": '"stopped: '}
"""What a role has said when it is in a state."""
FAR_S = 0.7
"""How long a server has been away when a role is ended: calls wait for it by then."""


@dataclass(frozen=True, slots=True)
class Away:
    """What a role does, what its connections do meanwhile (a method of ``Network``), and those of which servers."""

    state: str
    how: str
    servers: tuple[str, ...]


ALL = [
    Away(state, how, servers)
    for state in SAYS
    for how in ("refuse", "swallow")
    for servers in (SERVERS, *itertools.combinations(SERVERS, 1))
]


class _Child:
    """A role whose log is read."""

    def __init__(self, role: str, process: asyncio.subprocess.Process) -> None:
        self.role, self._process = role, process
        self._said: list[str] = []
        self._reading = asyncio.create_task(self._read())

    async def _read(self) -> None:
        assert self._process.stdout is not None
        async for line in self._process.stdout:
            self._said.append(line.decode())

    async def says(self, words: str) -> None:
        async with asyncio.timeout(180):
            while not any(words in line for line in self._said):
                await asyncio.sleep(0.02)

    async def end(self) -> End:
        began = time.monotonic()
        self._process.send_signal(signal.SIGTERM)
        code: int | None = None
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(10):
                code = await self._process.wait()
        took_s = time.monotonic() - began
        await self.kill()
        for line in self._said:
            if "does not stop" in line:
                print(line, flush=True)
        return End(self.role, code, took_s)

    async def kill(self) -> None:
        if self._process.returncode is None:
            self._process.kill()
        await self._process.wait()
        await self._reading


async def _started(config: Config, role: str) -> _Child:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", CHILD, role, msgspec.json.encode(config).decode()),
        cwd=ROOT,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    return _Child(role, process)


async def _end_of(client: Client) -> End:
    began = time.monotonic()
    await client.__aexit__(None, None, None)
    return End("client", 0, time.monotonic() - began)


async def ends_in(case: Away, kafka: EmbeddedKafka, seen: Seen, redis: EmbeddedRedis, folder: str) -> list[End]:
    """End each role, and a client, in one situation."""
    direct = config_of(kafka.address, redis.url, f"{folder}/{secrets.token_hex(4)}")
    await topics.create(direct)
    with Network(seen.behind, seen.port) as to_kafka, Network(redis.port) as to_redis:
        networks = dict(zip(SERVERS, (to_kafka, to_redis), strict=True))
        config = replace(direct, brokers=f"{HOST}:{seen.port}", redis_url=f"redis://{HOST}:{to_redis.port}/0")

        async def part() -> None:
            for server in case.servers:
                getattr(networks[server], case.how)()

        roles: Sequence[str] = ROLES
        if case.state == "held":
            roles = ("join",)
            async with Redis.from_url(redis.url) as connection:
                store = RedisStore(connection, config.prefix)
                await asyncio.gather(*map(store.need_recovery, range(config.shards)))
        client = Client(config.brokers, prefix=config.prefix) if case.state == "running" else None
        children: list[_Child] = []
        async with work(direct):
            try:
                if client is not None:
                    await client.__aenter__()
                if case.state == "starting":
                    await part()
                children += [await _started(config, role) for role in roles]
                await asyncio.gather(*(child.says(SAYS[case.state]) for child in children))
                await part()
                await asyncio.sleep(FAR_S)
                ending = [child.end() for child in children]
                return list(await asyncio.gather(*ending, *([_end_of(client)] if client is not None else [])))
            finally:
                for child in children:
                    await child.kill()


def late(ends: Sequence[End]) -> list[End]:
    """Return those that did not end by themselves in time."""
    return [end for end in ends if end.code != 0 or end.took_s > WITHIN_S]
