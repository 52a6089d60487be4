"""What the coverage study looks at: every interval and every confidence sequence."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np

from replay.evaluation.estimators.doubly_robust import DoublyRobust
from replay.evaluation.estimators.estimator import Estimator
from replay.evaluation.estimators.importance import InversePropensity, SelfNormalised
from replay.evaluation.intervals.adaptive import AdaptiveSums, adaptive_interval
from replay.evaluation.intervals.asymptotic import asymptotic_of_rows
from replay.evaluation.intervals.bernstein import bernstein
from replay.evaluation.intervals.betting import betting
from replay.evaluation.intervals.clustered import BucketSums, clustered, clustered_of_rows, design_effects, widened
from replay.evaluation.intervals.cressie_read import CressieRead
from replay.evaluation.intervals.delta import delta, delta_of_rows
from replay.evaluation.intervals.difference import Difference, LoggedMean, difference_of_rows
from replay.evaluation.intervals.gamma_exponential import GammaExponential
from replay.evaluation.intervals.influence_bound import InfluenceBound
from replay.evaluation.intervals.interval import Analyses, Interval, analyses_at
from replay.evaluation.intervals.running import Running
from replay.evaluation.intervals.saddlepoint import saddlepoint
from replay.evaluation.intervals.weighted_sums import WeightedSums
from replay.evaluation.moments import Moments
from replay.evaluation.rows import EvaluationRows
from studies.worlds import WORLDS, World

ANALYSES = 60
CLUSTERED, LEARNING = "clustered users", "learning logger"

Kind = Literal["fixed", "finite", "sequence"]


@dataclass(frozen=True, slots=True)
class Method:
    """An interval for a fixed number of rows, or a sequence that may be looked at all the time.

    Attributes
    ----------
    name, estimator
        As the table calls them.
    kind
        ``fixed``: for a number of rows that was fixed before, right in the limit; ``finite``: for any number of rows;
        ``sequence``: holds at all analyses at once.
    run
        Makes it from a log.
    assumes_not
        The worlds in which what it assumes does not hold, with the reason.
    against_logged
        Whether it is of the difference to the logging policy.
    widens
        A method whose sequence it makes wider, by the design effect of the units.
    """

    name: str
    estimator: str
    kind: Kind
    run: Callable[[World, EvaluationRows], Interval | Analyses]
    assumes_not: dict[str, str]
    against_logged: bool = False
    widens: str | None = None


_ROWS_APART = {CLUSTERED: "rows of one user are correlated; it takes them as independent"}
_SKEWED = "few rows carry the value: it is skewed, and too often too low"
_ONLY_SEEN = "the percentile bootstrap, whose ends these are, knows no larger weight than it saw"
_IPS, _SNIPS, _DR = InversePropensity(), SelfNormalised(), DoublyRobust()


def _plain(estimator: Estimator) -> Callable[[World, EvaluationRows], Interval]:
    return lambda _, rows: delta(estimator, Moments.of(estimator.terms(rows)))


def _delta(estimator: Estimator) -> Callable[[World, EvaluationRows], Interval]:
    return lambda _, rows: delta_of_rows(estimator, rows)


def _bernstein(world: World, rows: EvaluationRows) -> Interval:
    return bernstein(_IPS, Moments.of(_IPS.terms(rows)), low=0.0, high=world.largest_weight)


def _cressie_read(world: World, rows: EvaluationRows) -> Interval:
    return CressieRead(wmax=world.largest_weight).interval(WeightedSums.of(rows.weight, rows.reward))


def _bucketed(world: World, rows: EvaluationRows) -> Interval:
    assert rows.unit_hash is not None
    terms = _SNIPS.terms(rows)
    return clustered(_SNIPS, BucketSums.of(terms, rows.unit_hash), Moments.of(terms), InfluenceBound.of([_SNIPS], rows))


def _adaptive(*, by_unit: bool) -> Callable[[World, EvaluationRows], Interval]:
    return lambda _, rows: adaptive_interval(AdaptiveSums.of(rows), by_unit=by_unit)


def _difference(world: World, rows: EvaluationRows) -> Interval:
    return difference_of_rows(Difference(_SNIPS, LoggedMean()), rows)


def _analyses(rows: EvaluationRows) -> list[int]:
    return [int(analysis) for analysis in analyses_at(len(rows), ANALYSES)]


def _gamma_exponential(world: World, rows: EvaluationRows) -> Analyses:
    return GammaExponential().sequence(rows.weight, rows.reward, _analyses(rows))


def by_unit(rows: EvaluationRows, analyses: Analyses) -> Analyses:
    """Return a sequence of ips, made wider where rows of a unit are correlated."""
    return widened(analyses, design_effects(_IPS, rows, analyses.rows))


def _by_unit(world: World, rows: EvaluationRows) -> Analyses:
    return by_unit(rows, _gamma_exponential(world, rows))


def _asymptotic(world: World, rows: EvaluationRows) -> Analyses:
    analyses = analyses_at(len(rows), ANALYSES)
    return widened(asymptotic_of_rows(_SNIPS, rows, analyses), design_effects(_SNIPS, rows, analyses))


def _betting(world: World, rows: EvaluationRows) -> Analyses:
    return betting(rows, analyses_at(len(rows), ANALYSES), constant=True)


def _repeated(world: World, rows: EvaluationRows) -> Analyses:
    analyses = analyses_at(len(rows), ANALYSES)
    running = Running.of(_SNIPS.terms(rows), analyses)
    value, error = running.value(_SNIPS), 1.959964 * np.sqrt(running.variance(_SNIPS) / analyses)
    return Analyses(analyses, value, value - error, value + error, "repeated")


METHODS = (
    Method(
        "normal (textbook)",
        "snips",
        "fixed",
        _plain(_SNIPS),
        {
            **_ROWS_APART,
            "rare rewards": _SKEWED,
            "heavy weights": _SKEWED,
            LEARNING: "late rows weigh most, and few of them carry the value",
        },
    ),
    Method("delta", "snips", "fixed", _delta(_SNIPS), _ROWS_APART),
    Method("delta", "ips", "fixed", _delta(_IPS), _ROWS_APART),
    Method("delta", "dr", "fixed", _delta(_DR), _ROWS_APART),
    Method(
        "saddlepoint",
        "snips",
        "fixed",
        lambda _, rows: saddlepoint(_SNIPS, rows),
        {**_ROWS_APART, **dict.fromkeys(("rare rewards", "heavy weights", LEARNING), _ONLY_SEEN)},
    ),
    Method("Cressie-Read", "mle", "fixed", _cressie_read, _ROWS_APART),
    Method("empirical Bernstein", "ips", "finite", _bernstein, _ROWS_APART),
    Method("clustered, exact", "snips", "fixed", lambda _, rows: clustered_of_rows(_SNIPS, rows), {}),
    Method("clustered, 4096 buckets", "snips", "fixed", _bucketed, {}),
    Method("adaptive weights", "adaptive-dr", "fixed", _adaptive(by_unit=False), _ROWS_APART),
    Method("adaptive weights, by unit", "adaptive-dr", "fixed", _adaptive(by_unit=True), {}),
    Method("paired difference to logged", "snips", "fixed", _difference, _ROWS_APART, against_logged=True),
    Method("gamma-exponential", "ips", "sequence", _gamma_exponential, _ROWS_APART),
    Method("gamma-exponential, by unit (default)", "ips", "sequence", _by_unit, {}, widens="gamma-exponential"),
    Method("asymptotic, by unit, opens at 100", "snips", "sequence", _asymptotic, {}),
    Method(
        "betting",
        "ips",
        "sequence",
        _betting,
        {**_ROWS_APART, "drifting": "it is for a value that does not change, and this one does"},
    ),
    Method(
        "normal, looked at 60 times",
        "snips",
        "sequence",
        _repeated,
        dict.fromkeys((world.name for world in WORLDS), "it is made for one analysis"),
    ),
)
"""In the order of the table; the second one is what widths are compared with."""
