"""``log describe`` of a million outcomes, from the archive's Parquet and from JSON lines, against reading alone."""

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from archive.hashes import event_hashes, unit_hashes
from archive.names import ArchiveFile, log_file
from archive.reader import ACTION_ID
from archive.schema import REPEATED, SCHEMAS
from benchmarks.row import Others, Row, spread
from records.codec import encode
from records.log_identity import LogIdentity

ROWS = 1_000_000
SHARE = 100
"""What is left over so many times fewer rows is the start of the command."""
FILES = 4
GROUP = 5_000
"""Rows a row group, as the archive role writes them."""
ACTIONS = 10
REPEATS = 5
BEST_OF = 3
PARQUET_S, JSON_S = 1.0, 3.0
DAY = "2026-11-24"
FIRST_MS = 1_795_478_400_000
RULE = {"window_s": 60.0, "reward": {"streams": {"clicks": {"weight": 1.0}}}}
NAMES = [f"item-{number}" for number in range(ACTIONS)]
COLUMNS = (
    *(
        "problem",
        "placement",
        "policy",
        "policy_version",
        "offset",
        "shard",
        "outcome_seq",
        "revision",
        "places",
        "reward",
        "learn",
        "why",
    ),
    *("propensity", "pmf", "chosen", ACTION_ID, "decided_at", "event_hash", "unit_hash"),
)
"""What the command reads of Parquet."""


