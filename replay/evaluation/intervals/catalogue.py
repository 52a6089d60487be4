"""The intervals by name: what each needs of a log, and how it is computed.

``--interval`` of the command, ``interval`` of :func:`bowerbird.evaluate` and the table in docs/evaluation.md are made
from this list.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from types import MappingProxyType

import numpy as np

from records.errors import WrongConfiguration
from replay.evaluation.estimators.estimator import Estimator
from replay.evaluation.estimators.importance import InversePropensity
from replay.evaluation.intervals.asymptotic import asymptotic
from replay.evaluation.intervals.bernstein import bernstein
from replay.evaluation.intervals.betting import betting
from replay.evaluation.intervals.clustered import widened
from replay.evaluation.intervals.cressie_read import CressieRead
from replay.evaluation.intervals.every_row import REWARD, EveryRow
from replay.evaluation.intervals.interval import Analyses, Interval, analyses_at
from replay.evaluation.intervals.running import Running
from replay.evaluation.intervals.saddlepoint import saddlepoint_of_terms
from replay.evaluation.intervals.sums import Sums
from replay.evaluation.intervals.weighted_sums import WeightedSums
from replay.evaluation.rows import EvaluationRows, Floats

AUTOMATIC, CLUSTERED = "auto", "clustered"
MOST_LIKELY = "mle"
"""Name of the value by empirical likelihood."""


@dataclass(frozen=True)
class IntervalInputs:
    """An interval, and what is known of a log.

    Attributes
    ----------
    method
        How intervals are computed.
    sums
        Of the estimators' terms.
    every_row
        Terms of each row, if the method needs them.
    by_unit
        Whether rows of a unit are correlated.
    reward_range
        Smallest and largest possible reward; None: unknown.
    largest_weight
        The largest possible weight, if given.
    analyses
        Number of interim analyses.
    """

    method: "IntervalMethod"
    sums: Sums
    every_row: EveryRow | None
    by_unit: bool
    reward_range: tuple[float, float] | None
    largest_weight: float | None
    analyses: int

    @cached_property
    def terms(self) -> dict[str, Floats]:
        """The terms of each row."""
        assert self.every_row is not None
        return self.every_row.terms

    @property
    def bounds(self) -> tuple[float, float]:
        """The smallest and the largest possible reward, which the method needs."""
        assert self.reward_range is not None
        return self.reward_range

    def interval(self, estimator: Estimator) -> Interval:
        """Return the interval of an estimator."""
        return self.default(estimator) if self.method.value is None else self.method.value(estimator, self)

    def default(self, estimator: Estimator) -> Interval:
        """Return the interval that needs nothing: by unit where units return, else by the delta method."""
        return self.sums.interval(estimator, by_unit=self.by_unit)

    def of_units(self, analyses: Analyses) -> Analyses:
        """Return a confidence sequence of rows widened for units that return."""
        if not self.by_unit or self.sums.buckets is None:
            return analyses
        # The effect grows with the rows per unit: at earlier interim analyses it is too large, which is conservative.
        effect = self.sums.effect_of_units(InversePropensity(), by_unit=True)
        return widened(analyses, np.full(len(analyses.rows), effect))


Value = Callable[[Estimator, IntervalInputs], Interval]


@dataclass(frozen=True, slots=True, kw_only=True)
class IntervalMethod:
    """An interval that can be asked for.

    Attributes
    ----------
    says
        What it is for, in a line.
    value
        Computes the interval of an estimator; None: the intervals of estimators stay.
    most_likely
        Computes a value of its own, besides those of the estimators.
    over_time
        Computes the confidence sequence; None: it stays.
    independent
        It takes rows as independent, so units must not return.
    units
        It needs units.
    every_row
        It needs the terms of each row, in memory.
    bounded
        It needs a range of rewards.
    weight
        Whether it can use (``used``) or needs (``needed``) the largest possible weight.
    """

    says: str
    value: Value | None = None
    most_likely: Callable[[IntervalInputs], Interval] | None = None
    over_time: Callable[[IntervalInputs], Analyses] | None = None
    independent: bool = False
    units: bool = False
    every_row: bool = False
    bounded: bool = False
    weight: str = ""


def _saddlepoint(estimator: Estimator, inputs: IntervalInputs) -> Interval:
    own = {name: inputs.terms[name] for name in _terms_of(estimator, inputs.sums.moments.means)}
    return saddlepoint_of_terms(estimator, own, lambda: inputs.default(estimator))


def _terms_of(estimator: Estimator, means: Mapping[str, float]) -> set[str]:
    """Return the names of the terms that an estimator's value asks for."""
    asked: set[str] = set()

    class Asked(dict[str, float]):
        def __getitem__(self, name: str) -> float:
            asked.add(name)
            return super().__getitem__(name)

    estimator.value(Asked(means))
    return asked


def _bernstein(estimator: Estimator, inputs: IntervalInputs) -> Interval:
    if not isinstance(estimator, InversePropensity):
        return inputs.default(estimator)
    assert inputs.largest_weight is not None
    ends = [0.0, *(inputs.largest_weight * reward for reward in inputs.bounds)]
    return bernstein(estimator, inputs.sums.moments, low=min(ends), high=max(ends))


