"""Planted faults of a log are detected, a correct log has none, and findings are described in words."""

import dataclasses

import numpy as np
import pytest

from replay.evaluation.health import checks
from replay.evaluation.health.findings import LogFacts, findings
from replay.evaluation.health.state import State
from replay.evaluation.rows import EvaluationRows
from studies.families import family_b
from studies.faults import FAULTS, found, read, right_log

LOGS = 40


@pytest.fixture(scope="module")
def shares() -> dict[str, dict[str, float]]:
    return found(LOGS, seed=7)


@pytest.mark.parametrize("fault", [name for name in FAULTS if name != "none"])
def test_a_planted_fault_is_found(shares, fault):
    # Four of five in the long run: of 40 logs fewer than 26 have a probability below 2 %.
    assert shares[fault]["all"] >= 26 / LOGS


def test_a_right_log_is_not_accused(shares):
    # One of twenty in the long run: more than 6 of 40 have a probability below 0.4 %.
    assert shares["none"]["all"] <= 6 / LOGS
    assert shares["none"]["contradicting"] == 0


def test_columns_that_contradict_each_other_are_found_without_chance(shares):
    assert shares["the greedy action's propensity"]["contradicting"] == 1
    assert shares["propensities scaled by 1.05"]["contradicting"] == 1


def state_of(**columns) -> State:
    chance = np.random.default_rng(5)
    return State.of(dataclasses.replace(read(right_log(chance), chance), **columns))


def named(state: State, name: str, **arguments):
    return next(each for each in findings(state, LogFacts(**arguments)) if each.name == name)


def test_faults_stand_first_and_are_told_in_words():
    chance = np.random.default_rng(6)
    log = FAULTS["propensity of another row"](right_log(chance), chance)
    checks = findings(State.of(read(log, chance)), LogFacts(left_out={"missing": 2, "expired": 5}, learned=10))
    order = [each.wrong for each in checks]
    assert order == sorted(order, reverse=True)
    says = {each.name: each.says for each in checks if each.wrong}
    assert says["learned"] == "the target has learned from 10 of 5,000 rows: its value on them is too good"
    assert says["left_out_missing"] == "2 of 5,007 decisions could not be used: missing"
    assert "mean weight is" in says["mean_weight"]
    assert "have a propensity that cannot belong to their probabilities" in says["contradicting"]
    assert not named(State.of(read(log, chance)), "left_out_expired", left_out={"expired": 5}).wrong


def test_a_log_without_chance_is_found():
    ones = np.ones(100)
    state = State.of(
        EvaluationRows(reward=ones, propensity=ones, target=ones, rank=ones / 2, inverse=ones, squared_inverse=ones)
    )
    assert named(state, "deterministic").wrong
    assert not named(state, "mean_weight").wrong


def test_repeated_events_are_found():
    repeated = np.arange(5_000, dtype=np.uint64) // np.uint64(2)
    assert named(state_of(event_hash=repeated), "repeated").wrong
    assert not named(state_of(), "repeated").wrong


