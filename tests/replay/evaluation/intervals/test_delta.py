"""The delta method's interval is what the textbook says, but where few rows carry the value, and streams."""

from dataclasses import replace
from functools import reduce
from itertools import pairwise
from operator import add

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from replay.evaluation.estimators.doubly_robust import DirectMethod, DoublyRobust, SelfNormalisedDoublyRobust
from replay.evaluation.estimators.estimator import Estimator
from replay.evaluation.estimators.importance import InversePropensity, SelfNormalised
from replay.evaluation.estimators.shrinkage import ClippedInversePropensity
from replay.evaluation.intervals.delta import delta, delta_of_rows
from replay.evaluation.intervals.influence_bound import InfluenceBound
from replay.evaluation.moments import Moments
from replay.evaluation.rows import EvaluationRows
from tests.replay.evaluation.intervals.logs import clicks, random_log

IPS, SNIPS, DR = InversePropensity(), SelfNormalised(), DoublyRobust()
ESTIMATORS: list[Estimator] = [
    IPS,
    SNIPS,
    DR,
    DirectMethod(),
    SelfNormalisedDoublyRobust(),
    ClippedInversePropensity(2.0),
]


def test_without_reach_it_is_the_textbooks_interval() -> None:
    rows = random_log(1, 2000)
    worths = rows.weight * rows.reward
    interval = delta(IPS, Moments.of(IPS.terms(rows)))
    assert interval.high == pytest.approx(worths.mean() + 1.959964 * stats.sem(worths), rel=1e-6)
    interval = delta(SNIPS, Moments.of(SNIPS.terms(rows)))
    value = worths.sum() / rows.weight.sum()
    error = 1.959964 * stats.sem(rows.weight * (rows.reward - value)) / rows.weight.mean()
    assert interval.value == pytest.approx(value)
    assert interval.low == pytest.approx(value - error, rel=1e-6)
    assert rows.model_target is not None
    assert rows.model_logged is not None
    scores = rows.model_target + rows.weight * (rows.reward - rows.model_logged)
    interval = delta(DR, Moments.of(DR.terms(rows)), confidence=0.8)
    assert interval.width == pytest.approx(2 * 1.281552 * stats.sem(scores), rel=1e-6)


@pytest.mark.parametrize("count", [0, 1, 2, 5, 20])
def test_few_clicks_have_garwoods_limit_for_a_poisson_count(count: int) -> None:
    interval = delta_of_rows(IPS, clicks(count, 1_000_000))
    assert interval.high is not None
    assert interval.high * 1e6 == pytest.approx(stats.chi2.ppf(0.975, 2 * count + 2) / 2, rel=1e-4)
    assert interval.low == pytest.approx(max(0.0, (count - 1.959964 * count**0.5) / 1e6), rel=1e-4)


@pytest.mark.parametrize("estimator", [IPS, SNIPS])
def test_rare_rewards_have_the_upper_end_of_fay_and_feuer(estimator: Estimator) -> None:
    """Their variance is the sum of squares; taken around the mean it is next to the same where rewards are rare."""
    rows = replace(random_log(2, 20_000, rate=0.001), weight=np.tile([0.3, 7.3], 10_000))
    worths = rows.weight * rows.reward
    total, squares = worths.sum() + 7.3, (worths**2).sum() + 7.3**2
    end = squares / total * stats.gamma(total**2 / squares).ppf(0.975)
    divisor = 20_000 if estimator is IPS else rows.weight.sum()
    assert delta_of_rows(estimator, rows).high == pytest.approx(end / divisor, rel=0.01)


def test_common_rewards_have_next_to_nothing_but_the_normal_interval() -> None:
    rows = random_log(3, 200_000, rate=0.5)
    for estimator in ESTIMATORS:
        normal = delta(estimator, Moments.of(estimator.terms(rows))).width
        wide = delta_of_rows(estimator, rows).width
        assert wide is not None
        assert normal is not None
        assert normal <= wide < 1.02 * normal, estimator.name


