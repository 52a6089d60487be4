"""Rows that count as more or fewer decisions than one: sums of their terms, and what these are a decision.

While a log is read, each term is multiplied by the row's sample weight s, and s is a term itself, :data:`SIZE`. When
the sums are read, each mean is divided by the mean of s, and deviations are those of the ratio: a row moves it by
``s (term - mean) / sum s``. So no estimator and no interval needs to know of sample weights.

References
----------
Hajek 1971, comment on D. Basu, in: Foundations of statistical inference (the ratio); Särndal, Swensson, Wretman 1992,
Model assisted survey sampling, section 5.7 (its linear variance).
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from records.errors import BadInput
from replay.evaluation.moments import Moments
from replay.evaluation.result import Finding
from replay.evaluation.rows import Floats, Judged

if TYPE_CHECKING:
    from replay.evaluation.intervals.sums import Sums

SIZE = "sample weight"
"""The term that holds the sample weight."""
LEAST, MOST = 1e-9, 1e9
"""The bounds of a sample weight."""
NAME = "sample_weights"


def sized(terms: dict[str, Floats], rows: Judged) -> dict[str, Floats]:
    """Return terms multiplied by the sample weight, and the weight as one more term; unchanged without weights."""
    if rows.sample_weight is None:
        return terms
    return {**{name: term * rows.sample_weight for name, term in terms.items()}, SIZE: rows.sample_weight}


def all_alike(rows: Judged) -> bool:
    """Return whether every row counts as one decision."""
    return rows.sample_weight is None or bool((rows.sample_weight == 1).all())


def unsized(rows: Judged) -> Judged:
    """Return the rows if they have no sample weights.

    Raises
    ------
    BadInput
        They have some, and the caller cannot use them.
    """
    if rows.sample_weight is not None:
        raise BadInput("sample_weights", "sample_weight", "a column", "none: only evaluate() takes sample weights")
    return rows


def a_decision(sums: "Sums") -> "Sums":
    """Return sums of :func:`sized` terms as those of the terms a decision; sums without sample weights as they are.

    Examples
    --------
    >>> from replay.evaluation.estimators.importance import InversePropensity
    >>> from replay.evaluation.intervals.reach import Reach
    >>> from replay.evaluation.intervals.sums import Sums
    >>> half, many = np.full(2, 0.5), np.array([3.0, 1.0])
    >>> rows = Judged(reward=np.array([1.0, 0.0]), propensity=half, target=half, sample_weight=many)
    >>> estimator = InversePropensity()
    >>> sums = Sums.of(sized(estimator.terms(rows), rows), Reach.of([estimator], rows), None)
    >>> a_decision(sums).interval(estimator, by_unit=False).value
    0.75
    """
    moments, reach, buckets = sums.moments, sums.reach, sums.buckets
    if SIZE not in moments.names or not moments.rows:
        return sums
    at = moments.names.index(SIZE)
    others = [place for place in range(len(moments.names)) if place != at]
    names, size = tuple(moments.names[place] for place in others), float(moments.mean[at])
    mean = moments.mean[others] / size
    # What a row adds to the ratio, from what it adds to the sums.
    change = np.eye(len(moments.names))[others] / size
    change[:, at] = -mean / size
    unknown = np.full(len(others), np.nan)
    return replace(
        sums,
        moments=Moments(names, moments.rows, mean, change @ moments.comoment @ change.T, unknown, unknown),
        reach=replace(reach, names=names, rows=reach.rows @ change.T + mean),
        buckets=None
        if buckets is None
        else replace(buckets, names=names, rows=buckets.sums[:, at] / size, sums=buckets.sums[:, others] / size),
    )


def means_of(means: Mapping[str, Floats]) -> dict[str, Floats]:
    """Return means of :func:`sized` terms as means a decision."""
    size = means.get(SIZE)
    return {name: mean if size is None else mean / size for name, mean in means.items() if name != SIZE}


def counted(rows: int, size: float) -> Finding:
    """Return what the sample weights come to, and what is not computed with them."""
    return Finding(
        name=NAME,
        value=None,
        expected=None,
        p_value=None,
        wrong=False,
        says=f"{rows:,} rows count as {size:,.6g} decisions in values, intervals and effective sizes. The checks of "
        "draws, 1 / propensity, copies and time, adaptive weights, and the confidence sequence cannot use sample "
        "weights and are left out",
    )
