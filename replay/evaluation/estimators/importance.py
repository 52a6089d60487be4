"""Estimators by importance weights alone, and the ways to put other weights into the rows.

Every one of them takes the weight that the rows hold: ``target / propensity``, or what :func:`with_weight`,
:func:`with_propensity`, :func:`~replay.evaluation.estimators.loggers.balanced` or
:func:`~replay.evaluation.estimators.embedding.marginal` put there.
"""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from records.errors import BadInput
from replay.evaluation.estimators.estimator import Estimator, Means
from replay.evaluation.rows import EvaluationRows, Floats


@dataclass(frozen=True)
class InversePropensity(Estimator):
    """The mean of weight times reward: ``mean(w r)``. Without bias where the propensities are right, and wide."""

    name = "ips"
    reference = "Horvitz and Thompson 1952, JASA 47:663"

    def terms(self, rows: EvaluationRows) -> dict[str, Floats]:
        """Return weight times reward."""
        return {"w r": rows.weight * rows.reward}

    def value(self, means: Means) -> Any:
        """Return its mean."""
        return means["w r"]


@dataclass(frozen=True)
class SelfNormalised(Estimator):
    """The same divided by the mean weight, ``mean(w r) / mean(w)``: bounded by the rewards, narrower, a little biased.

    Unknown where every weight is 0.
    """

    name = "snips"
    reference = "Swaminathan and Joachims 2015, NeurIPS (SNIPS)"

    def terms(self, rows: EvaluationRows) -> dict[str, Floats]:
        """Return weight times reward, and the weight."""
        return {"w r": rows.weight * rows.reward, "w": rows.weight}

    def value(self, means: Means) -> Any:
        """Return the ratio of their means."""
        return ratio(means["w r"], means["w"])


@dataclass(frozen=True)
class Replay(Estimator):
    """The mean reward of the rows where a deterministic target takes what was logged.

    ``mean([pi = 1] r) / mean([pi = 1])``. For logs in which every action was equally probable; on others it is biased,
    and ``snips`` is not. Rows where the target is random do not count. Unknown where no row matches.
    """

    name = "replay"
    reference = "Li, Chu, Langford, Wang 2011, WSDM (policy evaluator)"

    def terms(self, rows: EvaluationRows) -> dict[str, Floats]:
        """Return whether a row matches, and its reward if it does."""
        match = (rows.target == 1).astype(np.float64)
        return {"[pi = 1]": match, "[pi = 1] r": match * rows.earned}

    def value(self, means: Means) -> Any:
        """Return the ratio of their means."""
        return ratio(means["[pi = 1] r"], means["[pi = 1]"])


def ratio(top: Any, bottom: Any) -> Any:
    """Return a ratio, elementwise; NaN, which stands for unknown, where the bottom is 0.

    Examples
    --------
    >>> float(ratio(1.0, 4.0)), float(ratio(0.0, 0.0))
    (0.25, nan)
    """
    known = np.not_equal(np.real(bottom), 0)
    return np.where(known, np.divide(top, np.where(known, bottom, 1)), np.nan)[()]


def with_weight(rows: EvaluationRows, weight: Floats) -> EvaluationRows:
    """Return the rows with other importance weights; columns derived from the logged propensities are dropped.

    They are those of whole decisions, and weigh the logged rewards, also of ranked lists.

    With weights by a classifier of the target's actions against the logged ones, for logs without propensities,
    :class:`~replay.evaluation.estimators.shrinkage.ClippedSelfNormalised` is the balanced estimator of Sondhi, Arbour,
    Dimmery 2020 (Balanced off-policy evaluation in general action spaces, AISTATS).

    Raises
    ------
    BadInput
        There are not as many weights as rows, or one is negative or not finite.
    """
    weight = np.asarray(weight, dtype=np.float64)
    if weight.shape != rows.reward.shape:
        raise BadInput("wrong_shape", "weight", f"the shape {weight.shape}", f"one a row: {rows.reward.shape}")
    if not (np.isfinite(weight).all() and (weight >= 0).all()):
        wrong = weight[~(np.isfinite(weight) & (weight >= 0))][0]
        raise BadInput("wrong_weight", "weight", f"{wrong}", "finite numbers that are not negative")
    return replace(rows.as_logged(), weight=weight, squared_weight=None)


def with_propensity(rows: EvaluationRows, propensity: Floats) -> EvaluationRows:
    """Return the rows with other propensities, such as those that a model estimated, and with the weights by them.

    Raises
    ------
    BadInput
        There are not as many propensities as rows, or one does not lie above 0 and at or below 1.
    """
    propensity = np.asarray(propensity, dtype=np.float64)
    if propensity.shape != rows.reward.shape:
        found = f"the shape {propensity.shape}"
        raise BadInput("wrong_shape", "propensity", found, f"one a row: {rows.reward.shape}")
    right = (propensity > 0) & (propensity <= 1)
    if not right.all():
        raise BadInput("wrong_propensity", "propensity", f"{propensity[~right][0]}", "numbers above 0, at most 1")
    return with_weight(replace(rows, propensity=propensity), rows.target / propensity)
