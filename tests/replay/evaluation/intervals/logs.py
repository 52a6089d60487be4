"""Small logs for the tests of intervals."""

import numpy as np

from replay.evaluation.rows import EvaluationRows


def clicks(of: int, rows: int, weight: float = 1.0) -> EvaluationRows:
    """Make a log with so many rewards of 1, and weights that are all the same."""
    return EvaluationRows(
        reward=np.repeat([1.0, 0.0], [of, rows - of]), propensity=np.full(rows, 0.5), target=np.full(rows, 0.5 * weight)
    )


def random_log(seed: int, rows: int, rate: float = 0.3, units: int = 50) -> EvaluationRows:
    """Make a log with skewed weights, some of them 0, a reward model, and units."""
    chance = np.random.default_rng(seed)
    weight = chance.exponential(size=rows) * (chance.random(rows) < 0.9)
    return EvaluationRows(
        reward=(chance.random(rows) < rate).astype(np.float64),
        propensity=np.full(rows, 0.1),
        target=weight * 0.1,
        weight=weight,
        model_logged=chance.random(rows) / 2,
        model_target=chance.random(rows) / 2,
        unit_hash=chance.integers(0, 2**64, size=(units,), dtype=np.uint64)[chance.integers(0, units, size=rows)],
    )