def test_people_with_many_decisions_are_told_of():
    state = state_of(unit_hash=np.arange(5_000, dtype=np.uint64) // np.uint64(4))
    assert named(state, "rows_each_unit").says.startswith("4 decisions of each unit")
    assert not named(state, "rows_each_unit").wrong
    alone = state_of(unit_hash=np.arange(5_000, dtype=np.uint64))
    assert all(each.name != "rows_each_unit" for each in findings(alone))


def test_versions_that_had_too_many_rows_are_found():
    half = np.arange(5_000, dtype=np.int32) % 2
    even = state_of(version=half)
    assert not named(even, "shares", expected_shares={0: 0.5, 1: 0.5}).wrong
    skewed = named(even, "shares", expected_shares={0: 0.45, 1: 0.55})
    assert skewed.wrong
    assert skewed.says == "version number 1 has 50 % of the rows, and should have 55 %"
    assert named(even, "shares", expected_shares={0: 1.0}).wrong
    assert all(each.name != "shares" for each in findings(even))


def test_drift_is_told_and_is_no_fault():
    hours = np.arange(5_000, dtype=np.int64) * 3_600_000
    state = state_of(time_ms=hours, reward=np.linspace(0, 1, 5_000))
    drift = named(state, "drift_of_reward")
    assert drift.p_value < 1e-6
    assert not drift.wrong
    assert "changes" in drift.says


@pytest.mark.parametrize("rows", [0, 1, 2])
def test_hardly_any_row_is_no_fault(rows):
    half = np.full(rows, 0.5)
    log = EvaluationRows(
        reward=half, propensity=half, target=half, inverse=half * 4, squared_inverse=half * 8, rank=half
    )
    assert not any(each.wrong for each in findings(State.of(log)))


def test_what_the_log_cannot_tell_is_not_said():
    half = np.full(50, 0.5)
    names = {each.name for each in findings(State.of(EvaluationRows(reward=half, propensity=half, target=half)))}
    assert names == {"mean_weight", "contradicting", "deterministic", "learned", "independent_rows"}


@pytest.mark.parametrize("actions", [2, 30])
def test_rare_actions_accuse_nobody(actions):
    # One action has a probability of 1 : 5,000, so its 1 / propensity misses its mean in most logs of 5,000 rows.
    wrong = 0
    for seed in range(100):
        chance = np.random.default_rng([seed, actions])
        pmf = np.full(actions, (1 - 1 / 5_000) / (actions - 1))
        pmf[0] = 1 / 5_000
        action = np.minimum(np.searchsorted(pmf.cumsum(), chance.random(5_000)), actions - 1)
        rows = EvaluationRows(
            reward=np.zeros(5_000),
            propensity=pmf[action],
            target=np.full(5_000, 1 / actions),
            squared_weight=np.full(5_000, (1 / actions**2 / pmf).sum()),
            unseen=np.zeros(5_000),
            inverse=np.full(5_000, float(actions)),
            squared_inverse=np.full(5_000, (1 / pmf).sum()),
            action=action.astype(np.int32),
            rank=pmf.cumsum()[action] - pmf[action] / 2,
        )
        wrong += any(each.wrong for each in findings(State.of(rows)))
    # More than 12 of 100 have a probability below 0.2 % where 5 in 100 are allowed.
    assert wrong <= 12


def test_several_rare_actions_accuse_nobody():
    # Some loggers of this world draw each action hardly ever: one comes twice as often as expected, another one never.
    world = family_b(55)
    tables, wrong = world.tables(), 0
    for seed in range(60):
        rows, _ = world.simulate(np.random.default_rng(seed), tables)
        wrong += any(each.wrong for each in findings(State.of(rows)))
    # More than 8 of 60 have a probability below 0.3 % where 5 in 100 are allowed.
    assert wrong <= 8


def test_draws_that_lean_to_one_side_are_found_by_their_mean():
    lean = 5_000 / 16 * (1 + 0.1 * np.linspace(-1, 1, 16))
    assert checks.draws(dataclasses.replace(state_of(), ranks=lean)) == pytest.approx(2.9e-5, rel=0.2)


def test_actions_that_are_not_always_offered_are_checked_together():
    half, third = (
        EvaluationRows(
            reward=np.zeros(420),
            propensity=np.full(420, 1 / count),
            target=np.full(420, 1 / count),
            inverse=np.full(420, float(count)),
            squared_inverse=np.full(420, float(count * count)),
            action=(np.arange(420) % count).astype(np.int32),
        )
        for count in (2, 3)
    )
    for both in (State.of(half) + State.of(third), State.of(third) + State.of(half)):
        assert (both.inverse_low, both.inverse_high) == (2.0, 3.0)
        assert checks.inverse_propensity(both) == 1.0
        # The third action alone adds up to less than half of the rows: it is not there in the other half.
        assert (checks.each_action(both)[2] or 0.0) < 0.05


def test_holm_is_the_textbook_s():
    found_p = checks.holm([0.01, 0.04, 0.03])
    assert found_p == pytest.approx([0.03, 0.06, 0.06])
    assert checks.holm([None]) == [None]
    assert checks.holm([0.9, 0.8]) == [1.0, 1.0]
