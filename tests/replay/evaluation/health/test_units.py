"""Where an action is drawn once per unit (a user, an hour), the checks are tested with the variance between units."""

from typing import Any

import numpy as np
import pytest

import bowerbird
from replay.evaluation.answer import Answer
from replay.evaluation.health import checks
from replay.evaluation.health.findings import findings
from replay.evaluation.health.state import State
from replay.evaluation.rows import EvaluationRows

FOUR = np.array([0.4, 0.3, 0.2, 0.1]), np.array([0.1, 0.2, 0.3, 0.4])
ARMS = np.full(2, 0.5), np.array([0.1, 0.9])
WORLDS: dict[str, dict[str, Any]] = {
    "200 users": {"units": 200, "rows": 10, "pmfs": FOUR},
    "2,000 users": {"units": 2_000, "rows": 10, "pmfs": FOUR},
    "an A/B test": {"units": 2_000, "rows": 10, "pmfs": ARMS},
    "a switchback by hour": {"units": 168, "rows": 50, "pmfs": ARMS},
}
LOGS = 80


def sticky(
    seed: int,
    *,
    units: int,
    rows: int,
    pmfs: tuple[Any, Any],
    whole: bool,
    drawn: Any = None,
    anew: bool = False,
) -> EvaluationRows:
    """Return a log in which each unit keeps one action; ``drawn`` is the true pmf, ``anew`` draws one for each row."""
    chance = np.random.default_rng([17, seed])
    logged, target = pmfs
    unit = np.repeat(np.arange(units), chance.poisson(rows, units).clip(1))
    count = len(unit)
    actions = chance.choice(len(logged), count if anew else units, p=logged if drawn is None else drawn)
    action = (actions if anew else actions[unit]).astype(np.int32)
    columns: dict[str, Any] = {}
    if whole:
        columns = {
            "squared_weight": np.full(count, (target**2 / logged).sum()),
            "unseen": np.zeros(count),
            "inverse": np.full(count, float(len(logged))),
            "squared_inverse": np.full(count, (1 / logged).sum()),
            "rank": logged.cumsum()[action] - logged[action] / 2,
            "event_hash": chance.integers(0, 2**64, count, dtype=np.uint64),
        }
    return EvaluationRows(
        reward=np.zeros(count),
        propensity=logged[action],
        target=target[action],
        action=action,
        unit_hash=(unit + 1).astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15),
        version=(action % 2).astype(np.int32),
        **columns,
    )


def accused(logs: int, **world: Any) -> int:
    wrong = 0
    for seed in range(logs):
        found = findings(State.of(sticky(seed, **world)))
        wrong += any(each.wrong for each in found if each.p_value is not None)
    return wrong


@pytest.mark.parametrize("name", WORLDS)
def test_a_right_log_of_sticky_actions_is_not_accused(name: str) -> None:
    # 5 % in the long run: more than 10 of 80 have a probability below 0.3 %. By rows it is 45 to 80 %.
    assert accused(LOGS, whole=True, **WORLDS[name]) <= 10
    # 10 % in the long run: more than 16 of 80 have a probability below 0.3 %.
    assert accused(LOGS, whole=False, **WORLDS[name]) <= 16


@pytest.mark.parametrize("whole", [True, False], ids=["whole", "bare"])
@pytest.mark.parametrize("first", [0.4, 0.6])
def test_arms_that_were_drawn_otherwise_are_found(first: float, whole: bool) -> None:
    world = {**WORLDS["an A/B test"], "whole": whole, "drawn": np.array([first, 1 - first])}
    assert accused(10, **world) == 10


def test_probabilities_of_actions_that_were_drawn_otherwise_are_found() -> None:
    for drawn in ([0.48, 0.3, 0.2, 0.02], [0.3, 0.3, 0.2, 0.2], [0.3, 0.4, 0.2, 0.1]):
        world = {**WORLDS["2,000 users"], "whole": True, "drawn": np.array(drawn)}
        assert accused(10, **world) == 10


@pytest.mark.parametrize("drawn", [[0.44, 0.3, 0.2, 0.06], [0.36, 0.3, 0.2, 0.14]])
def test_rows_that_were_drawn_anew_count_each(drawn: list[float]) -> None:
    """If all rows of a user counted as one, hardly anything would be found."""
    world = {**WORLDS["200 users"], "anew": True}
    assert accused(20, whole=True, **world) <= 5
    assert accused(10, whole=False, **world, drawn=np.array(drawn)) >= 9


def test_the_shares_of_an_a_b_test_by_user_are_tested_by_user() -> None:
    states = [State.of(sticky(seed, whole=False, **WORLDS["an A/B test"])) for seed in range(40)]
    found = [checks.shares(state, {0: 0.5, 1: 0.5}) for state in states]
    # 5 % in the long run: more than 7 of 40 have a probability below 0.2 %.
    assert sum(each is not None and each < 0.05 for each in found) <= 7
    found = [checks.shares(state, {0: 0.43, 1: 0.57}) for state in states[:10]]
    assert all(each is not None and each < 0.01 for each in found)


@pytest.mark.parametrize("whole", [True, False], ids=["whole", "bare"])
def test_a_single_unit_can_not_be_checked(whole: bool) -> None:
    world: dict[str, Any] = {"units": 1, "rows": 100, "pmfs": ARMS, "whole": whole}
    assert accused(1, **world) == 0
    assert checks.mean_weight(State.of(sticky(0, **world))) is None


def test_the_sums_by_unit_are_the_same_however_the_log_is_cut() -> None:
    rows = sticky(3, whole=True, **WORLDS["200 users"])
    half = len(rows) // 2
    parts = State.of(rows.where(slice(half))) + State.of(rows.where(slice(half, None)), first=half)
    for check in (checks.mean_weight, checks.inverse_propensity, checks.draws):
        assert check(parts) == pytest.approx(check(State.of(rows)), rel=1e-9)


def test_segments_of_sticky_actions_are_not_accused_either() -> None:
    wrong = 0
    for seed in range(20):
        rows = sticky(seed, whole=False, **WORLDS["2,000 users"])
        unit = np.unique(rows.unit_hash, return_inverse=True)[1] if rows.unit_hash is not None else None
        log = {"reward": rows.reward, "propensity": rows.propensity, "target": rows.target, "unit": unit}
        answer = bowerbird.evaluate({**log, "part": np.asarray(unit) % 5}, segments=["part"])
        assert isinstance(answer, Answer)
        wrong += any(each.name == "segment_weights" for each in answer.health)
    # 1 % in the long run; by rows it is more than half.
    assert wrong <= 2
