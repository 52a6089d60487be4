"""Slates: what the Open Bandit Pipeline 0.5.7 and vw-estimators 0.2.2 say, and laws."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from records.errors import BadInput, WrongConfiguration
from replay.evaluation.estimators.doubly_robust import DoublyRobust
from replay.evaluation.estimators.estimator import Estimator, gradient, influence
from replay.evaluation.estimators.importance import InversePropensity, SelfNormalised
from replay.evaluation.estimators.pseudo_inverse import PseudoInverse, PseudoInverseSums
from replay.evaluation.estimators.slate_rows import Slates
from replay.evaluation.estimators.slates import (
    CascadeDoublyRobust,
    IndependentSlate,
    RewardInteractionSlate,
    SelfNormalisedIndependentSlate,
    SelfNormalisedRewardInteractionSlate,
    SelfNormalisedStandardSlate,
    StandardSlate,
    modelled,
)
from replay.evaluation.intervals.delta import delta
from replay.evaluation.moments import Moments
from replay.evaluation.resample import ends, resampled
from replay.evaluation.rows import EvaluationRows
from studies.fixtures.part_slates import LOGS, RAGGED, SlateLog
from studies.fixtures.part_vw import ALPHAS, SLATES
from tests.replay.evaluation.estimators.obp_logs import said

OBP, VW = said("slates"), said("vw")["slates"]


def every(positions: int) -> list[Estimator[Slates]]:
    return [
        StandardSlate(),
        IndependentSlate(),
        RewardInteractionSlate(),
        SelfNormalisedStandardSlate(),
        SelfNormalisedIndependentSlate(positions),
        SelfNormalisedRewardInteractionSlate(positions),
        CascadeDoublyRobust(),
        PseudoInverse(),
    ]


def slates(log: SlateLog, order: Any = slice(None)) -> Slates:
    logged, target = modelled(log.model, log.conditional, log.action)

    def pair(both: tuple[Any, Any]) -> tuple[Any, Any]:
        return both[0][order], both[1][order]

    return Slates.of(
        slate=log.slate[order],
        position=log.position[order],
        reward=log.reward[order],
        whole=pair(log.whole),
        marginal=pair(log.marginal),
        cascade=pair(log.cascade),
        model_logged=logged[order],
        model_target=target[order],
    )


@st.composite
def some_slates(draw: st.DrawFn, *, positions: int = 4) -> Slates:
    """Slates of one to so many positions in a shuffled order; the target never takes some actions."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    lengths = rng.integers(1, positions + 1, draw(st.integers(1, 12)))
    rows = int(lengths.sum())
    order = rng.permutation(rows)
    place = np.concatenate([np.arange(each) for each in lengths])[order]
    target = rng.random(rows) * (rng.random(rows) < 0.8)
    return Slates.of(
        slate=np.repeat(np.arange(len(lengths)), lengths)[order],
        position=place,
        reward=rng.integers(0, 2, rows),
        conditional=(rng.uniform(0.05, 1, rows), target),
        marginal=(rng.uniform(0.05, 1, rows), target),
        model_logged=rng.normal(size=rows),
        model_target=rng.normal(size=rows),
    )


@pytest.mark.parametrize("log", LOGS)
def test_values_are_those_of_obp_in_any_order_of_the_rows(log: str) -> None:
    order = np.random.default_rng(5).permutation(len(LOGS[log].slate))
    found = {each.name: each.estimate(slates(LOGS[log], order)) for each in every(LOGS[log].positions)}
    assert OBP["logs"][log] == {name: pytest.approx(found[name], rel=1e-9, abs=1e-9) for name in OBP["logs"][log]}
    assert len(OBP["logs"][log]) == 7


def test_slates_that_lack_positions_have_the_values_of_obp() -> None:
    found = {each.name: each.estimate(slates(RAGGED)) for each in every(RAGGED.positions)}
    assert OBP["ragged"] == {name: pytest.approx(found[name], rel=1e-9, abs=1e-9) for name in OBP["ragged"]}
    assert len(OBP["ragged"]) == 6


