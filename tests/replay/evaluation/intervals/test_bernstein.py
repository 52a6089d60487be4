"""The empirical Bernstein interval is Maurer and Pontil's, and refuses what it is not for."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from records.errors import BadInput
from replay.evaluation.estimators.doubly_robust import DoublyRobust
from replay.evaluation.estimators.importance import InversePropensity, SelfNormalised
from replay.evaluation.intervals.bernstein import bernstein
from replay.evaluation.moments import Moments
from tests.replay.evaluation.intervals.logs import clicks, random_log

IPS, DR = InversePropensity(), DoublyRobust()


def test_by_the_formula() -> None:
    worths = np.random.default_rng(1).random(500) * 3
    interval = bernstein(IPS, Moments.of({"w r": worths}), low=0.0, high=4.0, confidence=0.9)
    log = np.log(2 / 0.05)
    error = np.sqrt(2 * worths.var(ddof=1) * log / 500) + 7 * 4 * log / (3 * 499)
    assert (interval.low, interval.high) == pytest.approx((worths.mean() - error, worths.mean() + error))


@given(st.integers(0, 10_000), st.integers(2, 200), st.floats(0.001, 0.999))
def test_it_stays_within_its_bounds_and_around_its_value(seed: int, rows: int, rate: float) -> None:
    worths = (np.random.default_rng(seed).random(rows) < rate).astype(np.float64)
    interval = bernstein(IPS, Moments.of({"w r": worths}), low=0.0, high=1.0)
    assert interval.value is not None
    assert interval.low is not None
    assert interval.high is not None
    assert 0 <= interval.low <= interval.value <= interval.high <= 1


def test_sums_of_terms_are_means_and_ratios_are_not() -> None:
    rows = random_log(1, 200)
    assert bernstein(DR, Moments.of(DR.terms(rows)), low=-10.0, high=20.0).value == pytest.approx(DR.estimate(rows))
    snips = SelfNormalised()
    with pytest.raises(BadInput, match="snips"):
        bernstein(snips, Moments.of(snips.terms(rows)), low=0.0, high=1.0)


def test_bounds_that_are_none_are_refused() -> None:
    moments = Moments.of(IPS.terms(random_log(1, 200)))
    for low, high in ((1.0, 1.0), (0.0, np.inf), (0.0, np.nan)):
        with pytest.raises(BadInput, match="low and high"):
            bernstein(IPS, moments, low=low, high=high)
    with pytest.raises(BadInput, match="a row that adds"):
        bernstein(IPS, moments, low=0.0, high=1.0)


def test_what_is_unknown_is_none_or_the_bound() -> None:
    assert bernstein(IPS, Moments.of({"w r": np.empty(0)}), low=0.0, high=1.0).note == "no rows"
    one = bernstein(IPS, Moments.of(IPS.terms(clicks(1, 1))), low=0.0, high=1.0)
    assert (one.low, one.high) == (0.0, 1.0)
