"""The tail of the weights: equal to arviz-stats, and bounded however long the log is."""

import json
from pathlib import Path

import numpy as np
import pytest

from replay.evaluation.health.tail import KEPT, Histogram, Largest, largest_share, pareto_k
from studies.pareto_fixture import weights

FIXTURE = json.loads(Path(__file__).with_name("pareto_k.json").read_text())


@pytest.mark.parametrize("case", FIXTURE["cases"], ids=lambda case: f"{case['rows']}-{case['power']}")
def test_pareto_k_is_that_of_arviz(case):
    shape = pareto_k(np.sort(weights(case["rows"], case["power"])), case["rows"])
    assert shape == pytest.approx(case["k"], rel=1e-9, abs=1e-9)


@pytest.mark.parametrize("kept", [[], [1.0], [1.0] * 100, [0.0] * 95 + [3.0] * 5, [1.0] * 96 + [2.0, 3.0, 4.0, 5.0]])
def test_a_tail_without_shape_is_unknown(kept):
    assert pareto_k(np.array(kept), len(kept)) is None


def test_weights_that_are_alike_in_the_tail_do_not_break_the_fit():
    shape = pareto_k(np.sort(np.repeat([1.0, 2.0, 4.0, 8.0, 16.0], [900, 40, 30, 20, 10])), 1_000)
    assert shape is not None
    assert np.isfinite(shape)


def test_a_slope_of_zero_on_the_grid_is_no_division_by_zero():
    largest = 3 / (np.sqrt(33 / 3.5) - 1)
    tail = np.array([0.0] * 60 + [1.0] * 14 + [largest])
    shape = pareto_k(tail, 75)
    assert shape is not None
    assert np.isfinite(shape)


def test_only_the_largest_are_kept():
    column = np.random.default_rng(3).pareto(1.5, size=30_000)
    kept = (Largest.of(column[:9_000]) + Largest.of(column[9_000:])).kept
    assert np.array_equal(kept, np.sort(column)[-KEPT:])
    assert pareto_k(kept, 30_000) == pareto_k(np.sort(column), 30_000)


def test_the_share_of_the_largest_is_unknown_where_too_few_were_kept():
    assert largest_share(np.ones(10), 2_000, 5.0) is None
    assert largest_share(np.ones(20), 2_000, 40.0) == 0.5


def test_a_histogram_counts_by_quarters_of_a_doubling():
    column = np.array([0.0, 1.0, 1.1, 1.18, 2.0, 1e-30, 1e30])
    histogram = Histogram.of(column)
    assert histogram.zeros == 1
    assert histogram.counts[256] == 3
    assert histogram.counts[260] == 1
    assert histogram.counts[0] == histogram.counts[-1] == 1
    assert histogram.sums.sum() == pytest.approx(column.sum())
    assert histogram.above(2.0) == pytest.approx(2 / 7)
    assert histogram.above(1e-40) == pytest.approx(6 / 7)
