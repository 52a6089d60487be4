"""The archive role: how fast it catches up, against pyarrow alone, and whether its lag stays flat under load."""

import asyncio
import json
import time
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from secrets import token_hex
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from archive.names import ArchiveFile
from archive.rows import rows_of, table_of
from archive.schema import REPEATED, SCHEMAS
from benchmarks.row import Others, Row, spread
from embedded.servers import EmbeddedKafka
from stream.config import ArchiveConfig, Config
from stream.kafka.log import LogRecord
from tests.real.loop import Loop, RoleProcess, decision, loop_of
from tests.serving import served, tables

DECISIONS = 300_000
ARRAY = 100
BODIES = 10_000
LEFT = 90_000
"""What files that are not full may hold: the time is taken up to the last one that is."""
REPEATS = 3
BAR = 0.5
LOAD_A_SECOND = 5_000
LOAD_S = 30
FLAT_S = 1.0
"""The lag is flat where at the end no more waits than what arrives in a second, beyond what waited at the start."""


def run() -> list[Row]:
    """Measure the role on a real broker, and pyarrow on the same rows."""
    others = Others()
    bodies = [_body(number) for number in range(BODIES)]
    role, alone, lags = [], [], []
    with EmbeddedKafka(properties={"num.partitions": 3}) as kafka:
        config = Config(brokers=kafka.address, **tables({"front": served()}))
        for _ in range(REPEATS):
            with TemporaryDirectory() as folder, others.measured():
                alone.append(_alone(bodies))
                archive = ArchiveConfig(folder)
                role.append(asyncio.run(_catches_up(_own(config, archive), bodies)))
        for _ in range(REPEATS):
            with TemporaryDirectory() as folder, others.measured():
                archive = ArchiveConfig(folder, max_s=1.0)
                lags.append(asyncio.run(_keeps_up(_own(config, archive), bodies)))
    ratio = median(role) / median(alone)
    growth = median(last - first for first, last in lags)
    flat = growth <= FLAT_S * LOAD_A_SECOND
    return [
        Row(
            "archive, decisions of 1.3 kB with 10 actions, arrays of 100, one worker",
            "pyarrow writing the same rows",
            f">= {BAR}",
            f"{ratio:.2f}: {spread(role, 0)} rows/s; pyarrow {spread(alone, 0)} rows/s",
            ratio >= BAR,
            "the worker's CPU: decoding JSON, and building the columns",
            others.median,
        ),
        Row(
            f"archive at {LOAD_A_SECOND:,} decisions a second for {LOAD_S} s, arrays of 100",
            "lag in records, files of 1 s",
            "flat",
            f"grew by {growth:.0f} from its first to its last third "
            f"({', '.join(f'{first:.0f} to {last:.0f}' for first, last in lags)})",
            flat,
            "files are closed by the clock: what is younger waits",
            others.median,
        ),
    ]


def _own(config: Config, archive: ArchiveConfig) -> Config:
    return replace(config, prefix=f"b-{token_hex(3)}-", archive=archive)


def _body(number: int) -> dict[str, Any]:
    ids = [f"action-{index}" for index in range(10)]
    return decision(
        f"event-{number:08d}",
        context={"user": {"age": number % 90, "text": token_hex(150)}},
        actions=[{"id": each, "features": {"size": index}} for index, each in enumerate(ids)],
        pmf=[0.1] * 10,
        chosen=ids[0],
        propensity=0.1,
        ranking=ids,
    )


def _alone(bodies: list[dict[str, Any]]) -> float:
    """Return rows a second of pyarrow writing rows that are Python values already."""
    place = LogRecord("decisions", 0, 0, 1_795_478_399_999, b"key", None, ())
    messages = (place._replace(offset=number, value=json.dumps(body).encode()) for number, body in enumerate(bodies))
    rows = table_of("decisions", [row for message in messages for row in rows_of("decisions", message)]).to_pylist()
    schema = SCHEMAS["decisions"]
    dictionary = [name for name in REPEATED if name in schema.names]
    began = time.monotonic()
    table = pa.Table.from_pylist(rows, schema)
    pq.write_table(table, BytesIO(), compression="zstd", compression_level=1, use_dictionary=dictionary)
    return len(rows) / (time.monotonic() - began)


async def _catches_up(config: Config, bodies: list[dict[str, Any]]) -> float:
    """Return rows a second, from the first file to the last one."""
    async with loop_of(config) as loop:
        for start in range(0, DECISIONS, ARRAY):
            await _append(loop, bodies, start)
        await loop.producer.flush()
        role = RoleProcess(config, "archive").start()
        try:
            seen: list[tuple[float, int]] = []
            while not seen or seen[-1][1] < DECISIONS - LEFT:
                seen.append((time.monotonic(), _archived(config)))
                await asyncio.sleep(0.02)
        finally:
            role.kill()
    began, first = next(each for each in seen if each[1])
    ended, last = seen[-1]
    return (last - first) / (ended - began)


async def _keeps_up(config: Config, bodies: list[dict[str, Any]]) -> tuple[float, float]:
    """Return the mean lag in records, of the first and the last third of the load."""
    async with loop_of(config) as loop:
        role = RoleProcess(config, "archive").start()
        try:
            await _append(loop, bodies, 0)
            # Names in a folder tell nobody that they are there.
            while not _archived(config):  # noqa: ASYNC110
                await asyncio.sleep(0.02)
            lags: list[int] = []
            began, sent = time.monotonic(), ARRAY
            while (now := time.monotonic() - began) < LOAD_S:
                while sent < now * LOAD_A_SECOND:
                    await _append(loop, bodies, sent)
                    sent += ARRAY
                lags.append(sent - _archived(config))
                await asyncio.sleep(0.02)
        finally:
            role.kill()
    third = len(lags) // 3
    return sum(lags[:third]) / third, sum(lags[-third:]) / third


async def _append(loop: Loop, bodies: list[dict[str, Any]], start: int) -> None:
    some = [bodies[number % len(bodies)] for number in range(start, start + ARRAY)]
    await loop.producer.send(
        loop.config.topic("decisions"), json.dumps(some).encode(), key=b"key", partition=start // ARRAY % 3
    )


def _archived(config: Config) -> int:
    """Return how many decisions the names of the files hold."""
    root = Path(config.archive.url or "")
    files = (ArchiveFile.parse(str(path.relative_to(root))) for path in root.glob(f"{config.topic('decisions')}/*/*"))
    return sum((file.last + 1 - file.first) * ARRAY for file in files if file is not None)
