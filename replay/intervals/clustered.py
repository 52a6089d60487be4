"""Intervals for rows that hang together, such as the decisions of one user, in bounded memory."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri, stdtrit

from policies.errors import BadInput
from replay.estimators.estimator import Estimator
from replay.intervals.delta import interval_around, slopes_at, variance_of
from replay.intervals.interval import Interval, Looks
from replay.intervals.reach import Reach
from replay.judged import Floats, Hashes, Judged
from replay.moments import Moments

BUCKETS = 4096
METHOD = "clustered"
ONE_UNIT = "a single unit does not say how sure it is"

# Odd, from the golden ratio: a multiplication carries every bit of the hash into those that choose the bucket.
_SPREAD = np.uint64(0x9E3779B97F4A7C15)


@dataclass(frozen=True, slots=True)
class BucketSums:
    """Sums of terms by bucket; all rows of a unit lie in one bucket. ``a + b`` is the state of the rows of both.

    With as many buckets as units this is the usual clustered variance. With fewer, units that share a bucket by chance
    are taken for one: since they do not hang together in truth, the variance is right on average all the same, and only
    a little less sure (:func:`clustered` takes its degrees of freedom from the buckets).

    Attributes
    ----------
    names
        Of the terms: as many as k.
    rows
        Per bucket how many rows: shape (buckets,).
    sums
        Shape (buckets, k).
    """

    names: tuple[str, ...]
    rows: NDArray[np.int64]
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

    @property
    def effective(self) -> float:
        """The number of buckets of equal size that would be as even: ``(sum rows)^2 / sum rows^2`` (Kish 1965)."""
        rows = self.rows.astype(np.float64)
        return float(rows.sum() ** 2 / (rows @ rows)) if self.used else 0.0

    @property
    def largest_share(self) -> float:
        """The share of the rows in the bucket with the most rows."""
        return float(self.rows.max() / self.rows.sum()) if self.used else 0.0

    def student(self, confidence: float) -> float:
        """Return Student's quantile over the normal one; the degrees of freedom are the effective buckets less 1."""
        chance = 0.5 + confidence / 2
        return float(stdtrit(max(self.effective - 1, 1.0), chance) / ndtri(chance))

    def variance(self, slopes: Mapping[str, float], means: Mapping[str, float]) -> float | None:
        """Return the variance of a value from the differences of its buckets; None of fewer than two.

        Each bucket is compared with the rows of the others, since a large one pulls the mean of all towards itself
        (the jackknife, or CR3: Bell and McCaffrey 2002, Survey Methodology 28:169).
        """
        if (used := self.used) < 2:
            return None
        slope = np.array([slopes[name] for name in self.names])
        mean = np.array([means[name] for name in self.names])
        rows = float(self.rows.sum())
        moved = (self.sums - self.rows[:, None] * mean) @ slope / (1 - self.rows / rows)
        return float(moved @ moved) / rows**2 * (used - 1) / used


def clustered(
    estimator: Estimator[Any],
    sums: BucketSums,
    moments: Moments,
    reach: Reach | None = None,
    *,
    confidence: float = 0.95,
) -> Interval:
    """Return the value of an estimator and an interval that holds though the rows of a unit hang together.

    The variance is that of the buckets' influence (Liang and Zeger 1986, Biometrika 73:13: the robust variance, for an
    independence working model), by the jackknife. The quantile is that of Student's t; its degrees of freedom are the
    effective number of buckets less 1, so that a few large units make the interval wider.

    Parameters
    ----------
    estimator
        Whose value.
    sums, moments, reach
        Of the same rows and terms. Without the reach the interval is symmetric.
    confidence
        How often the interval shall hold the truth.
    """
    if not moments.rows:
        return Interval(None, None, None, METHOD, "no rows")
    value, slopes = slopes_at(estimator, moments.means)
    if not slopes:
        return Interval(None, None, None, METHOD, "no value: the target never takes what was logged")
    variance = sums.variance(slopes, moments.means)
    alone = variance_of(slopes, moments)
    if variance is None or alone is None:
        return Interval(value, None, None, METHOD, ONE_UNIT)
    return interval_around(
        estimator,
        value,
        variance * sums.student(confidence) ** 2,
        slopes,
        moments,
        reach,
        confidence=confidence,
        method=METHOD,
        rows_at_once=max(variance / alone, 1.0) if alone else 1.0,
    )


def clustered_of_rows(
    estimator: Estimator, rows: Judged, *, least: float = 0.0, largest: float | None = None, confidence: float = 0.95
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
    terms = estimator.terms(rows)
    reach = Reach.of([estimator], rows, least=least, largest=largest)
    exact = BucketSums.exact(terms, rows.unit_hash)
    return clustered(estimator, exact, Moments.of(terms), reach, confidence=confidence)


def design_effects(estimator: Estimator, rows: Judged, looks: NDArray[np.int64], *, buckets: int = BUCKETS) -> Floats:
    """Return after some numbers of rows by how much units make the variance larger than rows alone would.

    1 or more, since chance makes it smaller where no rows hang together. Shape (looks,). For a log that streams this is
    :func:`design_effect` of the sums so far.

    Raises
    ------
    BadInput
        The rows do not say whose they are.
    """
    if rows.unit_hash is None:
        raise BadInput("no_unit", "unit_hash", "none", "a hash a row of whose decision it was")
    terms = estimator.terms(rows)
    found, start = np.ones(len(looks)), 0
    sums: BucketSums | None = None
    moments: Moments | None = None
    for number, end in enumerate(looks.tolist()):
        some = {name: column[start:end] for name, column in terms.items()}
        here, together = Moments.of(some), BucketSums.of(some, rows.unit_hash[start:end], buckets=buckets)
        moments = here if moments is None else moments + here
        sums = together if sums is None else sums + together
        found[number] = design_effect(estimator, sums, moments)
        start = end
    return found


def design_effect(estimator: Estimator[Any], sums: BucketSums, moments: Moments) -> float:
    """Return by how much units make a value's variance larger than rows alone would; 1 where nothing is known."""
    _, slopes = slopes_at(estimator, moments.means)
    alone = variance_of(slopes, moments) if slopes else None
    variance = sums.variance(slopes, moments.means) if slopes else None
    return max(variance / alone, 1.0) if alone and variance else 1.0


def widened(looks: Looks, effects: Floats) -> Looks:
    """Return a confidence sequence for rows that hang together.

    A sequence bounds a sum by its variance so far. Where units make that variance larger, its ends are as much
    further away as the standard deviation is larger. That is the limit's argument, not a proof for any number of rows.

    Parameters
    ----------
    looks
        A sequence for rows that do not hang together.
    effects
        The design effect at each look: shape (looks,).

    Examples
    --------
    >>> apart = Looks(np.array([100]), np.array([0.5]), np.array([0.4]), np.array([0.7]), "asymptotic")
    >>> together = widened(apart, np.array([4.0]))
    >>> together.low.round(3).tolist(), together.high.round(3).tolist(), together.method
    ([0.3], [0.9], 'asymptotic, clustered')
    """
    scale = np.sqrt(effects)
    return Looks(
        looks.rows,
        looks.value,
        looks.value - (looks.value - looks.low) * scale,
        looks.value + (looks.high - looks.value) * scale,
        f"{looks.method}, clustered",
    )
