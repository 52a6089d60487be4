"""Estimators with a reward model, whose predictions are columns of the rows (:mod:`replay.evaluation.models`).

``q`` is the model's reward of the logged action, ``q(pi)`` its sum over all actions with the target's probabilities.
"""

from dataclasses import dataclass
from typing import Any

from replay.evaluation.estimators.estimator import Estimator, Means, need
from replay.evaluation.estimators.importance import ratio
from replay.evaluation.rows import EvaluationRows, Floats


@dataclass(frozen=True)
class DirectMethod(Estimator):
    """The reward model's word, ``mean(q(pi))``: narrow, and as wrong as the model."""

    name = "dm"
    reference = "Dudik, Langford, Li 2011, ICML (direct method)"
    needs = ("model_target",)

    def terms(self, rows: EvaluationRows) -> dict[str, Floats]:
        """Return the model's reward of the target."""
        return {"q(pi)": model_target(rows)}

    def value(self, means: Means) -> Any:
        """Return its mean."""
        return means["q(pi)"]


@dataclass(frozen=True)
class DoublyRobust(Estimator):
    """The reward model's word, corrected by the weighted rewards: ``mean(q(pi) + w (r - q))``.

    Without bias if the propensities are right, whatever the model; narrower than IPS where the model is good.
    """

    name = "dr"
    reference = "Dudik, Langford, Li 2011, ICML, eq. 1"
    needs = ("model_logged", "model_target")

    def terms(self, rows: EvaluationRows) -> dict[str, Floats]:
        """Return the model's reward of the target, and the correction."""
        return {"q(pi)": model_target(rows), "w (r - q)": rows.weight * residual(rows)}

    def value(self, means: Means) -> Any:
        """Return the sum of their means."""
        return means["q(pi)"] + means["w (r - q)"]


@dataclass(frozen=True)
class SelfNormalisedDoublyRobust(Estimator):
    """The same, its correction divided by the mean weight: ``mean(q(pi)) + mean(w (r - q)) / mean(w)``.

    Unknown where every weight is 0.
    """

    name = "sndr"
    reference = "Dudik, Langford, Li 2011, ICML, eq. 1; Swaminathan and Joachims 2015, NeurIPS (SNIPS)"
    needs = ("model_logged", "model_target")

    def terms(self, rows: EvaluationRows) -> dict[str, Floats]:
        """Return the model's reward of the target, the correction, and the weight."""
        return {"q(pi)": model_target(rows), "w (r - q)": rows.weight * residual(rows), "w": rows.weight}

    def value(self, means: Means) -> Any:
        """Return the sum of the first mean and the ratio of the others."""
        return means["q(pi)"] + ratio(means["w (r - q)"], means["w"])


def model_target(rows: EvaluationRows) -> Floats:
    """Return ``q(pi)``: shape (rows,)."""
    return need(rows.model_target, "model_target")


def residual(rows: EvaluationRows) -> Floats:
    """Return ``r - q``, what the model missed: shape (rows,)."""
    return rows.reward - need(rows.model_logged, "model_logged")


def importance_fit_weights(rows: EvaluationRows) -> Floats:
    """Return with what weight each row enters the fit of a reward model that is to be right where the target goes.

    The importance weight, by which the fit's loss is that of the target's decisions. Shape (rows,).
    """
    return rows.weight


def more_robust_fit_weights(rows: EvaluationRows) -> Floats:
    """Return the fit's weights that make the variance of DR least: ``pi (1 - mu) / mu^2``, shape (rows,).

    Farajtabar, Chow, Ghavamzadeh 2018 (More robust doubly robust off-policy evaluation, ICML) derive it for a
    deterministic target; for others it is what is commonly used.
    """
    weights: Floats = rows.target * (1 - rows.propensity) / rows.propensity**2
    return weights