@pytest.mark.parametrize("counted", ["plain", "counted"])
def test_the_pseudo_inverse_is_that_of_vw(counted: str) -> None:
    lengths = [len(each) for each in SLATES.p_logs]
    rows = Slates.of(
        slate=np.repeat(np.arange(len(lengths)), lengths),
        position=np.concatenate([np.arange(each) for each in lengths]),
        reward=np.concatenate(SLATES.rewards),
        marginal=(np.concatenate(SLATES.p_logs), np.concatenate(SLATES.p_preds)),
    )
    sums = PseudoInverseSums.of(rows, SLATES.count if counted == "counted" else None)
    value, *intervals = VW[counted]
    assert sums.value == pytest.approx(value, rel=1e-9)
    for alpha, (low, high) in zip(ALPHAS, intervals, strict=True):
        interval = sums.interval(alpha=alpha)
        assert interval.low == pytest.approx(low, rel=1e-9)
        assert interval.high == pytest.approx(high, rel=1e-9)
    if counted == "plain":
        assert PseudoInverse().estimate(rows) == pytest.approx(value, rel=1e-9)


@given(some_slates(positions=1))
def test_slates_of_one_position_are_single_actions(rows: Slates) -> None:
    """With one position, all weights are the same, and so are all estimators of a kind."""
    assert rows.propensity is not None
    assert rows.target is not None
    one = Slates.of(
        slate=rows.slate,
        position=rows.position,
        reward=rows.reward,
        conditional=(rows.propensity, rows.target),
        marginal=(rows.propensity, rows.target),
        model_logged=rows.model_logged,
        model_target=rows.model_target,
    )
    at_top = EvaluationRows(
        reward=rows.reward,
        propensity=rows.propensity,
        target=rows.target,
        model_logged=rows.model_logged,
        model_target=rows.model_target,
    )
    values = {each.name: each.estimate(one) for each in every(1)}
    ips, snips = InversePropensity().estimate(at_top), SelfNormalised().estimate(at_top)
    for name in ("sips", "iips", "rips", "pi"):
        assert values[name] == pytest.approx(ips, rel=1e-12)
    for name in ("snsips", "sniips", "snrips"):
        assert values[name] == pytest.approx(snips, rel=1e-12, nan_ok=True)
    assert values["cascade-dr"] == pytest.approx(DoublyRobust().estimate(at_top), rel=1e-12)
    assert InversePropensity().estimate(one.first()) == pytest.approx(ips, rel=1e-12)


@given(some_slates())
def test_the_logging_policy_itself_is_worth_the_mean_reward(rows: Slates) -> None:
    assert rows.propensity is not None
    both = (rows.propensity, rows.propensity)
    same = Slates.of(
        slate=np.repeat(rows.slate, rows.lengths),
        position=rows.position,
        reward=rows.reward,
        conditional=both,
        marginal=both,
        model_logged=np.zeros(len(rows.position)),
        model_target=np.zeros(len(rows.position)),
    )
    mean = rows.reward.sum() / len(rows)
    assert [each.estimate(same) for each in every(4)] == [pytest.approx(mean, rel=1e-12)] * 8


@given(some_slates(), st.integers(1, 11))
def test_slates_in_two_parts_have_the_same_value(rows: Slates, cut: int) -> None:
    """The means of the parts' terms, weighted by their slates, are all that a value needs."""
    parts = [part for part in (rows.where(slice(cut)), rows.where(slice(cut, None))) if len(part)]
    for estimator in every(4):
        whole = Moments.of(estimator.terms(rows))
        apart = Moments.of(estimator.terms(parts[0]))
        for part in parts[1:]:
            apart = apart + Moments.of(estimator.terms(part))
        value = float(estimator.value(apart.means))
        assert value == pytest.approx(estimator.estimate(rows), rel=1e-9, abs=1e-9, nan_ok=True)
        assert apart.rows == whole.rows == len(rows)


