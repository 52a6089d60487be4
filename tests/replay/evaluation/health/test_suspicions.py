"""What a log shows, or leaves open, without saying it: late rewards, copies, draws by context, rows of one user."""

from typing import Any

import numpy as np
import pytest

import bowerbird
from replay.evaluation.answer import Answer
from replay.evaluation.result import Finding

ROWS, HOUR_MS = 20_000, 3_600_000
NAMES = {"late_rewards", "copies", "segment_weights"}


def log_of(rows: int = ROWS, seed: int = 0, hours: int = 240, **columns: Any) -> dict[str, Any]:
    """Return a log of a logger that draws from three actions, over some hours."""
    chance = np.random.default_rng(seed)
    action = chance.integers(0, 3, rows)
    return {
        "reward": (chance.random(rows) < 0.2).astype(float),
        "action": action,
        "propensity": np.full(rows, 1 / 3),
        "target": np.array([0.2, 0.3, 0.5])[action],
        "time": 1_700_000_000_000 + np.sort(chance.integers(0, hours * HOUR_MS, rows)),
    } | columns


def found(log: Any, **options: Any) -> tuple[Answer, dict[str, Finding]]:
    answer = bowerbird.evaluate(log, **options)
    assert isinstance(answer, Answer)
    return answer, {each.name: each for each in answer.health}


@pytest.mark.parametrize("seed", range(5))
def test_a_right_log_raises_no_suspicion(seed: int) -> None:
    country = np.where(np.random.default_rng(seed).random(ROWS) < 0.3, "fr", "de")
    answer, findings = found(log_of(seed=seed, country=country), segments=["country"])
    assert not NAMES & {*findings}
    assert answer.verdict.level == "reliable"


# ----- late rewards


@pytest.mark.parametrize("share", [0.03, 0.1])
def test_missing_rewards_of_the_last_part_need_care(share: float) -> None:
    log = log_of()
    log["reward"][round((1 - share) * ROWS) :] = 0
    answer, findings = found(log)
    assert "late_rewards" in findings
    assert findings["late_rewards"].wrong
    assert "may not have arrived yet" in findings["late_rewards"].says
    assert answer.verdict.level == "use with care"


@pytest.mark.parametrize("shape", ["falling", "step", "daily", "rare"])
def test_drift_and_daily_cycles_are_not_late_rewards(shape: str) -> None:
    for seed in range(10):
        log, place = log_of(seed=seed), np.arange(ROWS) / ROWS
        rate = {
            "falling": 0.3 * (1.8 - 1.6 * place),
            "step": np.where(place < 0.7, 0.4, 0.05),
            "daily": 0.2 + 0.19 * np.sin(2 * np.pi * 10 * place),
            "rare": np.full(ROWS, 0.002),
        }[shape]
        log["reward"] = (np.random.default_rng([seed, 1]).random(ROWS) < rate).astype(float)
        assert "late_rewards" not in found(log)[1], seed


# ----- copies


@pytest.mark.parametrize("share", [0.05, 1.0])
def test_rows_that_were_written_twice_need_care(share: float) -> None:
    log, more = log_of(), round(share * ROWS)
    twice = {name: np.concatenate([column, column[:more]]) for name, column in log.items()}
    answer, findings = found(twice)
    assert "copies" in findings
    assert findings["copies"].value == pytest.approx(more / len(twice["reward"]), rel=0.2)
    assert answer.verdict.level != "reliable"


def test_event_ids_tell_copies_apart() -> None:
    log = log_of(event=[str(number) for number in range(ROWS)])
    log["time"] = np.full(ROWS, log["time"][0])
    assert "copies" not in found(log)[1]


@pytest.mark.parametrize("each_ms", [1_000, HOUR_MS, 24 * HOUR_MS])
def test_coarse_times_are_no_copies(each_ms: int) -> None:
    log = log_of()
    log["time"] = log["time"] // each_ms * each_ms
    assert "copies" not in found(log)[1]


def test_coarse_times_with_versions_of_their_own_are_no_copies() -> None:
    log = log_of()
    day = log["time"] // (24 * HOUR_MS)
    log["time"] = day * 24 * HOUR_MS
    log["version"] = day
    assert "copies" not in found(log)[1]


# ----- draws by context


def test_draws_that_depend_on_a_context_are_found() -> None:
    chance = np.random.default_rng(2)
    log = log_of()
    country = np.where(chance.random(ROWS) < 0.5, "fr", "de")
    pmf = np.where((country == "fr")[:, None], [0.6, 0.2, 0.2], [1 / 15, 7 / 15, 7 / 15])
    log["action"] = (chance.random((ROWS, 1)) > pmf.cumsum(axis=1)).sum(axis=1).clip(0, 2)
    log["target"] = np.array([0.2, 0.3, 0.5])[log["action"]]
    log["country"] = country
    answer, findings = found(log, segments=["country"])
    assert "segment_weights" in findings
    wrong = findings["segment_weights"]
    assert wrong.wrong
    assert wrong.value is not None
    assert abs(wrong.value - 1) > 0.1
    assert "the draws depend on country" in wrong.says
    assert answer.verdict.level != "reliable"
    # All over the log the draws have the propensities that were logged.
    assert not findings["mean_weight"].wrong


def test_right_draws_are_hardly_ever_accused() -> None:
    accused = 0
    for seed in range(100):
        chance = np.random.default_rng([4, seed])
        rows, parts = 3_000, int(chance.integers(2, 12))
        pmf = chance.dirichlet(np.full(4, 0.7)) * 0.96 + 0.01
        action = chance.choice(4, rows, p=pmf)
        target = chance.dirichlet(np.ones(4))
        log = {
            "reward": (chance.random(rows) < 0.2).astype(float),
            "propensity": pmf[action],
            "target": target[action],
            "part": chance.integers(0, parts, rows).astype(str),
        }
        accused += "segment_weights" in found(log, segments=["part"])[1]
    # At 1 %, more than 5 of 100 have a probability of 0.0005.
    assert accused <= 5


# ----- independent rows


def test_without_a_unit_rows_are_said_to_be_independent() -> None:
    _, findings = found(log_of())
    assert "rows are taken as independent" in findings["independent_rows"].says
    assert not findings["independent_rows"].wrong
    named = found(log_of(unit=[str(number % 5_000) for number in range(ROWS)]))[1]
    assert "independent_rows" not in named
