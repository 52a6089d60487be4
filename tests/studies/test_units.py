"""The study of uneven users: intervals by unit cover though a few users have most of the rows."""

import numpy as np
import pytest

import bowerbird
from replay.evaluation.answer import Answer
from studies.units import BEGIN, END, PAGE, WORLDS, UnevenWorld, measure


@pytest.mark.parametrize("world", [WORLDS[2], WORLDS[5]], ids=["400 users", "100 users"])
def test_a_few_large_users_are_covered(world: UnevenWorld) -> None:
    # Binomial(250, .95): fewer than 227 has a probability of 0.002. Without the jackknife and effective units: 83-89 %.
    assert measure(world, 250).coverage >= 227 / 250


def test_a_log_with_one_great_user_is_never_reliable() -> None:
    levels = set()
    for seed in range(5):
        rows = WORLDS[2].simulate(np.random.default_rng([3, seed]))
        assert rows.unit_hash is not None
        counts = np.unique(rows.unit_hash, return_counts=True)[1]
        found = bowerbird.evaluate(
            {
                "reward": rows.reward,
                "propensity": rows.propensity,
                "target": rows.target,
                "unit": [str(each) for each in rows.unit_hash],
            }
        )
        assert isinstance(found, Answer)
        assert found.statistics["largest_unit_share"] == pytest.approx(counts.max() / 4_000, abs=0.01)
        if counts.max() > 440:
            levels.add(found.verdict.level)
            assert any(each.startswith("one unit has ") for each in found.verdict.reasons)
    assert levels
    assert "reliable" not in levels


def test_even_users_stay_reliable() -> None:
    rows = UnevenWorld(2_000, 20_000, None, differ=False).simulate(np.random.default_rng(0))
    assert rows.unit_hash is not None
    found = bowerbird.evaluate(
        {
            "reward": rows.reward,
            "propensity": rows.propensity,
            "target": rows.target,
            "unit": [str(each) for each in rows.unit_hash],
        }
    )
    assert isinstance(found, Answer)
    assert found.verdict.level == "reliable"


def test_the_page_has_a_row_for_each_world() -> None:
    written = PAGE.read_text(encoding="utf-8").partition(BEGIN)[2].partition(END)[0]
    assert written.count("\n| ") == len(WORLDS) + 1