@given(some_slates())
def test_the_derivatives_are_right(rows: Slates) -> None:
    for estimator in every(4):
        means = {name: float(column.mean()) for name, column in estimator.terms(rows).items()}
        if not np.isfinite(estimator.value(means)):
            continue
        for name, slope in gradient(estimator, means).items():
            step = 1e-6 * max(abs(means[name]), 1e-3)
            if not means[name]:
                continue
            there, back = (float(estimator.value({**means, name: means[name] + way * step})) for way in (1, -1))
            assert slope == pytest.approx((there - back) / (2 * step), rel=1e-4, abs=1e-4)
        assert influence(estimator, rows).shape == (len(rows),)
        assert abs(influence(estimator, rows).mean()) < 1e-8 * max(1, np.abs(influence(estimator, rows)).max())


@given(some_slates())
def test_a_model_that_knows_the_rewards_needs_only_the_weights_above(rows: Slates) -> None:
    assert rows.propensity is not None
    assert rows.target is not None
    right = Slates.of(
        slate=np.repeat(rows.slate, rows.lengths),
        position=rows.position,
        reward=rows.reward,
        conditional=(rows.propensity, rows.target),
        model_logged=rows.reward,
        model_target=rows.reward,
    )
    total = 0.0
    for start, end in zip(rows.starts, rows.starts[1:], strict=False):
        above = 1.0
        for row in range(start, end):
            total += above * rows.reward[row]
            above *= rows.target[row] / rows.propensity[row]
    assert CascadeDoublyRobust().estimate(right) == pytest.approx(total / len(rows), rel=1e-9)


def test_the_delta_method_and_the_bootstrap_draw_whole_slates() -> None:
    """Copies of a slate's position tell nothing new: an interval by rows would be narrower, here by half."""
    rng = np.random.default_rng(7)
    count, positions = 600, 4
    clicks = np.repeat(rng.integers(0, 2, count), positions)
    propensity = np.repeat(rng.uniform(0.3, 1, count), positions)
    rows = Slates.of(
        slate=np.repeat(np.arange(count), positions),
        position=np.tile(np.arange(positions), count),
        reward=clicks,
        cascade=(propensity, np.full(count * positions, 0.5)),
        marginal=(propensity, np.full(count * positions, 0.5)),
        model_logged=np.full(count * positions, 0.5),
        model_target=np.full(count * positions, 0.5),
    )
    for estimator in every(positions):
        moments = Moments.of(estimator.terms(rows))
        interval = delta(estimator, moments)
        assert moments.rows == count
        assert interval.width is not None
        low, high = ends(resampled(estimator.terms(rows), rows.slate, resamples=1000, seed=3).values(estimator))
        assert low is not None
        assert high is not None
        assert high - low == pytest.approx(interval.width, rel=0.15)
        if estimator.name == "iips":
            by_row = stats.sem(rows.weight_position * rows.reward) * positions  # type: ignore[operator]
            assert interval.width == pytest.approx(2 * 1.96 * 2 * by_row, rel=0.1)


def test_slates_keep_the_order_of_the_log() -> None:
    rows = Slates.of(slate=[9, 3, 9, 5, 3], position=[1, 0, 0, 0, 1], reward=[1, 2, 3, 4, 5])
    assert rows.slate.tolist() == [9, 3, 5]
    assert rows.reward.tolist() == [3, 1, 2, 5, 4]
    assert rows.slate_reward.tolist() == [4, 7, 4]
    assert rows.where([2, 0]).reward.tolist() == [4, 3, 1]


def test_a_wrong_weight_is_seen() -> None:
    log = LOGS["plain"]
    wrong = slates(log)
    assert wrong.weight_cascade is not None
    wrong.weight_cascade[np.argmax(wrong.weight_cascade * wrong.reward)] *= 1.5
    for name, estimator in (("rips", RewardInteractionSlate()), ("cascade-dr", CascadeDoublyRobust())):
        assert estimator.estimate(wrong) != pytest.approx(OBP["logs"]["plain"][name], rel=1e-9)


def test_weights_of_the_cascade_come_from_conditional_probabilities() -> None:
    log = LOGS["money"]
    steps = []
    for cascade in log.cascade:
        above = np.roll(cascade, 1)
        above[:: log.positions] = 1
        steps.append(cascade / above)
    found = Slates.of(slate=log.slate, position=log.position, reward=log.reward, conditional=(steps[0], steps[1]))
    given_cascade = slates(log)
    assert found.weight_cascade == pytest.approx(given_cascade.weight_cascade)
    assert found.weight == pytest.approx(given_cascade.weight)
    assert given_cascade.propensity == pytest.approx(steps[0])


