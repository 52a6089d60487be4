"""Slates, sessions and users that a log holds and nobody named: found by names of columns, or by positions."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import bowerbird
from records.errors import WrongConfiguration
from replay.evaluation.answer import Answer
from replay.evaluation.blocks import BLOCK_ROWS
from replay.evaluation.logs.columns import as_log
from replay.evaluation.logs.description import describe
from replay.evaluation.logs.unit_like import groups_in


def slates(count: int = 400, length: int = 3, seed: int = 1) -> dict[str, Any]:
    """Return a log with a row per slate and position; all rows of a slate have the same reward."""
    chance = np.random.default_rng(seed)
    rows = count * length
    action = chance.integers(0, 4, rows)
    return {
        "slate_id": np.repeat(np.arange(count), length),
        "position": np.tile(np.arange(length), count),
        "reward": np.repeat(chance.integers(0, 2, count), length).astype(float),
        "propensity": np.full(rows, 0.25),
        "target": np.array([0.4, 0.3, 0.2, 0.1])[action],
        "action": action,
    }


def without(log: dict[str, Any], *names: str) -> dict[str, Any]:
    return {name: column for name, column in log.items() if name not in names}


def unit_warning(found: Answer) -> str:
    return next((each.says for each in found.health if each.name == "unnamed_unit"), "")


def test_rows_of_a_slate_are_not_taken_for_decisions_in_silence() -> None:
    log = slates()
    result = bowerbird.evaluate(log)
    assert result.verdict.level == "use with care"
    assert "the rows of one slate_id (3 each) are taken as independent decisions" in unit_warning(result)
    assert "--column unit=slate_id" in unit_warning(result)
    assert "columns={'unit': 'slate_id'}" in unit_warning(result)
    named = bowerbird.evaluate(log, columns={"unit": "slate_id"})
    assert not unit_warning(named)
    assert named.verdict.level == "reliable"
    (low, high), (left, right) = result.snips_interval, named.snips_interval
    assert right - left > 1.3 * (high - low), "the slates do not matter in this log"
    assert not unit_warning(bowerbird.evaluate(log, columns={"unit": "-"}))


@pytest.mark.parametrize("name", ["Slate_ID", "impression_id", "session_id", "user_id", "qid"])
def test_other_names(name: str) -> None:
    log = slates()
    assert name in unit_warning(bowerbird.evaluate(without(log, "slate_id", "position") | {name: log["slate_id"]}))


@pytest.mark.parametrize("base", [0, 1])
@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_positions_that_count_again_and_again_tell_slates(tmp_path: Path, base: int, suffix: str) -> None:
    log = without(slates(), "slate_id")
    log["position"] += base
    file = tmp_path / f"log{suffix}"
    if suffix == ".csv":
        pd.DataFrame(log).to_csv(file, index=False)
    else:
        pq.write_table(pa.table(log), file)
    says = unit_warning(bowerbird.evaluate(str(file)))
    assert "as the column position counts them, (3 each)" in says
    assert "--column unit=" in says


def test_independent_rows_are_not_accused() -> None:
    log, chance = slates(), np.random.default_rng(2)
    assert not unit_warning(bowerbird.evaluate(without(log, "slate_id") | {"position": chance.integers(0, 3, 1200)}))
    assert not unit_warning(bowerbird.evaluate(without(log, "position") | {"slate_id": np.arange(1200)}))
    assert not unit_warning(bowerbird.evaluate(without(log, "position") | {"slate_id": pa.nulls(1200, pa.string())}))
    assert not unit_warning(bowerbird.evaluate(without(log, "position") | {"slate_id": chance.random(1200)}))
    assert not unit_warning(bowerbird.evaluate(without(log, "slate_id") | {"position": np.zeros(1200, dtype=np.int64)}))
    assert not unit_warning(bowerbird.evaluate(log, columns={"event": "slate_id"}, segments=["position"]))


def test_a_description_says_so_too_and_blocks_agree() -> None:
    log = as_log(slates(BLOCK_ROWS // 2))
    description = describe(log, "it", "table")
    (says,) = (each.says for each in description.health if each.name == "unnamed_unit")
    assert "slate_id (3 each)" in says


def test_a_slate_that_is_cut_by_a_batch_counts_from_there() -> None:
    batch = pa.record_batch({"position": np.tile([0, 1, 2], 20)}).slice(1)
    groups = groups_in(batch, "position", 101)
    assert groups is not None
    assert groups[:6].tolist() == [101, 101, 103, 103, 103, 106]


def test_a_feedback_of_slates_is_refused() -> None:
    log = slates()
    feedback = {name: log[name] for name in ("slate_id", "position", "action", "reward")}
    feedback |= {"pscore": log["propensity"], "pscore_item_position": log["propensity"]}
    with pytest.raises(WrongConfiguration, match="its rows are positions of slates") as error:
        bowerbird.evaluate(feedback | {"action_dist": np.full((1200, 4, 3), 0.25)})
    assert "'unit': 'slate_id'" in str(error.value)
    frame = pd.DataFrame(feedback | {"target": log["target"]})
    result = bowerbird.evaluate(frame, columns={"unit": "slate_id", "propensity": "pscore_item_position"})
    assert result.rows == 1200


def test_an_action_dist_of_several_positions_needs_the_position_of_each_row() -> None:
    log = slates()
    feedback = {"action": log["action"], "reward": log["reward"], "pscore": log["propensity"], "position": None}
    with pytest.raises(WrongConfiguration, match="position: found none, expected that of each row, 0 to 2"):
        bowerbird.evaluate(feedback | {"action_dist": np.full((1200, 4, 3), 0.25)})
