"""Laws of every estimator, and of each what its formula promises."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from records.errors import BadInput, WrongConfiguration
from replay.evaluation.estimators.catalogue import SHRUNK
from replay.evaluation.estimators.doubly_robust import DirectMethod, DoublyRobust, SelfNormalisedDoublyRobust
from replay.evaluation.estimators.embedding import SelfNormalisedMarginal
from replay.evaluation.estimators.estimator import Estimator, gradient, influence
from replay.evaluation.estimators.importance import (
    InversePropensity,
    Replay,
    SelfNormalised,
    ratio,
    with_propensity,
    with_weight,
)
from replay.evaluation.estimators.loggers import WeightedInversePropensity
from replay.evaluation.estimators.shrinkage import (
    ClippedDoublyRobust,
    ClippedInversePropensity,
    ClippedSelfNormalised,
    OptimisticDoublyRobust,
    SubGaussianDoublyRobust,
    SubGaussianInversePropensity,
    SwitchDoublyRobust,
)
from replay.evaluation.moments import Moments
from replay.evaluation.rows import EvaluationRows, joined
from tests.replay.evaluation.estimators.some_rows import EVERY, evaluation_rows, label

every = pytest.mark.parametrize("estimator", EVERY, ids=label)
IPS, SNIPS, DM, DR = InversePropensity(), SelfNormalised(), DirectMethod(), DoublyRobust()


def same(value: float, scale: float = 1.0) -> object:
    return pytest.approx(value, rel=1e-9, abs=1e-9 * scale, nan_ok=True)


def scale_of(rows: EvaluationRows) -> float:
    """How large the numbers are that an estimator adds up: what rounding errors are measured by."""
    return float(1 + np.abs(rows.weight).max() * (np.abs(rows.reward).max() + 10))


@every
@given(rows=evaluation_rows(), seed=st.integers(0, 2**16))
def test_the_order_of_rows_does_not_matter(estimator: Estimator, rows: EvaluationRows, seed: int) -> None:
    shuffled = rows.where(np.random.default_rng(seed).permutation(len(rows)))
    assert estimator.estimate(shuffled) == same(estimator.estimate(rows), scale_of(rows))


@every
@given(rows=evaluation_rows(least=2), cut=st.floats(0, 1))
def test_parts_add_up(estimator: Estimator, rows: EvaluationRows, cut: float) -> None:
    at = int(cut * len(rows))
    left, right = rows.where(slice(0, at)), rows.where(slice(at, None))
    moments = Moments.of(estimator.terms(left)) + Moments.of(estimator.terms(right))
    assert float(estimator.value(moments.means)) == same(estimator.estimate(rows), scale_of(rows))
    np.testing.assert_equal(estimator.estimate(joined([left, right])), estimator.estimate(rows))


@every
@given(rows=evaluation_rows(), times=st.floats(0.25, 4))
def test_the_unit_of_rewards_does_not_matter(estimator: Estimator, rows: EvaluationRows, times: float) -> None:
    assert rows.model_logged is not None
    assert rows.model_target is not None
    other = replace(
        rows,
        reward=rows.reward * times,
        model_logged=rows.model_logged * times,
        model_target=rows.model_target * times,
    )
    assert estimator.estimate(other) == same(estimator.estimate(rows) * times, 4 * scale_of(rows))


@every
@given(rows=evaluation_rows(least=5))
def test_the_complex_step_is_the_slope(estimator: Estimator, rows: EvaluationRows) -> None:
    means = {name: float(column.mean()) for name, column in estimator.terms(rows).items()}
    value = float(estimator.value(means))
    if np.isnan(value):
        return
    # The weights of loggers have kinks where a variance is all rounding.
    if estimator.name.startswith("weighted") and not _varies(rows):
        return
    for name, slope in gradient(estimator, means).items():
        step = 1e-6 * max(abs(means[name]), 1e-3)
        higher, lower = (float(estimator.value({**means, name: means[name] + side * step})) for side in (1, -1))
        assert slope == pytest.approx((higher - lower) / (2 * step), rel=1e-3, abs=1e-4 * (1 + abs(slope)))


def _varies(rows: EvaluationRows) -> bool:
    assert rows.version is not None
    worth = rows.weight * rows.reward
    return all(
        (rows.version == each).sum() > 3 and worth[rows.version == each].std() > 0.1 * np.abs(worth).max()
        for each in (0, 1)
    )


@every
@given(rows=evaluation_rows(least=2))
def test_influences_have_the_mean_0(estimator: Estimator, rows: EvaluationRows) -> None:
    if np.isnan(estimator.estimate(rows)):
        return
    moved = influence(estimator, rows)
    assert moved.shape == rows.reward.shape
    assert moved.mean() == pytest.approx(0, abs=1e-9 * (1 + np.abs(moved).max()))


@every
@given(rows=evaluation_rows(), seed=st.integers(0, 2**16))
def test_a_value_for_many_resamples_is_the_value_of_each(estimator: Estimator, rows: EvaluationRows, seed: int) -> None:
    counts = np.random.default_rng(seed).poisson(1, (7, len(rows)))
    counts[0] = 0
    terms = estimator.terms(rows)
    means = {name: counts @ column / len(rows) for name, column in terms.items()}
    values = estimator.value(means)
    assert np.shape(values) == (7,)
    for resample in range(7):
        one = float(estimator.value({name: float(mean[resample]) for name, mean in means.items()}))
        assert values[resample] == same(one, scale_of(rows))


@every
def test_what_is_missing_or_not_finite_is_named(estimator: Estimator) -> None:
    rows = EvaluationRows(reward=np.ones(3), propensity=np.full(3, 0.5), target=np.full(3, 0.5))
    with pytest.raises(BadInput, match="rows: found none at all"):
        estimator.estimate(rows.where(slice(0)))
    for name in estimator.needs:
        with pytest.raises(BadInput, match=f"{name}: found none|{estimator.needs[0]}: found none"):
            estimator.estimate(rows)
    full = replace(
        rows,
        mean_propensity=np.full(3, 0.5),
        model_logged=np.ones(3),
        model_target=np.ones(3),
        version=np.zeros(3, np.int32),
    )
    assert np.isfinite(estimator.estimate(full)) or estimator.name == "replay"
    for wrong in (np.nan, np.inf):
        if estimator.name == "dm":
            spoilt = replace(full, model_target=np.array([1.0, wrong, 1.0]))
        else:
            spoilt = replace(full, target=np.ones(3), weight=np.empty(0), reward=np.array([1.0, wrong, 1.0]))
        with pytest.raises(BadInput, match="not_finite"):
            estimator.estimate(spoilt)


@every
def test_one_row_is_judged(estimator: Estimator) -> None:
    rows = EvaluationRows(
        reward=np.ones(1),
        propensity=np.full(1, 0.5),
        mean_propensity=np.full(1, 0.5),
        target=np.ones(1),
        model_logged=np.ones(1),
        model_target=np.ones(1),
        version=np.zeros(1, np.int32),
    )
    assert 0 <= estimator.estimate(rows) <= 2


@given(rows=evaluation_rows())
def test_the_logging_policy_is_worth_its_mean_reward(rows: EvaluationRows) -> None:
    own = replace(rows, target=rows.propensity, weight=np.empty(0))
    for estimator in (IPS, SNIPS, ClippedInversePropensity(1), SubGaussianInversePropensity(0.5)):
        assert estimator.estimate(own) == same(own.reward.mean(), scale_of(own))


@given(rows=evaluation_rows())
def test_self_normalised_values_lie_among_the_rewards(rows: EvaluationRows) -> None:
    for estimator, counts in (
        (SNIPS, rows.weight > 0),
        (ClippedSelfNormalised(3), rows.weight > 0),
        (SelfNormalisedMarginal(), rows.weight > 0),
        (Replay(), rows.target == 1),
    ):
        value = estimator.estimate(rows)
        if not counts.any():
            assert np.isnan(value)
        else:
            among = rows.reward[counts]
            assert among.min() - 1e-9 <= value <= among.max() + 1e-9


@given(rows=evaluation_rows())
def test_without_a_model_doubly_robust_is_by_weights_alone(rows: EvaluationRows) -> None:
    nothing = replace(rows, model_logged=np.zeros(len(rows)), model_target=np.zeros(len(rows)))
    for with_model, without in (
        (DR, IPS),
        (SelfNormalisedDoublyRobust(), SNIPS),
        (ClippedDoublyRobust(3), ClippedInversePropensity(3)),
        (SubGaussianDoublyRobust(0.2), SubGaussianInversePropensity(0.2)),
    ):
        assert with_model.estimate(nothing) == same(without.estimate(nothing))


@given(rows=evaluation_rows())
def test_where_the_model_is_right_the_weights_do_not_matter(rows: EvaluationRows) -> None:
    right = replace(rows, model_logged=rows.reward)
    for estimator in (DR, ClippedDoublyRobust(3), SwitchDoublyRobust(3), OptimisticDoublyRobust(3)):
        assert estimator.estimate(right) == same(DM.estimate(right))


@given(rows=evaluation_rows())
def test_the_limits_of_shrinkage(rows: EvaluationRows) -> None:
    scale = scale_of(rows)
    for kind in (ClippedDoublyRobust, SwitchDoublyRobust, OptimisticDoublyRobust):
        assert kind(np.inf).estimate(rows) == same(DR.estimate(rows), scale)
        assert kind(0).estimate(rows) == same(DM.estimate(rows), scale)
        assert kind(1e300).estimate(rows) == same(DR.estimate(rows), scale)
        assert kind(5e-324).estimate(rows) == same(DM.estimate(rows), scale)
    assert ClippedInversePropensity(np.inf).estimate(rows) == same(IPS.estimate(rows), scale)
    assert ClippedSelfNormalised(np.inf).estimate(rows) == same(SNIPS.estimate(rows), scale)
    assert SubGaussianInversePropensity(0).estimate(rows) == same(IPS.estimate(rows), scale)
    assert SubGaussianDoublyRobust(0).estimate(rows) == same(DR.estimate(rows), scale)
    seen = rows.where(rows.weight > 0)
    if len(seen):
        assert SubGaussianInversePropensity(1).estimate(seen) == same(seen.reward.mean(), scale)


@pytest.mark.parametrize("name", SHRUNK)
@given(rows=evaluation_rows(), lambda_=st.floats(0, 1), more=st.floats(0, 1))
def test_shrunk_weights_are_smaller_and_the_more_so_the_further_lambda(
    name: str, rows: EvaluationRows, lambda_: float, more: float
) -> None:
    kind = SHRUNK[name]
    less_shrunk, more_shrunk = sorted((lambda_, more), reverse=not name.startswith("sg"))
    lesser, least = (kind(each).shrunk(rows.weight) for each in (less_shrunk, more_shrunk))
    # The harmonic mean goes towards 1, from both sides.
    limit = np.minimum(rows.weight, 1) if name.startswith("sg") else np.zeros_like(rows.weight)
    heavy = rows.weight >= 1 if name.startswith("sg") else np.ones(len(rows), dtype=bool)
    assert (least[heavy] <= lesser[heavy] * (1 + 1e-12)).all()
    assert (lesser[heavy] <= rows.weight[heavy] * (1 + 1e-12)).all()
    assert (least >= limit * (1 - 1e-12)).all()


@given(seed=st.integers(0, 2**32 - 1), actions=st.integers(2, 6))
def test_ips_and_dr_are_without_bias_whatever_the_model(seed: int, actions: int) -> None:
    """Exactly: over all actions that could have been logged, each as often as it would have been."""
    rng = np.random.default_rng(seed)
    logging, target = rng.dirichlet(np.ones(actions), 2)
    logging = logging * 0.99 + 0.01 / actions
    reward, model = rng.normal(0, 1, (2, actions))
    rows = EvaluationRows(
        reward=reward,
        propensity=logging,
        target=target,
        model_logged=model,
        model_target=np.full(actions, target @ model),
    )
    truth = target @ reward
    for estimator in (IPS, DR):
        means = {name: logging @ column for name, column in estimator.terms(rows).items()}
        assert float(estimator.value(means)) == same(truth)
    snips = {name: logging @ column for name, column in SNIPS.terms(rows).items()}
    assert snips["w"] == same(1)


@pytest.mark.parametrize("kind", [*SHRUNK.values(), lambda each: WeightedInversePropensity(2, each)])
def test_a_lambda_that_is_none_is_refused(kind: type) -> None:
    for wrong in (-0.1, np.nan, -np.inf):
        with pytest.raises(WrongConfiguration, match=r"lambda_ of .*: found .*, expected a number from 0"):
            kind(wrong)


def test_a_share_above_1_is_refused() -> None:
    with pytest.raises(WrongConfiguration, match="expected a number from 0 to 1"):
        SubGaussianDoublyRobust(1.5)


def test_terms_of_different_lambdas_have_different_names() -> None:
    rows = EvaluationRows(reward=np.ones(2), propensity=np.full(2, 0.1), target=np.ones(2), model_logged=np.zeros(2))
    rows = replace(rows, model_target=np.zeros(2))
    for kind in SHRUNK.values():
        near, far = kind(0.1).terms(rows), kind(0.1 + 1e-15).terms(rows)
        assert set(near) & set(far) <= {"q(pi)"}
        assert set(near) == set(kind(np.float64(0.1)).terms(rows))


def test_a_ratio_to_0_is_unknown_and_warns_of_nothing() -> None:
    np.testing.assert_array_equal(ratio(np.array([1.0, 0.0, 3.0]), np.array([0.0, 0.0, 2.0])), [np.nan, np.nan, 1.5])
    assert np.isnan(SNIPS.estimate(EvaluationRows(reward=np.ones(2), propensity=np.ones(2), target=np.zeros(2))))


def test_other_weights_and_propensities() -> None:
    rows = EvaluationRows(
        reward=np.ones(2), propensity=np.full(2, 0.5), target=np.full(2, 0.25), squared_weight=np.ones(2)
    )
    other = with_propensity(rows, np.array([0.25, 1.0]))
    assert other.weight.tolist() == [1.0, 0.25]
    assert other.propensity.tolist() == [0.25, 1.0]
    # It was an expectation of the weights that the rows had.
    assert other.squared_weight is None
    for wrong in ([1.0], [[1.0, 1.0]], [np.nan, 1.0], [-1.0, 1.0], [np.inf, 1.0]):
        with pytest.raises(BadInput, match=r"^weight: found"):
            with_weight(rows, np.array(wrong))
    with pytest.raises(BadInput, match=r"^weight: found -1\.0, expected finite numbers"):
        with_weight(rows, np.array([0.5, -1.0]))
    assert with_weight(rows, np.zeros(2)).weight.tolist() == [0.0, 0.0]
    for wrong in ([1.0], [0.0, 1.0], [1.5, 1.0], [np.nan, 1.0]):
        with pytest.raises(BadInput, match=r"^propensity: found"):
            with_propensity(rows, np.array(wrong))
