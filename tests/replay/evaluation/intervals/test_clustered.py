"""Rows of a unit count as one, whether units have sums of their own or share a bucket."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import stdtrit

from records.errors import BadInput
from replay.evaluation.estimators.importance import InversePropensity, SelfNormalised
from replay.evaluation.intervals.clustered import (
    BucketSums,
    clustered,
    clustered_of_rows,
    design_effect,
    design_effects,
    widened,
)
from replay.evaluation.intervals.delta import delta, delta_of_rows
from replay.evaluation.intervals.difference import Difference, LoggedMean, difference_of_rows, paired_bound
from replay.evaluation.intervals.influence_bound import InfluenceBound
from replay.evaluation.intervals.interval import Analyses, Interval
from replay.evaluation.intervals.sums import Sums
from replay.evaluation.moments import Moments
from replay.evaluation.rows import EvaluationRows
from studies.worlds import world
from tests.replay.evaluation.intervals.logs import clicks, random_log

IPS, SNIPS = InversePropensity(), SelfNormalised()


def plain(rows: EvaluationRows, sums: BucketSums) -> Interval:
    return clustered(SNIPS, sums, Moments.of(SNIPS.terms(rows)))


def test_by_hand() -> None:
    rows = random_log(1, 300, units=20)
    assert rows.unit_hash is not None
    units, counts = np.unique(rows.unit_hash, return_counts=True)
    weights = np.array([rows.weight[rows.unit_hash == unit].sum() for unit in units])
    # The value of all against those without each unit, and Student's quantile for the effective units less 1.
    apart = np.array([SNIPS.estimate(rows.where(rows.unit_hash != unit)) for unit in units]) - SNIPS.estimate(rows)
    effective = min(each.sum() ** 2 / (each**2).sum() for each in (counts, weights))
    student = stdtrit(effective - 1, 0.975)
    error = student * np.sqrt((apart**2).sum() * 19 / 20)
    found = plain(rows, BucketSums.exact(SNIPS.terms(rows), rows.unit_hash))
    assert found.value == pytest.approx(SNIPS.estimate(rows))
    assert found.high == pytest.approx(SNIPS.estimate(rows) + error, rel=1e-6)


def test_few_units_make_the_design_effect_unsure() -> None:
    for units, factor in ((3, 3.5), (300, 1.0)):
        rows = random_log(4, 3_000, units=units)
        terms = SNIPS.terms(rows)
        sums = Sums.of(terms, InfluenceBound.of([SNIPS], rows), rows.unit_hash)
        effect = sums.effect_of_units(SNIPS, by_unit=True)
        assert sums.rows_that_tell_as_one(SNIPS, by_unit=True) >= factor * effect


def test_rows_that_were_written_many_times_tell_no_more() -> None:
    once = replace(random_log(2, 400), unit_hash=np.arange(400, dtype=np.uint64))
    often = once.where(np.tile(np.arange(400), 25))
    one, many = clustered_of_rows(SNIPS, once), clustered_of_rows(SNIPS, often)
    assert many.value == pytest.approx(one.value)
    assert many.width == pytest.approx(one.width, rel=0.01)
    assert (delta_of_rows(SNIPS, often).width or 1) < 0.25 * (one.width or 0)


def test_units_of_one_row_have_the_interval_of_the_delta_method() -> None:
    rows = random_log(3, 5000)
    rows = replace(rows, unit_hash=np.arange(5000, dtype=np.uint64))
    assert clustered_of_rows(SNIPS, rows).width == pytest.approx(delta_of_rows(SNIPS, rows).width, rel=1e-3)


def test_a_bucket_a_unit_is_exact() -> None:
    rows = random_log(4, 200, units=3)
    assert rows.unit_hash is not None
    terms = SNIPS.terms(rows)
    sums = BucketSums.of(terms, rows.unit_hash)
    assert np.count_nonzero(sums.rows) == 3, "two of three units share a bucket: take another seed"
    one, other = plain(rows, sums), plain(rows, BucketSums.exact(terms, rows.unit_hash))
    assert one.low == pytest.approx(other.low)


def test_shared_buckets_are_right_on_average() -> None:
    """500 users in 64 buckets: eight of them have to share one."""
    users = world("clustered users")
    widths = np.empty((60, 3))
    for seed in range(60):
        rows = users.simulate(np.random.default_rng(seed), 10_000)
        assert rows.unit_hash is not None
        terms = IPS.terms(rows)
        few = BucketSums.of(terms, rows.unit_hash, buckets=64)
        exact = BucketSums.exact(terms, rows.unit_hash)
        found = [few.variance(IPS), exact.variance(IPS)]
        widths[seed] = *np.array(found, dtype=np.float64), design_effect(IPS, exact, Moments.of(terms))
    assert widths[:, 0].mean() == pytest.approx(widths[:, 1].mean(), rel=0.08)
    assert widths[:, 2].mean() > 4, "the world is not hard enough to show anything"


@given(st.integers(0, 10_000), st.integers(0, 50))
def test_sums_of_parts_are_the_sums_of_the_whole(seed: int, cut: int) -> None:
    rows = random_log(seed, 50)
    assert rows.unit_hash is not None
    whole = BucketSums.of(SNIPS.terms(rows), rows.unit_hash, buckets=8)
    first, second = rows.where(slice(cut)), rows.where(slice(cut, None))
    assert first.unit_hash is not None
    assert second.unit_hash is not None
    one = BucketSums.of(SNIPS.terms(first), first.unit_hash, buckets=8)
    both = one + BucketSums.of(SNIPS.terms(second), second.unit_hash, buckets=8)
    np.testing.assert_array_equal(both.rows, whole.rows)
    np.testing.assert_allclose(both.sums, whole.sums, rtol=1e-12, atol=1e-12)


def test_users_of_a_kind_widen_what_holds_at_all_times() -> None:
    rows = world("clustered users").simulate(np.random.default_rng(5), 10_000)
    effects = design_effects(IPS, rows, np.array([100, 1000, 10_000]))
    assert effects[0] < effects[1] < effects[2]
    assert 4 < effects[2] < 9
    apart = Analyses(np.array([5]), np.array([0.5]), np.array([-np.inf]), np.array([np.inf]), "asymptotic")
    assert widened(apart, np.array([2.0])).low[0] == -np.inf, "what was not open stays so"
    closed = replace(apart, low=np.array([0.4]), high=np.array([0.7]))
    assert widened(closed, np.array([9.0])).low[0] == pytest.approx(0.2)
    assert widened(closed, np.array([9.0])).high[0] == pytest.approx(1.1)
    alone = replace(rows, unit_hash=np.arange(10_000, dtype=np.uint64))
    assert design_effects(IPS, alone, np.array([10_000]))[0] == pytest.approx(1.0, abs=0.1)


def test_a_difference_of_units_is_not_cut_at_the_least_reward() -> None:
    pair = Difference(SNIPS, LoggedMean())
    rows = random_log(6, 500, units=25)
    rows = replace(rows, weight=rows.weight * np.where(rows.reward == 1, 0.8, 1.0))
    assert rows.unit_hash is not None
    terms = pair.terms(rows)
    sums, bound = BucketSums.exact(terms, rows.unit_hash), paired_bound(pair, rows, rows)
    interval = clustered(pair, sums, Moments.of(terms), bound)
    normal = clustered(pair, sums, Moments.of(terms))
    assert None not in (interval.value, interval.low, interval.high, normal.low, normal.high)
    assert interval.value == pytest.approx(difference_of_rows(pair, rows).value)
    assert (interval.value or 0) < -0.01
    assert (interval.low or 0) <= (normal.low or 0) < (interval.value or 0) < (normal.high or 0) <= (interval.high or 0)


def test_what_is_unknown_is_none_and_says_why() -> None:
    rows = clicks(2, 10)
    with pytest.raises(BadInput, match="unit_hash"):
        clustered_of_rows(IPS, rows)
    with pytest.raises(BadInput, match="unit_hash"):
        design_effects(IPS, rows, np.array([10]))
    together = replace(rows, unit_hash=np.zeros(10, dtype=np.uint64))
    assert clustered_of_rows(IPS, together).width is None
    assert "single unit" in clustered_of_rows(IPS, together).note
    assert clustered_of_rows(IPS, together.where(slice(0))).note == "no rows"
    never = replace(together, weight=np.zeros(10))
    assert "never takes" in clustered_of_rows(SNIPS, never).note
    assert delta(IPS, Moments.of(IPS.terms(rows))).width is not None
    with pytest.raises(ValueError, match="same number of buckets"):
        BucketSums.exact(IPS.terms(rows), np.arange(10, dtype=np.uint64)) + BucketSums.exact(
            IPS.terms(rows), np.arange(10, dtype=np.uint64) // np.uint64(2)
        )
