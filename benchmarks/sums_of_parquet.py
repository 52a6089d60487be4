"""Eleven estimators and their variances over 100 million rows of Parquet: seconds, and memory."""

import os
import tempfile
from pathlib import Path
from statistics import median

from benchmarks.parquet_log import watched, write
from benchmarks.row import Others, Row, spread

FILE_ROWS = 10_000_000
TIMES = 10
REPEATS = 3
SECONDS_BAR, BYTES_BAR = 20.0, 2**30


def run() -> list[Row]:
    """Make passes over the log, in turns with polars."""
    others = Others()
    ours, theirs = [], []
    with tempfile.TemporaryDirectory() as name:
        path = write(Path(name), FILE_ROWS)
        for _ in range(REPEATS):
            with others.measured():
                ours.append(watched("sums", path, TIMES))
            theirs.append(watched("polars", path, TIMES))
            if ours[-1].told != theirs[-1].told:
                raise RuntimeError(f"we say {ours[-1].told}, polars says {theirs[-1].told}")
    seconds, peak = [each.seconds for each in ours], max(each.peak_bytes for each in ours)
    peer_s, peer_peak = median(each.seconds for each in theirs), max(each.peak_bytes for each in theirs)
    memory, peer_memory = (f"{number / 2**20:.0f} MiB" for number in (peak, peer_peak))
    return [
        Row(
            f"values and covariances of 11 estimators over {FILE_ROWS * TIMES:,} rows of Parquet, 5 columns",
            "polars, streaming: the values of 3 of them",
            f"< {SECONDS_BAR:g} s and < 1 GiB",
            f"{spread(seconds, 1)} s, at most {memory}; polars {peer_s:.1f} s, {peer_memory}",
            median(seconds) < SECONDS_BAR and peak < BYTES_BAR,
            f"decoding Parquet and the sums of products, two fifths each, on {os.cpu_count()} cores; then the terms",
            others.median,
        )
    ]
