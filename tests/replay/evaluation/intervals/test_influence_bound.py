"""One more row moves a value as far as the influence bound says."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from replay.evaluation.estimators.doubly_robust import DirectMethod, DoublyRobust
from replay.evaluation.estimators.estimator import Estimator, gradient
from replay.evaluation.estimators.importance import InversePropensity, SelfNormalised
from replay.evaluation.intervals.delta import delta_of_rows
from replay.evaluation.intervals.influence_bound import InfluenceBound
from replay.evaluation.intervals.skewed import Bound, skewed_ends
from tests.replay.evaluation.intervals.logs import clicks, random_log


@given(st.integers(0, 10_000))
def test_it_is_the_largest_influence_that_a_row_could_have_had(seed: int) -> None:
    rows = random_log(seed, 30)
    worths = rows.weight * rows.reward
    ips, value, mean = worths.mean(), worths.sum() / rows.weight.sum(), rows.weight.mean()
    for estimator, up, down in (
        (InversePropensity(), (rows.weight - ips).max(), ips),
        (SelfNormalised(), (rows.weight * (1 - value)).max() / mean, (rows.weight * value).max() / mean),
    ):
        means = {name: float(term.mean()) for name, term in estimator.terms(rows).items()}
        steps = InfluenceBound.of([estimator], rows).steps(gradient(estimator, means), means, 30)
        assert steps == pytest.approx((up / 30, down / 30))


@given(st.integers(0, 10_000), st.integers(0, 30), st.floats(-2.0, 2.0), st.floats(0.01, 100.0))
def test_parts_reach_as_far_as_the_whole(seed: int, cut: int, slope: float, scale: float) -> None:
    """Whatever the unit of the rewards, and though no row of a part may have earned anything."""
    ips = InversePropensity()
    rows = random_log(seed, 30, rate=0.1)
    rows.reward[:] *= scale
    whole = InfluenceBound.of([ips], rows)
    both = InfluenceBound.of([ips], rows.where(slice(cut))) + InfluenceBound.of([ips], rows.where(slice(cut, None)))
    assert (both.least, both.largest, both.guessed) == (whole.least, whole.largest, whole.guessed)
    assert both.steps({"w r": slope}, {"w r": 0.1}, 30) == pytest.approx(whole.steps({"w r": slope}, {"w r": 0.1}, 30))


@given(st.integers(0, 10_000), st.integers(0, 30))
def test_parts_of_several_terms_reach_as_far_in_each(seed: int, cut: int) -> None:
    estimators: list[Estimator] = [SelfNormalised(), DoublyRobust()]
    rows = random_log(seed, 30)
    whole = InfluenceBound.of(estimators, rows)
    both = InfluenceBound.of(estimators, rows.where(slice(cut))) + InfluenceBound.of(
        estimators, rows.where(slice(cut, None))
    )
    nothing = dict.fromkeys(whole.names, 0.0)
    for name in whole.names:
        for sign in (-1.0, 1.0):
            alone = {**nothing, name: sign}
            assert both.steps(alone, nothing, 30) == pytest.approx(whole.steps(alone, nothing, 30))


def test_it_goes_as_far_as_the_rewards_that_were_seen_or_said_or_guessed() -> None:
    rows = clicks(2, 4)
    rows.reward[:] = [5.0, 0.25, 0.0, -1.0]
    ips = [InversePropensity()]

    def ends(bound: InfluenceBound) -> tuple[float, float, bool]:
        return bound.least, bound.largest, bound.guessed

    assert ends(InfluenceBound.of(ips, rows)) == (-1.0, 5.0, False)
    assert ends(InfluenceBound.of(ips, rows, least=-3.0, largest=9.0)) == (-3.0, 9.0, False)
    assert ends(InfluenceBound.of(ips, rows.where([1, 2]))) == (0.0, 0.25, False), (
        "a row that earned little is no reason to guess 1"
    )
    assert ends(InfluenceBound.of(ips, rows.where([2]))) == (0.0, 1.0, True)
    assert ends(InfluenceBound.of(ips, rows.where([2])) + InfluenceBound.of(ips, rows.where([1]))) == (0.0, 0.25, False)
    assert ends(InfluenceBound.of(ips, rows.where([]))) == (0.0, 1.0, True)


def test_other_terms_are_refused() -> None:
    rows = random_log(1, 5)
    with pytest.raises(ValueError, match="expected the influence bound of w r; found that of q"):
        InfluenceBound.of([InversePropensity()], rows) + InfluenceBound.of([DirectMethod()], rows)


def test_far_bounds_leave_the_normal_interval() -> None:
    assert skewed_ends(1.0, 0.04, confidence=0.95) == pytest.approx((1 - 0.3919928, 1.3919928))


def test_no_variance_and_no_step_leave_the_value() -> None:
    assert skewed_ends(0.5, 0.0, floor=Bound(0.5), ceiling=Bound(0.5)) == (0.5, 0.5)


@given(st.floats(0.001, 1.0), st.floats(0.0001, 0.1), st.floats(0.0, 0.1))
def test_a_floor_lifts_the_upper_end_and_a_ceiling_lowers_the_other_by_as_much(
    distance: float, variance: float, step: float
) -> None:
    low, high = skewed_ends(0.0, variance, floor=Bound(distance, step))
    mirrored_low, mirrored_high = skewed_ends(0.0, variance, ceiling=Bound(distance, step))
    assert (low, high) == pytest.approx((-mirrored_high, -mirrored_low))
    assert high >= -low


@pytest.mark.parametrize("constant", [10.0, 0.5, -5.0])
def test_a_constant_reward_does_not_say_what_else_one_can_be(constant: float) -> None:
    rows = clicks(10, 200)
    rows.reward[:] = constant
    ips = [InversePropensity()]
    parts = [rows.where(slice(100)), rows.where(slice(100, 100)), rows.where(slice(100, None))]
    one, nothing, rest = (InfluenceBound.of(ips, part) for part in parts)
    assert [(one + nothing + rest).constant, (nothing + one).constant, nothing.constant] == [constant, constant, None]
    assert InfluenceBound.of(ips, rows, largest=120.0).constant is None
    for interval in (delta_of_rows(SelfNormalised(), rows), delta_of_rows(InversePropensity(), rows)):
        assert (interval.low, interval.high) == (None, None)
        assert (
            interval.method
            == f"none: every reward is {constant:g}, and what else one can be is unknown without a reward range"
        )
    assert (delta_of_rows(SelfNormalised(), rows, least=-10.0, largest=120.0).high or 0.0) > constant
    other = rows.where(slice(100))
    other.reward[:] = constant + 1
    assert (one + InfluenceBound.of(ips, other)).constant is None


@pytest.mark.parametrize("constant", [0.0, 1.0])
def test_the_other_reward_of_clicks_is_known(constant: float) -> None:
    rows = clicks(10, 200)
    rows.reward[:] = constant
    assert InfluenceBound.of([InversePropensity()], rows).constant is None
    assert delta_of_rows(SelfNormalised(), rows).low is not None
