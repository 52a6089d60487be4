"""What is chosen by the data: the narrowest that agrees, or the least error; the same by rows and by their moments."""

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from records.errors import WrongConfiguration
from replay.evaluation.estimators.catalogue import SHRUNK
from replay.evaluation.estimators.doubly_robust import DirectMethod, DoublyRobust
from replay.evaluation.estimators.estimator import influence
from replay.evaluation.estimators.importance import InversePropensity, SelfNormalised
from replay.evaluation.estimators.shrinkage import ClippedInversePropensity, Shrunk, SwitchDoublyRobust
from replay.evaluation.estimators.tuning import agreeing, choosing_terms, ladder, least_error, slope
from replay.evaluation.moments import Moments
from replay.evaluation.rows import EvaluationRows
from tests.replay.evaluation.estimators.some_rows import evaluation_rows

every_kind = pytest.mark.parametrize("kind", SHRUNK.values(), ids=list(SHRUNK))


def world(
    *, size: int = 4000, seed: int = 0, rare: float = 0.02, model: float = 0.5, truth: float = 0.5
) -> EvaluationRows:
    """Two actions: the target always takes the one that is rarely logged. A model says the same of both."""
    rng = np.random.default_rng(seed)
    taken = rng.random(size) < rare
    reward = (rng.random(size) < np.where(taken, truth, 0.2)) * 1.0
    return EvaluationRows(
        reward=np.asarray(reward, dtype=np.float64),
        propensity=np.where(taken, rare, 1 - rare),
        target=taken.astype(np.float64),
        model_logged=np.full(size, model),
        model_target=np.full(size, model),
    )


@every_kind
@given(rows=evaluation_rows(least=2), cut=st.floats(0, 1))
def test_moments_of_parts_choose_what_rows_choose(kind: type[Shrunk], rows: EvaluationRows, cut: float) -> None:
    candidates = ladder(kind)
    at = int(cut * len(rows))
    parts = [choosing_terms(candidates, rows.where(each)) for each in (slice(0, at), slice(at, None))]
    moments = Moments.of(parts[0]) + Moments.of(parts[1])
    # What a score loses by rounding is half of the digits of what the rewards are: it is the root of a difference.
    lost = 1e-7 * (1 + np.abs(rows.reward).max())
    for choose in (slope, least_error):
        by_rows, by_moments = choose(candidates, rows), choose(candidates, moments)
        scores, others = ([each.score for each in found.tried] for found in (by_rows, by_moments))
        np.testing.assert_allclose(scores, others, rtol=1e-6, atol=lost)
        apart = np.abs(np.subtract.outer(scores, scores))[~np.eye(len(scores), dtype=bool)]
        # Where two scores are the same but for rounding, either may be chosen.
        if apart.min() > 10 * lost:
            assert by_rows.estimator == by_moments.estimator


@every_kind
def test_half_widths_are_those_of_the_influences(kind: type[Shrunk]) -> None:
    rows = world()
    chosen = slope(ladder(kind), rows, delta=0.025)
    for each in chosen.tried:
        spread = influence(each.estimator, rows).std(ddof=1) / math.sqrt(len(rows))
        # 1.96 standard errors of a normal distribution, as Student's of 4,000 rows nearly is.
        assert each.score == pytest.approx(1.9605 * spread, rel=1e-4)
        assert each.value == pytest.approx(each.estimator.estimate(rows), rel=1e-12)


def test_a_bias_that_shows_is_not_chosen() -> None:
    rows = world(model=0.0, truth=0.9, rare=0.2)
    (truth,) = [DoublyRobust().estimate(rows)]
    chosen = slope(ladder(SwitchDoublyRobust), rows)
    assert chosen.estimator == SwitchDoublyRobust(10.0)
    assert abs(chosen.estimator.estimate(rows) - truth) < abs(DirectMethod().estimate(rows) - truth)
    assert least_error(ladder(SwitchDoublyRobust), rows, bound=False).estimator == SwitchDoublyRobust(10.0)


