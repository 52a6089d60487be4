"""Intervals for correlated rows, such as the decisions of one user, in bounded memory."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri, stdtrit

from records.errors import BadInput
from records.splitmix import GOLDEN
from replay.evaluation.estimators.estimator import Estimator
from replay.evaluation.intervals.delta import Linear, Method, interval_around, slopes_at, variance_of
from replay.evaluation.intervals.influence_bound import InfluenceBound
from replay.evaluation.intervals.interval import Analyses, Interval
from replay.evaluation.moments import Moments
from replay.evaluation.rows import EvaluationRows, Floats, Hashes
from replay.evaluation.sample_weights import unsized

BUCKETS = 4096
METHOD = "clustered"
ONE_UNIT = "the variance is unknown for a single unit"
ONE_WEIGHTY = "a single unit carries all of the weight: the variance is unknown"
_DIVISORS = ("w", "h")
"""The last words of the names of terms by whose means values are divided."""

# Odd, from the golden ratio: a multiplication carries every bit of the hash into those that choose the bucket.
_SPREAD = np.uint64(GOLDEN)


@dataclass(frozen=True, slots=True)
class BucketSums:
    """Sums of terms by bucket; all rows of a unit lie in one bucket. ``a + b`` is the state of the rows of both.

    With as many buckets as units this is the usual clustered variance. With fewer, units that share a bucket by chance
    count as one. As they are not correlated, the variance is still unbiased, and only slightly less precise
    (:func:`clustered` takes its degrees of freedom from the buckets).

    Attributes
    ----------
    names
        Of the terms: as many as k.
    rows
        Per bucket how many rows, or how many decisions by sample weights: shape (buckets,).
    sums
        Shape (buckets, k).
    """

    names: tuple[str, ...]
    rows: NDArray[np.int64] | Floats
    sums: Floats

    @classmethod
    def of(cls, columns: Mapping[str, Floats], unit_hash: Hashes, *, buckets: int = BUCKETS) -> "BucketSums":
        """Return the sums of some rows; ``buckets`` must be a power of 2."""
        shift = np.uint64(64 - (buckets.bit_length() - 1))
        return cls.by_code(columns, (unit_hash * _SPREAD) >> shift, buckets)

    @classmethod
    def exact(cls, columns: Mapping[str, Floats], unit_hash: Hashes) -> "BucketSums":
        """Return the sums by unit of rows at hand; these cannot be added to others."""
        units, codes = np.unique(unit_hash, return_inverse=True)
        return cls.by_code(columns, codes, len(units))

    @classmethod
    def by_code(cls, columns: Mapping[str, Floats], codes: NDArray[Any], buckets: int) -> "BucketSums":
        """Return the sums by a number per row, from 0 to below ``buckets``."""
        which = codes.astype(np.intp)
        sums = [np.bincount(which, weights=column, minlength=buckets) for column in columns.values()]
        return cls(tuple(columns), np.bincount(which, minlength=buckets).astype(np.int64), np.stack(sums, axis=1))

    def __add__(self, other: "BucketSums") -> "BucketSums":
        if self.names != other.names or self.sums.shape != other.sums.shape:
            raise ValueError("expected sums of the same terms in the same number of buckets")
        return BucketSums(self.names, self.rows + other.rows, self.sums + other.sums)

    @property
    def used(self) -> int:
        """How many buckets have rows."""
        return int(np.count_nonzero(self.rows))

    def sizes(self, slopes: Mapping[str, float]) -> Floats:
        """Return the share of each bucket in the rows and, if the value is divided by the weights, in the weights.

        Parameters
        ----------
        slopes
            The value's derivatives: it is divided by the weights if it depends on their mean.

        Returns
        -------
        Floats
            Shape (1 or 2, buckets).
        """
        divided = [at for at, name in enumerate(self.names) if name.split(" ")[-1] in _DIVISORS and slopes.get(name)]
        sizes = np.stack([self.rows, *(self.sums[:, at] for at in divided)]).astype(np.float64)
        totals = sizes.sum(axis=1, keepdims=True)
        shares: Floats = np.divide(sizes, totals, out=np.zeros_like(sizes), where=totals > 0)
        return shares

    def effective(self, slopes: Mapping[str, float] | None = None) -> float:
        """Return the number of buckets of equal size that would be as even: ``1 / sum share^2`` (Kish 1965).

        The smaller one of those by the rows and by the weights: see :meth:`sizes`.
        """
        return float(1 / (self.sizes(slopes or {}) ** 2).sum(axis=1).max()) if self.used else 0.0

    def largest_share(self, slopes: Mapping[str, float] | None = None) -> float:
        """Return the largest share of one bucket in the rows or the weights: see :meth:`sizes`."""
        return float(self.sizes(slopes or {}).max()) if self.used else 0.0

    def student(self, confidence: float, slopes: Mapping[str, float] | None = None) -> float:
        """Return Student's quantile over the normal one; the degrees of freedom are the effective buckets less 1."""
        chance = 0.5 + confidence / 2
        return float(stdtrit(max(self.effective(slopes) - 1, 1.0), chance) / ndtri(chance))

    def variance(self, estimator: Estimator[Any]) -> float | None:
        """Return the variance of a value from the values without each of the buckets (the jackknife; Efron 1982).

        A bucket is compared with the others alone, since a large one pulls the value of all towards itself: one with
        many rows, or with heavy weights if the value is divided by them. None of fewer than two buckets, or if one
        of them carries all of the weight.
        """
        if (used := self.used) < 2:
            return None
        some, total, rows = self.rows > 0, self.sums.sum(axis=0), float(self.rows.sum())
        rest = (total - self.sums[some]) / (rows - self.rows[some])[:, None]
        value = float(estimator.value(dict(zip(self.names, (total / rows).tolist(), strict=True))))
        moved = np.asarray(estimator.value(dict(zip(self.names, rest.T, strict=True)))) - value
        variance = float(moved @ moved) * (used - 1) / used
        return variance if np.isfinite(variance) else None


