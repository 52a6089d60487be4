"""The shown interval of adaptive weights: the delta method's where there is nothing to adapt to, wider by units."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from replay.evaluation.estimators.adaptive import adaptive_value
from replay.evaluation.intervals.adaptive import (
    CLUSTERED,
    METHOD,
    AdaptiveSums,
    StableMean,
    adaptive_difference,
    adaptive_interval,
)
from replay.evaluation.intervals.clustered import clustered_of_rows
from replay.evaluation.intervals.delta import delta_of_rows
from replay.evaluation.intervals.difference import Difference, LoggedMean, difference_of_rows
from replay.evaluation.rows import EvaluationRows
from tests.replay.evaluation.intervals.logs import random_log


def of_one_version(seed: int, rows: int = 400, rate: float = 0.3, units: int = 50) -> EvaluationRows:
    log = random_log(seed, rows, rate, units)
    return replace(log, version=np.zeros(rows, dtype=np.int32), squared_weight=np.full(rows, 2.0))


@given(st.integers(0, 10_000), st.sampled_from([0.0, 0.02, 0.3]))
def test_of_one_version_it_is_the_delta_method(seed: int, rate: float) -> None:
    # So few that the first window, of whose probabilities nothing is known, is half of the log.
    rows = of_one_version(seed, rows=30, rate=rate)
    sums = AdaptiveSums.of(rows)
    pair = Difference(StableMean(), LoggedMean())
    for found, plain in (
        (adaptive_interval(sums), delta_of_rows(StableMean(), rows)),
        (adaptive_difference(sums), difference_of_rows(pair, rows)),
    ):
        assert found.value == pytest.approx(plain.value, abs=1e-12)
        # The papers divide by n, the delta method by n - 1.
        assert (found.low, found.high) == pytest.approx((plain.low, plain.high), rel=0.04, abs=0.01)
    assert adaptive_interval(sums).method == METHOD
    assert adaptive_difference(sums).method == f"{METHOD}, paired"


def test_of_one_version_by_unit_it_is_the_interval_of_clusters() -> None:
    rows = of_one_version(1, rows=4000, units=40)
    together = np.array([number % 2 for number in (rows.unit_hash % np.uint64(7)).tolist()], dtype=np.float64)  # type: ignore[operator]
    rows = replace(rows, reward=together, model_logged=None, model_target=None)
    found, plain = adaptive_interval(AdaptiveSums.of(rows), by_unit=True), clustered_of_rows(StableMean(), rows)
    assert found.method == CLUSTERED
    assert found.width == pytest.approx(plain.width, rel=0.1)
    alone = adaptive_interval(AdaptiveSums.of(rows))
    assert found.width is not None
    assert alone.width is not None
    assert found.width > 3 * alone.width


def test_it_is_never_narrower_than_the_papers() -> None:
    for seed in range(20):
        rows = replace(of_one_version(seed), version=np.repeat([0, 1, 2, 3], 100).astype(np.int32))
        papers, found = adaptive_value(AdaptiveSums.of(rows).target), adaptive_interval(AdaptiveSums.of(rows))
        assert found.value == papers.value
        assert found.low is not None
        assert papers.low is not None
        assert found.low <= max(papers.low, 0.0) + 1e-12
        assert found.high is not None
        assert papers.high is not None
        assert found.high >= papers.high - 1e-12


def test_a_log_without_a_reward_does_not_say_that_there_are_none() -> None:
    rows = replace(of_one_version(1, rate=0.0), model_logged=None, model_target=None)
    interval = adaptive_interval(AdaptiveSums.of(rows))
    assert interval.value == 0.0
    assert interval.high is not None
    assert interval.high > 0.0


def test_blocks_add_up() -> None:
    rows = replace(of_one_version(5), version=np.repeat([0, 1], 200).astype(np.int32))
    parts = AdaptiveSums.of(rows.where(slice(150))) + AdaptiveSums.of(rows.where(slice(150, None)))
    whole = AdaptiveSums.of(rows)
    assert adaptive_interval(parts, by_unit=True).width == pytest.approx(
        adaptive_interval(whole, by_unit=True).width, rel=0.05
    ), "a window ends with a block"
    assert parts.stable.moments.rows == whole.stable.moments.rows == 400


def test_one_row_has_no_interval() -> None:
    interval = adaptive_interval(AdaptiveSums.of(of_one_version(1, rows=1)))
    assert (interval.low, interval.high) == (None, None)
    assert adaptive_difference(AdaptiveSums.of(of_one_version(1, rows=1))).low is None
