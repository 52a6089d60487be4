"""The confidence sequence: what vw-estimators 0.2.2 says, the mixture by quadrature, laws, and misses at any time."""

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.integrate import quad
from scipy.stats import binom

from records.errors import BadInput, WrongConfiguration
from replay.evaluation.intervals.gamma_exponential import GammaExponential, nested
from replay.evaluation.intervals.gamma_mixture import log_wealth, lower_bound
from studies.fixtures.part_vw import ALPHAS, ANALYSES, BOUNDS, DROPS, LOGS
from tests.replay.evaluation.estimators.obp_logs import said

VW = said("vw")["intervals"]
_, _, RMIN, RMAX = BOUNDS["true"]
SEQUENCES = {
    "wide": GammaExponential(truncate=False),
    "true": GammaExponential(RMIN, RMAX, truncate=False),
    "seen": GammaExponential(empirical_r_bounds=True, truncate=False),
}


@st.composite
def rows(draw: st.DrawFn) -> tuple[Any, Any]:
    """Weights, heavy ones among them or none at all, and rewards from 0 to 1."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    size = draw(st.integers(1, 200))
    weight = rng.pareto(1.5, size) * rng.choice([0.0, 0.5], size) if draw(st.booleans()) else rng.uniform(0, 2, size)
    reward = {
        "clicks": rng.integers(0, 2, size) * 1.0,
        "shares": rng.random(size),
        "none": np.zeros(size),
        "all": np.ones(size),
    }
    return weight, reward[draw(st.sampled_from(list(reward)))]


@pytest.mark.parametrize("drop", DROPS)
@pytest.mark.parametrize("bounds", SEQUENCES)
@pytest.mark.parametrize("log", LOGS)
def test_bounds_are_those_of_vw(log: str, bounds: str, drop: str) -> None:
    of = LOGS[log]
    said_there = VW[log][drop][f"gamma-exponential {bounds}"]
    for number, alpha in enumerate(ALPHAS):
        sequence = SEQUENCES[bounds].sequence(of.p_pred / of.p_log, of.reward, ANALYSES, alpha=alpha, **DROPS[drop])
        # vw-estimators takes the wealth's logarithm as a difference of large numbers, which costs it some digits.
        near = 1e-9 * max(1.0, RMAX - RMIN if bounds == "true" else float(np.ptp(of.reward)))
        for analysis, ends in enumerate(said_there):
            assert [sequence.low[analysis], sequence.high[analysis]] == pytest.approx(ends[number], abs=near, rel=0)
        assert len(said_there) == len(ANALYSES)


@pytest.mark.parametrize("rho", [0.5, 1.0, 3.0])
@pytest.mark.parametrize(("won", "spread"), [(0.0, 0.5), (3.0, 2.0), (-1.0, 4.0), (12.0, 30.0)])
def test_the_wealth_is_a_mixture_over_stakes(won: float, spread: float, rho: float) -> None:
    """By quadrature of Howard et al. 2021, proposition 9, with c = 1: a gamma density of 1 less the stake, cut at 1."""

    def density(stake: float) -> float:
        return float((1 - stake) ** (rho - 1) * math.exp(-rho * (1 - stake)))

    def wealth(stake: float) -> float:
        return math.exp(stake * won + (math.log1p(-stake) + stake) * spread) * density(stake)

    whole = quad(density, 0, 1)[0]
    expected = math.log(quad(wealth, 0, 1, epsabs=1e-12)[0] / whole)
    assert log_wealth(np.array([won]), np.array([spread]), rho)[0] == pytest.approx(expected, rel=1e-6, abs=1e-6)


@given(rows(), st.floats(0.001, 0.5), st.sampled_from([0.3, 1.0, 10.0]))
def test_at_the_lower_bound_the_wealth_is_what_excludes_a_value(log: tuple[Any, Any], alpha: float, rho: float) -> None:
    weight, reward = log
    worth, spread = (weight * reward).sum(keepdims=True), np.square(weight * reward - 0.3).sum(keepdims=True)
    count = np.array([float(len(weight))])
    bound = lower_bound(count, worth, spread, rho, alpha)
    at_bound = log_wealth(worth - count * bound, spread, rho)[0]
    assert 0 <= bound[0] <= min(1, worth[0] / count[0]) + 1e-12
    if 0 < bound[0] < min(1, worth[0] / count[0]) - 1e-12:
        assert at_bound == pytest.approx(-math.log(alpha), rel=1e-8)
    elif bound[0] == 0:
        assert at_bound <= -math.log(alpha)


@given(rows())
def test_mirrored_rewards_have_mirrored_bounds(log: tuple[Any, Any]) -> None:
    weight, reward = log
    analyses = sorted({1, (len(weight) + 1) // 2, len(weight)})
    sequence = GammaExponential(-1.0, 3.0).sequence(weight, 4 * reward - 1, analyses)
    mirrored = GammaExponential(-1.0, 3.0).sequence(weight, 3 - 4 * reward, analyses)
    assert mirrored.low == pytest.approx(2 - sequence.high, abs=1e-9)
    assert mirrored.high == pytest.approx(2 - sequence.low, abs=1e-9)


@given(rows())
def test_a_scale_of_rewards_is_one_of_the_bounds(log: tuple[Any, Any]) -> None:
    weight, reward = log
    sequence = GammaExponential().sequence(weight, reward)
    scaled = GammaExponential(-5.0, 15.0).sequence(weight, 20 * reward - 5)
    assert scaled.low == pytest.approx(20 * sequence.low - 5, abs=1e-7)
    assert scaled.high == pytest.approx(20 * sequence.high - 5, abs=1e-7)


@given(rows(), st.lists(st.integers(0, 200), max_size=5))
def test_parts_of_a_log_one_after_the_other_are_the_log(log: tuple[Any, Any], cuts: list[int]) -> None:
    sequence = GammaExponential()
    progress = sequence.start()
    for weight, reward in zip(*(np.split(column, sorted(cuts)) for column in log), strict=True):
        progress = sequence.after(progress, weight, reward)
    found, whole = sequence.interval(progress), sequence.sequence(*log).at(0)
    assert found.low == pytest.approx(whole.low, abs=1e-9)
    assert found.high == pytest.approx(whole.high, abs=1e-9)
    assert found.value == pytest.approx(whole.value)


@given(rows())
def test_the_bounds_lie_within_those_of_the_rewards_and_around_the_mean(log: tuple[Any, Any]) -> None:
    weight, reward = log
    found = GammaExponential().sequence(weight, reward).at(0)
    assert found.low is not None
    assert found.high is not None
    mirrored = (weight * (1 - reward)).mean()
    assert 0 <= found.low <= min(1, (weight * reward).mean()) + 1e-12
    assert max(0, 1 - mirrored) - 1e-12 <= found.high <= 1


@given(rows())
def test_nested_looks_only_shrink(log: tuple[Any, Any]) -> None:
    analyses = GammaExponential().sequence(*log, range(1, len(log[0]) + 1))
    cut = nested(analyses)
    assert (np.diff(cut.low) >= 0).all()
    assert (np.diff(cut.high) <= 0).all()
    assert (cut.low >= analyses.low).all()
    assert (cut.high <= analyses.high).all()


def test_the_bounds_shrink_with_the_rows() -> None:
    weight, reward = np.tile([0.5, 1.5, 0.5, 1.5], 10_000), np.tile([1.0, 0.0, 0.0, 1.0], 10_000)
    sequence = GammaExponential().sequence(weight, reward, [100, 1_000, 10_000, 40_000])
    width = sequence.high - sequence.low
    assert (width[1:] < width[:-1] / 1.8).all()
    assert sequence.holds(0.5).all()


def test_truncated_guesses_are_those_of_vw_where_none_is_large_and_narrower_after_a_heavy_weight() -> None:
    rng = np.random.default_rng(4)
    weight, reward = rng.uniform(0, 0.5, 3000), rng.integers(0, 2, 3000) * 1.0
    plain, vw = (GammaExponential(truncate=each).sequence(weight, reward, [10, 3000]) for each in (True, False))
    assert (plain.low == vw.low).all()
    assert (plain.high == vw.high).all()
    weight, reward = np.ones(20_000), np.tile([0.0, 1.0], 10_000)
    weight[0], reward[0] = 300.0, 1.0
    plain, vw = (GammaExponential(truncate=each).sequence(weight, reward, [20_000]) for each in (True, False))
    assert plain.high[0] - plain.low[0] < 0.9 * (vw.high[0] - vw.low[0])


def test_truncated_guesses_of_dropped_rows_are_what_a_row_each_would_give() -> None:
    """A dropped row is one with the weight 0, so writing all of them down gives the same."""
    rng = np.random.default_rng(6)
    for truncate in (True, False):
        weight, reward, dropped = rng.pareto(1.5, 60) * 3, rng.random(60), rng.integers(0, 4, 60)
        places = np.cumsum(dropped + 1) - 1
        zeros, rewards = np.zeros(places[-1] + 1), np.zeros(places[-1] + 1)
        zeros[places], rewards[places] = weight, reward
        sequence = GammaExponential(truncate=truncate)
        written = sequence.after(sequence.start(), zeros, rewards)
        counted = sequence.after(sequence.start(), weight, reward, n_drop=dropped)
        for side in ("low", "high"):
            for name in ("wg", "wrg", "gg"):
                found, expected = (getattr(getattr(each, side), name) for each in (counted, written))
                assert found == pytest.approx(expected, rel=1e-9)
        assert counted.sums.rows == written.sums.rows


@pytest.mark.parametrize("world", ["easy", "rare", "heavy", "drift"])
def test_no_more_than_one_log_in_twenty_is_missed_at_any_of_60_looks(world: str) -> None:
    rng, size, logs, missed = np.random.default_rng(8), 1000, 80, 0
    analyses = np.unique(np.geomspace(2, size, 60).astype(int))
    for _ in range(logs):
        propensity = (
            rng.choice([0.02, 0.98], size, p=[0.02, 0.98])
            if world == "heavy"
            else rng.choice([0.25, 0.75], size, p=[0.25, 0.75])
        )
        mean = {"easy": np.full(size, 0.4), "rare": np.full(size, 0.01), "heavy": np.full(size, 0.3)}.get(
            world, np.linspace(0.1, 0.9, size)
        )
        weight, reward = 0.5 / propensity, (rng.random(size) < mean) * 1.0
        sequence = GammaExponential().sequence(weight, reward, analyses.tolist())
        truth = (np.cumsum(mean) / np.arange(1, size + 1))[analyses - 1]
        missed += not sequence.holds(truth).all()
    assert missed <= binom.ppf(0.999, logs, 0.05)
    assert missed < logs / 10


def test_no_rows_bound_nothing() -> None:
    sequence = GammaExponential().sequence([], [])
    assert (sequence.low[0], sequence.high[0], sequence.rows[0]) == (-math.inf, math.inf, 0)
    assert math.isnan(sequence.value[0])
    assert GammaExponential().interval(GammaExponential().start()).low is None
    assert len(GammaExponential().sequence([1.0], [1.0], []).rows) == 0


@pytest.mark.parametrize(
    ("weight", "reward", "ends"),
    [
        ([0.0] * 500, [1.0] * 500, (0.0, 1.0)),
        ([1.0] * 500, [0.0] * 500, (0.0, None)),
        ([1.0] * 500, [1.0] * 500, (None, 1.0)),
    ],
)
def test_weights_of_zero_and_rewards_that_are_all_the_same(
    weight: list[float], reward: list[float], ends: tuple[float | None, float | None]
) -> None:
    sequence = GammaExponential().sequence(weight, reward)
    low, high = ends
    assert sequence.low[0] == low if low is not None else sequence.low[0] > 0.97
    assert sequence.high[0] == high if high is not None else sequence.high[0] < 0.03


def test_what_cannot_be_is_refused_by_name() -> None:
    sequence = GammaExponential()
    for wrong in ({"rmin": 1.0}, {"rho": 0.0}, {"rmax": np.inf}, {"rho": np.nan}):
        with pytest.raises(WrongConfiguration, match=next(iter(wrong))):
            GammaExponential(**wrong)  # type: ignore[arg-type]
    for alpha in (0.0, 1.0, np.nan):
        with pytest.raises(WrongConfiguration, match="alpha"):
            sequence.sequence([1.0], [1.0], alpha=alpha)
    for analyses in ([2], [1, 1], [2, 1]):
        with pytest.raises(WrongConfiguration, match="analyses"):
            sequence.sequence([1.0], [1.0], analyses)
    for weight, reward, field in (
        ([-1.0], [1.0], "weight"),
        ([np.nan], [1.0], "weight"),
        ([1.0], [np.inf], "reward"),
        ([1.0], [], "weight"),
    ):
        with pytest.raises(BadInput, match=field):
            sequence.sequence(weight, reward)
    for drop in ({"p_drop": 1.0}, {"p_drop": -0.1}, {"n_drop": -1}, {"n_drop": np.nan}):
        with pytest.raises(BadInput, match=next(iter(drop))):
            sequence.sequence([1.0], [1.0], **drop)
