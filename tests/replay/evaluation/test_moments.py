"""Moments are what exact arithmetic says, however the rows were cut, and refuse what is no number."""

import math
import sys
from fractions import Fraction
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from records.errors import BadInput
from replay.evaluation.estimators.doubly_robust import SelfNormalisedDoublyRobust
from replay.evaluation.estimators.estimator import gradient, influence
from replay.evaluation.moments import Moments, stacked
from replay.evaluation.rows import EvaluationRows

finite = st.floats(-1e6, 1e6, allow_subnormal=False)


def exact(left: Any, right: Any) -> Fraction:
    """Return the sum of products of deviations, without rounding."""
    left, right = ([Fraction(number) for number in column.tolist()] for column in (left, right))
    of_left, of_right = sum(left) / len(left), sum(right) / len(right)
    return sum(((a - of_left) * (b - of_right) for a, b in zip(left, right, strict=True)), Fraction())


def near(found: float, expected: Fraction, scale: float) -> bool:
    # A product of two small numbers may be no normal one, and then has few digits.
    return abs(found - float(expected)) <= max(1e-12 * scale, sys.float_info.min)


@given(st.lists(st.tuples(finite, finite), min_size=1, max_size=40), st.lists(st.integers(0, 40), max_size=4))
def test_any_cut_gives_what_exact_arithmetic_says(rows: list[tuple[float, float]], cuts: list[int]) -> None:
    columns = np.array(rows).T
    places = sorted({0, len(rows), *(cut for cut in cuts if cut < len(rows))})
    found = Moments.of({"a": np.zeros(0), "b": np.zeros(0)})
    for first, end in pairwise(places):
        found = found + Moments.of({"a": columns[0, first:end], "b": columns[1, first:end]})
    assert found.rows == len(rows)
    assert found.low.tolist() == columns.min(axis=1).tolist()
    assert found.high.tolist() == columns.max(axis=1).tolist()
    largest = np.abs(columns).max(axis=1)
    for i in range(2):
        assert near(found.mean[i], sum(map(Fraction, columns[i].tolist()), Fraction()) / len(rows), largest[i])
        for j in range(2):
            scale = len(rows) * largest[i] * largest[j]
            assert near(found.comoment[i, j], exact(columns[i], columns[j]), scale)


@pytest.mark.parametrize("block", [100, 257, 1200])
def test_what_lies_far_from_zero_keeps_its_digits(block: int) -> None:
    chance = np.random.default_rng(1)
    rewards = 1e9 + chance.random(1200)
    weights = 1e6 * (1 + 1e-6 * chance.random(1200))
    parts = [
        Moments.of({"r": rewards[first : first + block], "w": weights[first : first + block]})
        for first in range(0, 1200, block)
    ]
    found = sum(parts[1:], parts[0])
    assert found.mean[0] == pytest.approx(math.fsum(rewards) / 1200, rel=1e-15)
    for i, left in enumerate((rewards, weights)):
        for j, right in enumerate((rewards, weights)):
            # The sums of squares around 0 would have no digit left.
            scale = math.sqrt(exact(left, left) * exact(right, right))
            assert found.comoment[i, j] == pytest.approx(float(exact(left, right)), abs=1e-6 * scale)


def test_a_mean_between_two_numbers_does_not_add_to_the_spread() -> None:
    low, high = 1e9, float(np.nextafter(1e9, 2e9))
    moments = Moments.of({"r": np.array([low, high])})
    assert moments.comoment[0, 0] == (high - low) ** 2 / 2


def test_they_give_the_variance_of_the_delta_method() -> None:
    chance = np.random.default_rng(2)
    rows = EvaluationRows(
        reward=chance.random(500),
        propensity=chance.uniform(0.1, 1, 500),
        target=chance.random(500),
        model_logged=chance.random(500),
        model_target=chance.random(500),
    )
    estimator = SelfNormalisedDoublyRobust()
    moments = Moments.of(estimator.terms(rows))
    slopes = gradient(estimator, moments.means)
    by_name = np.array([slopes[name] for name in moments.names])
    variance = by_name @ moments.comoment @ by_name / (500 * 499)
    assert variance == pytest.approx(influence(estimator, rows).var(ddof=1) / 500, rel=1e-12)


def test_no_row_adds_nothing() -> None:
    some, none = Moments.of({"a": np.array([1.0, 2.0])}), Moments.of({"a": np.zeros(0)})
    assert none + some is some
    assert some + none is some
    assert (none + none).rows == 0
    assert none.means == {"a": 0.0}


def test_one_row_does_not_vary() -> None:
    moments = Moments.of({"a": np.array([3.0])})
    assert (moments.means, moments.comoment.tolist(), moments.low.tolist()) == ({"a": 3.0}, [[0.0]], [3.0])


@pytest.mark.parametrize("wrong", [math.nan, math.inf, -math.inf, 1e200])
def test_what_is_no_number_is_refused_by_name(wrong: float) -> None:
    with pytest.raises(BadInput, match=r"w r: found .*, expected finite numbers"):
        Moments.of({"w": np.ones(3), "w r": np.array([1.0, wrong, 2.0])})


@pytest.mark.parametrize(
    ("columns", "message"),
    [({}, "columns"), ({"a": np.ones(2), "b": np.ones(3)}, "b: "), ({"a": np.ones((2, 2))}, "a: ")],
)
def test_columns_that_do_not_fit_are_refused(columns: dict[str, Any], message: str) -> None:
    with pytest.raises(BadInput, match=message):
        Moments.of(columns)


def test_other_columns_do_not_add_up() -> None:
    with pytest.raises(ValueError, match="expected moments of a; found those of b"):
        Moments.of({"a": np.ones(2)}) + Moments.of({"b": np.ones(2)})


def test_stacked_columns_are_filled_up_with_zeros() -> None:
    names, values = stacked({"a": np.ones(3), "b": np.full(3, 2.0)}, 8)
    assert names == ("a", "b")
    assert values.tolist() == [[1.0] * 3 + [0.0] * 5, [2.0] * 3 + [0.0] * 5]
