"""A log of named columns in Parquet, and passes over it in a process of their own, whose memory is watched.

The log is one file, read as often as it takes to be as long as is asked for: each time it is decoded anew.
"""

import os
import subprocess
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import polars as pl
import psutil
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.parquet_parts import Part, cut, files_with_rows, read_blocks
from replay.evaluation.blocks import BLOCK_ROWS, Blocks
from replay.evaluation.estimators.catalogue import requested
from replay.evaluation.estimators.estimator import Estimator, all_terms
from replay.evaluation.moments import Moments
from replay.evaluation.resample import Resampled, ends, places
from replay.evaluation.rows import EvaluationRows
from replay.evaluation.run import run

COLUMNS = ("reward", "propensity", "target", "model_logged", "model_target")
ESTIMATORS = (
    *("replay", "ips", "snips", "clipped-ips=10", "sg-ips=0.1"),
    *("dm", "dr", "sndr", "switch-dr=10", "dr-os=10", "sg-dr=0.1"),
)
"""Eleven of them, which have as many terms between them."""
PARTS = 64
_GROUP = 500_000
_POLL_S = 0.02


def write(folder: Path, rows: int) -> Path:
    """Write a log of random numbers, none of which repeats itself but the rewards."""
    chance, path = np.random.default_rng(1), folder / "log.parquet"
    schema = pa.schema([(name, pa.float64()) for name in COLUMNS])
    with pq.ParquetWriter(path, schema, compression="zstd", use_dictionary=["reward"]) as writer:
        for first in range(0, rows, _GROUP):
            count = min(_GROUP, rows - first)
            propensity = np.clip(chance.beta(1, 4, count), 0.01, 1)
            target = np.clip(propensity * chance.lognormal(-0.5, 1, count), 0, 1)
            reward = (chance.random(count) < 0.1).astype(np.float64)
            model = chance.uniform(0, 0.2, (2, count))
            writer.write_table(pa.table(dict(zip(COLUMNS, (reward, propensity, target, *model), strict=True))))
    return path


@dataclass(frozen=True, slots=True)
class Pass:
    """What a pass over the log took, the start of its process included, and what it said."""

    seconds: float
    peak_bytes: int
    told: str


def watched(what: str, path: Path, times: int, resamples: int = 0) -> Pass:
    """Make a pass: ``sums``, ``resamples``, or ``polars``, the peer of the first."""
    command = [sys.executable, "-m", "benchmarks.parquet_log", what, str(path), str(times), str(resamples)]
    began, peak = time.monotonic(), 0
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        watch = psutil.Process(process.pid)
        while process.poll() is None:
            # A zombie has no memory any more.
            peak = max(peak, watch.memory_info().rss)
            time.sleep(_POLL_S)
        seconds = time.monotonic() - began
        assert process.stdout is not None
        told = process.stdout.read().strip()
    if process.returncode:
        raise RuntimeError(f"{' '.join(command)} ended with {process.returncode}")
    return Pass(seconds, peak, told)


def _judged(table: pa.Table) -> EvaluationRows:
    return EvaluationRows(**{name: table.column(name).to_numpy() for name in COLUMNS})


def _moments(judges: Sequence[Estimator], part: Part) -> Blocks[Moments]:
    found = Blocks[Moments]()
    for block, table in read_blocks(part, COLUMNS):
        found.put(block, Moments.of(all_terms(judges, _judged(table))))
    return found


def _resampled(judges: Sequence[Estimator], resamples: int, part: Part) -> Blocks[Resampled]:
    found = Blocks[Resampled]()
    for block, table in read_blocks(part, COLUMNS):
        rows = places(block * BLOCK_ROWS, len(table))
        found.put(block, Resampled.of(all_terms(judges, _judged(table)), rows, resamples=resamples, seed=1))
    return found


def _by_polars(path: str, times: int) -> list[float]:
    """Return the values of IPS, SNIPS and DR: the means that they are made of, and nothing of how these vary."""
    weight, residual = pl.col("target") / pl.col("propensity"), pl.col("reward") - pl.col("model_logged")
    means = (
        pl.scan_parquet([path] * times)
        .select(
            (weight * pl.col("reward")).mean().alias("w r"),
            weight.mean().alias("w"),
            pl.col("model_target").mean().alias("q"),
            (weight * residual).mean().alias("w (r - q)"),
        )
        .collect(engine="streaming")
        .row(0, named=True)
    )
    return [means["w r"], means["w r"] / means["w"], means["q"] + means["w (r - q)"]]


def _main(what: str, path: str, times: int, resamples: int) -> None:
    if what == "polars":
        print(*(f"{value:.10f}" for value in _by_polars(path, times)))
        return
    judges = [requested(each)[0] for each in ESTIMATORS]
    by_name = {each.name: each for each in judges}
    parts = cut(files_with_rows([path] * times), PARTS)
    with ThreadPoolExecutor(os.cpu_count()) as executor:
        if what == "sums":
            sums = run(parts, partial(_moments, judges), executor=executor).total()
            assert sums is not None
            print(*(f"{by_name[name].value(sums.means):.10f}" for name in ("ips", "snips", "dr")))
        else:
            state = run(parts, partial(_resampled, judges, resamples), executor=executor).total()
            assert state is not None
            print(*ends(state.values(by_name["dr"])))


if __name__ == "__main__":
    _main(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
