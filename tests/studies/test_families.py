"""The random worlds are what they say: right logs, a known truth, and the same ones every time."""

import numpy as np
import pytest

from replay.evaluation.estimators.importance import InversePropensity
from replay.evaluation.health.state import State
from studies.families import RandomWorld, family_a, family_b


@pytest.mark.parametrize("make", [family_a, family_b], ids=["A", "B"])
@pytest.mark.parametrize("number", range(0, 40, 6))
def test_a_world_is_right(make, number):
    world = make(number)
    assert np.allclose(world.logging.sum(axis=2), 1)
    assert np.allclose(world.target.sum(axis=1), 1)
    rows, truth = world.simulate(np.random.default_rng(number))
    again, same = world.simulate(np.random.default_rng(number), world.tables())
    assert len(rows) == world.rows
    assert truth == same
    assert np.array_equal(rows.reward, again.reward)
    assert State.of(rows).contradicting == 0
    assert (rows.squared_weight >= (1 - rows.unseen) ** 2 - 1e-9).all()


def even(**changes) -> RandomWorld:
    half = np.full((5, 2), 0.5)
    target = np.tile([0.2, 0.8], (5, 1))

    def draw(luck: np.random.Generator):
        mean = luck.random((5, 2))
        return mean, 0.9 * mean

    columns = {"rows": 2_000, "logging": half[None], "rewards": "click", "spread": 0.5, "learning": 0, **changes}
    return RandomWorld("A", 0, "two actions", target=target, draw=draw, **columns)


@pytest.mark.parametrize(
    "changes",
    [{}, {"rewards": "normal"}, {"rewards": "revenue"}, {"learning": 5}],
    ids=["click", "normal", "revenue", "learning"],
)
def test_the_truth_is_what_importance_weights_find_on_average(changes):
    world = even(**changes)
    off = []
    for seed in range(200):
        rows, truth = world.simulate(np.random.default_rng(seed))
        off.append(InversePropensity().estimate(rows) - truth)
    assert abs(np.mean(off)) < 4 * np.std(off) / np.sqrt(len(off))
