"""Estimators that make large weights smaller: less variance, and some bias towards the reward model, or towards 0.

Each has one number, ``lambda_``, which :mod:`replay.evaluation.estimators.tuning` can choose by the data. The names of
the terms hold it with all its digits, so that one pass over a log serves many of them.
"""

import math
from abc import abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from records.errors import WrongConfiguration
from replay.evaluation.estimators.doubly_robust import DoublyRobust, model_target, residual
from replay.evaluation.estimators.estimator import Estimator, Means
from replay.evaluation.estimators.importance import InversePropensity, SelfNormalised, ratio
from replay.evaluation.rows import EvaluationRows, Floats


@dataclass(frozen=True)
class Shrunk(Estimator):
    """An estimator by weights that were made smaller.

    Parameters
    ----------
    lambda_
        Amount of shrinkage; see each class.

    Attributes
    ----------
    plain
        The same estimator with the weights as they are.
    lambdas
        Default candidates for tuning.

    Raises
    ------
    WrongConfiguration
        ``lambda_`` is no number from 0 to ``largest_lambda``.
    """

    lambda_: float
    plain: ClassVar[Estimator]
    lambdas: ClassVar[tuple[float, ...]]
    largest_lambda: ClassVar[float] = math.inf

    def __post_init__(self) -> None:
        if not 0 <= self.lambda_ <= self.largest_lambda:
            expected = f"a number from 0 to {self.largest_lambda:g}"
            raise WrongConfiguration(f"lambda_ of {self.name}: found {self.lambda_!r}, expected {expected}")

    @property
    @abstractmethod
    def formula(self) -> str:
        """Name of the weight in the names of the terms."""

    @abstractmethod
    def shrunk(self, weight: Floats) -> Floats:
        """Return the smaller weights: shape (rows,)."""


class ShrunkInversePropensity(Shrunk):
    """The mean of shrunk weight times reward."""

    plain = InversePropensity()

    def terms(self, rows: EvaluationRows) -> dict[str, Floats]:
        """Return shrunk weight times reward."""
        return {f"{self.formula} r": self.shrunk(rows.weight) * rows.reward}

    def value(self, means: Means) -> Any:
        """Return its mean."""
        return means[f"{self.formula} r"]


class ShrunkDoublyRobust(Shrunk):
    """The reward model's word, corrected by shrunk weights: between DR and the model."""

    needs = ("model_logged", "model_target")
    plain = DoublyRobust()

    def terms(self, rows: EvaluationRows) -> dict[str, Floats]:
        """Return the model's reward of the target, and the correction."""
        return {"q(pi)": model_target(rows), f"{self.formula} (r - q)": self.shrunk(rows.weight) * residual(rows)}

    def value(self, means: Means) -> Any:
        """Return the sum of their means."""
        return means["q(pi)"] + means[f"{self.formula} (r - q)"]


class _Clipped(Shrunk):
    lambdas = (1.0, 3.0, 10.0, 30.0, 100.0, 300.0, 1000.0, math.inf)

    @property
    def formula(self) -> str:
        return f"min(w, {float(self.lambda_)!r})"

    def shrunk(self, weight: Floats) -> Floats:
        """Return no weight above ``lambda_``."""
        return np.minimum(weight, self.lambda_)


class ClippedInversePropensity(_Clipped, ShrunkInversePropensity):
    """``mean(min(w, lambda) r)``: no row weighs more than ``lambda_``; infinity gives IPS.

    Examples
    --------
    >>> rows = EvaluationRows(reward=np.ones(2), propensity=np.array([0.5, 0.01]), target=np.full(2, 0.5))
    >>> InversePropensity().estimate(rows), ClippedInversePropensity(10).estimate(rows)
    (25.5, 5.5)
    """

    name = "clipped-ips"
    reference = "Ionides 2008, JCGS 17:295 (truncated importance sampling); Strehl, Langford, Li, Kakade 2010, NeurIPS"


