"""A cluster of Dask adds up a log to the same bits as one process does."""

from pathlib import Path

import pytest
from distributed import Client, LocalCluster

from benchmarks.parquet_parts import cut
from replay.evaluation.run import digest, run
from tests.replay.evaluation.test_run import summarise, written


@pytest.mark.parametrize("workers", [2])
def test_a_cluster_changes_no_bit(tmp_path: Path, workers: int) -> None:
    log = written(tmp_path)
    expected = digest(run(cut(log, 1), summarise))
    with (
        LocalCluster(n_workers=workers, threads_per_worker=1, processes=True, dashboard_address=None) as cluster,
        Client(cluster) as client,
    ):
        executor = client.get_executor()
        digests = [digest(run(cut(log, parts), summarise, executor=executor, ahead=4)) for parts in (1, 2, 7)]
    assert digests == [expected] * 3
