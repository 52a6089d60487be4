"""Parts of a log have values of their own, and intervals that hold together."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from replay.evaluation.estimators.importance import SelfNormalised
from replay.evaluation.intervals.clustered import clustered_of_rows
from replay.evaluation.intervals.delta import delta_of_rows
from replay.evaluation.intervals.interval import Interval
from replay.evaluation.intervals.segments import Segments, segments
from studies.worlds import world
from tests.replay.evaluation.intervals.logs import random_log

SNIPS = SelfNormalised()


def test_each_has_the_interval_of_its_own_rows_at_a_higher_confidence() -> None:
    rows = random_log(1, 400)
    codes = (np.arange(400) % 5 - 1).astype(np.int32)
    intervals = segments(SNIPS, Segments.of([SNIPS], rows, codes))
    assert [each.code for each in intervals] == [0, 1, 2, 3], "rows of -1 are in no segment"
    for each in intervals:
        alone = delta_of_rows(SNIPS, rows.where(codes == each.code), confidence=1 - 0.05 / 4)
        assert each.rows == 80
        assert (each.interval.low, each.interval.high) == pytest.approx((alone.low, alone.high))


def test_who_looks_at_more_has_wider_ones() -> None:
    rows = random_log(2, 400)
    state = Segments.of([SNIPS], rows, np.repeat([0, 1], 200).astype(np.int32))
    two, many = (segments(SNIPS, state, looked_at=looked_at)[0].interval.width for looked_at in (None, 100))
    assert two is not None
    assert many is not None
    assert many > 1.3 * two


@given(st.integers(0, 10_000), st.integers(0, 40))
def test_parts_add_up(seed: int, cut: int) -> None:
    rows = random_log(seed, 40)
    codes = np.random.default_rng(seed).integers(0, 4, size=40).astype(np.int32)
    both = Segments.of([SNIPS], rows.where(slice(cut)), codes[:cut])
    both = both + Segments.of([SNIPS], rows.where(slice(cut, None)), codes[cut:])
    for one, other in zip(segments(SNIPS, Segments.of([SNIPS], rows, codes)), segments(SNIPS, both), strict=True):
        assert (one.code, one.rows) == (other.code, other.rows)
        for end, other_end in zip(ends_of(one.interval), ends_of(other.interval), strict=True):
            # An end may be unknown: a segment can have no weight at all.
            assert end == (None if other_end is None else pytest.approx(other_end, rel=1e-9))


def ends_of(interval: Interval) -> tuple[float | None, float | None]:
    return interval.value, interval.high


def test_all_of_twenty_hold_in_most_logs() -> None:
    """At a time they should miss in 5 %; each at 95 % by itself, they would in 64 %."""
    easy, held, alone = world("easy"), 0, 0
    for seed in range(50):
        rows = easy.simulate(np.random.default_rng(seed), 4000)
        codes = (np.arange(4000) % 20).astype(np.int32)
        state = Segments.of([SNIPS], rows, codes)
        held += all(each.interval.holds(easy.truth) for each in segments(SNIPS, state))
        # A twentieth of the chance 1 to miss is 5 % for each.
        alone += all(each.interval.holds(easy.truth) for each in segments(SNIPS, state, confidence=0.0))
    assert held >= 44
    assert alone < 30


def test_by_unit_all_hold_though_users_return() -> None:
    """Four segments that cut through users, who decide 20 times each: rows by themselves would claim too much."""
    users, held, alone = world("clustered users"), 0, 0
    for seed in range(60):
        rows = users.simulate(np.random.default_rng(seed), 4000)
        state = Segments.of([SNIPS], rows, (np.arange(4000) % 4).astype(np.int32))
        held += all(each.interval.holds(users.truth) for each in segments(SNIPS, state, by_unit=True))
        alone += all(each.interval.holds(users.truth) for each in segments(SNIPS, state))
    assert held >= 54
    assert alone < 50


def test_by_unit_is_the_interval_of_clusters() -> None:
    rows = random_log(3, 400, units=30)
    codes = (np.arange(400) % 2).astype(np.int32)
    for each in segments(SNIPS, Segments.of([SNIPS], rows, codes), by_unit=True):
        some = rows.where(codes == each.code)
        exact = clustered_of_rows(SNIPS, some, confidence=1 - 0.05 / 2)
        assert each.interval.method == exact.method == "clustered"
        assert each.interval.value == pytest.approx(exact.value)
        # Some of the 30 units share one of the 64 buckets.
        assert each.interval.width == pytest.approx(exact.width, rel=0.25)


def test_one_user_says_nothing_of_others() -> None:
    rows = random_log(4, 100, units=1)
    (found,) = segments(SNIPS, Segments.of([SNIPS], rows, np.zeros(100, dtype=np.int32)), by_unit=True)
    assert (found.interval.low, found.interval.high) == (None, None)
    assert found.interval.note == "the variance is unknown for a single unit"


def test_no_rows_have_no_segments() -> None:
    assert segments(SNIPS, Segments.of([SNIPS], random_log(1, 0), np.empty(0, dtype=np.int32))) == []
