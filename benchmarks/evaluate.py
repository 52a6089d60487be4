"""``replay evaluate`` of a million archived outcomes, against numpy on what pyarrow reads of the same columns."""

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

import pyarrow.compute as pc
import pyarrow.parquet as pq

from archive.reader import ACTION_ID
from archive.schema import REPEATED
from benchmarks.log_describe import COLUMNS, write_archive
from benchmarks.row import Others, Row, spread

ROWS = 1_000_000
REPEATS = 5
BEST_OF = 3
"""Each figure of a repeat is the best of so many: a difference of two times suffers twice from what others do."""
BAR = 3.0
ARGUMENTS = ("--target", "uniform", "--model", "none", "--json")


def run() -> list[Row]:
    """Measure both over one archive, in turns."""
    others = Others()
    ratios, ours, peers = [], [], []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_archive(folder / "whole", ROWS)
        # Two orders of magnitude fewer rows: what is left is the start of the command.
        write_archive(folder / "start", ROWS // 100)
        for _ in range(REPEATS):
            with others.measured():
                starts, wholes, reads = zip(*(_once(folder) for _ in range(BEST_OF)), strict=True)
            peers.append(min(reads))
            beyond_start = min(wholes) - min(starts)
            ours.append(beyond_start * ROWS / (ROWS - ROWS // 100))
            ratios.append(ours[-1] / peers[-1])
    return [
        Row(
            f"replay evaluate of {ROWS:,} archived outcomes, all of the answer but a reward model, beyond the start",
            "numpy, and pyarrow's read of the same columns",
            f"<= {BAR:g} x its time",
            f"{spread(ratios)} x; {median(ours):.2f} s against {median(peers):.2f} s, which reads on all cores",
            median(ratios) <= BAR,
            "reading twice, a row group after the other so that memory stays bounded; then the health of the log",
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
    if found["rows"] != ROWS or abs(found["ips"] - value) > 1e-12:
        raise RuntimeError(f"the command and its peer disagree: {found}, {value}")
    return start, whole, read


def _command(archive: Path) -> tuple[float, dict[str, float]]:
    """Return the seconds that the command takes, and what it says."""
    began = time.monotonic()
    output = subprocess.run(
        [sys.executable, "-m", "bowerbird", "replay", "evaluate", str(archive), *ARGUMENTS],
        capture_output=True,
        check=True,
    ).stdout
    return time.monotonic() - began, json.loads(output)


def _peer(archive: Path) -> float:
    """Return the value by some lines that trust the log."""
    worth, rows = 0.0, 0
    for file in sorted(archive.rglob("*.parquet")):
        texts = [*(name for name in REPEATED if name in COLUMNS), ACTION_ID]
        table = pq.ParquetFile(file, read_dictionary=texts).read(list(COLUMNS))
        counts = pc.list_value_length(table.column("pmf")).to_numpy()
        worth += float((1 / counts / table.column("propensity").to_numpy()) @ table.column("reward").to_numpy())
        rows += len(counts)
    return worth / rows
