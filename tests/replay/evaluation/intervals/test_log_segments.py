"""The confidence sequence from blocks of a log, for any split, and its distance from that of rows in order."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binom

from records.errors import BadInput
from replay.evaluation.blocks import Blocks
from replay.evaluation.intervals.gamma_exponential import GammaExponential
from replay.evaluation.intervals.log_segments import GROWTH, LogSegments


def log(seed: int, size: int) -> tuple[Any, Any]:
    rng = np.random.default_rng(seed)
    return rng.choice([0.25, 0.75, 4.0], size, p=[0.5, 0.4, 0.1]), rng.random(size) ** 3


@given(st.integers(0, 1000), st.lists(st.integers(0, 300), min_size=1, max_size=9), st.randoms(use_true_random=False))
def test_whoever_read_which_block_the_bits_are_the_same(seed: int, sizes: list[int], chance: Any) -> None:
    weight, reward = log(seed, sum(sizes))
    cuts = np.cumsum(sizes)[:-1]
    blocks = [
        LogSegments.of(w, r, np.arange(len(w)))
        for w, r in zip(np.split(weight, cuts), np.split(reward, cuts), strict=True)
    ]
    one, readers = Blocks[LogSegments](), [Blocks[LogSegments]() for _ in range(3)]
    for index, block in enumerate(blocks):
        one.put(index, block)
    for index in chance.sample(range(len(blocks)), len(blocks)):
        chance.choice(readers).put(index, blocks[index])
    together = (readers[0] + readers[1]) + readers[2]
    found, expected = together.total(), one.total()
    assert found is not None
    assert expected is not None
    for name in LogSegments.__slots__:
        assert (getattr(found, name) == getattr(expected, name)).all()
    assert int(found.rows.sum()) == len(weight)
    assert found.wr.sum() == pytest.approx((weight * reward).sum())


@given(st.integers(1, 5000), st.integers(0, 5000))
def test_no_stretch_is_longer_than_an_eighth_of_what_came_before(left: int, right: int) -> None:
    joined = LogSegments.of(*log(1, left)) + LogSegments.of(*log(2, right))
    before = np.cumsum(joined.rows) - joined.rows
    assert (joined.rows <= np.maximum(1, before // GROWTH)).all()
    assert joined.rows.sum() == left + right


@pytest.mark.parametrize("size", [200, 5_000, 200_000])
def test_the_bounds_are_nearly_those_of_a_guess_a_row(size: int) -> None:
    weight, reward = log(3, size)
    blocks = [LogSegments.of(weight[at : at + 10_000], reward[at : at + 10_000]) for at in range(0, size, 10_000)]
    whole = blocks[0]
    for block in blocks[1:]:
        whole = whole + block
    analyses = whole.analyses()
    exact = GammaExponential().sequence(weight, reward, analyses.rows.tolist())
    assert analyses.value == pytest.approx(exact.value)
    late = analyses.rows >= 100
    width = (analyses.high - analyses.low)[late] / (exact.high - exact.low)[late]
    assert (width > 0.98).all()
    assert (width < 1.03).all()


def test_without_stretches_to_join_every_row_is_guessed_like_in_order() -> None:
    """The first 15 rows are a segment each, so there the two are the same."""
    weight, reward = log(4, 15)
    analyses = LogSegments.of(weight, reward).analyses(GammaExponential(0.0, 2.0), alpha=0.2)
    exact = GammaExponential(0.0, 2.0).sequence(weight, reward, range(1, 16), alpha=0.2)
    assert analyses.low == pytest.approx(exact.low, abs=1e-12)
    assert analyses.high == pytest.approx(exact.high, abs=1e-12)


def test_no_more_than_one_log_in_twenty_is_missed_at_any_look() -> None:
    rng, logs, size, missed = np.random.default_rng(8), 150, 3000, 0
    for _ in range(logs):
        mean = rng.random() * 0.3 + np.linspace(0, 0.5, size)
        propensity = rng.choice([0.1, 0.9], size, p=[0.1, 0.9])
        weight, reward = 0.5 / propensity, (rng.random(size) < mean) * 1.0
        analyses = (
            LogSegments.of(weight[:1000], reward[:1000]) + LogSegments.of(weight[1000:], reward[1000:])
        ).analyses()
        missed += not analyses.holds((np.cumsum(mean) / np.arange(1, size + 1))[analyses.rows - 1]).all()
    assert missed <= binom.ppf(0.999, logs, 0.05)


def test_a_stretch_ends_at_the_time_of_its_last_row() -> None:
    log_segments = LogSegments.of(np.ones(40), np.zeros(40), np.arange(40) * 10)
    assert log_segments.time_ms.tolist() == ((np.cumsum(log_segments.rows) - 1) * 10).tolist()


def test_no_rows_and_rewards_out_of_bounds() -> None:
    nothing = LogSegments.of([], [])
    assert len(nothing.analyses().rows) == 0
    assert (nothing + nothing).rows.tolist() == []
    some = LogSegments.of([1.0], [2.0])
    assert nothing + some is some
    assert some + nothing is some
    with pytest.raises(BadInput, match="reward: found rewards from 2"):
        some.analyses()
    with pytest.raises(BadInput, match="time_ms"):
        LogSegments.of([1.0], [1.0], [1, 2])
