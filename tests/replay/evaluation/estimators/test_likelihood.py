"""Maximum likelihood: what vw-estimators 0.2.2 says, and laws."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import minimize

from records.errors import BadInput, WrongConfiguration
from replay.evaluation.estimators.likelihood import MaximumLikelihood, WeightTable
from replay.evaluation.rows import EvaluationRows
from studies.fixtures.part_vw import ANALYSES, BOUNDS, LOGS
from tests.replay.evaluation.estimators.obp_logs import said

VW = said("vw")["logs"]


@st.composite
def rows(draw: st.DrawFn) -> tuple[Any, Any]:
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    size = draw(st.integers(1, 60))
    some = rng.choice([0.0, 0.5, 1.0, 3.0], size)
    weight = {"few": some, "many": rng.pareto(1.5, size), "ones": np.ones(size), "none": np.zeros(size)}
    return weight[draw(st.sampled_from(list(weight)))], rng.normal(size=size)


@pytest.mark.parametrize("log", LOGS)
def test_values_are_those_of_vw(log: str) -> None:
    of = LOGS[log]
    for name, (wmin, wmax, _, _) in BOUNDS.items():
        for count, value in zip(ANALYSES, VW[log][f"mle {name}"], strict=True):
            some = EvaluationRows(reward=of.reward[:count], propensity=of.p_log[:count], target=of.p_pred[:count])
            assert MaximumLikelihood(wmin, wmax).estimate(some) == pytest.approx(value, rel=1e-9, abs=1e-9)


@given(rows(), st.randoms(use_true_random=False))
def test_parts_in_any_order_have_the_same_value(log: tuple[Any, Any], chance: Any) -> None:
    weight, reward = log
    whole = WeightTable.of(weight, reward)
    cuts = sorted(chance.sample(range(len(weight) + 1), min(3, len(weight))))
    parts = [WeightTable.of(*part) for part in zip(np.split(weight, cuts), np.split(reward, cuts), strict=True)]
    chance.shuffle(parts)
    joined = parts[0]
    for part in parts[1:]:
        joined = joined + part
    assert (joined.weight == whole.weight).all()
    assert (joined.rows == whole.rows).all()
    assert (np.diff(joined.weight) > 0).all()
    assert MaximumLikelihood().value(joined) == pytest.approx(MaximumLikelihood().value(whole), rel=1e-9, abs=1e-9)


@given(rows())
def test_the_value_lies_among_the_rewards(log: tuple[Any, Any]) -> None:
    weight, reward = log
    value = MaximumLikelihood().value(WeightTable.of(weight, reward))
    assert value is not None
    assert reward.min() - 1e-9 <= value <= reward.max() + 1e-9


def test_no_other_probabilities_make_the_log_likelier() -> None:
    """Found by a general optimiser: rows' probabilities with a mean weight of 1, and one unseen weight of 0."""
    rng = np.random.default_rng(5)
    weight, reward = rng.uniform(0.4, 2.4, 12), rng.random(12)
    assert weight.mean() > 1

    def likelihood(logits: Any) -> float:
        return -float(logits[:-1].sum() - 12 * np.log(np.exp(logits).sum()))

    def mean_weight(logits: Any) -> float:
        share = np.exp(logits) / np.exp(logits).sum()
        return float(share[:-1] @ weight - 1)

    best = minimize(likelihood, np.zeros(13), constraints={"type": "eq", "fun": mean_weight}, options={"maxiter": 500})
    share = np.exp(best.x) / np.exp(best.x).sum()
    expected = share[:-1] @ (weight * reward)
    assert MaximumLikelihood().value(WeightTable.of(weight, reward)) == pytest.approx(expected, abs=2e-3)


def test_equal_weights_give_the_mean_reward() -> None:
    reward = np.array([0.25, 0.5, 3.0])
    for weight in (0.0, 1.0):
        assert MaximumLikelihood().value(WeightTable.of(np.full(3, weight), reward)) == pytest.approx(1.25)


def test_no_rows_are_unknown_and_what_cannot_be_is_refused() -> None:
    nothing = WeightTable.of([], [])
    assert MaximumLikelihood().value(nothing) is None
    assert MaximumLikelihood().value(nothing + nothing) is None
    assert MaximumLikelihood().value(nothing + WeightTable.of([2.0], [1.0])) == 1.0
    with pytest.raises(BadInput, match="weight"):
        WeightTable.of([-1.0], [0.0])
    for bounds in ({"wmin": 1.0}, {"wmax": 0.5}, {"wmin": -1.0}, {"wmax": np.nan}):
        with pytest.raises(WrongConfiguration, match="wmin and wmax"):
            MaximumLikelihood(**bounds)
