"""The table of actions: shares of the target from its probabilities, and first what was never logged."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

import bowerbird
from bowerbird.cli import app
from replay.evaluation.answer import Answer
from replay.evaluation.logs.taken import scaled, together
from replay.evaluation.overlap import NOT_LOGGED
from replay.evaluation.result import ActionOverlap
from tests.replay.archived import archive_of
from tests.replay.arms import arms_world

ROWS = 400
PMF, TARGET = [0.7, 0.3, 0.0], [0.1, 0.2, 0.7]


def log_of(**columns: Any) -> dict[str, Any]:
    chance = np.random.default_rng(0)
    action = chance.choice(3, ROWS, p=PMF)
    return {
        "reward": (chance.random(ROWS) < 0.3).astype(float),
        "action": action,
        "propensity": np.array(PMF)[action],
        "pmf": [PMF] * ROWS,
        "target_pmf": [TARGET] * ROWS,
    } | columns


def overlap(log: Any, *arguments: Any, **options: Any) -> list[ActionOverlap]:
    result = bowerbird.evaluate(log, *arguments, **options)
    assert isinstance(result, Answer)
    return result.overlap


@pytest.mark.parametrize("named", [False, True], ids=["by index", "by name"])
def test_an_action_that_was_never_logged_comes_first(named: bool) -> None:
    log = log_of()
    if named:
        names = np.array(["boots", "hat", "scarf"])
        log |= {"action": names[log["action"]], "actions": [list(names)] * ROWS}
    first, *others = overlap(log)
    assert (first.action, first.rows, first.logged, first.reward) == ("scarf" if named else "2", 0, 0.0, None)
    assert first.target == pytest.approx(0.7)
    assert [each.target for each in others] == pytest.approx([0.1, 0.2])


def test_shares_are_those_of_the_probabilities_and_not_of_the_draws() -> None:
    chance = np.random.default_rng(1)
    targets = chance.dirichlet(np.ones(3), ROWS)
    shares = {
        each.action: each.target
        for each in overlap(
            log_of(
                target_pmf=list(targets),
                pmf=[[0.7, 0.2, 0.1]] * ROWS,
                propensity=np.array([0.7, 0.2, 0.1])[log_of()["action"]],
            )
        )
    }
    assert [shares[name] for name in "012"] == pytest.approx(list(targets.mean(axis=0)))


def test_without_pmfs_no_share_is_above_1() -> None:
    propensity = np.full(100, 0.5)
    propensity[:4] = 0.01
    shares = [
        each.target
        for each in overlap(
            {
                "reward": np.tile([0.0, 1.0], 50),
                "action": np.where(propensity < 0.5, 19, 3),
                "propensity": propensity,
                "target": np.full(100, 0.5),
            }
        )
    ]
    assert sum(shares) == pytest.approx(1.0)
    assert max(shares) < 1


def test_without_pmfs_what_is_missing_comes_first() -> None:
    log = {"reward": np.tile([0.0, 1.0], 50), "action": np.full(100, 3), "propensity": np.full(100, 0.9)}
    first, other = overlap(log | {"target": np.full(100, 0.09)})
    assert (first.action, first.rows) == (NOT_LOGGED, 0)
    assert first.target == pytest.approx(0.9)
    assert other.target == pytest.approx(0.1)


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("actions")
    archive_of(arms_world()[0], folder, files=3)
    return folder


def test_an_archive_tells_the_shares_of_the_target(archive: Path) -> None:
    uniform = overlap(archive, "uniform", placement="front")
    assert sum(each.target for each in uniform) == pytest.approx(1.0)
    assert sum(each.logged for each in uniform) == pytest.approx(1.0)
    learned = overlap(archive, "front", placement="front")
    assert sum(each.target for each in learned) == pytest.approx(1.0)
    assert {each.action: each.target for each in learned} != {each.action: each.target for each in uniform}


def test_processes_add_up_the_same_shares(archive: Path) -> None:
    arguments = ["replay", "evaluate", str(archive), "--target", "uniform", "--placement", "front", "--json"]
    outputs = [CliRunner().invoke(app, [*arguments, *more]).stdout for more in ([], ["--workers", "2"])]
    assert (
        outputs[0].partition('"overlap"')[2].partition('"segments"')[0]
        == outputs[1].partition('"overlap"')[2].partition('"segments"')[0]
    )


def test_parts_of_a_log_are_added_by_name() -> None:
    assert together([{"b": 10, "a": 20}, {"b": 5}]) == {"a": 20, "b": 15}
    assert together([{"b": 10}, None]) is None
    assert together([{str(number): 1 for number in range(65_537)}]) is None
    assert scaled({"a": 20}, 1, 4) == {"a": 5}
    assert scaled(None, 1, 4) is None
