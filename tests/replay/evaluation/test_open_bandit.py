"""The packaged log is what its citation says, and a damaged one is refused by line and column."""

from pathlib import Path

import pytest

from records.errors import BadInput
from replay.evaluation.logs.open_bandit import read_decisions, read_items

DATA = Path(__file__).parents[3] / "bowerbird" / "demo" / "data"


def test_the_packaged_log() -> None:
    items = read_items(DATA / "item_context.csv.xz")
    decisions = list(read_decisions(DATA / "men.csv.xz"))
    assert len(items) == 34
    assert len(decisions) == 10_000
    assert sum(decision.clicked for decision in decisions) == 46
    assert {decision.propensity for decision in decisions} == {1 / 34}
    assert {decision.position for decision in decisions} == {1, 2, 3}
    assert {decision.item_id for decision in decisions} == set(range(34))
    assert all(len(decision.user) == 4 and len(decision.affinities) == 34 for decision in decisions)
    assert [decision.time for decision in decisions] == sorted(decision.time for decision in decisions)


HEAD = "timestamp,item_id,position,click,propensity_score,user_feature_0,user-item_affinity_0\n"


@pytest.mark.parametrize(
    ("row", "column"),
    [
        ("2019-11-24,x,1,0,0.5,u,0.0", "item_id"),
        ("2019-11-24,1,1,0,0.0,u,0.0", "propensity_score"),
        ("2019-11-24,1,1,0,nan,u,0.0", "propensity_score"),
        ("yesterday,1,1,0,0.5,u,0.0", "timestamp"),
        ("2019-11-24,1,1", "propensity_score"),
    ],
)
def test_a_damaged_row_is_named(tmp_path: Path, row: str, column: str) -> None:
    file = tmp_path / "log.csv"
    file.write_text(HEAD + "2019-11-24,1,1,1,0.5,u,0.0\n" + row + "\n")
    with pytest.raises(BadInput, match=f"log.csv, line 3: {column}"):
        list(read_decisions(file))
