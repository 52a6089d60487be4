"""The bootstrap has its stated distribution, agrees with numpy's, and does not depend on the split of the work."""

from functools import cache
from typing import Any

import numba
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import chisquare

import replay.evaluation.resample
from records.errors import BadInput, WrongConfiguration
from replay.evaluation.blocks import BLOCK_ROWS, Blocks
from replay.evaluation.estimators.estimator import Estimator, all_terms
from replay.evaluation.estimators.importance import InversePropensity, SelfNormalised
from replay.evaluation.resample import Resampled, ends, places, resampled
from replay.evaluation.rows import EvaluationRows

COPIES = np.array([93, 98, 43, 17, 4, 1]) / 256
"""The probabilities of 0, 1, 2... copies."""


def random_hashes(rows: int, seed: int = 1) -> Any:
    return np.random.default_rng(seed).integers(0, 2**64, rows, dtype=np.uint64)


def mix(bits: Any) -> Any:
    bits = (bits ^ (bits >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    bits = (bits ^ (bits >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return bits ^ (bits >> np.uint64(31))


def copies_by_numpy(hashes: Any, resamples: int, seed: int) -> Any:
    """Return the copies of each row in each resample, as the module's docstring says: shape (rows, resamples)."""
    number = np.arange(resamples, dtype=np.uint64)
    salt = mix(np.array([seed], dtype=np.uint64))
    bits = mix(mix(hashes ^ salt)[:, None] ^ mix(number // np.uint64(8) + np.uint64(1)))
    byte = bits >> (np.uint64(8) * (number % np.uint64(8))) & np.uint64(255)
    return sum((byte >= np.uint64(limit)).astype(float) for limit in (93, 191, 234, 251, 255))


# ----- the law of the copies


def test_copies_have_the_mean_1_and_the_variance_1_exactly() -> None:
    number = np.arange(6)
    assert [float(COPIES @ powers) for powers in (number**0, number, (number - 1) ** 2)] == [1, 1, 1]


@pytest.mark.parametrize("hashes", [random_hashes(2000), places(10**9, 2000)], ids=["hashes", "places"])
def test_copies_follow_their_law_and_hang_together_nowhere(hashes: Any) -> None:
    copies = copies_by_numpy(hashes, 400, 3)
    counts = np.array([(copies == number).sum() for number in range(6)])
    assert chisquare(counts, COPIES * copies.size).pvalue > 1e-3
    of_rows, of_resamples = np.corrcoef(copies[:400]), np.corrcoef(copies.T)
    # Of 79,800 pairs the largest correlation is within 5 standard errors.
    for correlation, width in ((of_rows, 400), (of_resamples, 2000)):
        assert np.abs(correlation - np.eye(400)).max() < 5 / np.sqrt(width)
    assert np.square((copies - 1).sum(axis=0)).mean() == pytest.approx(2000, rel=4 * np.sqrt(2 / 400))


@pytest.mark.parametrize("resamples", [1, 7, 64, 513, 1100])
def test_sums_are_those_of_the_documented_copies(resamples: int) -> None:
    hashes = random_hashes(101)
    # Whole numbers: no sum of them is rounded.
    numbers = np.random.default_rng(2).integers(-1000, 1000, (2, 101)).astype(float)
    found = Resampled.of({"a": numbers[0], "b": numbers[1]}, hashes, resamples=resamples, seed=2**64 - 1)
    copies = copies_by_numpy(hashes, resamples, 2**64 - 1)
    assert found.sums.tolist() == np.column_stack([copies.sum(axis=0), copies.T @ numbers.T]).tolist()


def test_another_seed_draws_anew() -> None:
    columns = {"r": np.arange(500.0)}
    one, other = (Resampled.of(columns, places(0, 500), resamples=2000, seed=seed).means["r"] for seed in (0, 1))
    assert abs(np.corrcoef(one, other)[0, 1]) < 5 / np.sqrt(2000)


# ----- against the multinomial bootstrap


def rows_of(world: str) -> EvaluationRows:
    chance = np.random.default_rng(5)
    rows = 2000
    if world == "rare rewards":
        reward, weight = (chance.random(rows) < 0.03).astype(float), chance.uniform(0.2, 1.8, rows)
    elif world == "heavy weights":
        reward, weight = (chance.random(rows) < 0.3).astype(float), 0.2 * (chance.pareto(1.3, rows) + 1)
    else:
        reward, weight = 10 + chance.standard_normal(rows), chance.exponential(size=rows)
    return EvaluationRows(reward=reward, propensity=np.ones(rows), target=np.ones(rows), weight=weight)


@cache
def multinomial(rows: int, resamples: int) -> Any:
    chance = np.random.default_rng(6)
    drawn = (chance.integers(0, rows, rows) for _ in range(resamples))
    return np.array([np.bincount(each, minlength=rows).astype(np.float64) for each in drawn])


def ends_with_errors(values: Any) -> tuple[Any, Any]:
    """Return both ends and their Monte Carlo standard errors, by 20 batches."""
    batches = np.array([ends(batch) for batch in values.reshape(20, -1)])
    return np.array(ends(values)), batches.std(axis=0, ddof=1) / np.sqrt(20)


@pytest.mark.parametrize("world", ["rare rewards", "heavy weights", "far from 0"])
@pytest.mark.parametrize("estimator", [InversePropensity(), SelfNormalised()], ids=lambda each: each.name)
def test_ends_are_those_of_the_multinomial_bootstrap(world: str, estimator: Estimator) -> None:
    rows, resamples = rows_of(world), 4000
    terms = estimator.terms(rows)
    state = resampled(terms, random_hashes(len(rows)), resamples=resamples, seed=1)
    copies = multinomial(len(rows), resamples)
    means = {name: copies @ column / len(rows) for name, column in terms.items()}
    ours, our_errors = ends_with_errors(state.values(estimator))
    of_numpy, their_errors = ends_with_errors(np.asarray(estimator.value(means)))
    assert (np.abs(ours - of_numpy) <= 3 * np.hypot(our_errors, their_errors)).all()


# ----- correlated rows


def test_rows_of_a_unit_are_drawn_together() -> None:
    units = random_hashes(200).repeat(10)
    first = np.arange(2000) % 10 == 0
    state = Resampled.of({"first": first.astype(float)}, units, resamples=300, seed=1)
    # Every row comes as often as the first one of its unit.
    assert (state.sums[:, 0] == 10 * state.sums[:, 1]).all()


def test_rows_are_drawn_by_event_by_place_or_by_unit() -> None:
    events, units, ones = random_hashes(3), random_hashes(3, seed=2), np.ones(3)
    named = EvaluationRows(reward=ones, propensity=ones, target=ones, event_hash=events, unit_hash=units)
    nameless = EvaluationRows(reward=ones, propensity=ones, target=ones)
    assert replay.evaluation.resample.hashes_of(named, 7) is events
    assert replay.evaluation.resample.hashes_of(named, 7, by_unit=True) is units
    assert replay.evaluation.resample.hashes_of(nameless, 7).tolist() == [7, 8, 9]
    with pytest.raises(BadInput, match="unit_hash"):
        replay.evaluation.resample.hashes_of(nameless, by_unit=True)


def test_the_cluster_bootstrap_sees_that_rows_repeat_each_other() -> None:
    reward = np.random.default_rng(3).random(200).repeat(10)
    columns, units = {"r": reward}, random_hashes(200).repeat(10)
    by_unit = resampled(columns, units, resamples=4000, seed=1).means["r"].std()
    by_row = resampled(columns, random_hashes(2000), resamples=4000, seed=1).means["r"].std()
    assert by_unit == pytest.approx(reward.reshape(200, 10)[:, 0].std() / np.sqrt(200), rel=0.05)
    assert by_row == pytest.approx(reward.std() / np.sqrt(2000), rel=0.05)


def test_two_estimators_share_their_resamples() -> None:
    rows = rows_of("far from 0")
    pair = InversePropensity(), SelfNormalised()
    state = resampled(all_terms(pair, rows), random_hashes(len(rows)), resamples=2000, seed=1)
    ips, snips = (state.values(each) for each in pair)
    alone = resampled(pair[0].terms(rows), random_hashes(len(rows)), resamples=2000, seed=1)
    assert ips.tobytes() == alone.values(pair[0]).tobytes()
    # Where rewards hardly differ, what moves IPS is the mean weight alone.
    assert np.corrcoef(ips / snips, state.means["w"])[0, 1] > 0.999


# ----- the same bits


@pytest.mark.parametrize("resamples", [8, 100, 512, 1000])
def test_the_first_resamples_do_not_depend_on_how_many_there_are(resamples: int) -> None:
    columns = {"r": np.random.default_rng(1).standard_normal(1000)}
    many = Resampled.of(columns, places(0, 1000), resamples=1500, seed=1)
    few = Resampled.of(columns, places(0, 1000), resamples=resamples, seed=1)
    assert few.sums.tobytes() == many.sums[:resamples].tobytes()


@pytest.mark.parametrize("threads", [2, 3, 16])
def test_no_number_of_threads_changes_a_bit(threads: int) -> None:
    columns = {"r": np.random.default_rng(1).standard_normal(1000)}
    one, many = (
        Resampled.of(columns, places(0, 1000), resamples=2100, seed=1, threads=each).sums for each in (1, threads)
    )
    assert one.tobytes() == many.tobytes()


@given(st.permutations(range(5)), st.integers(0, 5))
def test_blocks_of_any_process_give_the_same_bits(order: list[int], cut: int) -> None:
    reward = np.random.default_rng(1).standard_normal(500)

    def summed(blocks: list[int]) -> Blocks[Resampled]:
        found = Blocks[Resampled]()
        for block in blocks:
            some = slice(100 * block, 100 * block + 100)
            found.put(block, Resampled.of({"r": reward[some]}, places(some.start, 100), resamples=64, seed=1))
        return found

    alone, joint = summed(list(range(5))).total(), (summed(order[:cut]) + summed(order[cut:])).total()
    assert alone is not None
    assert joint is not None
    assert (joint.rows, joint.sums.tobytes()) == (alone.rows, alone.sums.tobytes())


def test_rows_at_hand_are_summed_by_block() -> None:
    rows = BLOCK_ROWS + 9
    reward = np.random.default_rng(1).standard_normal(rows)
    whole = resampled({"r": reward}, places(0, rows), resamples=10, seed=1)
    parts = [
        Resampled.of({"r": reward[some]}, places(0, rows)[some], resamples=10, seed=1)
        for some in (slice(0, BLOCK_ROWS), slice(BLOCK_ROWS, rows))
    ]
    assert whole.sums.tobytes() == (parts[0] + parts[1]).sums.tobytes()


# ----- what is not known


def test_no_row_tells_nothing() -> None:
    state = resampled({"r": np.zeros(0)}, places(0, 0), resamples=100, seed=1)
    assert (state.rows, ends(state.means["r"])) == (0, (None, None))


def test_one_row_is_missing_from_a_third_of_the_resamples() -> None:
    state = resampled({"r": np.ones(1)}, places(0, 1), resamples=1000, seed=1)
    assert np.isnan(state.means["r"]).mean() == pytest.approx(93 / 256, abs=0.05)
    assert ends(state.means["r"]) == (None, None)


def test_weights_of_zero_leave_the_ratio_unknown() -> None:
    none = np.zeros(100)
    rows = EvaluationRows(reward=np.ones(100), propensity=np.ones(100), target=none)
    state = resampled(SelfNormalised().terms(rows), places(0, 100), resamples=100, seed=1)
    assert ends(state.values(SelfNormalised())) == (None, None)
    assert ends(state.values(InversePropensity())) == (0.0, 0.0)


def test_unknown_resamples_lie_beyond_both_ends() -> None:
    values = np.arange(1000.0)
    assert ends(values, 0.9) == pytest.approx((49.95, 949.05))
    values[[0, 10, 20, 500]] = np.nan
    known = np.delete(np.arange(1000.0), [0, 10, 20, 500])
    low, high = ends(values, 0.9)
    assert low is not None
    assert high is not None
    assert low < np.quantile(known, 0.05)
    assert high > np.quantile(known, 0.95)
    values[100:200] = np.inf
    assert ends(values, 0.9) == (None, None)


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=50), st.floats(0.01, 0.99))
def test_ends_are_numpys_where_all_is_known(values: list[float], confidence: float) -> None:
    expected = np.quantile(values, [(1 - confidence) / 2, (1 + confidence) / 2])
    assert ends(np.array(values), confidence) == pytest.approx(tuple(expected), rel=1e-9, abs=1e-6)


# ----- what is refused


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(BadInput, match="r: "):
        resampled({"r": np.ones(2)}, places(0, 3), resamples=10, seed=1)
    with pytest.raises(BadInput, match="r: found nan"):
        resampled({"r": np.array([1.0, np.nan])}, places(0, 2), resamples=10, seed=1)
    with pytest.raises(WrongConfiguration, match="resamples: found 0"):
        resampled({"r": np.ones(2)}, places(0, 2), resamples=0, seed=1)
    for seed in (-1, 2**64):
        with pytest.raises(WrongConfiguration, match="seed: found"):
            resampled({"r": np.ones(2)}, places(0, 2), resamples=10, seed=seed)


@pytest.mark.parametrize("other", [("r", 10, 2), ("r", 11, 1), ("s", 10, 1)])
def test_other_resamples_do_not_add_up(other: tuple[str, int, int]) -> None:
    def state(name: str, resamples: int, seed: int) -> Resampled:
        return Resampled.of({name: np.ones(2)}, places(0, 2), resamples=resamples, seed=seed)

    with pytest.raises(ValueError, match="expected sums of"):
        state("r", 10, 1) + state(*other)


def test_without_a_folder_for_compiled_code_it_is_compiled_every_time(monkeypatch: pytest.MonkeyPatch) -> None:
    compile_ = numba.njit

    def nowhere(*, cache: bool = False, **options: Any) -> Any:
        if cache:
            raise RuntimeError("cannot cache function: no locator available")
        return compile_(**options)

    monkeypatch.setattr(numba, "njit", nowhere)

    def double(number: float) -> float:
        return 2 * number

    assert replay.evaluation.resample._compiled(double)(2.0) == 4.0