def test_weights_of_a_long_slate_do_not_underflow() -> None:
    thousand = np.full(1000, 1e-3)
    rows = Slates.of(slate=[1] * 1000, position=range(1000), reward=np.ones(1000), conditional=(thousand, thousand))
    assert StandardSlate().estimate(rows) == 1000


def test_no_slates_have_no_value() -> None:
    nothing: tuple[list[float], list[float]] = [], []
    rows = Slates.of(
        slate=[], position=[], reward=[], conditional=nothing, marginal=nothing, model_logged=[], model_target=[]
    )
    assert len(rows) == 0
    for each in every(2):
        with pytest.raises(BadInput, match="rows: found none"):
            each.estimate(rows)
    assert all(column.shape == (0,) for each in every(2) for column in each.terms(rows).values())
    sums = PseudoInverseSums.of(rows)
    assert (sums.value, sums.interval().low) == (None, None)


def test_weights_that_are_all_zero_are_worth_nothing_known() -> None:
    rows = Slates.of(
        slate=[1, 1, 2],
        position=[0, 1, 0],
        reward=[1, 1, 1],
        conditional=([0.5] * 3, [0] * 3),
        marginal=([0.5] * 3, [0] * 3),
    )
    values = {each.name: each.estimate(rows) for each in every(2) if each.name != "cascade-dr"}
    assert all(np.isnan(values[name]) for name in ("snsips", "sniips", "snrips"))
    assert (values["sips"], values["iips"], values["rips"]) == (0, 0, 0)
    one = PseudoInverseSums.of(rows.where([0])).interval()
    assert (one.value, one.low, one.high) == (-2.0, None, None)


FINE: dict[str, Any] = {
    "slate": [1, 1],
    "position": [0, 1],
    "reward": [1.0, 0.0],
    "conditional": ([0.5, 0.5], [0.5, 0.5]),
}


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"position": [0, 0]}, "position_twice"),
        ({"position": [-1, 0]}, "wrong_position"),
        ({"position": [0.5, 1]}, "wrong_type"),
        ({"slate": [[1, 1]]}, "wrong_shape"),
        ({"reward": [1.0]}, "wrong_shape"),
        ({"reward": [1.0, np.nan]}, "not_finite"),
        ({"conditional": ([0.0, 0.5], [0.5, 0.5])}, "wrong_propensity"),
        ({"conditional": ([0.5, 1.5], [0.5, 0.5])}, "wrong_propensity"),
        ({"conditional": ([0.5, 0.5], [0.5, -0.1])}, "wrong_probability"),
        ({"cascade": ([0.5, 0.6], [0.5, 0.5])}, "growing_cascade"),
        ({"cascade": ([0.5, 0.5], [0.5, 0.6])}, "growing_cascade"),
        ({"whole": ([0.5, 0.4], [0.5, 0.5])}, "several_probabilities"),
        ({"slot": [1]}, "wrong_shape"),
    ],
)
def test_what_cannot_be_a_slate_is_refused_by_name(change: dict[str, Any], code: str) -> None:
    Slates.of(**FINE)
    with pytest.raises(BadInput) as refused:
        Slates.of(**{**FINE, **change})
    assert refused.value.code == code


def test_an_estimator_names_the_column_that_it_lacks() -> None:
    rows = Slates.of(**FINE)
    with pytest.raises(BadInput, match="weight_position"):
        IndependentSlate().estimate(rows)
    with pytest.raises(BadInput, match="model_logged"):
        CascadeDoublyRobust().estimate(rows)
    with pytest.raises(BadInput, match="position"):
        SelfNormalisedRewardInteractionSlate(1).estimate(rows)
    with pytest.raises(WrongConfiguration, match="positions of snrips"):
        SelfNormalisedRewardInteractionSlate(0)
    with pytest.raises(BadInput, match="action"):
        modelled([[0.5, 0.5]], [[0.5, 0.5]], [2])
    with pytest.raises(BadInput, match="count"):
        PseudoInverseSums.of(slates(LOGS["plain"]), [1.0])
