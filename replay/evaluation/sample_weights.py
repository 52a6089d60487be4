"""Rows that count as more or fewer decisions than one: sums of their terms, and what these are a decision.

While a log is read, each term is multiplied by the row's sample weight s, and s is a term itself, :data:`SIZE`. When
the sums are read, each mean is divided by the mean of s, and deviations are those of the ratio: a row moves it by
``s (term - mean) / sum s``. So estimators and intervals do not handle sample weights.

References
----------
Hajek 1971, comment on D. Basu, in: Foundations of statistical inference (the ratio); Särndal, Swensson, Wretman 1992,
Model assisted survey sampling, section 5.7 (its linear variance).
"""

from collections.abc import Mapping

from records.errors import BadInput
from replay.evaluation.result import Finding
from replay.evaluation.rows import EvaluationRows, Floats

SIZE = "sample weight"
"""The term that holds the sample weight."""
LEAST, MOST = 1e-9, 1e9
"""The bounds of a sample weight."""
NAME = "sample_weights"


def sized(terms: dict[str, Floats], rows: EvaluationRows) -> dict[str, Floats]:
    """Return terms multiplied by the sample weight, and the weight as one more term; unchanged without weights."""
    if rows.sample_weight is None:
        return terms
    return {**{name: term * rows.sample_weight for name, term in terms.items()}, SIZE: rows.sample_weight}


def all_alike(rows: EvaluationRows) -> bool:
    """Return whether every row counts as one decision."""
    return rows.sample_weight is None or bool((rows.sample_weight == 1).all())


def unsized(rows: EvaluationRows) -> EvaluationRows:
    """Return the rows if they have no sample weights.

    Raises
    ------
    BadInput
        They have some, and the caller cannot use them.
    """
    if rows.sample_weight is not None:
        raise BadInput("sample_weights", "sample_weight", "a column", "none: only evaluate() takes sample weights")
    return rows


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
        wrong=False,
        says=f"{rows:,} rows count as {size:,.6g} decisions in values, intervals and effective sizes. The checks of "
        "draws, 1 / propensity, copies and time, adaptive weights, and the confidence sequence cannot use sample "
        "weights and are left out",
    )
