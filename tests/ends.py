"""SIGTERM at random points under work and other load: how long each role takes to end.

``python -m tests.ends --times 50 --load 2`` ends every role 50 times next to two processes that only compute. Exit code
1 where one took longer than :data:`WITHIN_S`, or ended with another code than 0.
"""

import argparse
import asyncio
import contextlib
import json
import multiprocessing
import random
import secrets
import signal
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec
from aiokafka import AIOKafkaProducer

from embedded.servers import servers
from records.rule import Reward, StreamReward
from stream.config import ArchiveConfig, Config
from stream.kafka import topics
from stream.role import ROLES
from tests.serving import served, tables

ROOT = Path(__file__).parents[1]
WITHIN_S = 2.0
MESSAGES_A_SECOND = 20
CHILD = """
import asyncio, sys, msgspec
from importlib import import_module
from stream.run import leave, run_role
from stream.config import Config

role, config = sys.argv[1:]
module = import_module(f"stream.roles.{role}")
build = module.build

def built(config):
    parts = build(config)
    async def tell():
        while not parts.ready():
            await asyncio.sleep(0.05)
        print("ready", flush=True)
    telling.append(asyncio.get_event_loop().create_task(tell()))
    return parts

telling, module.build = [], built
leave(run_role(msgspec.json.decode(config, type=Config), role))
"""


@dataclass(frozen=True, slots=True)
class End:
    """How a role ended: its exit code (None: it was killed), and how long that took."""

    role: str
    code: int | None
    took_s: float


def _compute() -> None:
    while True:
        sum(range(10_000))


@contextlib.contextmanager
def load(processes: int) -> Iterator[None]:
    """Keep so many processes computing."""
    running = [multiprocessing.get_context("spawn").Process(target=_compute, daemon=True) for _ in range(processes)]
    for process in running:
        process.start()
    try:
        yield
    finally:
        for process in running:
            process.kill()
            process.join()


@contextlib.asynccontextmanager
async def work(config: Config) -> AsyncIterator[None]:
    """Keep requests and clicks coming."""
    producer = AIOKafkaProducer(bootstrap_servers=config.brokers, acks="all")
    await producer.start()

    async def send() -> None:
        count = 0
        actions = [{"id": "a"}, {"id": "b"}]
        while True:
            count += 1
            request = {"placement": "front", "event_id": f"e{count}", "actions": actions}
            click = {"event_id": f"e{random.randint(1, count)}"}
            await producer.send(config.topic("decision-requests"), json.dumps(request).encode())
            await producer.send(config.topic("clicks"), json.dumps(click).encode())
            await asyncio.sleep(1 / MESSAGES_A_SECOND)

    sending = asyncio.create_task(send())
    try:
        yield
    finally:
        sending.cancel()
        await asyncio.gather(sending, return_exceptions=True)
        await producer.stop()


async def end_of(config: Config, role: str, wait_s: float) -> End:
    """Start a role, and end it some time after it is ready."""
    config_json = msgspec.json.encode(config).decode()
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", CHILD, role, config_json),
        cwd=ROOT,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        assert process.stdout is not None
        async with asyncio.timeout(180):
            assert await process.stdout.readline() == b"ready\n"
        await asyncio.sleep(wait_s)
        began = time.monotonic()
        process.send_signal(signal.SIGTERM)
        code: int | None = None
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(10):
                code = await process.wait()
        return End(role, code, time.monotonic() - began)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


def config_of(brokers: str, redis_url: str, folder: str) -> Config:
    """Return a service whose roles all have work when requests and clicks come."""
    rule = Reward(streams={"clicks": StreamReward(weight=1.0)})
    return Config(
        brokers=brokers,
        redis_url=redis_url,
        prefix=f"e-{secrets.token_hex(4)}-",
        session_timeout_s=6.0,
        archive=ArchiveConfig(url=folder, max_s=0.5),
        **tables({"front": served("vw", "--cb_explore_adf", window_s=1.0, publish_ms=100, reward=rule)}),
    )


async def ends(times: int, loaded: int, seed: int, roles: Sequence[str] = ROLES) -> list[End]:
    """End each of the roles so many times, all at once."""
    rng = random.Random(seed)
    ended: list[End] = []
    with tempfile.TemporaryDirectory() as folder, servers() as running, load(loaded):
        config = config_of(running.brokers, running.redis_url, folder)
        await topics.create(config)
        async with work(config):
            for number in range(times):
                ended += await asyncio.gather(*(end_of(config, role, rng.uniform(0, 1.5)) for role in roles))
                took = " ".join(f"{end.role} {end.took_s:.2f}" for end in ended[-len(roles) :])
                print(f"{number + 1}: {took}", flush=True)
    return ended


def main() -> int:
    """Run as a script."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--times", type=int, default=50)
    parser.add_argument("--load", type=int, default=2)
    parser.add_argument("--seed", type=int, default=secrets.randbelow(10_000))
    parser.add_argument("--roles", default=",".join(ROLES))
    options = parser.parse_args()
    roles = options.roles.split(",")
    results = asyncio.run(ends(options.times, options.load, options.seed, roles))
    for role in roles:
        took = [end.took_s for end in results if end.role == role]
        print(f"{role:8} median {statistics.median(took):.2f} s, longest {max(took):.2f} s, {len(took)} ends")
    late = [end for end in results if end.code != 0 or end.took_s > WITHIN_S]
    print(f"seed {options.seed}: {len(late)} of {len(results)} not within {WITHIN_S:g} s: {late}")
    return 1 if late else 0


if __name__ == "__main__":
    sys.exit(main())
