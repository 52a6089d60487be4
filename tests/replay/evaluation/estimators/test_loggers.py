"""Several loggers: balanced rows are without bias and never heavier, weighted estimators listen to who varies less."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from records.errors import BadInput, WrongConfiguration
from replay.evaluation.estimators.balanced import (
    BalancedDoublyRobust,
    BalancedInversePropensity,
    BalancedSelfNormalised,
)
from replay.evaluation.estimators.doubly_robust import DirectMethod, DoublyRobust, residual
from replay.evaluation.estimators.importance import InversePropensity
from replay.evaluation.estimators.loggers import WeightedDoublyRobust, WeightedInversePropensity, balanced, shares_of
from replay.evaluation.rows import EvaluationRows
from tests.replay.evaluation.estimators.some_rows import evaluation_rows


@given(seed=st.integers(0, 2**32 - 1), loggers=st.integers(1, 4), actions=st.integers(2, 6))
def test_balanced_rows_are_without_bias_and_vary_less(seed: int, loggers: int, actions: int) -> None:
    """Exactly: over all loggers and actions, each as often as it would have been."""
    rng = np.random.default_rng(seed)
    logging = rng.dirichlet(np.ones(actions), loggers) * 0.99 + 0.01 / actions
    target, share = rng.dirichlet(np.ones(actions)), rng.dirichlet(np.ones(loggers))
    reward, model = rng.normal(0, 1, (2, actions))
    naive = EvaluationRows(
        reward=np.tile(reward, loggers),
        propensity=logging.ravel(),
        target=np.tile(target, loggers),
        model_logged=np.tile(model, loggers),
        model_target=np.full(loggers * actions, target @ model),
    )
    even = balanced(naive, np.tile(logging.T, (loggers, 1)), share)
    chance = (share[:, None] * logging).ravel()
    assert chance @ (even.weight * even.reward) == pytest.approx(target @ reward)
    correction = even.weight * (even.reward - np.tile(model, loggers))
    assert target @ model + chance @ correction == pytest.approx(target @ reward)
    assert chance @ even.weight**2 <= chance @ naive.weight**2 * (1 + 1e-12)
    assert even.weight.max() <= naive.weight.max() * (1 + 1e-12)


@given(rows=evaluation_rows(), shares=st.tuples(st.floats(0.01, 1), st.floats(0, 1)))
def test_what_stands_beside_plain_weights_is_what_balanced_rows_give(
    rows: EvaluationRows, shares: tuple[float, float]
) -> None:
    of_loggers = np.stack([rows.propensity, rows.propensity[::-1]], axis=1)
    even = balanced(rows, of_loggers, shares)
    with_mean = replace(rows, mean_propensity=even.propensity)
    for estimator in (BalancedInversePropensity(), BalancedSelfNormalised(), BalancedDoublyRobust()):
        np.testing.assert_equal(estimator.estimate(with_mean), estimator.plain.estimate(even))
        plain = {name for name in estimator.plain.terms(rows) if name != "q(pi)"}
        assert not plain & {*estimator.terms(with_mean)}


@given(rows=evaluation_rows())
def test_one_logger_needs_no_balance(rows: EvaluationRows) -> None:
    even = balanced(rows, rows.propensity[:, None], [7.0])
    np.testing.assert_allclose(even.weight, rows.weight)
    one = replace(rows, version=np.zeros(len(rows), np.int32))
    scale = 1e-9 * (1 + np.abs(rows.weight * rows.reward).max())
    assert WeightedInversePropensity(1).estimate(one) == pytest.approx(InversePropensity().estimate(one), abs=scale)
    for weigh_model in (False, True):
        weighted = WeightedDoublyRobust(1, weigh_model=weigh_model)
        assert weighted.estimate(one) == pytest.approx(DoublyRobust().estimate(one), abs=10 * scale)


def two_loggers(seed: int = 0) -> EvaluationRows:
    """The first logger is the target itself, the second hardly ever does what the target does."""
    rng = np.random.default_rng(seed)
    version = (np.arange(2000) % 2).astype(np.int32)
    takes = rng.random(2000) < np.where(version == 0, 0.9, 0.02)
    return EvaluationRows(
        reward=(rng.random(2000) < np.where(takes, 0.6, 0.3)).astype(np.float64),
        propensity=np.where(takes, np.where(version == 0, 0.9, 0.02), np.where(version == 0, 0.1, 0.98)),
        target=np.where(takes, 0.9, 0.1),
        model_logged=np.where(takes, 0.5, 0.2),
        model_target=np.full(2000, 0.9 * 0.5 + 0.1 * 0.2),
        version=version,
    )


def test_who_varies_less_says_more() -> None:
    rows = two_loggers()
    worth = rows.weight * rows.reward
    means = [worth[rows.version == each].mean() for each in (0, 1)]
    variances = [worth[rows.version == each].var() for each in (0, 1)]
    expected = (means[0] / variances[0] + means[1] / variances[1]) / (1 / variances[0] + 1 / variances[1])
    assert WeightedInversePropensity(2).estimate(rows) == pytest.approx(expected, rel=1e-12)
    assert variances[1] > 20 * variances[0]


def test_weighted_estimators_are_nearer_to_the_truth() -> None:
    truth = 0.9 * 0.6 + 0.1 * 0.3
    logs = [two_loggers(seed) for seed in range(40)]

    def squared_error(estimator: InversePropensity | DoublyRobust | WeightedInversePropensity) -> float:
        return float(np.mean([(estimator.estimate(each) - truth) ** 2 for each in logs]))

    assert squared_error(WeightedInversePropensity(2)) < 0.5 * squared_error(InversePropensity())


def test_the_model_is_weighed_where_it_is_asked_for() -> None:
    rows = two_loggers()
    # The model's word of the target differs by logger, as it may by chance.
    model_target = np.where(rows.version == 0, 0.4, 0.8)
    rows = replace(rows, model_target=model_target)
    correction = rows.weight * residual(rows)
    score = model_target + correction
    own = [rows.version == each for each in (0, 1)]
    precision = np.array([1 / score[each].var() for each in own])
    says = precision / (precision @ [0.5, 0.5])
    weighed = sum(0.5 * says[each] * score[own[each]].mean() for each in (0, 1))
    assert WeightedDoublyRobust(2, weigh_model=True).estimate(rows) == pytest.approx(weighed, rel=1e-12)
    plain = 0.6 + sum(0.5 * says[each] * correction[own[each]].mean() for each in (0, 1))
    assert WeightedDoublyRobust(2).estimate(rows) == pytest.approx(plain, rel=1e-12)


def test_loggers_whose_worths_do_not_vary_count_alike() -> None:
    rows = two_loggers()
    unlucky = replace(rows, reward=np.where(rows.version == 0, rows.reward, 0.0))
    assert WeightedInversePropensity(2).estimate(unlucky) == InversePropensity().estimate(unlucky)
    nothing = replace(rows, reward=np.zeros(2000), model_logged=np.zeros(2000))
    assert WeightedDoublyRobust(2).estimate(nothing) == DirectMethod().estimate(nothing)


def test_a_logger_without_rows_says_nothing() -> None:
    rows = two_loggers()
    for two, three in (
        (WeightedInversePropensity(2), WeightedInversePropensity(3)),
        (WeightedDoublyRobust(2), WeightedDoublyRobust(3)),
    ):
        assert three.estimate(rows) == pytest.approx(two.estimate(rows), rel=1e-12)


def test_what_cannot_be_is_refused() -> None:
    rows = two_loggers()
    with pytest.raises(WrongConfiguration, match="loggers of weighted-ips: found 0"):
        WeightedInversePropensity(0)
    with pytest.raises(BadInput, match="version: found 0 to 1, expected loggers from 0 to 0"):
        WeightedInversePropensity(1).estimate(rows)
    some = rows.where(slice(0, 2))
    with pytest.raises(BadInput, match=r"propensities: found the shape \(1, 2\)"):
        balanced(some, [[0.5, 0.5]], [1, 1])
    for wrong in ([1, -1], [0, 0], [1, np.nan]):
        with pytest.raises(BadInput, match="shares: found"):
            balanced(some, np.full((2, 2), 0.5), wrong)
    with pytest.raises(BadInput, match=r"propensity: found 0\.0"):
        balanced(some, [[0.5, 0.5], [0.0, 0.5]], [1, 0])


def test_shares() -> None:
    assert shares_of(np.array([0, 2, 2, 0]), 4).tolist() == [0.5, 0.0, 0.5, 0.0]