@pytest.mark.parametrize("exploration", [0.05, 0.2, 0.5])
def test_it_holds_the_truth_where_clicks_are_rare(exploration: float) -> None:
    """34 actions drawn uniformly, five clicks in a thousand: one log in four has no click of the target's action."""
    chance = np.random.default_rng(7)
    truth, rows, actions, repeats = 0.005, 10_000, 34, 200
    held, plain = 0, 0
    for _ in range(repeats):
        agrees = chance.random(rows) < 1 / actions
        log = EvaluationRows(
            reward=(chance.random(rows) < truth).astype(np.float64),
            propensity=np.full(rows, 1 / actions),
            target=np.where(agrees, 1 - exploration + exploration / actions, exploration / actions),
        )
        held += delta_of_rows(SNIPS, log).holds(truth)
        plain += delta(SNIPS, Moments.of(SNIPS.terms(log))).holds(truth)
    assert held / repeats >= 0.94
    assert plain / repeats < 0.85, "the world is not hard enough to show anything"


@given(st.integers(0, 10_000), st.lists(st.integers(0, 40), max_size=3), st.sampled_from(ESTIMATORS))
def test_it_is_the_same_from_blocks(seed: int, cuts: list[int], estimator: Estimator) -> None:
    rows = random_log(seed, 40)
    edges = [0, *sorted(cuts), 40]
    parts = [rows.where(slice(a, b)) for a, b in pairwise(edges)]
    bound = reduce(add, [InfluenceBound.of([estimator], part) for part in parts])
    moments = reduce(add, [Moments.of(estimator.terms(part)) for part in parts])
    whole, summed = delta_of_rows(estimator, rows), delta(estimator, moments, bound)
    for one, other in ((whole.value, summed.value), (whole.low, summed.low), (whole.high, summed.high)):
        assert one == pytest.approx(other, rel=1e-9, abs=1e-12)


@given(st.integers(0, 10_000), st.floats(0.02, 0.98))
def test_mirrored_rewards_mirror_snips(seed: int, rate: float) -> None:
    rows = random_log(seed, 60, rate)
    one, other = delta_of_rows(SNIPS, rows), delta_of_rows(SNIPS, replace(rows, reward=1 - rows.reward))
    assert one.value == pytest.approx(1 - (other.value or 0.0), abs=1e-9)
    # Ends that lie outside of the rewards are cut below only.
    assert other.low == pytest.approx(max(1 - (one.high or 0.0), 0.0), abs=1e-9)


@given(st.integers(0, 10_000), st.sampled_from(ESTIMATORS), st.floats(0.5, 0.98))
def test_an_interval_is_around_its_value_and_grows_with_the_confidence(
    seed: int, estimator: Estimator, confidence: float
) -> None:
    rows = random_log(seed, 50)
    some, more = (delta_of_rows(estimator, rows, confidence=each) for each in (confidence, confidence + 0.01))
    assert some.value is not None
    assert some.low is not None
    assert some.high is not None
    assert more.low is not None
    assert more.high is not None
    assert more.low <= some.low <= some.value <= some.high <= more.high


def test_what_is_unknown_is_none_and_says_why() -> None:
    none, one = clicks(0, 0), clicks(1, 1)
    assert delta_of_rows(IPS, none).note == "no rows"
    assert delta_of_rows(IPS, one).value == 1.0
    assert delta_of_rows(IPS, one).width is None
    never = clicks(3, 10, weight=0.0)
    assert delta_of_rows(SNIPS, never).value is None
    assert "never takes" in delta_of_rows(SNIPS, never).note
    assert delta(IPS, Moments.of(IPS.terms(clicks(0, 10)))).high is None, "nobody said what a row could earn"
    everything = delta_of_rows(SNIPS, clicks(10, 10))
    assert everything.low is not None
    assert everything.low < 0.75, "ten of ten do not show that it is always so"
    assert delta_of_rows(IPS, replace(clicks(0, 10), reward=np.full(10, -2.0)), least=-2.0, largest=0.0).low == -2.0
