"""Logs of several policies that were fixed in advance, such as the arms of a test.

The naive estimate, with each row's own propensity, is ``ips`` or ``dr``. Two methods use such a log better: *balanced*
rows, for any estimator, and *weighted* estimators, which give more weight to loggers whose rows vary less.
``EvaluationRows.version`` holds the logger's number, from 0.

Neither is valid if the loggers are versions of one policy that learned from the rows, because later versions depend on
earlier rewards (:mod:`replay.evaluation.estimators.adaptive`).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from records.errors import BadInput, WrongConfiguration
from replay.evaluation.estimators.doubly_robust import model_target, residual
from replay.evaluation.estimators.estimator import Estimator, Means, need
from replay.evaluation.estimators.importance import with_propensity
from replay.evaluation.rows import EvaluationRows, Floats


def balanced(rows: EvaluationRows, propensities: ArrayLike, shares: ArrayLike) -> EvaluationRows:
    """Return the rows with the weights ``pi(a|x) / sum over k of share_k mu_k(a|x)``, as if one policy had logged them.

    Every estimator on these rows is its balanced form (Agarwal, Basu, Schnabel, Joachims 2017, Effective evaluation
    using logged bandit feedback from multiple loggers, KDD: balanced IPS; Kallus, Saito, Uehara 2021, Optimal
    off-policy evaluation from multiple logging policies, ICML: standard IS). Its weights are never larger than the
    largest of the naive ones, and need every logger's probability of every logged action. Right for loggers that were
    fixed beforehand. Over the versions of one learner it is biased: a version that was made by lucky rewards of an
    action takes part in the weights of these very rewards.

    Parameters
    ----------
    rows
        Of all loggers.
    propensities
        Each logger's probability of the logged action of each row: shape (rows, loggers).
    shares
        Of the rows by logger; scaled to a sum of 1: shape (loggers,).

    Raises
    ------
    BadInput
        Shapes do not fit, a share is negative or all are 0, or no logger could have logged some row's action.

    Examples
    --------
    >>> rows = EvaluationRows(reward=np.ones(2), propensity=np.array([0.5, 0.1]), target=np.array([0.4, 0.4]))
    >>> balanced(rows, [[0.5, 0.1], [0.5, 0.1]], [1, 1]).weight.round(3).tolist()
    [1.333, 1.333]
    """
    of_logger, share = np.asarray(propensities, dtype=np.float64), np.asarray(shares, dtype=np.float64)
    if share.ndim != 1 or of_logger.shape != (len(rows), len(share)):
        found = f"the shape {of_logger.shape}"
        raise BadInput("wrong_shape", "propensities", found, f"(rows, loggers): ({len(rows)}, {share.size})")
    if not (np.isfinite(share).all() and (share >= 0).all() and share.sum() > 0):
        raise BadInput("wrong_share", "shares", str(share.tolist()), "numbers that are not negative, not all 0")
    return with_propensity(rows, of_logger @ (share / share.sum()))


def shares_of(logger: NDArray[np.integer[Any]], loggers: int) -> Floats:
    """Return each logger's share of the rows: shape (loggers,)."""
    return np.bincount(logger, minlength=loggers) / len(logger)


