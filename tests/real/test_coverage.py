"""What docs/coverage.md says of the intervals, by a smaller run of the same study."""

import pytest

from studies.coverage import Cell, study
from studies.coverage_methods import CLUSTERED, LEARNING

REPETITIONS = 120
# The study computes for minutes, several times as long where others compute.
pytestmark = pytest.mark.timeout(3_600)


@pytest.fixture(scope="module")
def cells() -> dict[tuple[str, str, str], Cell]:
    return {(cell.method.name, cell.method.estimator, cell.world.name): cell for cell in study(REPETITIONS)}


def test_intervals_for_one_look_hold_the_truth_where_their_assumptions_do(
    cells: dict[tuple[str, str, str], Cell],
) -> None:
    chosen = [cell for cell in cells.values() if cell.method.kind == "fixed" and cell.supported]
    assert len(chosen) > 40
    for cell in chosen:
        assert cell.coverage + 3 * cell.error >= 0.93, (cell.method.name, cell.method.estimator, cell.world.name)


@pytest.mark.parametrize("world", ["easy", "drifting"])
def test_and_not_more_often_than_they_say_where_many_rows_carry_the_value(
    cells: dict[tuple[str, str, str], Cell], world: str
) -> None:
    for cell in cells.values():
        if cell.world.name == world and cell.method.kind == "fixed":
            assert cell.coverage - 3 * cell.error <= 0.97, (cell.method.name, cell.method.estimator)


def test_bounds_for_any_number_of_rows_hold_as_often_as_they_promise(cells: dict[tuple[str, str, str], Cell]) -> None:
    chosen = [cell for cell in cells.values() if cell.method.kind != "fixed" and cell.supported]
    assert len(chosen) > 20
    for cell in chosen:
        assert cell.coverage + 3 * cell.error >= 0.95, (cell.method.name, cell.method.estimator, cell.world.name)


def test_the_default_sequence_misses_at_any_look_in_at_most_5_of_100_logs(
    cells: dict[tuple[str, str, str], Cell],
) -> None:
    chosen = [cell for (name, _, _), cell in cells.items() if name == "gamma-exponential, by unit (default)"]
    assert len(chosen) == 6
    assert all(cell.supported and cell.coverage >= 0.95 for cell in chosen)


@pytest.mark.parametrize(
    ("method", "estimator", "world", "at_most"),
    [
        ("delta", "snips", CLUSTERED, 0.75),
        ("gamma-exponential", "ips", CLUSTERED, 0.97),
        ("normal (textbook)", "snips", "heavy weights", 0.95),
        ("betting", "ips", "drifting", 0.7),
        ("normal, looked at 60 times", "snips", "easy", 0.8),
        ("normal, looked at 60 times", "snips", "rare rewards", 0.4),
    ],
)
def test_what_fails_fails(
    cells: dict[tuple[str, str, str], Cell], method: str, estimator: str, world: str, at_most: float
) -> None:
    """Else the worlds would not be hard enough to show that anything holds."""
    assert cells[method, estimator, world].coverage < at_most


def test_adaptive_weights_are_narrower_on_a_learners_log(cells: dict[tuple[str, str, str], Cell]) -> None:
    assert cells["adaptive weights", "adaptive-dr", LEARNING].relative < 0.8
    assert cells["clustered, 4096 buckets", "snips", CLUSTERED].relative > 2