def test_a_model_that_is_right_is_believed_where_weights_are_heavy() -> None:
    logs = [world(model=0.5, truth=0.5, rare=0.002, seed=seed) for seed in range(30)]
    chosen = [slope(ladder(SwitchDoublyRobust), each).estimator.estimate(each) for each in logs]
    plain = [DoublyRobust().estimate(each) for each in logs]
    assert np.square(np.subtract(chosen, 0.5)).mean() < 0.5 * np.square(np.subtract(plain, 0.5)).mean()


def test_the_error_is_variance_plus_squared_bias() -> None:
    rows = world(size=500, rare=0.1)
    (tried,) = least_error([ClippedInversePropensity(2)], rows, bound=False).tried
    worth = np.minimum(rows.weight, 2) * rows.reward
    bias = InversePropensity().estimate(rows) - worth.mean()
    assert tried.score == pytest.approx(worth.var() / 500 + bias**2, rel=1e-9)
    (bounded,) = least_error([ClippedInversePropensity(2)], rows, bound=True, delta=0.05).tried
    chance = math.sqrt(2 * (rows.weight**2).mean() * math.log(40) / 500) + 2 * 10 * math.log(40) / 1500
    assert bounded.score == pytest.approx(worth.var() / 500 + (abs(bias) + chance) ** 2, rel=1e-9)


@given(rows=evaluation_rows(least=2))
def test_estimators_of_any_kind_are_compared(rows: EvaluationRows) -> None:
    candidates = (InversePropensity(), SelfNormalised(), DoublyRobust(), DirectMethod())
    assert slope(candidates, rows).estimator in candidates


def test_the_narrowest_that_agrees_with_all_wider_ones() -> None:
    assert agreeing([0.5], [0.1]) == 0
    assert agreeing([0.5, 0.5, 0.5], [0.3, 0.2, 0.1]) == 2
    assert agreeing([0.5, 0.5, 0.5], [0.1, 0.2, 0.3]) == 0
    # Of equal widths the first; after one that does not agree none is looked at.
    assert agreeing([0.5, 0.5], [0.1, 0.1]) == agreeing([0.5, 0.5], [0.0, 0.0]) == 0
    assert agreeing([0.5, 9.0, 0.5], [0.3, 0.2, 0.1]) == 0
    # 0.1 + (sqrt(6) - 1) 0.2 = 0.3899.
    assert agreeing([0.5, 0.5 + 0.3898], [0.2, 0.1]) == 1
    assert agreeing([0.5, 0.5 + 0.3900], [0.2, 0.1]) == 0


def test_what_is_unknown_is_not_chosen() -> None:
    assert agreeing([np.nan, 0.5], [np.nan, 0.1]) == 1
    assert agreeing([np.nan, np.nan], [np.nan, np.nan]) == 0
    rows = EvaluationRows(reward=np.ones(3), propensity=np.ones(3), target=np.zeros(3))
    assert slope((SelfNormalised(), InversePropensity()), rows).estimator.name == "ips"


def test_one_row_and_no_rewards_leave_a_choice() -> None:
    rows = world(size=1)
    nothing = replace(world(size=50), reward=np.zeros(50))
    for rows_at_hand in (rows, nothing):
        for kind in SHRUNK.values():
            assert slope(ladder(kind), rows_at_hand).estimator in ladder(kind)
            assert least_error(ladder(kind), rows_at_hand).estimator in ladder(kind)


def test_a_choice_among_none_is_refused() -> None:
    with pytest.raises(WrongConfiguration, match="candidates: found none"):
        slope((), world())
    for wrong in (0.0, 1.0, np.nan):
        with pytest.raises(WrongConfiguration, match="delta: found"):
            slope(ladder(SwitchDoublyRobust), world(), delta=wrong)
        with pytest.raises(WrongConfiguration, match="delta: found"):
            least_error(ladder(SwitchDoublyRobust), world(), delta=wrong)


def test_ladders() -> None:
    assert [each.lambda_ for each in ladder(SwitchDoublyRobust, [3, 1])] == [3, 1]
    for kind in SHRUNK.values():
        assert [each.lambda_ for each in ladder(kind)] == list(kind.lambdas)
        # The unshrunk estimator is always among what is tried.
        assert any(each.estimate(world()) == pytest.approx(kind.plain.estimate(world())) for each in ladder(kind))