class ClippedSelfNormalised(_Clipped):
    """``mean(min(w, lambda) r) / mean(min(w, lambda))``: infinity gives SNIPS; unknown where every weight is 0."""

    name = "clipped-snips"
    reference = "Swaminathan and Joachims 2015, NeurIPS (SNIPS), with the weights of Ionides 2008, JCGS 17:295"
    plain = SelfNormalised()

    def terms(self, rows: EvaluationRows) -> dict[str, Floats]:
        """Return clipped weight times reward, and the clipped weight."""
        weight = self.shrunk(rows.weight)
        return {f"{self.formula} r": weight * rows.reward, self.formula: weight}

    def value(self, means: Means) -> Any:
        """Return the ratio of their means."""
        return ratio(means[f"{self.formula} r"], means[self.formula])


class ClippedDoublyRobust(_Clipped, ShrunkDoublyRobust):
    """``mean(q(pi) + min(w, lambda) (r - q))``: infinity gives DR, 0 the direct method."""

    name = "clipped-dr"
    reference = "Su, Dimakopoulou, Krishnamurthy, Dudik 2020, ICML (pessimistic shrinkage)"


class SwitchDoublyRobust(ShrunkDoublyRobust):
    """``mean(q(pi) + [w <= lambda] w (r - q))``: rows of larger weight are left to the model.

    Infinity gives DR, 0 the direct method.
    """

    name = "switch-dr"
    reference = "Wang, Agarwal, Dudik 2017, ICML (SWITCH-DR)"
    lambdas = _Clipped.lambdas

    @property
    def formula(self) -> str:
        """Name of the weight in the names of the terms."""
        return f"[w <= {float(self.lambda_)!r}] w"

    def shrunk(self, weight: Floats) -> Floats:
        """Return 0 for every weight above ``lambda_``."""
        return np.where(weight <= self.lambda_, weight, 0.0)


class OptimisticDoublyRobust(ShrunkDoublyRobust):
    """``mean(q(pi) + lambda w / (w^2 + lambda) (r - q))``: small weights stay, large ones go back to 0.

    Infinity gives DR, 0 the direct method; the weight is largest, sqrt(lambda) / 2, at sqrt(lambda).
    """

    name = "dr-os"
    reference = "Su, Dimakopoulou, Krishnamurthy, Dudik 2020, ICML (optimistic shrinkage)"
    lambdas = (1.0, 10.0, 100.0, 1000.0, 10_000.0, 100_000.0, 1_000_000.0, math.inf)

    @property
    def formula(self) -> str:
        """Name of the weight in the names of the terms."""
        return f"{float(self.lambda_)!r} w / (w^2 + {float(self.lambda_)!r})"

    def shrunk(self, weight: Floats) -> Floats:
        """Return the weights, those above the square root of ``lambda_`` the smaller the larger they were."""
        if not self.lambda_:
            return np.zeros_like(weight)
        # Divided by lambda, so that infinity needs no case of its own; where that overflows, the limit is right.
        with np.errstate(over="ignore"):
            return weight / (1 + (weight / math.sqrt(self.lambda_)) ** 2)


class _HarmonicMean(Shrunk):
    largest_lambda = 1.0
    lambdas = (0.0, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0)

    @property
    def formula(self) -> str:
        return f"w / (1 - {float(self.lambda_)!r} + {float(self.lambda_)!r} w)"

    def shrunk(self, weight: Floats) -> Floats:
        """Return the weighted harmonic mean of the weight and 1; 0 stays 0."""
        divisor = 1 - self.lambda_ + self.lambda_ * weight
        return np.divide(weight, divisor, out=np.zeros_like(weight), where=divisor > 0)


class SubGaussianInversePropensity(_HarmonicMean, ShrunkInversePropensity):
    """``mean(w / (1 - lambda + lambda w) r)``: a smooth clip at ``1 / lambda``; 0 gives IPS, 1 weights of 1."""

    name = "sg-ips"
    reference = "Metelli, Russo, Restelli 2021, NeurIPS, definition 4.1 with s = -1"


class SubGaussianDoublyRobust(_HarmonicMean, ShrunkDoublyRobust):
    """``mean(q(pi) + w / (1 - lambda + lambda w) (r - q))``: 0 gives DR."""

    name = "sg-dr"
    reference = "Metelli, Russo, Restelli 2021, NeurIPS, definition 4.1 with s = -1"
