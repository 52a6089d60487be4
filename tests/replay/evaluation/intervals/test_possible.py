"""Intervals stay within the possible values, and include the bias of an estimator."""

import math

from hypothesis import given
from hypothesis import strategies as st

from replay.evaluation.intervals.interval import Interval
from replay.evaluation.intervals.possible import cut, hull, with_bias, within

numbers = st.floats(-10, 10)
ends = st.none() | numbers


def _ordered(pair: tuple[float | None, float | None]) -> tuple[float | None, float | None]:
    low, high = pair
    return (high, low) if low is not None and high is not None and low > high else pair


intervals = st.tuples(ends, ends).map(_ordered)
ranges = st.tuples(numbers, numbers).map(sorted).filter(lambda each: each[0] < each[1])


@given(intervals, ranges, numbers)
def test_ends_lie_within_the_range_and_no_possible_truth_is_lost(
    found: tuple[float | None, float | None], possible: list[float], truth: float
) -> None:
    least, most = possible
    low, high = cut(found, least, most)
    if found == (None, None):
        assert (low, high) == (None, None)
        return
    assert low is not None
    assert high is not None
    assert least <= low <= high <= most
    if least <= truth <= most and Interval(0.0, *found, "delta").holds(truth):
        assert low <= truth <= high


@given(intervals)
def test_an_unknown_range_changes_no_known_end(found: tuple[float | None, float | None]) -> None:
    low, high = cut(found, -math.inf, math.inf)
    assert low == (found[0] if found[0] is not None or found[1] is None else -math.inf)
    assert high == (found[1] if found[1] is not None or found[0] is None else math.inf)


def test_an_interval_without_a_possible_value_becomes_the_range() -> None:
    assert within(Interval(1.3, 1.2, 1.4, "delta"), 0.0, 1.0) == Interval(1.3, 0.0, 1.0, "delta")


def test_what_has_no_interval_gets_none() -> None:
    none = Interval(0.3, None, None, "none: the model's error is unknown")
    assert within(none, 0.0, 1.0) == none


@given(intervals, intervals, numbers)
def test_a_hull_covers_what_either_covers(
    one: tuple[float | None, float | None], other: tuple[float | None, float | None], truth: float
) -> None:
    both = Interval(0.0, *hull(one, other), "delta")
    if any(Interval(0.0, *each, "delta").holds(truth) for each in (one, other)):
        assert both.holds(truth)


def test_the_interval_of_a_biased_estimator_includes_the_unbiased_one() -> None:
    shrunk, plain = Interval(0.2, 0.19, 0.21, "delta"), Interval(0.3, 0.1, 0.5, "delta")
    assert with_bias(shrunk, plain) == Interval(0.2, 0.1, 0.5, "delta")
    assert with_bias(plain, shrunk) == Interval(0.3, 0.1, 0.5, "delta")


def test_without_an_unbiased_value_the_bias_is_unbounded() -> None:
    assert with_bias(Interval(0.2, 0.19, 0.21, "delta"), Interval(None, None, None, "delta")).low is None