@dataclass(frozen=True)
class _Weighted(Estimator):
    """An estimator that weighs loggers by how little their rows' worths vary.

    Parameters
    ----------
    loggers
        How many there are.
    lambda_
        No importance weight is larger.

    Raises
    ------
    WrongConfiguration
        There is not even one logger, or ``lambda_`` is no number from 0 on.
    """

    loggers: int
    lambda_: float = np.inf

    def __post_init__(self) -> None:
        if self.loggers < 1:
            raise WrongConfiguration(f"loggers of {self.name}: found {self.loggers}, expected at least 1")
        if not self.lambda_ >= 0:
            raise WrongConfiguration(f"lambda_ of {self.name}: found {self.lambda_!r}, expected a number from 0")

    def _of_logger(self, logger: int) -> str:
        return f"[k = {logger}]"

    def _weight(self) -> str:
        return "w" if self.lambda_ == np.inf else f"min(w, {float(self.lambda_)!r})"

    def _apart(self, rows: EvaluationRows, columns: Mapping[str, Floats]) -> dict[str, Floats]:
        """Return the columns of each logger alone, 0 in the rows of the others; and which rows are its own."""
        version = need(rows.version, "version")
        if len(rows) and not (version.min() >= 0 and version.max() < self.loggers):
            found = f"{version.min()} to {version.max()}"
            raise BadInput("wrong_logger", "version", found, f"loggers from 0 to {self.loggers - 1}")
        found_terms = {}
        for logger in range(self.loggers):
            own = (version == logger).astype(np.float64)
            found_terms[self._of_logger(logger)] = own
            for name, column in columns.items():
                found_terms[f"{self._of_logger(logger)} {name}"] = own * column
        return found_terms

    def _says(self, means: Means, worth: str) -> list[Any]:
        """Return the relative weight of each logger: 1 / variance, with a mean of 1 over all rows.

        All weights are equal if the rows of one logger do not vary (by a millionth of their size): its variance is
        unknown, such as before its first reward.
        """
        shares = [means[self._of_logger(logger)] for logger in range(self.loggers)]
        there = [np.real(share) > 0 for share in shares]
        precisions = []
        known: Any = True
        for logger, share in enumerate(shares):
            count = np.where(there[logger], share, 1)
            mean = means[f"{self._of_logger(logger)} {worth}"] / count
            square = means[f"{self._of_logger(logger)} ({worth})^2"] / count
            variance = square - mean**2
            # Where the worths are all the same, what is left of the difference is rounding.
            varies = np.real(variance) > 1e-12 * np.real(square)
            known = known & np.logical_or(varies, np.logical_not(there[logger]))
            precisions.append(1 / np.where(varies, variance, 1))
        total = sum(share * precision for share, precision in zip(shares, precisions, strict=True))
        # Without any row there is nothing to divide by.
        known = known & (np.real(total) > 0)
        total = np.where(known, total, 1)
        return [np.where(known, precision / total, 1) for precision in precisions]


class WeightedInversePropensity(_Weighted):
    """IPS with the loggers weighed: ``sum over k of say_k mean([k] w r)``.

    ``say_k`` is inverse to the variance of ``w r`` in the logger's rows, and 1 on average over all rows.
    """

    name = "weighted-ips"
    reference = "Agarwal, Basu, Schnabel, Joachims 2017, KDD (weighted IPS)"
    needs = ("version",)

    def terms(self, rows: EvaluationRows) -> dict[str, Floats]:
        """Return each logger's share, worth and squared worth."""
        worth = np.minimum(rows.weight, self.lambda_) * rows.reward
        name = f"{self._weight()} r"
        return self._apart(rows, {name: worth, f"({name})^2": worth**2})

    def value(self, means: Means) -> Any:
        """Return the weighted sum over loggers."""
        name = f"{self._weight()} r"
        says = self._says(means, name)
        return sum(say * means[f"{self._of_logger(logger)} {name}"] for logger, say in enumerate(says))


@dataclass(frozen=True)
class WeightedDoublyRobust(_Weighted):
    """DR with the loggers weighed: ``mean(q(pi)) + sum over k of say_k mean([k] w (r - q))``.

    ``say_k`` is inverse to the variance of ``q(pi) + w (r - q)`` in the logger's rows, and 1 on average over all rows.

    Parameters
    ----------
    weigh_model
        Whether to weight the model's prediction ``q(pi)``, too, as in the paper; otherwise it counts equally in all
        rows, since their contexts do not depend on the logger (as in the Open Bandit Pipeline).
    """

    weigh_model: bool = False
    name = "weighted-dr"
    reference = "Kallus, Saito, Uehara 2021, ICML (precision weighted DR)"
    needs = ("version", "model_logged", "model_target")

    def terms(self, rows: EvaluationRows) -> dict[str, Floats]:
        """Return each logger's share, worth, squared worth and correction, and the model's reward of the target."""
        correction = np.minimum(rows.weight, self.lambda_) * residual(rows)
        worth = model_target(rows) + correction
        worths = {self._worth(): worth, f"({self._worth()})^2": worth**2, self._correction(): correction}
        return {"q(pi)": model_target(rows), **self._apart(rows, worths)}

    def value(self, means: Means) -> Any:
        """Return the weighted sum over loggers."""
        says = self._says(means, self._worth())
        part = self._worth() if self.weigh_model else self._correction()
        said = sum(say * means[f"{self._of_logger(logger)} {part}"] for logger, say in enumerate(says))
        return said if self.weigh_model else means["q(pi)"] + said

    def _correction(self) -> str:
        return f"{self._weight()} (r - q)"

    def _worth(self) -> str:
        return f"q(pi) + {self._correction()}"
