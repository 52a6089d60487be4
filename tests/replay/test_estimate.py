"""Laws of the estimators: what they must equal, what must not change them, and that their intervals hold the truth."""

import math
import random
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from policies.features import Action, Features
from replay.estimate import Row, estimate, progressive

weights_and_rewards = st.lists(
    st.tuples(st.floats(0.001, 1000), st.floats(0, 10).map(lambda reward: round(reward, 3))), min_size=2, max_size=50
)


def test_by_hand() -> None:
    found = estimate([2.0, 0.5, 1.0, 0.5], [1.0, 0.0, 1.0, 4.0])
    assert found.rows == 4
    assert found.ips.value == pytest.approx((2 + 0 + 1 + 2) / 4)
    assert found.snips.value == pytest.approx(5 / 4)
    assert found.mean_weight == 1.0
    assert found.max_weight == 2.0
    assert found.effective_sample_size == pytest.approx(16 / 5.5)
    assert found.effective_positives == pytest.approx(25 / 9)


def test_many_rows_with_rewards_have_the_interval_of_the_delta_method() -> None:
    chance = np.random.default_rng(1)
    weights, rewards = chance.exponential(size=5000), chance.normal(-3.0, 1.0, size=5000)
    found = estimate(weights, rewards)
    worths = weights * rewards
    assert found.ips.high - found.ips.value == pytest.approx(1.959964 * stats.sem(worths), rel=1e-6)
    value = worths.sum() / weights.sum()
    error = 1.959964 * stats.sem(weights * (rewards - value)) / weights.mean()
    assert found.snips.value - found.snips.low == pytest.approx(error, rel=1e-6)


@pytest.mark.parametrize("clicks", [0, 1, 2, 5])
def test_few_clicks_have_the_exact_interval_of_a_poisson_count(clicks: int) -> None:
    """With equal weights the gamma interval is Garwood's (1936), and the delta method's is too narrow above."""
    found = estimate([1.0] * 10_000, [1.0] * clicks + [0.0] * (10_000 - clicks))
    assert found.ips.high * 10_000 == pytest.approx(stats.chi2.ppf(0.975, 2 * clicks + 2) / 2)
    assert found.ips.low == 0.0 if clicks < 4 else found.ips.low > 0.0


@pytest.mark.parametrize("exploration", [0.05, 0.2, 0.5])
def test_intervals_hold_the_truth_where_clicks_are_rare(exploration: float) -> None:
    """As in the packaged log: 34 actions drawn uniformly, five clicks in a thousand, a target that mostly agrees with
    itself. The delta method alone covers 77 %, since one log in four has no click that it could learn from."""
    chance = np.random.default_rng(7)
    truth, rows, actions, repeats = 0.005, 10_000, 34, 200
    held = np.zeros(2)
    for _ in range(repeats):
        agrees = chance.random(rows) < 1 / actions
        pmf = np.where(agrees, 1 - exploration + exploration / actions, exploration / actions)
        found = estimate(pmf * actions, (chance.random(rows) < truth).astype(float))
        held += [interval.low <= truth <= interval.high for interval in (found.ips, found.snips)]
    assert (held / repeats >= 0.94).all(), held / repeats


@given(weights_and_rewards, st.randoms(use_true_random=False))
def test_order_does_not_matter(rows: list[tuple[float, float]], chance: random.Random) -> None:
    shuffled = list(rows)
    chance.shuffle(shuffled)
    one, other = estimate(*zip(*rows, strict=True)), estimate(*zip(*shuffled, strict=True))
    assert one.ips.high == pytest.approx(other.ips.high)
    assert one.snips.low == pytest.approx(other.snips.low)


@given(weights_and_rewards, st.floats(0.01, 100))
def test_snips_does_not_feel_a_wrong_scale_of_all_propensities(rows: list[tuple[float, float]], scale: float) -> None:
    weights, rewards = (np.array(column) for column in zip(*rows, strict=True))
    one, other = estimate(weights, rewards), estimate(weights * scale, rewards)
    assert one.snips.value == pytest.approx(other.snips.value)
    assert one.snips.high == pytest.approx(other.snips.high)
    assert one.effective_sample_size == pytest.approx(other.effective_sample_size)
    assert other.mean_weight == pytest.approx(one.mean_weight * scale)


@given(weights_and_rewards)
def test_snips_lies_between_the_rewards_and_every_interval_around_its_value(rows: list[tuple[float, float]]) -> None:
    found = estimate(*zip(*rows, strict=True))
    rewards = [reward for _, reward in rows]
    assert min(rewards) - 1e-9 <= found.snips.value <= max(rewards) + 1e-9
    for interval in (found.ips, found.snips):
        assert 0 <= interval.low <= interval.value <= interval.high
    assert 0 < found.effective_sample_size <= len(rows) + 1e-9


def test_a_policy_that_never_agrees_with_the_log_is_of_unknown_value() -> None:
    found = estimate([0.0, 0.0], [1.0, 0.0])
    assert (found.snips.low, found.snips.high) == (0.0, math.inf)


@pytest.mark.parametrize(
    ("weights", "rewards"),
    [([], []), ([1.0], [1.0, 2.0]), ([-1.0], [1.0]), ([math.nan], [1.0]), ([1.0], [math.inf])],
)
def test_what_is_no_log_is_refused(weights: list[float], rewards: list[float]) -> None:
    with pytest.raises(ValueError, match="expected"):
        estimate(weights, rewards)


class Always:
    """A policy that always answers one pmf."""

    def __init__(self, *pmf: float) -> None:
        self.pmf = list(pmf)

    def predict(self, context: Features, actions: Sequence[Action]) -> list[float]:
        return self.pmf


def rows(*offsets: int) -> list[Row]:
    actions = [Action(id="a", features={}), Action(id="b", features={})]
    return [Row(offset, {}, actions, 1, 0.5, float(offset)) for offset in offsets]


def test_each_row_is_weighted_by_the_version_before_it() -> None:
    versions = [(0, Always(0.5, 0.5)), (2, Always(0.8, 0.2)), (3, Always(0.9, 0.1)), (3, Always(0.0, 1.0))]
    weighted = list(progressive(rows(0, 1, 1, 2, 4), versions))
    assert [row.weight for row in weighted] == [1.0, 1.0, 1.0, 0.4, 2.0]
    assert [row.cut for row in weighted] == [0, 0, 0, 2, 3]
    assert [row.reward for row in weighted] == [0.0, 1.0, 1.0, 2.0, 4.0]


def test_progressive_validation_refuses_what_would_look_ahead() -> None:
    even = Always(0.5, 0.5)
    with pytest.raises(ValueError, match="order of the log"):
        list(progressive(rows(1, 0), [(0, even)]))
    with pytest.raises(ValueError, match="rising cuts"):
        list(progressive(rows(5), [(3, even), (2, even)]))
    with pytest.raises(ValueError, match="at or below offset 4"):
        list(progressive(rows(4), [(5, even)]))