def run() -> list[Row]:
    """Measure the command over both, in turns with what only reads."""
    others = Others()
    parquet, lines, read, decoded = [], [], [], []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for rows, called in ((ROWS, "whole"), (ROWS // SHARE, "start")):
            write_archive(folder / called, rows)
            write_lines(folder / f"{called}.jsonl", rows)
        size = (folder / "whole.jsonl").stat().st_size
        for _ in range(REPEATS):
            with others.measured():
                parquet.append(_beyond_start(folder / "whole", folder / "start"))
                read.append(_best(lambda: _read(folder / "whole")))
                lines.append(_beyond_start(folder / "whole.jsonl", folder / "start.jsonl"))
                decoded.append(_best(lambda: _decode(folder / "whole.jsonl")))
    return [
        Row(
            f"log describe of {ROWS:,} archived outcomes with {ACTIONS} actions, beyond the command's start",
            "pyarrow reading the same columns",
            f"< {PARQUET_S:g} s",
            f"{spread(parquet)} s; pyarrow {spread(read)} s",
            median(parquet) < PARQUET_S,
            "reading the pmfs and the actions' ids; then the sums over each pmf",
            others.median,
        ),
        Row(
            f"log describe of {ROWS:,} outcomes as JSON lines ({size / ROWS:.0f} bytes each), beyond the start",
            "msgspec finding the ends of the records",
            f"< {JSON_S:g} s",
            f"{spread(lines)} s; msgspec {spread(decoded)} s on one core",
            median(lines) < JSON_S,
            "parsing JSON, on all cores",
            others.median,
        ),
    ]


def _best(measured: Callable[[], float]) -> float:
    return min(measured() for _ in range(BEST_OF))


def _beyond_start(whole: Path, start: Path) -> float:
    """Return the seconds that the command takes for all rows, without its start."""
    beyond = _best(lambda: _command(whole, ROWS)) - _best(lambda: _command(start, ROWS // SHARE))
    return beyond * SHARE / (SHARE - 1)


def _command(log: Path, rows: int) -> float:
    began = time.monotonic()
    output = subprocess.run(
        [sys.executable, "-m", "bowerbird", "log", "describe", str(log), "--json"], capture_output=True, check=True
    ).stdout
    seconds = time.monotonic() - began
    found = json.loads(output)
    if found["rows"] != rows or not found["has_pmf"] or any(each["wrong"] for each in found["health"]):
        raise RuntimeError(f"the command does not see what was written: {found['rows']} rows, {found['health']}")
    return seconds


def _read(archive: Path) -> float:
    began = time.monotonic()
    for file in sorted(archive.rglob("*.parquet")):
        texts = [*(name for name in REPEATED if name in COLUMNS), ACTION_ID]
        pq.ParquetFile(file, read_dictionary=texts).read(columns=list(COLUMNS))
    return time.monotonic() - began


def _decode(file: Path) -> float:
    decoder = msgspec.json.Decoder(msgspec.Raw)
    began = time.monotonic()
    with file.open("rb") as lines:
        rows = sum(1 for line in lines if decoder.decode(line))
    if rows != ROWS:
        raise RuntimeError(f"found {rows} lines, expected {ROWS}")
    return time.monotonic() - began


def write_archive(archive: Path, rows: int) -> None:
    """Write outcomes as the archive role does, without the bytes that are not read."""
    archive.mkdir()
    (archive / log_file("")).write_bytes(encode(LogIdentity(log_id="benchmark")))
    schema = SCHEMAS["rewards"]
    each = rows // FILES
    dictionary = [name for name in REPEATED if name in schema.names]
    for first in range(0, rows, each):
        file = archive / ArchiveFile("rewards", 0, first, first + each - 1, DAY).path
        file.parent.mkdir(parents=True, exist_ok=True)
        with pq.ParquetWriter(
            file, schema, compression="zstd", compression_level=1, use_dictionary=dictionary
        ) as writer:
            for start in range(first, first + each, GROUP):
                count = min(GROUP, first + each - start)
                writer.write_table(outcomes(start, count), row_group_size=count)


def outcomes(start: int, count: int) -> pa.Table:
    """Return outcomes from a seq on, drawn from their pmfs."""
    chance = np.random.default_rng(start)
    pmf = 0.1 / ACTIONS + 0.9 * chance.dirichlet(np.ones(ACTIONS), size=count)
    chosen = (chance.random((count, 1)) > pmf.cumsum(axis=1)).sum(axis=1).clip(0, ACTIONS - 1)
    numbers = np.arange(start, start + count)
    event_ids = pa.array([f"event-{number:09d}" for number in numbers])
    user_ids = pa.array([f"user-{number // 20}" for number in numbers])
    ends = pa.array(np.arange(0, (count + 1) * ACTIONS, ACTIONS, dtype=np.int32))
    ids = pa.array(np.tile(np.array(NAMES), count))
    features = pa.array(["{}"] * (count * ACTIONS))
    columns = {
        "topic": pa.array(["rewards"] * count),
        "partition": pa.array(np.zeros(count)),
        "offset": pa.array(numbers),
        "index": pa.array(np.zeros(count)),
        "event_id": event_ids,
        "user_id": user_ids,
        "event_hash": event_hashes(event_ids),
        "unit_hash": unit_hashes(user_ids, event_ids),
        "placement": pa.array(["front"] * count),
        "policy": pa.array(["front"] * count),
        "policy_version": pa.array([f"{start // 20_000}-0a1b2c3d"] * count),
        "shard": pa.array(np.zeros(count)),
        "outcome_seq": pa.array(numbers + 1),
        "revision": pa.array(np.zeros(count)),
        "places": pa.array(np.ones(count)),
        "reward": pa.array((chance.random(count) < 0.1).astype(float)),
        "learn": pa.array([True] * count),
        "why": pa.array(["window"] * count),
        "rule": pa.array([json.dumps(RULE)] * count),
        "decided_at": pa.array(FIRST_MS + numbers * 50).cast(pa.timestamp("ms", tz="UTC")),
        "pmf": pa.ListArray.from_arrays(ends, pa.array(pmf.ravel())),
        "propensity": pa.array(pmf[np.arange(count), chosen]),
        "chosen": pa.array(np.array(NAMES)[chosen]),
        "actions": pa.ListArray.from_arrays(ends, pa.StructArray.from_arrays([ids, features], ["id", "features"])),
    }
    schema = SCHEMAS["rewards"]
    return pa.Table.from_arrays(
        [
            columns[field.name].cast(field.type) if field.name in columns else pa.nulls(count, field.type)
            for field in schema
        ],
        schema=schema,
    )


def write_lines(file: Path, rows: int) -> None:
    """Write the same outcomes as JSON lines."""
    actions = [{"id": name} for name in NAMES]
    wanted = ["event_id", "user_id", "policy_version", "outcome_seq", "reward", "pmf", "propensity", "chosen", "offset"]
    with file.open("wb") as lines:
        for start in range(0, rows, GROUP):
            for row in outcomes(start, min(GROUP, rows - start)).select(wanted).to_pylist():
                time_ms = FIRST_MS + row["offset"] * 50
                decision = {
                    "v": 1,
                    "event_id": row["event_id"],
                    "placement": "front",
                    "policy": "front",
                    "context": {"user": {"age": row["outcome_seq"] % 90}},
                    "actions": actions,
                    "user_id": row["user_id"],
                    "pmf": row["pmf"],
                    "chosen": row["chosen"],
                    "propensity": row["propensity"],
                    "policy_version": row["policy_version"],
                    "rule": RULE,
                }
                outcome = {
                    "v": 1,
                    "event_id": row["event_id"],
                    "placement": "front",
                    "policy": "front",
                    "policy_version": row["policy_version"],
                    "shard": 0,
                    "outcome_seq": row["outcome_seq"],
                    "reward": row["reward"],
                    "learn": True,
                    "why": "window",
                    "closed_ms": time_ms + 60_000,
                    "decision_position": {
                        "time_ms": time_ms,
                        "topic": "decisions",
                        "partition": 0,
                        "offset": row["offset"],
                        "index": 0,
                    },
                    "feedback": [],
                    "decision": decision,
                }
                lines.write(msgspec.json.encode(outcome) + b"\n")
