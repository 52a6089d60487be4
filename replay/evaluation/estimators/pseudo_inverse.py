"""The value of slates by the pseudo-inverse: a reward for the whole slate, and no weight of the whole slate."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from records.errors import BadInput
from replay.evaluation.estimators.estimator import Estimator, Means, need
from replay.evaluation.estimators.slate_rows import Slates
from replay.evaluation.intervals.clopper_pearson import of_mean
from replay.evaluation.intervals.interval import Interval
from replay.evaluation.intervals.weighted_sums import dot
from replay.evaluation.rows import Floats


class PseudoInverse(Estimator[Slates]):
    """The mean of the slate's reward times ``1 + sum_l (w_l - 1)``, where w_l is the weight at position l.

    Right if the expected reward of a slate is a sum of what its positions contribute, and both policies fill the
    positions independently of each other. Weights add up rather than multiply, so it is much narrower than ``sips``;
    one may be below 0.
    """

    name = "pi"
    reference = "Swaminathan et al. 2017, NeurIPS, example 4"
    needs = ("weight_position",)

    def terms(self, rows: Slates) -> dict[str, Floats]:
        """Return the slate's weight times its reward."""
        return {"pi w r": additive_weight(rows) * rows.slate_reward}

    def value(self, means: Means) -> Any:
        """Return its mean."""
        return means["pi w r"]


@dataclass(frozen=True, slots=True)
class PseudoInverseSums:
    """The sums of the pseudo-inverse and its normal interval; ``a + b`` are those of the slates of both.

    As ``slates.pseudo_inverse`` and ``slates.gaussian`` of vw-estimators. Rows that stand for more than one slate have
    a count.

    Attributes
    ----------
    slates
        How many.
    total, squares
        The sum of weight times reward, and that of its square.

    Examples
    --------
    >>> both = [0.5, 0.5, 0.5, 0.5], [1.0, 0.5, 1.0, 0.5]
    >>> rows = Slates.of(slate=[1, 1, 2, 2], position=[0, 1, 0, 1], reward=[1, 0, 1, 1], marginal=both)
    >>> sums = PseudoInverseSums.of(rows)
    >>> sums.value, sums == PseudoInverseSums.of(rows.where([0])) + PseudoInverseSums.of(rows.where([1]))
    (3.0, True)
    """

    slates: float = 0.0
    total: float = 0.0
    squares: float = 0.0

    @classmethod
    def of(cls, rows: Slates, count: ArrayLike | None = None) -> "PseudoInverseSums":
        """Return the sums over some slates.

        Parameters
        ----------
        rows
            The slates, with weights per position.
        count
            For how many slates each one stands: shape (slates,); 1 if None.

        Raises
        ------
        BadInput
            There are no weights per position, or a count is negative or not finite.
        """
        worth = additive_weight(rows) * rows.slate_reward
        many = np.ones(len(rows)) if count is None else np.asarray(count, dtype=np.float64)
        if many.shape != worth.shape:
            raise BadInput("wrong_shape", "count", f"the shape {many.shape}", f"one a slate: {worth.shape}")
        if not (np.isfinite(many) & (many >= 0)).all():
            raise BadInput("wrong_count", "count", str(many[~(many >= 0)][:1]), "finite numbers that are not negative")
        return cls(float(many.sum()), dot(worth, many), dot(worth * worth, many))

    def __add__(self, other: "PseudoInverseSums") -> "PseudoInverseSums":
        return PseudoInverseSums(self.slates + other.slates, self.total + other.total, self.squares + other.squares)

    @property
    def value(self) -> float | None:
        """The mean of weight times reward; None of no slates."""
        return self.total / self.slates if self.slates else None

    def interval(self, *, alpha: float = 0.05) -> Interval:
        """Return the value and its normal interval; unbounded of one slate.

        Raises
        ------
        WrongConfiguration
            ``alpha``, the chance of a miss, does not lie between 0 and 1.
        """
        return of_mean(self.slates, self.total, self.squares, alpha=alpha)


def additive_weight(rows: Slates) -> Floats:
    """Return ``1 + sum_l (w_l - 1)``: shape (slates,)."""
    return 1 + rows.per_slate(need(rows.weight_position, "weight_position") - 1)
