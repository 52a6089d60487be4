"""``replay evaluate`` of a million archived outcomes, against numpy on what pyarrow reads of the same columns."""

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from benchmarks.row import Others, Row, spread
from rewards.archive_names import ArchiveFile, log_file
from rewards.archive_rows import REPEATED, SCHEMAS
from rewards.records import LogIdentity, encode

ROWS = 1_000_000
FILES = 4
GROUP = 10_000
"""Rows a row group, as the archive role writes them."""
ACTIONS = 10
LEARNED = 0.97
"""The share of the outcomes that can be used."""
REPEATS = 5
BEST_OF = 3
"""Each figure of a repeat is the best of so many: a difference of two times suffers twice from what others do."""
BAR = 3.0
DAY = "2026-11-24"
COLUMNS = (
    *("problem", "policy", "policy_version", "offset", "shard", "seq", "revision"),
    *("reward", "learn", "why", "propensity", "pmf"),
)
"""What the command reads for a target that needs no context."""


def run() -> list[Row]:
    """Measure both over one archive, in turns."""
    others = Others()
    ratios, ours, peers = [], [], []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        _write(folder / "whole", ROWS)
        # Two orders of magnitude fewer rows: what is left is the start of the command.
        _write(folder / "start", ROWS // 100)
        for _ in range(REPEATS):
            with others.measured():
                starts, wholes, reads = zip(*(_once(folder) for _ in range(BEST_OF)), strict=True)
            peers.append(min(reads))
            beyond_start = min(wholes) - min(starts)
            ours.append(beyond_start * ROWS / (ROWS - ROWS // 100))
            ratios.append(ours[-1] / peers[-1])
    return [
        Row(
            f"replay evaluate of {ROWS:,} archived outcomes, beyond the command's start",
            "numpy, and pyarrow's read of the same columns",
            f"<= {BAR:g} x its time",
            f"{spread(ratios)} x; {median(ours):.2f} s against {median(peers):.2f} s, which reads on all cores",
            median(ratios) <= BAR,
            "reading, a row group after the other so that memory stays bounded; then the order of the seqs",
            others.median,
        )
    ]


def _once(folder: Path) -> tuple[float, float, float]:
    """Return the seconds of the command over few rows, over all, and those of the peer."""
    began = time.monotonic()
    value = _peer(folder / "whole")
    read = time.monotonic() - began
    start, _ = _command(folder / "start")
    whole, found = _command(folder / "whole")
    if not 0.96 < found["rows"] / ROWS < 0.98 or abs(found["ips"] - value) > 1e-12:
        raise RuntimeError(f"the command and its peer disagree: {found}, {value}")
    return start, whole, read


def _command(archive: Path) -> tuple[float, dict[str, float]]:
    """Return the seconds that the command takes, and what it says."""
    began = time.monotonic()
    told = subprocess.run(
        [sys.executable, "-m", "bowerbird", "replay", "evaluate", str(archive), "--target", "uniform", "--json"],
        capture_output=True,
        check=True,
    ).stdout
    return time.monotonic() - began, json.loads(told)


def _peer(archive: Path) -> float:
    """Return the value by some lines that trust the log."""
    worth = weight = square = 0.0
    rows, largest = 0, 0.0
    for file in sorted(archive.rglob("*.parquet")):
        table = pq.read_table(file, columns=list(COLUMNS))
        learn = table.column("learn").to_numpy()
        counts = pc.list_value_length(table.column("pmf")).to_numpy()[learn]
        weights = 1 / counts / table.column("propensity").to_numpy()[learn]
        worth += float(weights @ table.column("reward").to_numpy()[learn])
        weight, square = weight + weights.sum(), square + float(weights @ weights)
        rows, largest = rows + len(weights), max(largest, weights.max())
    return worth / rows


def _write(archive: Path, rows: int) -> None:
    """Write outcomes as the archive role does; what is not read is left empty."""
    chance = np.random.default_rng(1)
    archive.mkdir()
    (archive / log_file("")).write_bytes(encode(LogIdentity(log_id="benchmark")))
    schema = SCHEMAS["rewards"]
    each = rows // FILES
    for first in range(0, rows, each):
        file = archive / ArchiveFile("rewards", 0, first, first + each - 1, DAY).path
        file.parent.mkdir(parents=True, exist_ok=True)
        dictionary = [name for name in REPEATED if name in schema.names]
        with pq.ParquetWriter(
            file, schema, compression="zstd", compression_level=1, use_dictionary=dictionary
        ) as writer:
            for start in range(first, first + each, GROUP):
                count = min(GROUP, first + each - start)
                writer.write_table(_outcomes(start, count, chance), row_group_size=count)


def _outcomes(start: int, count: int, chance: np.random.Generator) -> pa.Table:
    schema = SCHEMAS["rewards"]
    pmf = chance.dirichlet(np.ones(ACTIONS), size=count)
    learn = chance.random(count) < LEARNED
    numbers = pa.array(np.arange(start, start + count))
    told = {
        "topic": pa.array(["rewards"] * count),
        "partition": pa.array(np.zeros(count)),
        "offset": numbers,
        "index": pa.array(np.zeros(count)),
        "policy": pa.array(["front"] * count),
        "policy_version": pa.array([f"{start // 2000}-0a1b2c3d"] * count),
        "shard": pa.array(np.zeros(count)),
        "seq": pa.array(np.arange(start + 1, start + count + 1)),
        "revision": pa.array(np.zeros(count)),
        "reward": pa.array((chance.random(count) < 0.1).astype(float)),
        "learn": pa.array(learn),
        "why": pa.array(np.where(learn, np.where(chance.random(count) < 0.3, "early", "window"), "expired")),
        "pmf": pa.ListArray.from_arrays(
            pa.array(np.arange(0, (count + 1) * ACTIONS, ACTIONS, dtype=np.int32)), pa.array(pmf.ravel())
        ),
        "propensity": pa.array(np.maximum(pmf[:, 0], 1e-3)),
    }
    return pa.Table.from_arrays(
        [told[field.name].cast(field.type) if field.name in told else pa.nulls(count, field.type) for field in schema],
        schema=schema,
    )
