"""``uniform`` as a target of tables and of feedback of obp: every action alike, if the log tells how many there are."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import bowerbird
from records.errors import WrongConfiguration

NAMES = list("abcd")
ROWS = 600


def log(seed: int = 1) -> dict[str, Any]:
    chance = np.random.default_rng(seed)
    pmf = chance.dirichlet(np.full(4, 3.0), size=ROWS)
    action = (chance.random((ROWS, 1)) > pmf.cumsum(axis=1)).sum(axis=1).clip(0, 3)
    return {
        "reward": (chance.random(ROWS) < 0.1 + 0.2 * action).astype(float),
        "propensity": pmf[np.arange(ROWS), action],
        "action": action,
        "pmf": pmf,
    }


def test_each_way_to_tell_the_number_of_actions_gives_the_same(tmp_path: Path) -> None:
    table = log()
    uniform = np.full((ROWS, 4), 0.25)
    expected = bowerbird.evaluate(table | {"target_pmf": uniform})
    without = {name: table[name] for name in ("reward", "propensity")}
    file = tmp_path / "log.parquet"
    pq.write_table(pa.table({**table, "pmf": list(table["pmf"])}), file)
    feedback = {"action": table["action"], "reward": table["reward"], "pscore": table["propensity"]}
    ways = {
        "pmf": table,
        "another target": table | {"target": np.full(ROWS, 0.9), "weight": np.full(ROWS, 2.0)},
        "actions": without | {"actions": [NAMES] * ROWS},
        "a file": str(file),
        "n_actions": feedback | {"n_actions": 4},
        "pi_b": feedback | {"pi_b": table["pmf"][:, :, None]},
    }
    for name, way in ways.items():
        found = bowerbird.evaluate(way, "uniform")
        assert found.target == "uniform"
        assert (found.ips, found.snips) == pytest.approx((expected.ips, expected.snips), rel=1e-12), name
    assert bowerbird.evaluate(table, "uniform").statistics["ess_of_pmf"] == expected.statistics["ess_of_pmf"]
    assert bowerbird.evaluate(table, "uniform").overlap == expected.overlap


def test_lists_of_unequal_length() -> None:
    few = {"reward": [1.0, 0.0], "propensity": [0.5, 0.25], "actions": [["a", "b"], NAMES]}
    assert bowerbird.evaluate(few, "uniform").ips == pytest.approx((0.5 / 0.5 * 1 + 0) / 2)


def test_against_uniform() -> None:
    table = log() | {"target": np.full(ROWS, 0.4)}
    found = bowerbird.evaluate(table, against="uniform")
    assert found.difference.against == "uniform"
    assert found.difference.base == pytest.approx(bowerbird.evaluate(table, "uniform").snips)


def test_a_log_that_does_not_tell_the_number_of_actions() -> None:
    table = log()
    feedback = {"action": table["action"], "reward": table["reward"], "pscore": table["propensity"]}
    with pytest.raises(WrongConfiguration, match="found no n_actions or pi_b, expected one: uniform needs it"):
        bowerbird.evaluate(feedback, "uniform")
