"""A confidence sequence for any estimator, which holds from some number of rows on."""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from records.errors import WrongConfiguration
from replay.evaluation.estimators.estimator import Estimator
from replay.evaluation.intervals.interval import Analyses
from replay.evaluation.intervals.running import Running
from replay.evaluation.rows import EvaluationRows
from replay.evaluation.sample_weights import unsized

METHOD = "asymptotic"

CARRIER = "w r"
OPENS_AT = 100.0
"""Effective positives. Before that the sequence of a log with rare rewards or heavy weights misses far too often."""


def asymptotic(
    estimator: Estimator[Any],
    running: Running,
    *,
    confidence: float = 0.95,
    tightest_at: int = 10_000,
    opens_at: float = OPENS_AT,
) -> Analyses:
    """Return the value at each interim analysis, with intervals that hold simultaneously.

    ``v -+ s sqrt(2 (n p^2 + 1) / (n^2 p^2) log(sqrt(n p^2 + 1) / d))`` with the standard deviation s of a row's
    influence, the chance d to miss, and p such that it is tightest at a number of rows (Waudby-Smith, Arbour, Sinha,
    Kennedy, Ramdas 2024, Time-uniform central limit theory and asymptotic confidence sequences, Annals of Statistics
    52:2613, theorem 2.2 and appendix B.2). What it holds is the running mean of what the rows are worth, which may
    drift.

    The theory is asymptotic and does not say for which numbers of rows it holds. So there is no interval below this
    number of effective positives.

    Parameters
    ----------
    estimator
        Whose value.
    running
        Of its terms, and of the weighted rewards under the name ``w r``, by which it opens.
    confidence
        How often *all* intervals shall hold.
    tightest_at
        Number of rows at which the sequence is tightest; choose it before analysing the log.
    opens_at
        How many effective positives it takes.

    Raises
    ------
    WrongConfiguration
        The terms lack the weighted rewards.
    """
    if CARRIER not in running.names:
        raise WrongConfiguration(f"terms: found {', '.join(running.names)}; expected {CARRIER!r} among them")
    miss = 1 - confidence
    steepness = (-2 * math.log(miss) + math.log(-2 * math.log(miss) + 1)) / tightest_at
    rows = running.rows.astype(np.float64)
    grown = rows * steepness + 1
    error = np.sqrt(running.variance(estimator) * 2 * grown / (rows**2 * steepness) * np.log(np.sqrt(grown) / miss))
    value = running.value(estimator)
    opened = (running.effective(CARRIER) >= opens_at) & np.isfinite(value)
    return Analyses(
        running.rows,
        value,
        np.where(opened, value - error, -np.inf),
        np.where(opened, value + error, np.inf),
        METHOD,
    )


def asymptotic_of_rows(
    estimator: Estimator,
    rows: EvaluationRows,
    analyses: NDArray[np.int64],
    *,
    tightest_at: int = 10_000,
    opens_at: float = OPENS_AT,
) -> Analyses:
    """Return :func:`asymptotic` of rows at hand, in the order of the log.

    Examples
    --------
    >>> from replay.evaluation.estimators.importance import InversePropensity
    >>> rows = EvaluationRows(reward=np.tile([0.0, 1.0], 500), propensity=np.ones(1000), target=np.ones(1000))
    >>> found = asymptotic_of_rows(InversePropensity(), rows, np.array([100, 1000]))
    >>> found.low.round(2).tolist(), found.high.round(2).tolist()
    ([-inf, 0.44], [inf, 0.56])
    """
    columns = {**estimator.terms(unsized(rows)), CARRIER: rows.weight * rows.reward}
    running = Running.of(columns, analyses)
    return asymptotic(estimator, running, tightest_at=tightest_at, opens_at=opens_at)
