"""The value by maximum likelihood: the one whose rows' probabilities make the log most likely."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import brentq

from records.errors import WrongConfiguration
from replay.evaluation.intervals.weighted_sums import checked
from replay.evaluation.rows import EvaluationRows, Floats
from replay.evaluation.sample_weights import unsized


@dataclass(frozen=True, slots=True)
class WeightTable:
    """The rows of a log by their importance weights: all that the likelihood needs.

    ``a + b`` is the table of the rows of both, with the same bits whichever comes first. It has a line a weight, so
    its size is bounded where a log has few different weights, and else grows with the log.

    Attributes
    ----------
    weight
        The different weights, rising: shape (weights,).
    rows
        How many rows each has: shape (weights,).
    reward
        The sum of their rewards: shape (weights,).
    """

    weight: Floats
    rows: NDArray[np.int64]
    reward: Floats

    @classmethod
    def of(cls, weight: ArrayLike, reward: ArrayLike) -> "WeightTable":
        """Return the table of some rows: shape (rows,) each.

        Raises
        ------
        BadInput
            The lengths differ, a number is not finite, or a weight is negative.

        Examples
        --------
        >>> table = WeightTable.of([2.0, 0.5], [1.0, 0.0]) + WeightTable.of([0.5], [1.0])
        >>> table.weight.tolist(), table.rows.tolist(), table.reward.tolist()
        ([0.5, 2.0], [2, 1], [1.0, 1.0])
        """
        w, r, _ = checked(weight, reward)
        return cls._grouped(w, np.ones(len(w), dtype=np.int64), r)

    @classmethod
    def _grouped(cls, weight: Floats, rows: NDArray[np.int64], reward: Floats) -> "WeightTable":
        order = np.argsort(weight, kind="stable")
        weight = weight[order]
        starts = np.flatnonzero(np.append(True, weight[1:] != weight[:-1])[: len(weight)])
        if not len(starts):
            return cls(weight, rows, reward)
        return cls(weight[starts], np.add.reduceat(rows[order], starts), np.add.reduceat(reward[order], starts))

    def __add__(self, other: "WeightTable") -> "WeightTable":
        return self._grouped(
            np.concatenate([self.weight, other.weight]),
            np.concatenate([self.rows, other.rows]),
            np.concatenate([self.reward, other.reward]),
        )


@dataclass(frozen=True)
class MaximumLikelihood:
    """The value by empirical likelihood, under the condition that the mean weight is 1.

    Every row has an unknown probability; the likeliest ones that give a mean weight of 1 are
    ``1 / (beta (w - 1) + rows)``, and the value is the mean of weight times reward under them. What they leave over
    belongs to weights that were not seen, and gets the mean reward. Near to SNIPS, and narrower where weights are
    heavy. Assumes a mean weight of 1: wrong propensities make it wrong without a sign.

    No function of means, since beta depends on all weights: so it has no delta method, and a bootstrap would have to
    find beta again each time. :class:`~replay.evaluation.intervals.cressie_read.CressieRead` is its neighbour in closed
    form, with an interval. As ``mle`` of vw-estimators.

    Parameters
    ----------
    wmin, wmax
        The smallest and the largest weight that is possible, below and above 1; true bounds make it better. Weights
        beyond them widen them.

    Raises
    ------
    WrongConfiguration
        The bounds do not enclose 1.

    References
    ----------
    Karampatziakis, Langford, Mineiro 2020, Empirical likelihood for contextual bandits, NeurIPS: the maximum
    likelihood estimator.

    Examples
    --------
    >>> round(MaximumLikelihood().value(WeightTable.of([2.0, 0.5, 0.5], [1.0, 0.0, 1.0])), 4)
    0.6667
    """

    name = "mle"
    reference = "Karampatziakis, Langford, Mineiro 2020, NeurIPS (maximum likelihood)"

    wmin: float = 0.0
    wmax: float = math.inf

    def __post_init__(self) -> None:
        if not 0 <= self.wmin < 1 < self.wmax:
            found = f"{self.wmin!r} and {self.wmax!r}"
            raise WrongConfiguration(f"wmin and wmax: found {found}, expected 0 <= wmin < 1 < wmax")

    def estimate(self, rows: EvaluationRows) -> float | None:
        """Return the value on rows that are at hand; None of no rows."""
        return self.value(WeightTable.of(unsized(rows).weight, rows.reward))

    def value(self, table: WeightTable) -> float | None:
        """Return the value; None of no rows."""
        n = int(table.rows.sum())
        if not n:
            return None
        excess = table.weight - 1
        beta = self._beta(table, n)
        likely = 1 / (excess * beta + n)
        missing = max(0.0, 1.0 - float((table.rows * table.weight * likely).sum()))
        return float((table.weight * table.reward * likely).sum()) + missing * float(table.reward.sum()) / n

    def _beta(self, table: WeightTable, n: int) -> float:
        """Return the multiplier of the condition on the mean weight, for ``n`` rows."""
        excess = table.weight - 1
        smallest, largest = min(self.wmin, float(table.weight[0])), max(self.wmax, float(table.weight[-1]))
        # No row may have a probability above 1, nor may an unseen one of the smallest or the largest weight.
        below, above = excess[excess < 0], excess[excess > 0]
        low = 0.0 if math.isinf(largest) else n / (1 - largest)
        high = n / (1 - smallest)
        if above.size:
            low = max(low, -(n - 1) / float(above[-1]))
        if below.size:
            high = min(high, -(n - 1) / float(below[0]))

        def slope(beta: float) -> float:
            return float((table.rows * excess / (excess * beta + n)).sum())

        at_low, at_high = slope(low), slope(high)
        if at_low * at_high < 0:
            return float(brentq(slope, low, high))
        return low if at_low < 0 else high