def clustered(
    estimator: Estimator[Any],
    sums: BucketSums,
    moments: Moments,
    bound: InfluenceBound | None = None,
    *,
    confidence: float = 0.95,
) -> Interval:
    """Return the value of an estimator and an interval that holds for correlated rows of a unit.

    The variance is that of the buckets' influence (Liang and Zeger 1986, Biometrika 73:13: the robust variance, for an
    independence working model), by the jackknife. The quantile is that of Student's t; its degrees of freedom are the
    effective number of buckets less 1, so that a few large units make the interval wider.

    Parameters
    ----------
    estimator
        Whose value.
    sums, moments, bound
        States of the same rows and terms. Without the influence bound the interval is symmetric.
    confidence
        How often the interval shall hold the truth.
    """
    if not moments.rows:
        return Interval(None, None, None, METHOD, "no rows")
    value, slopes = slopes_at(estimator, moments.means)
    if not slopes:
        return Interval(None, None, None, METHOD, "no value: the target never takes what was logged")
    with np.errstate(divide="ignore", invalid="ignore"):
        variance = sums.variance(estimator)
    alone = variance_of(slopes, moments)
    if variance is None or alone is None:
        return Interval(value, None, None, METHOD, ONE_UNIT if sums.used < 2 else ONE_WEIGHTY)
    found = Linear(value, variance * sums.student(confidence, slopes) ** 2, slopes)
    method = Method(METHOD, confidence, max(variance / alone, 1.0) if alone else 1.0)
    return interval_around(estimator, found, moments, bound, method)


def clustered_of_rows(
    estimator: Estimator,
    rows: EvaluationRows,
    *,
    least: float = 0.0,
    largest: float | None = None,
    confidence: float = 0.95,
) -> Interval:
    """Return :func:`clustered` of rows at hand, by unit and without buckets.

    Raises
    ------
    BadInput
        The rows do not say whose they are.
    """
    if rows.unit_hash is None:
        raise BadInput("no_unit", "unit_hash", "none", "a hash a row of whose decision it was")
    if not len(rows):
        return Interval(None, None, None, METHOD, "no rows")
    terms = estimator.terms(unsized(rows))
    bound = InfluenceBound.of([estimator], rows, least=least, largest=largest)
    exact = BucketSums.exact(terms, rows.unit_hash)
    return clustered(estimator, exact, Moments.of(terms), bound, confidence=confidence)


def design_effects(
    estimator: Estimator, rows: EvaluationRows, analyses: NDArray[np.int64], *, buckets: int = BUCKETS
) -> Floats:
    """Return the design effect at interim analyses, after some numbers of rows: shape (analyses,).

    It is 1 or more, since without correlation it is below 1 only by chance. For a streamed log this is
    :func:`design_effect` of the sums so far.

    Raises
    ------
    BadInput
        The rows have no units.
    """
    if rows.unit_hash is None:
        raise BadInput("no_unit", "unit_hash", "none", "a hash a row of whose decision it was")
    terms = estimator.terms(unsized(rows))
    found, start = np.ones(len(analyses)), 0
    sums: BucketSums | None = None
    moments: Moments | None = None
    for number, end in enumerate(analyses.tolist()):
        some = {name: column[start:end] for name, column in terms.items()}
        here, together = Moments.of(some), BucketSums.of(some, rows.unit_hash[start:end], buckets=buckets)
        moments = here if moments is None else moments + here
        sums = together if sums is None else sums + together
        found[number] = design_effect(estimator, sums, moments)
        start = end
    return found


def design_effect(estimator: Estimator[Any], sums: BucketSums, moments: Moments) -> float:
    """Return the design effect: the ratio of a value's variance by unit to that by row; 1 if unknown.

    If one unit carries all of the weight, all rows count as one.
    """
    _, slopes = slopes_at(estimator, moments.means)
    alone = variance_of(slopes, moments) if slopes else None
    if not alone or sums.used < 2:
        return 1.0
    with np.errstate(divide="ignore", invalid="ignore"):
        variance = sums.variance(estimator)
    return float(moments.rows) if variance is None else max(variance / alone, 1.0)


def widened(analyses: Analyses, effects: Floats) -> Analyses:
    """Return a confidence sequence for correlated rows.

    A sequence bounds a sum by its variance so far. Where units make that variance larger, the distance of its ends
    grows with the standard deviation. This holds in the limit; it is not proved for any number of rows.

    Parameters
    ----------
    analyses
        A sequence for rows that are not correlated.
    effects
        Design effect at each interim analysis: shape (analyses,).

    Examples
    --------
    >>> apart = Analyses(np.array([100]), np.array([0.5]), np.array([0.4]), np.array([0.7]), "asymptotic")
    >>> together = widened(apart, np.array([4.0]))
    >>> together.low.round(3).tolist(), together.high.round(3).tolist(), together.method
    ([0.3], [0.9], 'asymptotic, clustered')
    """
    scale = np.sqrt(effects)
    return Analyses(
        analyses.rows,
        analyses.value,
        analyses.value - (analyses.value - analyses.low) * scale,
        analyses.value + (analyses.high - analyses.value) * scale,
        f"{analyses.method}, clustered",
    )
