"""Two policies on the same rows: what moves both of them does not count."""

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from replay.evaluation.estimators.importance import InversePropensity, SelfNormalised
from replay.evaluation.intervals.delta import delta, delta_of_rows
from replay.evaluation.intervals.difference import Difference, LoggedMean, difference, difference_of_rows, shows
from replay.evaluation.intervals.horizon import LONGEST_DAYS, horizon
from replay.evaluation.intervals.interval import Interval
from replay.evaluation.moments import Moments
from studies.worlds import world
from tests.replay.evaluation.intervals.logs import clicks, random_log

IPS, SNIPS = InversePropensity(), SelfNormalised()
TO_LOGGED = Difference(SNIPS, LoggedMean())


def test_it_is_the_interval_of_paired_influences() -> None:
    rows = random_log(1, 3000)
    apart = rows.weight * rows.reward - rows.reward
    interval = difference(Difference(IPS, LoggedMean()), Moments.of(Difference(IPS, LoggedMean()).terms(rows)))
    assert interval.value == pytest.approx(apart.mean())
    assert interval.width == pytest.approx(2 * 1.959964 * apart.std(ddof=1) / 3000**0.5, rel=1e-6)


def test_the_logging_policy_itself_differs_by_nothing() -> None:
    interval = difference_of_rows(TO_LOGGED, clicks(30, 100))
    assert (interval.value, interval.low, interval.high) == pytest.approx((0, 0, 0), abs=1e-12)
    assert not shows(Interval(0.0, 0.0, 0.0, "delta"))


@given(st.integers(0, 10_000), st.floats(0.02, 0.98))
def test_the_other_way_round_it_has_the_other_sign(seed: int, rate: float) -> None:
    rows = random_log(seed, 60, rate)
    others = replace(rows, weight=np.roll(rows.weight, 1))
    one = difference_of_rows(Difference(SNIPS, SNIPS), rows, others)
    other = difference_of_rows(Difference(SNIPS, SNIPS), others, rows)
    assert None not in (one.low, one.high, other.low, other.high)
    assert one.low == pytest.approx(-(other.high or 0.0), abs=1e-9)
    assert one.high == pytest.approx(-(other.low or 0.0), abs=1e-9)


def test_pairs_are_narrower_than_two_intervals() -> None:
    rows = world("easy").simulate(np.random.default_rng(2), 10_000)
    near = replace(rows, weight=0.9 + 0.1 * rows.weight)
    one, other = (delta_of_rows(SNIPS, each).width or 0.0 for each in (rows, near))
    paired = difference_of_rows(Difference(SNIPS, SNIPS), near, replace(rows, weight=np.ones(10_000))).width
    assert paired is not None
    assert paired < 0.3 * math.hypot(one, other)


@pytest.mark.parametrize("name", ["easy", "rare rewards"])
def test_it_holds_the_true_difference(name: str) -> None:
    there = world(name)
    truth, held, plain = there.truth - there.logged, 0, 0
    for seed in range(200):
        rows = there.simulate(np.random.default_rng(seed), 3000)
        held += difference_of_rows(TO_LOGGED, rows).holds(truth)
        plain += delta(TO_LOGGED, Moments.of(TO_LOGGED.terms(rows))).holds(truth)
    # Binomial: 186 of 200 and more have a chance of .93 at .95.
    assert held >= 186
    assert name == "easy" or plain < 180, "the world is not hard enough to show anything"


def test_a_target_that_never_earned_may_be_better_all_the_same() -> None:
    """Of 200 rows the target's action was logged in 20, and never rewarded; the others were, in 10."""
    rows = replace(clicks(10, 200), weight=np.repeat([0.0, 10.0], [180, 20]))
    interval = difference_of_rows(TO_LOGGED, rows)
    assert interval.value == pytest.approx(-0.05)
    assert interval.high is not None
    assert interval.high > 0.11


def test_what_is_unknown_is_none() -> None:
    assert difference_of_rows(TO_LOGGED, clicks(0, 0)).note == "no rows"
    assert difference_of_rows(TO_LOGGED, clicks(1, 1)).width is None
    never = difference_of_rows(TO_LOGGED, clicks(1, 10, weight=0.0))
    assert never.value is None
    assert "never takes" in never.note


# ----- how much longer


@given(st.floats(0.001, 1.0), st.floats(1.05, 10.0), st.floats(0.5, 60.0), st.sampled_from([-1, 1]))
def test_after_as_many_more_days_it_just_shows(value: float, ratio: float, days: float, sign: int) -> None:
    """The half-width is ``ratio`` times the value, and shrinks with the root of the days."""
    ends = sorted((sign * value * (1 - ratio), sign * value * (1 + ratio)))
    forecast = horizon(Interval(sign * value, ends[0], ends[1], "delta"), days)
    if (ratio**2 - 1) * days > LONGEST_DAYS:
        assert forecast.days_more is None
        return
    assert forecast.days_more is not None
    shrunk = ratio * (days / (days + forecast.days_more)) ** 0.5
    assert shrunk == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("interval", "days", "why"),
    [
        (Interval(0.1, 0.05, 0.15, "delta"), 7.0, "shows already"),
        (Interval(-0.1, -0.2, -0.01, "delta"), 7.0, "shows already"),
        (Interval(0.0, -0.1, 0.1, "delta"), 7.0, "unknown or 0"),
        (Interval(None, None, None, "delta"), 7.0, "unknown or 0"),
        (Interval(0.1, None, None, "delta"), 7.0, "unknown or 0"),
        (Interval(0.1, -0.1, 0.3, "delta"), 0.0, "unknown or 0"),
        (Interval(0.0001, -0.1, 0.1, "delta"), 7.0, "so close to 0"),
    ],
)
def test_what_cannot_be_said_is_not_said(interval: Interval, days: float, why: str) -> None:
    forecast = horizon(interval, days)
    assert forecast.days_more is None
    assert why in forecast.why
    assert "as large as it is now" in forecast.assumption
