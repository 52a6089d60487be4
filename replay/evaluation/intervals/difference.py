"""The difference of two policies on the same rows: much of what chance did to one of them it did to the other."""

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from replay.evaluation.estimators.estimator import Estimator, Means
from replay.evaluation.intervals.delta import delta, variance_of
from replay.evaluation.intervals.influence_bound import InfluenceBound
from replay.evaluation.intervals.interval import Interval
from replay.evaluation.moments import Moments
from replay.evaluation.rows import EvaluationRows, Floats
from replay.evaluation.sample_weights import sized, unsized

METHOD = "delta, paired"

_OTHER = "against: "


class LoggedMean(Estimator):
    """The mean reward, ``mean(r)``: the value of the policy that wrote the log."""

    name = "logged"
    reference = "the sample mean"

    def terms(self, rows: EvaluationRows) -> dict[str, Floats]:
        """Return the reward."""
        return {"r": rows.earned}

    def value(self, means: Means) -> Any:
        """Return its mean."""
        return means["r"]


class Difference(Estimator):
    """A value less another one on the same rows: ``mean(one) - mean(other)``, their influences taken row by row.

    Parameters
    ----------
    one
        The estimator of the target.
    other
        That of what it is compared with: :class:`LoggedMean`, or the same estimator for another target.

    Examples
    --------
    >>> from replay.evaluation.estimators.importance import InversePropensity
    >>> import numpy as np
    >>> rows = EvaluationRows(reward=np.array([1.0, 0.0]), propensity=np.full(2, 0.5), target=np.array([0.75, 0.25]))
    >>> Difference(InversePropensity(), LoggedMean()).estimate(rows)
    0.25
    """

    name = "difference"
    reference = "the delta method on paired rows"

    def __init__(self, one: Estimator, other: Estimator) -> None:
        self.one = one
        self.other = other

    def terms(self, rows: EvaluationRows) -> dict[str, Floats]:
        """Return the terms of both, the other's under names of their own."""
        return self.terms_of(rows, rows)

    def terms_of(self, rows: EvaluationRows, others: EvaluationRows) -> dict[str, Floats]:
        """Return the terms where the other policy is evaluated, too: the same rows, other columns ``target``."""
        return {**self.one.terms(rows), **{_OTHER + name: term for name, term in self.other.terms(others).items()}}

    def value(self, means: Means) -> Any:
        """Return the one value less the other."""
        return self.one.value(means) - self.other.value(self.of_other(means))

    def distances(
        self, slopes: Mapping[str, float], moments: Moments, bound: InfluenceBound, variance: float
    ) -> tuple[float, float]:
        """Return how far the difference lies above its floor and below its ceiling.

        It is as lopsided as the more lopsided of its two values: its bounds are as many of its own standard errors off
        as theirs are of theirs.
        """
        ones = {name: 0.0 if name.startswith(_OTHER) else slope for name, slope in slopes.items()}
        others = {name: slope if name.startswith(_OTHER) else 0.0 for name, slope in slopes.items()}
        one = float(self.one.value(moments.means))
        other = float(self.other.value(self.of_other(moments.means)))

        def as_far(distance: float, part: Mapping[str, float]) -> float:
            of_part = variance_of(part, moments)
            if distance <= 0:
                return 0.0
            return distance * math.sqrt(variance / of_part) if of_part else math.inf

        return (
            min(as_far(one - bound.least, ones), as_far(bound.largest - other, others)),
            min(as_far(bound.largest - one, ones), as_far(other - bound.least, others)),
        )

    @staticmethod
    def of_other(means: Means) -> dict[str, Any]:
        """Return the other's means under the names that it knows."""
        return {name.removeprefix(_OTHER): mean for name, mean in means.items() if name.startswith(_OTHER)}


def difference(
    pair: Difference, moments: Moments, bound: InfluenceBound | None = None, *, confidence: float = 0.95
) -> Interval:
    """Return a difference and its interval.

    Its variance is that of the difference of the influences. Where few rows carry one of the two values its ends are
    the wider of the normal ones and those of gamma distributions of the values' own shapes
    (:func:`~replay.evaluation.intervals.skewed.skewed_ends`). For correlated rows of a unit,
    :func:`~replay.evaluation.intervals.clustered.clustered` takes a pair as it takes any estimator.

    Parameters
    ----------
    pair
        What is compared.
    moments
        Of its terms.
    bound
        Of the same rows and terms (:func:`paired_bound`); without it the interval is the normal one.
    confidence
        How often the interval shall hold the truth.
    """
    return paired(delta(pair, moments, bound, confidence=confidence))


def paired(found: Interval) -> Interval:
    """Return the interval of a difference, named as one."""
    return replace(found, method=f"{found.method}, paired")


def difference_of_rows(pair: Difference, rows: EvaluationRows, others: EvaluationRows | None = None) -> Interval:
    """Return :func:`difference` of rows at hand; ``others`` are the same rows opened for the other policy."""
    if not len(rows):
        return Interval(None, None, None, METHOD, "no rows")
    others = unsized(rows) if others is None else others
    return difference(pair, Moments.of(pair.terms_of(rows, others)), paired_bound(pair, rows, others))


def paired_bound(
    pair: Difference, rows: EvaluationRows, others: EvaluationRows, *, least: float = 0.0, largest: float | None = None
) -> InfluenceBound:
    """Return the influence bound of a difference.

    Parameters are those of :meth:`~replay.evaluation.intervals.influence_bound.InfluenceBound.of`.

    A row has one reward, which counts on both sides; a ranked list is weighed by each of them in its own way.
    """

    def terms(reward: float) -> dict[str, Floats]:
        return sized(pair.terms_of(rows.with_reward(reward), others.with_reward(reward)), rows)

    return InfluenceBound.by(terms, (*rows.rewards, *others.rewards), least=least, largest=largest)


def shows(interval: Interval) -> bool:
    """Whether the interval of a difference excludes 0.

    Examples
    --------
    >>> shows(Interval(0.1, 0.05, 0.15, "delta")), shows(Interval(0.1, None, 0.3, "delta"))
    (True, False)
    """
    return (interval.low is not None and interval.low > 0) or (interval.high is not None and interval.high < 0)
