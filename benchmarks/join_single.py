"""Joined decisions where each event is a message of its own, against a Faust agent that does nothing."""

import asyncio
import subprocess
import sys
import time
from collections.abc import AsyncIterable
from dataclasses import replace
from secrets import token_hex
from statistics import median
from typing import Any

import msgspec

from benchmarks.join import append_all, joined_a_second
from benchmarks.row import Others, Row, spread
from embedded.servers import EmbeddedKafka, EmbeddedRedis
from records.rule import Reward, StreamReward
from stream.config import Config
from stream.kafka.faust_app import make_app
from tests.real.loop import loop_of
from tests.serving import served, tables

DECISIONS = 3_000
MESSAGES = 2 * DECISIONS
REPEATS = 3
WITHIN_S = 60.0

IDLE = """
import asyncio, sys, msgspec
from benchmarks.join_single import idle
from stream.config import Config
asyncio.run(idle(msgspec.json.decode(sys.argv[1], type=Config)))
"""


def run() -> list[Row]:
    """Measure both in turns over the same messages."""
    others = Others()
    worker, agent = [], []
    with EmbeddedKafka() as kafka, EmbeddedRedis(unix_socket=True) as redis:
        config = Config(
            brokers=kafka.address,
            redis_url=redis.url,
            early_s=120.0,
            **tables({"front": served(window_s=1.0, reward=Reward(streams={"clicks": StreamReward(1.0)}))}),
        )
        for _ in range(REPEATS):
            with others.measured():
                found = asyncio.run(_both(replace(config, prefix=f"b-{token_hex(3)}-")))
            worker.append(found[0])
            agent.append(found[1])
    return [
        Row(
            "joined decisions of 1.5 kB, one event a message (two messages a decision), one worker",
            "a Faust agent that does nothing, over the same messages",
            "report",
            f"{spread(worker, 0)}/s; agent {spread(agent, 0)}/s; ratio {median(worker) / median(agent):.2f}",
            None,
            "Faust, which takes each message by itself; then the worker's own CPU",
            others.median,
        )
    ]


async def _both(config: Config) -> tuple[float, float]:
    """Return decisions a second of the worker, and of the agent over the same log."""
    async with loop_of(config) as loop:
        await append_all(loop, DECISIONS, array=1)
        joined = await joined_a_second(loop, DECISIONS)
        config_json = msgspec.json.encode(config).decode()
        done = await asyncio.to_thread(
            subprocess.run,
            [sys.executable, "-c", IDLE, config_json],
            stdout=subprocess.PIPE,
            check=True,
            timeout=WITHIN_S,
        )
    # Two messages a decision; the time is that of one message less than all.
    return joined.whole, (MESSAGES - 1) / 2 / float(done.stdout)


async def idle(config: Config) -> None:
    """Take all messages, print the seconds from the first to the last, and end."""
    app = make_app(config, "idle")
    ended = asyncio.Event()
    times: list[float] = []

    @app.agent(app.topic(config.topic("decisions"), config.topic("clicks")), name="idle")
    async def take(events: AsyncIterable[Any]) -> None:
        seen = 0
        async for _ in events:
            seen += 1
            if seen in (1, MESSAGES):
                times.append(time.monotonic())
            if seen == MESSAGES:
                ended.set()

    await app.start()
    await ended.wait()
    print(times[1] - times[0], flush=True)
    await app.stop()
