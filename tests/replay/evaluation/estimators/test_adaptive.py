"""Adaptive weights are those of the papers, and know nothing of what came later."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from policies.features import Action
from records.errors import BadInput, WrongConfiguration
from replay.evaluation.blocks import Blocks
from replay.evaluation.estimators.adaptive import (
    AdaptiveValue,
    Allocation,
    Pieces,
    adaptive_value,
    weights,
)
from replay.evaluation.estimators.default import default_estimator
from replay.evaluation.models.action_means import ActionMeans
from replay.evaluation.models.cross_fitting import progressive, with_predictions
from replay.evaluation.models.rows import rows_of_catalogue
from replay.evaluation.rows import EvaluationRows
from studies.adaptive import BEGIN, END, METHODS, PAGE, WORLDS, simulate, study

ALLOCATIONS: tuple[Allocation, ...] = ("constant", "two-point")


def evaluation_rows(version: Any, seed: int = 0) -> EvaluationRows:
    chance = np.random.default_rng(seed)
    version = np.asarray(version, dtype=np.int32)
    rows = len(version)
    propensity = chance.uniform(0.05, 1, rows)
    return EvaluationRows(
        reward=chance.normal(1, 1, rows),
        propensity=propensity,
        target=chance.uniform(0, 1, rows),
        model_logged=chance.normal(1, 0.2, rows),
        model_target=chance.normal(1, 0.2, rows),
        squared_weight=1 + chance.exponential(3 + version % 7, rows),
        version=version,
    )


def interleaved(rows: int, versions: int, seed: int = 0) -> Any:
    """Return versions as several workers log them: a newer one comes, older ones go on for a while."""
    chance = np.random.default_rng(seed)
    return np.maximum(np.arange(rows) * versions // rows - chance.geometric(0.7, rows) + 1, 0)


# ----- by the papers' formulas, row by row


def ends_a_window(version: Any, row: int) -> bool:
    """Whether a window ends before this row, which is not the first."""
    if version[row] not in version[:row]:
        return True
    count = int((version[:row] == version[row - 1]).sum())
    return count in (16, 32, 64, 128, 256, 512, 1024, 2048) or count % 4096 == 0


def by_rows(rows: EvaluationRows, blocks: tuple[int, ...] = (), two_point: bool = False) -> tuple[float, float, Any]:
    assert rows.version is not None
    assert rows.squared_weight is not None
    assert rows.model_logged is not None
    assert rows.model_target is not None
    version, total = rows.version.tolist(), len(rows)
    window, starts = [], [0]
    for row in range(total):
        begun = max(block for block in (0, *blocks) if block <= row)
        if row and (row == begun or ends_a_window(rows.version[begun:], row - begun)):
            starts.append(row)
        window.append(len(starts) - 1)
    share = []
    for row in range(total):
        before = range(starts[window[row]])
        own = [earlier for earlier in before if version[earlier] == version[row]]
        if not own and len(before):
            first_rows = {each: version.index(each) for each in set(version[: len(before)])}
            newest = max(first_rows, key=first_rows.__getitem__)
            own = [earlier for earlier in before if version[earlier] == newest]
        share.append(1 / max(float(np.mean(rows.squared_weight[own])), 1.0) if own else 0.0)
    h = [e**0.5 for e in share]
    if two_point:
        left, spent = 1.0, []
        for row, e in enumerate(share):
            t = row + 1
            good, bad = 1 / (total - t + 1), 0.3 / (0.3 + total * (t / total) ** 0.7 - t)
            rate = e * good + (1 - e) * bad if e else 0.0
            spent.append(left * rate)
            left *= 1 - rate
        # A window's rows have one weight.
        alike = [[other for other in range(total) if window[other] == window[row]] for row in range(total)]
        h = [(share[row] * np.mean([spent[other] for other in alike[row]])) ** 0.5 for row in range(total)]
    score = [
        rows.model_target[row] + rows.weight[row] * (rows.reward[row] - rows.model_logged[row]) for row in range(total)
    ]
    value = sum(h[row] * score[row] for row in range(total)) / sum(h)
    variance = sum(h[row] ** 2 * (score[row] - value) ** 2 for row in range(total))
    return value, variance**0.5 / sum(h), np.array(h)


def agrees(found: AdaptiveValue, value: float, error: float) -> None:
    assert found.value == pytest.approx(value, rel=1e-9)
    assert found.standard_error == pytest.approx(error, rel=1e-9)
    assert found.low == pytest.approx(value - 1.959963984540054 * error, rel=1e-9)
    assert found.high == pytest.approx(value + 1.959963984540054 * error, rel=1e-9)


@pytest.mark.parametrize(
    "version",
    [np.repeat(np.arange(8), 75), interleaved(600, 8), np.zeros(600), np.repeat([5, 3, -2], [1, 20, 579])],
    ids=["in turn", "interleaved", "one", "any codes"],
)
def test_equal_to_the_formulas_row_by_row(version: Any) -> None:
    rows = evaluation_rows(version)
    value, error, _ = by_rows(rows)
    agrees(adaptive_value(Pieces.of(rows)), value, error)


def test_two_point_equals_the_formula_row_by_row() -> None:
    rows = evaluation_rows(np.repeat(np.arange(8), 75))
    value, error, _ = by_rows(rows, two_point=True)
    agrees(adaptive_value(Pieces.of(rows), "two-point"), value, error)


def test_long_versions_have_windows_of_4096_rows() -> None:
    pieces = Pieces.of(evaluation_rows(np.zeros(12_500)))
    assert pieces.rows.tolist() == [16, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 4096, 212]


def test_blocks_are_added_in_the_order_of_the_log() -> None:
    rows = evaluation_rows(interleaved(600, 8))
    parts = [Pieces.of(rows.where(slice(start, start + 200))) for start in (0, 200, 400)]
    value, error, _ = by_rows(rows, blocks=(200, 400))
    agrees(adaptive_value(parts[0] + parts[1] + parts[2]), value, error)
    blocks: Blocks[Pieces] = Blocks()
    for index in (2, 0, 1):
        blocks.put(index, parts[index])
    total = blocks.total()
    assert total is not None
    assert adaptive_value(total) == adaptive_value((parts[0] + parts[1]) + parts[2])
    assert adaptive_value(total) == adaptive_value(parts[0] + (parts[1] + parts[2]))


# ----- laws


def weight_of_rows(rows: EvaluationRows) -> Any:
    pieces = Pieces.of(rows)
    of_pair = dict(
        zip(zip(pieces.window.tolist(), pieces.version.tolist(), strict=True), weights(pieces).tolist(), strict=True)
    )
    assert rows.version is not None
    counts = np.bincount(pieces.window, pieces.rows)
    window_of_row = np.repeat(np.arange(pieces.windows), counts.astype(int))
    return np.array([of_pair[pair] for pair in zip(window_of_row.tolist(), rows.version.tolist(), strict=True)])


@settings(max_examples=50, deadline=None)
@given(
    version=arrays.arrays(np.int32, st.integers(40, 300), elements=st.integers(0, 3)),
    in_turn=st.booleans(),
    share=st.floats(0.1, 0.9),
)
def test_no_weight_hangs_on_what_came_later(version: Any, in_turn: bool, share: float) -> None:
    rows = evaluation_rows(np.sort(version) if in_turn else version)
    cut = int(share * len(rows))
    later = np.arange(len(rows)) >= cut
    assert rows.squared_weight is not None
    assert rows.version is not None
    changed = replace(
        rows,
        reward=np.where(later, 1e3 - rows.reward, rows.reward),
        squared_weight=np.where(later, 1e3 * rows.squared_weight, rows.squared_weight),
        version=np.where(later, rows.version[::-1] + 7, rows.version).astype(np.int32),
    )
    before, after = weight_of_rows(rows), weight_of_rows(changed)
    np.testing.assert_array_equal(before[:cut], after[:cut])


def test_the_rows_of_a_window_do_not_move_their_own_weight() -> None:
    rows = evaluation_rows(np.repeat([0, 1], 100))
    assert rows.squared_weight is not None
    moved = rows.squared_weight.copy()
    moved[132:164] *= 50
    before, after = weight_of_rows(rows), weight_of_rows(replace(rows, squared_weight=moved))
    np.testing.assert_array_equal(before[:164], after[:164])
    assert (before[164:] > after[164:]).all()


def test_equal_rows_have_equal_weights_but_those_of_which_nothing_was_known() -> None:
    rows = replace(evaluation_rows(np.repeat(np.arange(4), 50)), squared_weight=np.full(200, 2.0))
    row_weights = weight_of_rows(rows)
    assert row_weights.tolist() == [0.0] * 16 + [0.5**0.5] * 184
    assert adaptive_value(Pieces.of(rows)).shares == pytest.approx({0: 34 / 184, **dict.fromkeys((1, 2, 3), 50 / 184)})


def test_without_a_model_it_is_weighted_ips() -> None:
    rows = replace(evaluation_rows(np.repeat([0, 1], 100)), model_logged=None, model_target=None)
    zero = replace(rows, model_logged=np.zeros(200), model_target=np.zeros(200))
    assert adaptive_value(Pieces.of(rows)) == adaptive_value(Pieces.of(zero))


def test_a_target_that_is_never_taken_has_finite_weights() -> None:
    rows = replace(evaluation_rows(np.repeat([0, 1], 100)), squared_weight=np.zeros(200), weight=np.zeros(200))
    row_weights = weights(Pieces.of(rows))
    assert set(row_weights.tolist()) == {0.0, 1.0}


@pytest.mark.parametrize(("rows", "known"), [(0, False), (1, False), (2, True), (17, True), (32, True), (33, True)])
def test_few_rows(rows: int, known: bool) -> None:
    for allocation in ALLOCATIONS:
        adaptive = adaptive_value(Pieces.of(evaluation_rows(np.zeros(rows))), allocation)
        assert (adaptive.value is None) is (rows == 0)
        assert (adaptive.low is not None, adaptive.high is not None) == (known, known)


def test_the_first_window_counts_where_it_is_half_of_the_log() -> None:
    assert weight_of_rows(evaluation_rows(np.zeros(32))).tolist() == [1.0] * 32
    assert weight_of_rows(evaluation_rows(np.zeros(33))).tolist()[:16] == [0.0] * 16


def test_all_rewards_alike_give_an_interval_of_one_point() -> None:
    rows = evaluation_rows(np.repeat([0, 1], 100))
    nothing = np.zeros(200)
    rows = replace(rows, reward=nothing, model_logged=nothing, model_target=nothing, squared_weight=np.full(200, 2.0))
    adaptive = adaptive_value(Pieces.of(rows))
    assert (adaptive.value, adaptive.low, adaptive.high, adaptive.standard_error) == (0.0, 0.0, 0.0, 0.0)


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"version": None}, "version"),
        ({"squared_weight": None}, "squared_weight"),
        ({"reward": np.array([1.0, np.nan])}, "score[1]"),
        ({"squared_weight": np.array([np.inf, 1.0])}, "squared_weight[0]"),
    ],
)
def test_what_cannot_be_weighted_is_refused_by_name(change: dict[str, Any], field: str) -> None:
    with pytest.raises(BadInput) as refused:
        Pieces.of(replace(evaluation_rows([0, 1]), **change))
    assert refused.value.field == field


def test_an_unknown_allocation_is_refused() -> None:
    with pytest.raises(WrongConfiguration, match="found fair, expected constant or two-point"):
        weights(Pieces.of(evaluation_rows([0, 1])), "fair")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("versions", "one_learner", "has_model", "name", "which"),
    [
        (50, True, True, "dr", "logged"),
        (50, True, False, "snips", "logged"),
        (2, False, True, "dr", "balanced"),
        (2, False, False, "snips", "balanced"),
        (1, True, True, "dr", "logged"),
        (1, False, False, "snips", "logged"),
    ],
)
def test_the_default(versions: int, one_learner: bool, has_model: bool, name: str, which: str) -> None:
    found = default_estimator(versions, one_learner, has_model)
    assert (found.name, found.weights) == (name, which)
    assert str(versions) in found.reason or versions == 1


# ----- the study


def test_the_study_has_the_reward_model_of_the_package() -> None:
    world = WORLDS[2]
    log = simulate(world, np.random.default_rng(1), rows=600, versions=6).judged
    assert log.action is not None
    catalogue = [Action(str(each), {}) for each in range(5)]
    context = log.segments["context"]
    parts = [
        rows_of_catalogue(
            catalogue,
            log.action[part],
            log.reward[part],
            world.target[context[part]],
            segment=context[part],
        )
        for part in (slice(start, start + 100) for start in range(0, 600, 100))
    ]
    for number, (rows, predicted) in enumerate(progressive(ActionMeans(prior_rows=10), parts)):
        own = log.where(slice(100 * number, 100 * number + 100))
        found = with_predictions(own, rows, predicted)
        if number:
            np.testing.assert_allclose(found.model_logged, own.model_logged, rtol=1e-12)  # type: ignore[arg-type]
            np.testing.assert_allclose(found.model_target, own.model_target, rtol=1e-12)  # type: ignore[arg-type]


def test_the_page_has_every_world_and_method() -> None:
    page = PAGE.read_text(encoding="utf-8")
    written = page.partition(BEGIN)[2].partition(END)[0]
    for world in WORLDS:
        assert world.truth == pytest.approx(0.3, rel=1e-12)
        assert f"**{world.name}**: {world.describe}" in written
    for method in METHODS:
        assert written.count(f"| {method} |") == len(WORLDS)


RUNS = 150
SHOWN = "**DR, adaptive weights, as shown**"


@pytest.fixture(scope="module")
def results() -> dict[str, dict[str, Any]]:
    return {world.name: {row.method: row for row in study(world, RUNS)} for world in (WORLDS[0], *WORLDS[2:])}


@pytest.mark.slow
def test_adaptive_weights_cover(results: dict[str, dict[str, Any]]) -> None:
    """At most three standard errors of so many runs below what the page says."""
    least = {
        "DR, adaptive weights": 0.942 - 3 * (0.942 * 0.058 / RUNS) ** 0.5,
        SHOWN: 0.974 - 3 * (0.974 * 0.026 / RUNS) ** 0.5,
    }
    for world, rows in results.items():
        assert rows[SHOWN].coverage >= least[SHOWN], world
        if world != "users":
            assert rows["DR, adaptive weights"].coverage >= least["DR, adaptive weights"], world
    assert results["users"]["DR, adaptive weights"].coverage < 0.88


@pytest.mark.slow
def test_adaptive_weights_are_narrower(results: dict[str, dict[str, Any]]) -> None:
    for world, rows in results.items():
        # Where users differ, they are most of what a value varies by.
        shorter = 1.0 if world == "users" else 0.9
        assert rows["DR, adaptive weights"].rmse < shorter * rows["DR, model from the past"].rmse
        assert rows["DR, model from the past"].rmse < rows["IPS"].rmse


def test_what_is_unbiased_and_what_is_not(results: dict[str, dict[str, Any]]) -> None:
    for rows in results.values():
        for method in ("IPS", "DR, model from the past"):
            assert abs(rows[method].bias) < 3.5 * rows[method].bias_error
    biased = results["alike"]["DR, balanced over versions"]
    assert biased.bias < -0.03
    assert biased.coverage < 0.85
    assert len(METHODS) == len(results["alike"])
