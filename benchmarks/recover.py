"""`bowerbird recover` of an emptied Redis with a million decisions that wait for feedback."""

import asyncio
import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import msgspec

from benchmarks.row import Others, Row
from embedded.servers import EmbeddedKafka, EmbeddedRedis
from records.rule import Reward, StreamReward
from stream.config import Config
from tests.real.loop import Loop, decision, loop_of
from tests.serving import served, tables

PENDING = (250_000, 1_000_000)
ARRAY = 100
BAR = 20_000
MORE_MEMORY = 1.25
"""Four times as many decisions may need so much of the memory."""

CHILD = """
import asyncio, resource, sys, time
import msgspec
from bowerbird.recovery.options import RecoverOptions
from bowerbird.recovery.recover import recover
from stream.config import Config
began, used = time.monotonic(), time.process_time()
done = asyncio.run(recover(msgspec.json.decode(sys.argv[1], type=Config), 0, RecoverOptions(force=True)))
print(done.join.pending, time.monotonic() - began, time.process_time() - used,
      resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
"""


class Recovered(NamedTuple):
    """Decisions that wait afterwards, seconds, CPU seconds of the command, and its largest resident memory in MiB."""

    pending: int
    seconds: float
    cpu_s: float
    mib: float


def run() -> list[Row]:
    """Measure the command at two sizes, on a real Kafka and a real Redis."""
    others = Others()
    found: list[Recovered] = []
    with EmbeddedKafka() as kafka, EmbeddedRedis(unix_socket=True) as redis:
        config = Config(
            brokers=kafka.address,
            redis_url=redis.url,
            **tables({"front": served(window_s=36_000.0, reward=Reward(streams={"clicks": StreamReward(1.0)}))}),
        )
        for count in PENDING:
            service = replace(config, prefix=f"b-{count}-")
            asyncio.run(_fill(service, count))
            with others.measured():
                found.append(_recover(service))
            assert found[-1].pending == count
    rates = [each.pending / each.seconds for each in found]
    return [
        Row(
            "`recover` of an emptied Redis, decisions of 0.5 kB that wait for feedback, a click for each tenth",
            "a limit; memory: the same with a fourth of the decisions",
            f">= {BAR:,}/s, memory <= {MORE_MEMORY} times",
            "; ".join(
                f"{each.pending:,}: {rate:,.0f}/s in {each.mib:.0f} MiB"
                for each, rate in zip(found, rates, strict=True)
            ),
            rates[-1] >= BAR and found[-1].mib <= MORE_MEMORY * found[0].mib,
            f"the command's CPU ({found[-1].cpu_s / found[-1].seconds:.0%} of the time), then Redis",
            others.median,
        )
    ]


def _recover(config: Config) -> Recovered:
    config_json = msgspec.json.encode(config).decode()
    output = subprocess.run(
        [sys.executable, "-c", CHILD, config_json], check=True, capture_output=True, text=True
    ).stdout
    pending, *rest = output.split()
    return Recovered(int(pending), *map(float, rest))


async def _fill(config: Config, count: int) -> None:
    rule = {"window_s": 36_000.0, "early_s": 5.0, "reward": {"streams": {"clicks": {"weight": 1.0}}}}
    async with loop_of(config) as loop:
        for start in range(0, count, ARRAY):
            some = [decision(f"event-{number:08d}", rule=rule) for number in range(start, start + ARRAY)]
            await _append(loop, "decisions", some, start // ARRAY % 3)
            clicks = [{"event_id": f"event-{number:08d}", "id": "c"} for number in range(start, start + ARRAY, 10)]
            await _append(loop, "clicks", clicks, start // ARRAY % 3)
        await loop.producer.flush()


async def _append(loop: Loop, topic: str, records: Sequence[object], partition: int) -> None:
    await loop.producer.send(loop.config.topic(topic), json.dumps(records).encode(), partition=partition)
