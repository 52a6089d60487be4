"""Random rows for laws that hold on all of them."""

from dataclasses import fields
from typing import Any

import numpy as np
from hypothesis import strategies as st

from replay.evaluation.estimators.catalogue import EMBEDDED, ESTIMATORS, SHRUNK
from replay.evaluation.estimators.estimator import Estimator
from replay.evaluation.estimators.loggers import WeightedDoublyRobust, WeightedInversePropensity
from replay.evaluation.rows import EvaluationRows

LOGGERS = 2
LAMBDAS = {"sg-ips": 0.3, "sg-dr": 0.3}

EVERY: tuple[Estimator, ...] = (
    *(kind() for kind in (*ESTIMATORS.values(), *EMBEDDED.values()) if not fields(kind)),  # type: ignore[arg-type]
    *(kind(LAMBDAS.get(name, 3.0)) for name, kind in SHRUNK.items()),
    WeightedInversePropensity(LOGGERS, 3.0),
    WeightedDoublyRobust(LOGGERS),
    WeightedDoublyRobust(LOGGERS, weigh_model=True),
)


def label(estimator: Any) -> str:
    return repr(estimator) if fields(estimator) else estimator.name


@st.composite
def evaluation_rows(draw: st.DrawFn, *, least: int = 1, most: int = 30) -> EvaluationRows:
    """Evaluation rows: weights up to 1000, a target that never takes some actions, and clicks, money or no rewards."""
    size = draw(st.integers(least, most))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    deterministic = draw(st.booleans())
    target = rng.integers(0, 2, size) * 1.0 if deterministic else rng.random(size)
    reward = {
        "clicks": lambda: rng.integers(0, 2, size) * 1.0,
        "money": lambda: rng.normal(0, 100, size),
        "none": lambda: np.zeros(size),
    }[draw(st.sampled_from(["clicks", "money", "none"]))]()
    propensity = rng.random(size) ** draw(st.integers(1, 4)) * 0.999 + 0.001
    return EvaluationRows(
        reward=np.asarray(reward, dtype=np.float64),
        propensity=propensity,
        # Its own logger has a share of a half.
        mean_propensity=(propensity + rng.random(size)) / 2,
        target=np.asarray(target, dtype=np.float64),
        model_logged=rng.normal(0, 1, size),
        model_target=rng.normal(0, 1, size),
        version=rng.integers(0, LOGGERS, size).astype(np.int32),
    )
