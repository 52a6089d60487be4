"""The time profile of adaptive weights on a learner's log, and whether its values agree with those of equal weights."""

import numpy as np
import pytest

from replay.evaluation.estimators.adaptive import Pieces
from replay.evaluation.health.profile import PARTS, profile
from replay.evaluation.result import Finding
from replay.evaluation.rows import EvaluationRows

ROWS, VERSIONS = 20_000, 20


def learned(
    spread: tuple[float, float], rewards: tuple[float, float], seed: int = 0, rows: int = ROWS
) -> EvaluationRows:
    """Return a log whose squared weights, and whose rate of rewards, go from one number to another."""
    chance = np.random.default_rng(seed)
    version = (np.arange(rows) * VERSIONS // rows).astype(np.int32)
    return EvaluationRows(
        reward=(chance.random(rows) < np.linspace(*rewards, rows)).astype(float),
        propensity=np.full(rows, 0.5),
        target=np.full(rows, 0.5),
        squared_weight=np.linspace(*spread, VERSIONS)[version],
        version=version,
    )


def found(rows: EvaluationRows, rows_at_once: float = 1.0) -> Finding:
    finding = profile(Pieces.of(rows), rows_at_once)
    assert finding.wrong is False
    return finding


def test_equal_weights_have_an_even_profile() -> None:
    finding = found(learned((3.0, 3.0), (0.9, 0.1)))
    assert finding.value == pytest.approx(1 / PARTS, abs=0.01)
    assert finding.says == "adaptive weights spread over the log's period nearly as its rows do"


@pytest.mark.parametrize(("spread", "part"), [((1.0, 30.0), "first"), ((30.0, 1.0), "last")])
def test_the_favoured_part_is_named(spread: tuple[float, float], part: str) -> None:
    finding = found(learned(spread, (0.5, 0.5)))
    assert finding.value is not None
    assert finding.value > 2 / PARTS
    assert finding.expected == pytest.approx(1 / PARTS)
    assert finding.says.startswith(f"adaptive weights give the {part} tenth of the log {100 * finding.value:.0f} %")


def test_drift_makes_the_values_differ() -> None:
    finding = found(learned((1.0, 30.0), (0.9, 0.1)))
    assert finding.p_value is not None
    assert finding.p_value < 1e-6
    assert "rewards do drift" in finding.says


def test_without_drift_the_values_agree_as_often_as_the_level_promises() -> None:
    differ = sum("do drift" in found(learned((1.0, 30.0), (0.5, 0.5), seed, rows=4000)).says for seed in range(200))
    # Binomial(200, .05): more than 20 has a probability of 0.001.
    assert differ <= 20


def test_units_that_return_make_the_difference_less_certain() -> None:
    rows = learned((1.0, 30.0), (0.52, 0.48))
    alone, by_unit = found(rows), found(rows, rows_at_once=4.0)
    assert alone.p_value is not None
    assert by_unit.p_value is not None
    assert alone.p_value < by_unit.p_value


def test_one_row_has_no_profile() -> None:
    one = EvaluationRows(
        reward=np.ones(1),
        propensity=np.ones(1),
        target=np.ones(1),
        squared_weight=np.ones(1),
        version=np.zeros(1, dtype=np.int32),
    )
    assert found(one).says == "too few rows to compare adaptive weights with equal ones"
