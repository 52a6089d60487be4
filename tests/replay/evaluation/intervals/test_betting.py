"""Bets are those of the paper, one row after the other, and only for a value that is said not to change."""

import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from records.errors import BadInput, WrongConfiguration
from replay.evaluation.intervals.betting import CANDIDATES, Bettor, betting
from replay.evaluation.intervals.interval import analyses_at
from studies.worlds import world
from tests.replay.evaluation.intervals.logs import clicks, random_log


def slowly(worths: list[float], candidate: float, miss: float) -> float:
    """Return the logarithm of the capital, row by row."""
    total, squares, capital = 0.0, 0.0, 0.0
    for number, worth in enumerate(worths, start=1):
        variance = (0.25 + squares) / number
        stake = min(math.sqrt(2 * math.log(1 / miss) / (variance * number * math.log(number + 1))), 0.5 / candidate)
        capital += math.log(1 + stake * (worth - candidate))
        total += worth
        squares += (worth - (0.5 + total) / (number + 1)) ** 2
    return capital


def test_the_capital_is_that_of_one_bet_after_the_other() -> None:
    rows = random_log(1, 700)
    worths = rows.weight * rows.reward
    bettor = Bettor(0.025)
    for start, end in pairwise((0, 1, 200, 201, 500, 700)):
        bettor.add(worths[start:end])
    assert 0 < len(bettor.capital) < len(CANDIDATES) - bettor.won, "no bet was given up"
    for place in (0, len(bettor.capital) // 2, -1):
        candidate = CANDIDATES[bettor.won : bettor.won + len(bettor.capital)][place]
        assert bettor.capital[place] == pytest.approx(slowly(worths.tolist(), float(candidate), 0.025), rel=1e-9)
    assert (np.diff(bettor.capital) < 0).all(), "the larger the candidate, the less there is to win"
    assert CANDIDATES[bettor.won - 1] <= bettor.bound < worths.mean()
    excluded = slowly(worths[:512].tolist(), float(CANDIDATES[bettor.won - 1]), 0.025)
    assert excluded >= math.log(40), "the last time that it was settled it had been won"


def test_what_was_won_once_stays_excluded_and_nothing_else_is() -> None:
    worths = world("easy").simulate(np.random.default_rng(3), 1500).reward
    candidates = np.linspace(0.01, 1.0, 60)
    bettor = Bettor(0.025, candidates)
    bettor.add(worths)
    looked = [*range(256, 1500, 256), 1500]
    won = [
        max(slowly(worths[:analysis].tolist(), float(each), 0.025) for analysis in looked) >= math.log(40)
        for each in candidates
    ]
    assert bettor.bound == candidates[won][-1]
    assert bettor.bound > worths.mean() - 0.08


@given(st.integers(0, 10_000), st.lists(st.integers(0, 600), max_size=4))
def test_pieces_of_a_log_give_the_same_as_the_whole(seed: int, cuts: list[int]) -> None:
    worths = random_log(seed, 600).weight / 10
    whole, pieces = Bettor(0.05), Bettor(0.05)
    whole.add(worths)
    for start, end in pairwise([0, *sorted(cuts), 600]):
        pieces.add(worths[start:end])
    assert pieces.won == whole.won > 0
    np.testing.assert_allclose(pieces.capital, whole.capital, rtol=1e-9, atol=1e-9)


def test_it_closes_around_a_value_that_does_not_change() -> None:
    easy = world("easy")
    missed = 0
    for seed in range(20):
        interval = betting(easy.simulate(np.random.default_rng(seed), 3000), analyses_at(3000, 10), constant=True)
        missed += not interval.holds(easy.truth).all()
    assert missed <= 4
    assert interval.high[-1] - interval.low[-1] < 0.25


def test_other_rewards_are_scaled() -> None:
    rows = clicks(300, 1000)
    rows = rows.where(np.random.default_rng(1).permutation(1000))
    analyses = np.array([10, 1000])
    plain = betting(rows, analyses, constant=True)
    rows.reward[:] = 4 * rows.reward - 3
    scaled = betting(rows, analyses, constant=True, rewards=(-3.0, 1.0))
    np.testing.assert_allclose(scaled.low, 4 * plain.low - 3)
    np.testing.assert_allclose(scaled.high, 4 * plain.high - 3)
    np.testing.assert_allclose(scaled.value, 4 * plain.value - 3)


def test_who_does_not_say_that_the_value_is_constant_gets_none() -> None:
    with pytest.raises(WrongConfiguration, match="constant"):
        betting(clicks(3, 10), np.array([10]), constant=False)


def test_rewards_and_looks_outside_of_what_was_said_are_refused() -> None:
    with pytest.raises(BadInput, match="reward"):
        betting(clicks(3, 10), np.array([10]), constant=True, rewards=(0.0, 0.5))
    for analyses in ([0], [5, 5], [11]):
        with pytest.raises(BadInput, match="analyses"):
            betting(clicks(3, 10), np.array(analyses), constant=True)


def test_the_first_rows_tell_nothing() -> None:
    interval = betting(clicks(1, 2), np.array([1, 2]), constant=True)
    assert interval.low.tolist() == [0.0, 0.0]
    assert interval.high.tolist() == [1.0, 1.0]