def _cressie_read(inputs: IntervalInputs) -> Interval:
    least, most = inputs.bounds
    sums = WeightedSums.of(inputs.terms["w"], inputs.terms[REWARD])
    largest = np.inf if inputs.largest_weight is None else inputs.largest_weight
    return CressieRead(wmax=largest, rmin=least, rmax=most).interval(sums)


def _asymptotic(inputs: IntervalInputs) -> Analyses:
    ips = InversePropensity()
    analyses = analyses_at(len(inputs.terms["w r"]), inputs.analyses)
    return inputs.of_units(asymptotic(ips, Running.of({"w r": inputs.terms["w r"]}, analyses)))


def _betting(inputs: IntervalInputs) -> Analyses:
    weight, reward = inputs.terms["w"], inputs.terms[REWARD]
    ones = np.ones(len(weight))
    rows = EvaluationRows(reward=reward, propensity=ones, target=ones, weight=weight)
    return betting(rows, analyses_at(len(rows), inputs.analyses), constant=True, rewards=inputs.bounds)


DEFAULT = IntervalMethod(says="by unit where units return, else the delta method; over time gamma-exponential")
INTERVALS: Mapping[str, IntervalMethod] = MappingProxyType(
    {
        "delta": IntervalMethod(
            says="the delta method, wider where few rows carry the value; every estimator has it",
            independent=True,
        ),
        CLUSTERED: IntervalMethod(says="the same by unit, also where few units return", units=True),
        "saddlepoint": IntervalMethod(
            says="the ends that the percentile bootstrap would have after endlessly many resamples",
            value=_saddlepoint,
            independent=True,
            every_row=True,
        ),
        "bernstein": IntervalMethod(
            says="for `ips`: never too narrow for any number of rows, and wide",
            value=_bernstein,
            independent=True,
            bounded=True,
            weight="needed",
        ),
        "cressie-read": IntervalMethod(
            says="empirical likelihood: a value of its own, `mle`, given that the mean weight is 1",
            most_likely=_cressie_read,
            independent=True,
            every_row=True,
            bounded=True,
            weight="used",
        ),
        "asymptotic": IntervalMethod(
            says="over time: narrower than the default once 100 effective positives have come",
            over_time=_asymptotic,
            every_row=True,
        ),
        "betting": IntervalMethod(
            says="over time: for a value that does not change within the log; wrong where it drifts",
            over_time=_betting,
            independent=True,
            every_row=True,
            bounded=True,
        ),
    }
)
"""Besides ``auto``, the default."""


def check_name(name: str, largest_weight: float | None) -> None:
    """Raise if there is no such interval, or it cannot use a largest weight that is given.

    Raises
    ------
    WrongConfiguration
        That is so; or it needs one, and none is given.
    """
    if name != AUTOMATIC and name not in INTERVALS:
        known = ", ".join((AUTOMATIC, *INTERVALS))
        raise WrongConfiguration(f"interval: found {name!r}, expected one of {known}")
    weight = "" if name == AUTOMATIC else INTERVALS[name].weight
    if largest_weight is None:
        if weight == "needed":
            raise WrongConfiguration(
                f"largest weight: found none, expected the largest weight that is possible, which {name} needs: the"
                " target's largest probability over the smallest logged one"
            )
        return
    if not weight:
        users = " or ".join(each for each, method in INTERVALS.items() if method.weight)
        raise WrongConfiguration(f"largest weight: found {largest_weight:g} and interval {name}, expected {users}")
    if not 1 < largest_weight < np.inf:
        raise WrongConfiguration(f"largest weight: found {largest_weight:g}, expected a finite number above 1")


def check_log(name: str, inputs: IntervalInputs, *, sized: bool, units_return: float, heaviest: float) -> None:
    """Raise if an interval does not apply to a log.

    Parameters
    ----------
    name
        Of the interval.
    inputs
        What is known of the log.
    sized
        Whether rows have sample weights.
    units_return
        Rows of each unit, on average; 0: they count as independent.
    heaviest
        The largest weight in the log.

    Raises
    ------
    WrongConfiguration
        What the log lacks.
    """
    method = INTERVALS[name]

    def refuse(found: str, expected: str) -> WrongConfiguration:
        return WrongConfiguration(f"interval {name}: found {found}, expected {expected}")

    if method.units and inputs.sums.buckets is None:
        raise refuse("a log whose rows name no unit", "a unit (user_id) in each row, or another interval")
    if method.independent and units_return:
        raise refuse(f"{units_return:.1f} decisions of each unit", "independent rows; clustered allows for units")
    if sized and (method.every_row or method.bounded):
        raise refuse("a log with sample weights", "rows that count alike")
    if method.bounded and inputs.reward_range is None:
        raise refuse("a log that does not bound its rewards", "a reward range, or rules that bound them")
    if inputs.largest_weight is not None and heaviest > inputs.largest_weight:
        raise WrongConfiguration(
            f"largest weight: found {inputs.largest_weight:g} and a row of weight {heaviest:g}, expected one that no"
            " row exceeds"
        )
