"""The saddlepoint's ends are those of the percentile bootstrap."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from replay.evaluation.estimators.doubly_robust import DoublyRobust, SelfNormalisedDoublyRobust
from replay.evaluation.estimators.estimator import Estimator
from replay.evaluation.estimators.importance import InversePropensity, SelfNormalised
from replay.evaluation.intervals.delta import delta_of_rows
from replay.evaluation.intervals.saddlepoint import saddlepoint
from replay.evaluation.rows import EvaluationRows
from studies.worlds import world
from tests.replay.evaluation.intervals.logs import clicks, random_log

IPS, SNIPS = InversePropensity(), SelfNormalised()
ESTIMATORS: list[Estimator] = [IPS, SNIPS, DoublyRobust()]
RESAMPLES = 8000


def heavy(rows: int) -> EvaluationRows:
    return replace(random_log(7, rows), weight=np.random.default_rng(8).lognormal(0.0, 0.9, size=rows))


@pytest.mark.parametrize(
    "rows",
    [
        world("easy").simulate(np.random.default_rng(3), 500),
        world("drifting").simulate(np.random.default_rng(3), 500),
        heavy(500),
    ],
    ids=["easy", "drifting", "heavy"],
)
def test_its_ends_are_those_of_the_bootstrap(rows: EvaluationRows) -> None:
    chance, total = np.random.default_rng(4), len(rows)
    counts = chance.multinomial(total, np.full(total, 1 / total), size=RESAMPLES).astype(np.float64)
    for estimator in ESTIMATORS:
        values = estimator.value({name: counts @ term / total for name, term in estimator.terms(rows).items()})
        for confidence in (0.5, 0.95):
            found, half = saddlepoint(estimator, rows, confidence=confidence), (1 - confidence) / 2
            assert found.method == "saddlepoint"
            error = (half * (1 - half) / RESAMPLES) ** 0.5
            assert float((values <= (found.low or 0.0)).mean()) == pytest.approx(half, abs=4 * error)
            assert float((values <= (found.high or 0.0)).mean()) == pytest.approx(1 - half, abs=4 * error)


@pytest.mark.parametrize(("estimator", "rows", "seed", "spread"), [(IPS, 40, 4, 0.7), (SNIPS, 100, 3, 1.0)])
def test_it_is_right_to_the_second_order(estimator: Estimator, rows: int, seed: int, spread: float) -> None:
    """A dozen of rows carry the value; by the first order alone the chances would be off by .003."""
    chance = np.random.default_rng(seed)
    log = EvaluationRows(
        reward=chance.random(rows) * (chance.random(rows) < 0.5),
        propensity=np.full(rows, 0.5),
        target=np.full(rows, 0.5),
        weight=chance.lognormal(0.0, spread, rows),
    )
    interval = saddlepoint(estimator, log)
    assert interval.method == "saddlepoint"
    counts = chance.multinomial(rows, np.full(rows, 1 / rows), size=100_000).astype(np.float64)
    values = estimator.value({name: counts @ term / rows for name, term in estimator.terms(log).items()})
    assert float((values <= (interval.low or 0.0)).mean()) == pytest.approx(0.025, abs=0.0015)
    assert float((values <= (interval.high or 0.0)).mean()) == pytest.approx(0.975, abs=0.0015)


@pytest.mark.parametrize("count", [10, 20, 200])
def test_values_that_are_tied_are_met_within_half_a_step(count: int) -> None:
    """All resampled values are multiples of 1 / rows."""
    interval = saddlepoint(IPS, clicks(count, 10_000))
    ends = np.quantile(np.random.default_rng(1).binomial(10_000, count / 10_000, size=400_000), [0.025, 0.975])
    assert interval.low is not None
    assert interval.high is not None
    assert np.abs(np.array([interval.low, interval.high]) * 10_000 - ends).max() <= 0.8


@pytest.mark.parametrize("rows", [clicks(3, 1000), clicks(997, 1000), clicks(0, 1000), clicks(5, 5)])
def test_where_few_rows_carry_the_value_it_is_the_delta_methods_and_says_so(rows: EvaluationRows) -> None:
    found, delta = saddlepoint(IPS, rows), delta_of_rows(IPS, rows)
    assert (found.low, found.high, found.method) == (delta.low, delta.high, "delta")
    assert "carry the value" in found.note


def test_what_is_unknown_stays_so() -> None:
    assert saddlepoint(IPS, clicks(0, 0)).note == "no rows"
    assert saddlepoint(IPS, clicks(1, 1)).width is None
    assert saddlepoint(SNIPS, clicks(3, 10, weight=0.0)).value is None


@given(st.integers(0, 10_000), st.floats(0.01, 100.0), st.floats(-10.0, 10.0))
def test_other_units_of_the_reward_scale_the_ends(seed: int, scale: float, shift: float) -> None:
    rows = random_log(seed, 80)
    one, other = saddlepoint(SNIPS, rows), saddlepoint(SNIPS, replace(rows, reward=scale * rows.reward + shift))
    if one.method == other.method == "saddlepoint":
        assert one.low is not None
        assert one.high is not None
        wanted = (scale * one.low + shift, scale * one.high + shift)
        assert (other.low, other.high) == pytest.approx(wanted, rel=1e-5, abs=1e-5 * scale)


def test_what_is_no_ratio_is_taken_by_its_linear_part() -> None:
    rows = world("easy").simulate(np.random.default_rng(5), 2000)
    interval = saddlepoint(SelfNormalisedDoublyRobust(), rows)
    assert interval.note == "of the linear part of sndr"
    assert interval.width == pytest.approx(delta_of_rows(SelfNormalisedDoublyRobust(), rows).width, rel=0.05)
