"""The worlds are what they say: their logs have the truth that is written beside them, and honest columns."""

from collections.abc import Callable

import numpy as np
import pytest
from scipy import stats

from replay.evaluation.rows import EvaluationRows, Floats
from studies.worlds import DECISIONS_A_USER, VERSIONS, WORLDS, World, world

ROWS = 10_000
LOGS = {each.name: [each.simulate(np.random.default_rng(seed), ROWS) for seed in range(12)] for each in WORLDS}

each_world = pytest.mark.parametrize("there", WORLDS, ids=lambda each: each.name)


def near(there: World, worth: Callable[[EvaluationRows], Floats], expected: float) -> None:
    """Check a mean over all logs to five of its standard errors."""
    means = np.array([worth(rows).mean() for rows in LOGS[there.name]])
    assert means.mean() == pytest.approx(expected, abs=5 * float(stats.sem(means)) + 1e-12)


def known(column: Floats | None) -> Floats:
    assert column is not None
    return column


@each_world
def test_the_truth_is_true(there: World) -> None:
    near(there, lambda rows: rows.weight * rows.reward, there.truth)
    near(there, lambda rows: rows.reward, there.logged)
    near(
        there,
        lambda rows: known(rows.model_target) + rows.weight * (rows.reward - known(rows.model_logged)),
        there.truth,
    )
    assert there.expected(777).mean() == pytest.approx(there.truth)
    assert there.expected(777).shape == (777,)


def test_drift_is_where_it_is_said_to_be() -> None:
    drifting = world("drifting")
    for half in (slice(0, ROWS // 2), slice(ROWS // 2, ROWS)):
        expected = float(drifting.expected(ROWS)[half].mean())
        near(drifting, lambda rows, half=half: (rows.weight * rows.reward)[half], expected)  # type: ignore[misc]
    assert drifting.expected(ROWS)[0] == pytest.approx(0.14, abs=0.001)
    assert drifting.expected(ROWS)[-1] == pytest.approx(0.49, abs=0.001)


@each_world
def test_weights_and_what_is_said_of_the_whole_pmf_agree(there: World) -> None:
    near(there, lambda rows: rows.weight, 1.0)
    near(there, lambda rows: rows.weight**2 - known(rows.squared_weight), 0.0)
    near(there, lambda rows: 1 / rows.propensity - known(rows.inverse), 0.0)
    largest = max(float(rows.weight.max()) for rows in LOGS[there.name])
    assert 0.4 * there.largest_weight < largest <= there.largest_weight * (1 + 1e-12)
    for rows in LOGS[there.name]:
        np.testing.assert_allclose(rows.weight, rows.target / rows.propensity)
        assert not known(rows.unseen).any()


@each_world
def test_draws_follow_the_pmf(there: World) -> None:
    near(there, lambda rows: known(rows.rank), 0.5)


@each_world
def test_a_log_is_the_same_from_the_same_seed_and_another_from_another(there: World) -> None:
    first, again = LOGS[there.name][0], there.simulate(np.random.default_rng(0), ROWS)
    assert first.event_hash is not None
    assert first.unit_hash is not None
    assert first.time_ms is not None
    np.testing.assert_array_equal(first.reward, again.reward)
    np.testing.assert_array_equal(first.event_hash, again.event_hash)
    assert (first.reward != LOGS[there.name][1].reward).any()
    assert len(np.unique(first.event_hash)) == ROWS
    assert (np.diff(first.time_ms) >= 0).all()
    units = len(np.unique(first.unit_hash))
    assert units == (ROWS // DECISIONS_A_USER if there.name == "clustered users" else ROWS)


def test_a_learner_publishes_and_explores_less_and_less() -> None:
    rows = LOGS["learning logger"][0]
    assert rows.version is not None
    assert np.unique(rows.version).tolist() == list(range(VERSIONS))
    assert rows.propensity[rows.version == 0].min() == 0.25
    assert rows.propensity[rows.version == VERSIONS - 1].min() < 0.01


def test_decisions_of_a_user_hang_together() -> None:
    rows = LOGS["clustered users"][0]
    assert rows.unit_hash is not None
    _, user = np.unique(rows.unit_hash, return_inverse=True)
    liking = np.bincount(user, weights=rows.reward) / DECISIONS_A_USER
    assert liking.var() > 3 * rows.reward.var() / DECISIONS_A_USER, "as if every user were like every other"
