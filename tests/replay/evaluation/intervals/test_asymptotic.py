"""The asymptotic sequence is its paper's formula over running moments, and opens late."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from records.errors import BadInput, WrongConfiguration
from replay.evaluation.estimators.doubly_robust import DoublyRobust
from replay.evaluation.estimators.estimator import Estimator, influence
from replay.evaluation.estimators.importance import InversePropensity, SelfNormalised
from replay.evaluation.intervals.asymptotic import asymptotic, asymptotic_of_rows
from replay.evaluation.intervals.interval import analyses_at
from replay.evaluation.intervals.running import Running
from replay.evaluation.moments import Moments
from tests.replay.evaluation.intervals.logs import clicks, random_log

IPS, SNIPS, DR = InversePropensity(), SelfNormalised(), DoublyRobust()


@pytest.mark.parametrize("estimator", [IPS, SNIPS, DR])
def test_each_look_is_the_formula_over_the_rows_so_far(estimator: Estimator) -> None:
    rows = random_log(1, 3000)
    interval = asymptotic_of_rows(estimator, rows, analyses_at(3000, 7), tightest_at=500, opens_at=0.0)
    rho = np.sqrt((-2 * np.log(0.05) + np.log(-2 * np.log(0.05) + 1)) / 500)
    for number, analysis in enumerate(interval.rows.tolist()):
        so_far = rows.where(slice(analysis))
        grown = analysis * rho**2 + 1
        spread = influence(estimator, so_far).std()
        error = spread * np.sqrt(2 * grown / (analysis * rho) ** 2 * np.log(np.sqrt(grown) / 0.05))
        value = estimator.estimate(so_far)
        ends = (interval.value[number], interval.low[number], interval.high[number])
        assert ends == pytest.approx((value, value - error, value + error))


def test_it_opens_by_effective_positives() -> None:
    rows = clicks(500, 1000)
    analyses = np.array([50, 99, 100, 101])
    assert np.isfinite(asymptotic_of_rows(IPS, rows, analyses).low).tolist() == [False, False, True, True]
    assert np.isfinite(asymptotic_of_rows(IPS, rows, analyses, opens_at=1e9).low).sum() == 0
    closed = asymptotic_of_rows(IPS, clicks(0, 1000), np.array([10, 1000])).at(1)
    assert (closed.value, closed.low, closed.high) == (0.0, None, None)
    assert closed.note == "not enough rows yet"


def test_a_policy_without_a_value_never_opens() -> None:
    interval = asymptotic_of_rows(SNIPS, clicks(10, 100, weight=0.0), np.array([50, 100]))
    assert interval.holds(0.5).all()
    assert interval.at(1).value is None


@given(st.integers(0, 10_000), st.lists(st.integers(1, 60), min_size=1, max_size=5, unique=True))
def test_running_moments_are_those_of_the_rows_so_far(seed: int, analyses: list[int]) -> None:
    rows = random_log(seed, 60)
    at = np.array(sorted(analyses))
    running = Running.of(SNIPS.terms(rows), at)
    for number, analysis in enumerate(at.tolist()):
        so_far = Moments.of(SNIPS.terms(rows.where(slice(analysis))))
        np.testing.assert_allclose(running.mean[number], so_far.mean, rtol=1e-12)
        np.testing.assert_allclose(running.comoment[number], so_far.comoment, rtol=1e-9, atol=1e-12)


def test_blocks_of_the_log_give_the_same_as_its_rows() -> None:
    rows = random_log(2, 900)
    columns = {**SNIPS.terms(rows), "w r": rows.weight * rows.reward}
    blocks = [Moments.of({name: column[a : a + 300] for name, column in columns.items()}) for a in (0, 300, 600)]
    streamed = asymptotic(SNIPS, Running.after(blocks))
    at_hand = asymptotic_of_rows(SNIPS, rows, np.array([300, 600, 900]))
    np.testing.assert_allclose(streamed.low, at_hand.low)


def test_effective_positives() -> None:
    running = Running.of({"w r": np.array([2.0, 0.0, 1.0, 1.0])}, np.array([2, 4]))
    assert running.effective("w r").tolist() == pytest.approx([1.0, 16 / 6])
    assert Running.of({"w r": np.zeros(3)}, np.array([3])).effective("w r").tolist() == [0.0]


@pytest.mark.parametrize("analyses", [[], [0, 5], [5, 5], [5, 3], [11]])
def test_looks_that_do_not_rise_are_refused(analyses: list[int]) -> None:
    with pytest.raises(BadInput, match="analyses"):
        Running.of({"w r": np.ones(10)}, np.array(analyses, dtype=np.int64))


def test_what_is_missing_is_named() -> None:
    rows = random_log(3, 50)
    with pytest.raises(WrongConfiguration, match="'w r'"):
        asymptotic(DR, Running.of(DR.terms(rows), np.array([50])))
    with pytest.raises(BadInput, match="a block that has rows"):
        Running.after([])
