"""A thousand resamples of ten million rows of Parquet for eleven estimators: seconds, and that memory stays flat."""

import os
import tempfile
from pathlib import Path
from statistics import median

from benchmarks.parquet_log import watched, write
from benchmarks.row import Others, Row, spread

FILE_ROWS = 2_500_000
TIMES = 4
RESAMPLES = 1000
REPEATS = 3
SECONDS_BAR, FLAT_BAR = 60.0, 1.2


def run() -> list[Row]:
    """Make passes over the log, and over a quarter of it."""
    others = Others()
    whole, quarter = [], []
    with tempfile.TemporaryDirectory() as name:
        path = write(Path(name), FILE_ROWS)
        for _ in range(REPEATS):
            with others.measured():
                whole.append(watched("resamples", path, TIMES, RESAMPLES))
            quarter.append(watched("resamples", path, 1, RESAMPLES))
    seconds = [each.seconds for each in whole]
    most, before = (max(each.peak_bytes for each in passes) for passes in (whole, quarter))
    return [
        Row(
            f"{RESAMPLES:,} resamples of {FILE_ROWS * TIMES:,} rows of Parquet for 11 estimators at once",
            "the memory that a quarter of the rows takes",
            f"< {SECONDS_BAR:g} s and <= {FLAT_BAR:g} x the memory",
            f"{spread(seconds, 1)} s; {most / 2**20:.0f} MiB, {most / before:.2f} x",
            median(seconds) < SECONDS_BAR and most <= FLAT_BAR * before,
            f"adding up: products of copies and terms, on {os.cpu_count()} cores",
            others.median,
        )
    ]
