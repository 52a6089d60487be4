"""Estimators with weights balanced over several loggers, on rows with ``mean_propensity``.

The weight is ``b = pi(a|x) / sum over k of share_k mu_k(a|x)``: that of
:func:`~replay.evaluation.estimators.loggers.balanced`, which replaces the plain weight by it in rows at hand.

It is valid if the loggers were fixed in advance, and were assigned independently of the context, as in a test.
Over the versions of one learner it is biased (see :mod:`replay.evaluation.estimators.adaptive`).
"""

from abc import ABC
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from replay.evaluation.estimators.doubly_robust import DoublyRobust
from replay.evaluation.estimators.estimator import Estimator, Means, need
from replay.evaluation.estimators.importance import InversePropensity, SelfNormalised, with_weight
from replay.evaluation.rows import EvaluationRows, Floats

PREFIX = "balanced-"
"""Prefix of their names."""
_TERM = "balanced "


def with_balanced_weights(rows: EvaluationRows) -> EvaluationRows:
    """Return the rows with balanced weights; columns that describe the plain weights are dropped.

    Propensities stay what was logged: draws are checked against them.

    Raises
    ------
    BadInput
        The rows lack ``mean_propensity``, or a weight by it is not finite.

    Examples
    --------
    >>> import numpy as np
    >>> half = np.array([0.5])
    >>> rows = EvaluationRows(reward=half, propensity=np.ones(1), target=half, mean_propensity=half)
    >>> with_balanced_weights(rows).weight.tolist()
    [1.0]
    """
    weight = rows.target / need(rows.mean_propensity, "mean_propensity")
    return replace(with_weight(rows, weight), unseen=None)


class Balanced(Estimator, ABC):
    """An estimator on balanced weights.

    Attributes
    ----------
    plain
        The same on plain ones.
    """

    plain: ClassVar[Estimator]

    def terms(self, rows: EvaluationRows) -> dict[str, Floats]:
        """Return the terms of the plain one on balanced weights, under names of their own."""
        return {_TERM + name: column for name, column in self.plain.terms(with_balanced_weights(rows)).items()}

    def value(self, means: Means) -> Any:
        """Return the value of the plain one."""
        own = {name.removeprefix(_TERM): mean for name, mean in means.items() if name.startswith(_TERM)}
        return self.plain.value(own)


@dataclass(frozen=True)
class BalancedInversePropensity(Balanced):
    """The mean of balanced weight times reward: ``mean(b r)``. Never heavier weights than the plain ones' largest."""

    name = "balanced-ips"
    reference = "Agarwal, Basu, Schnabel, Joachims 2017, KDD (balanced IPS)"
    needs = ("mean_propensity",)
    plain = InversePropensity()


@dataclass(frozen=True)
class BalancedSelfNormalised(Balanced):
    """The same divided by the mean weight: ``mean(b r) / mean(b)``."""

    name = "balanced-snips"
    reference = (
        "Agarwal, Basu, Schnabel, Joachims 2017, KDD (balanced IPS); Swaminathan and Joachims 2015, NeurIPS (SNIPS)"
    )
    needs = ("mean_propensity",)
    plain = SelfNormalised()


@dataclass(frozen=True)
class BalancedDoublyRobust(Balanced):
    """The same with a reward model: ``mean(q(pi) + b (r - q))``."""

    name = "balanced-dr"
    reference = "Kallus, Saito, Uehara 2021, ICML (balanced DR)"
    needs = ("mean_propensity", "model_logged", "model_target")
    plain = DoublyRobust()
