"""The ends of the percentile bootstrap, without resampling."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
from scipy.special import ndtri

from replay.evaluation.estimators.estimator import Estimator
from replay.evaluation.health.central import effective
from replay.evaluation.intervals.delta import delta_of_rows, slopes_at
from replay.evaluation.intervals.interval import Interval
from replay.evaluation.rows import EvaluationRows, Floats
from replay.evaluation.sample_weights import unsized

METHOD = "saddlepoint"

FEWEST = 10.0
"""With fewer effective rows that carry the value, resampled values come in lumps, and the bootstrap is too narrow."""

_STEPS = 60
_CLOSE = 1e-6


def saddlepoint(
    estimator: Estimator,
    rows: EvaluationRows,
    *,
    least: float = 0.0,
    largest: float | None = None,
    confidence: float = 0.95,
) -> Interval:
    """Return the value of an estimator and the ends that its bootstrap would have after endlessly many resamples.

    The chance that a resampled mean lies below a number follows from the mean of exp(t x) over the rows, by the formula
    of Lugannani and Rice 1980 (Advances in Applied Probability 12:475) for the empirical distribution (Davison and
    Hinkley 1988, Biometrika 75:417), here in the form of Barndorff-Nielsen 1986 (Biometrika 73:307), which cannot leave
    0 to 1. A ratio lies below v where the mean of ``top - v bottom`` lies below 0. What is neither a mean nor a ratio
    of two is taken by its linear part, as its note states.

    It takes some 20 passes over the rows, all of which must be at hand.

    Parameters
    ----------
    estimator
        Whose value.
    rows
        The log.
    least, largest
        What a row may earn, for the interval of the delta method, which is given where few rows carry the value; the
        note says so.
    confidence
        How often the interval shall hold the truth.

    Examples
    --------
    >>> from replay.evaluation.estimators.importance import InversePropensity
    >>> clicks = EvaluationRows(reward=np.repeat([1.0, 0.0], [50, 950]), propensity=np.ones(1000), target=np.ones(1000))
    >>> found = saddlepoint(InversePropensity(), clicks)
    >>> round(found.low, 3), round(found.high, 3), found.method
    (0.037, 0.064, 'saddlepoint')
    """

    def instead() -> Interval:
        return delta_of_rows(estimator, rows, least=least, largest=largest, confidence=confidence)

    return saddlepoint_of_terms(estimator, estimator.terms(unsized(rows)), instead, confidence=confidence)


def saddlepoint_of_terms(
    estimator: Estimator[Any],
    terms: Mapping[str, Floats],
    otherwise: Callable[[], Interval],
    *,
    confidence: float = 0.95,
) -> Interval:
    """Return the same from the terms of the rows.

    Parameters
    ----------
    estimator, confidence
        As for :func:`saddlepoint`.
    terms
        Those of the estimator, a column each.
    otherwise
        Computes the interval that is given where few rows carry the value.
    """

    def instead(why: str) -> Interval:
        other = otherwise()
        return replace(other, note=other.note or why)

    rows = len(next(iter(terms.values())))
    if rows < 2:
        return instead("")
    means = {name: float(column.mean()) for name, column in terms.items()}
    value, slopes = slopes_at(estimator, means)
    if not slopes:
        return instead("")
    shown = _Shown.by(estimator, terms, means, value, slopes)
    moved = shown.top - value * shown.bottom
    squares = moved * moved
    carriers = effective(float(squares.sum()), float(squares @ squares)) or 0.0
    if carriers < FEWEST:
        return instead(f"{carriers:.1f} rows carry the value: too few different resamples for a bootstrap")
    error = math.sqrt(float(moved @ moved)) / (rows * float(shown.bottom.mean()))
    half = (1 - confidence) / 2
    low, high = (shown.quantile(value, error, float(ndtri(chance))) for chance in (half, 1 - half))
    if low is None or high is None:
        return instead("the saddlepoint equation has no solution on these rows")
    return Interval(value, low, high, METHOD, shown.note)


class _Point(NamedTuple):
    """The cumulant generating function of the tilted rows: its value, first and second derivative."""

    level: float
    slope: float
    curve: float


@dataclass(frozen=True, slots=True)
class _Shown:
    """An estimator as the ratio of the means of two columns; a bottom of shape (1,) belongs to every row."""

    top: Floats
    bottom: Floats
    note: str = ""

    @classmethod
    def by(
        cls,
        estimator: Estimator[Any],
        terms: Mapping[str, Floats],
        means: Mapping[str, float],
        value: float,
        slopes: Mapping[str, float],
    ) -> "_Shown":
        for bottom in slopes if len(terms) == 2 else ():
            top = next(name for name in slopes if name != bottom)
            divisor = means[bottom]
            if (
                divisor > 0
                and _equal(value, means[top] / divisor)
                and _equal(slopes[top] * divisor, 1.0)
                and _equal(slopes[bottom] * divisor, -value)
                and float(terms[bottom].min()) >= 0
            ):
                return cls(terms[top], terms[bottom])
        adds_up = _equal(value, sum(slope * means[name] for name, slope in slopes.items()))
        rows = len(next(iter(terms.values())))
        linear = np.full(rows, value)
        for name, column in terms.items():
            linear += slopes[name] * (column - means[name])
        return cls(linear, np.ones(1), "" if adds_up else f"of the linear part of {estimator.name}")

    def bounds(self) -> tuple[float, float]:
        """Return the least and the largest value that a resample could have."""
        if len(self.bottom) == 1:
            return float(self.top.min()), float(self.top.max())
        seen = self.bottom > 0
        ratios = self.top[seen] / self.bottom[seen]
        return float(ratios.min()), float(ratios.max())

    def quantile(self, value: float, error: float, normal: float) -> float | None:
        """Return the value below which a resample lies with the chance of a normal quantile.

        By secants on the scale of normal quantiles, where the chance is nearly a line, within a bracket.
        """
        least, largest = self.bounds()
        low, high = (least, value) if normal < 0 else (value, largest)
        last, last_normal = value, 0.0
        at = value + normal * error
        if not low < at < high:
            at = (low + high) / 2
        tilt = normal / (len(self.top) * error * float(self.bottom.mean()))
        for _ in range(_STEPS):
            found = self._normal_of(at, tilt)
            if found is None:
                return None
            reached, tilt = found
            if abs(reached - normal) < _CLOSE:
                return at
            low, high = (low, at) if reached > normal else (at, high)
            rise = reached - last_normal
            following = at + (normal - reached) * (at - last) / rise if rise else math.nan
            last, last_normal = at, reached
            at = following if low < following < high else (low + high) / 2
        return None

    def _normal_of(self, at: float, tilt: float) -> tuple[float, float] | None:
        """Return the normal quantile of the chance to lie below a value, and the tilt that belongs to it."""
        moved = self.top - at * self.bottom
        rows = len(moved)
        low, high = -math.inf, math.inf
        for _ in range(_STEPS):
            level, slope, curve = _cumulants(moved, tilt)
            if not curve > 0:
                return None
            if abs(slope) < _CLOSE * math.sqrt(curve / rows):
                break
            low, high = (low, tilt) if slope > 0 else (tilt, high)
            tilt -= slope / curve
            if not low < tilt < high:
                tilt = (low + high) / 2
        else:
            return None
        root = math.copysign(math.sqrt(max(-2 * rows * level, 0.0)), tilt)
        scaled = tilt * math.sqrt(rows * curve)
        return (root + math.log(scaled / root) / root, tilt) if root * scaled > 0 else None


def _cumulants(moved: Floats, tilt: float) -> _Point:
    tilted = moved * tilt
    highest = float(tilted.max())
    tilted -= highest
    np.exp(tilted, out=tilted)
    total = float(tilted.sum())
    slope = float(tilted @ moved) / total
    tilted *= moved
    return _Point(highest + math.log(total / len(moved)), slope, float(tilted @ moved) / total - slope**2)


def _equal(one: float, other: float) -> bool:
    return math.isclose(one, other, rel_tol=1e-9, abs_tol=1e-12)
