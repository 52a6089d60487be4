"""What is unknown bounds nothing."""

import numpy as np
import pytest

from replay.evaluation.intervals.interval import Analyses, Interval, analyses_at


@pytest.mark.parametrize(
    ("low", "high", "held"),
    [(0.4, 0.6, True), (0.5, 0.5, True), (0.51, 0.6, False), (0.4, 0.49, False), (None, 0.6, True), (None, None, True)],
)
def test_an_interval_holds_what_lies_between_its_ends(low: float | None, high: float | None, held: bool) -> None:
    assert Interval(0.5, low, high, "delta").holds(0.5) is held


def test_a_width_needs_two_ends() -> None:
    assert Interval(0.5, 0.25, 1.0, "delta").width == 0.75
    assert Interval(0.5, None, 1.0, "delta").width is None


def test_a_look_is_an_interval() -> None:
    analyses = Analyses(
        np.array([1, 2]), np.array([np.nan, 0.5]), np.array([-np.inf, 0.25]), np.array([np.inf, 0.75]), "it"
    )
    assert analyses.at(0) == Interval(None, None, None, "it", "not enough rows yet")
    assert analyses.at(-1) == Interval(0.5, 0.25, 0.75, "it")
    assert analyses.holds(np.array([0.1, 0.1])).tolist() == [True, False]
    assert analyses.holds(0.5).tolist() == [True, True]


@pytest.mark.parametrize(("rows", "analyses"), [(10, 3), (10, 10), (10, 60), (1, 60), (1_000_000, 60)])
def test_looks_rise_to_all_rows(rows: int, analyses: int) -> None:
    at = analyses_at(rows, analyses)
    assert at[0] >= 1
    assert at[-1] == rows
    assert (np.diff(at) >= 1).all()
    assert len(at) == min(rows, analyses)


def test_no_rows_have_no_looks() -> None:
    assert analyses_at(0, 60).tolist() == []
