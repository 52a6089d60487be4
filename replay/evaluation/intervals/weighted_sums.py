"""The sums over a log that the intervals of Vowpal Wabbit's practice are made of: all of them from one pass."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TypedDict, Unpack

import numpy as np
from numpy.typing import ArrayLike

from records.errors import BadInput
from replay.evaluation.moments import Moments
from replay.evaluation.rows import Floats


class Dropped(TypedDict, total=False):
    """What is known of rows that were dropped before they were logged.

    Attributes
    ----------
    p_drop
        The probability that a row was dropped, by a coin that knew nothing of its reward. It is part of a row's
        propensity, so weights grow by ``1 / (1 - p_drop)``. One for all rows, or one a row.
    n_drop
        How many were dropped between the previous row and this one; by default their expectation,
        ``p_drop / (1 - p_drop)``.
    """

    p_drop: ArrayLike | None
    n_drop: ArrayLike | None


@dataclass(frozen=True, slots=True, kw_only=True)
class WeightedSums:
    """Sums over rows with the weight w and the reward r; ``a + b`` are those over the rows of both.

    Attributes
    ----------
    rows
        How many rows, and how many more were dropped before they were logged.
    w, ww, wr, wwr, wwrr, r
        The sum over the rows of w, w^2, w r, w^2 r, w^2 r^2 and r.
    least_weight, most_weight, least_reward, most_reward
        The smallest and the largest; inf and -inf of no rows.
    """

    rows: float = 0.0
    w: float = 0.0
    ww: float = 0.0
    wr: float = 0.0
    wwr: float = 0.0
    wwrr: float = 0.0
    r: float = 0.0
    least_weight: float = math.inf
    most_weight: float = -math.inf
    least_reward: float = math.inf
    most_reward: float = -math.inf

    @classmethod
    def of(cls, weight: ArrayLike, reward: ArrayLike, **drops: Unpack[Dropped]) -> "WeightedSums":
        """Return the sums over some rows; parameters and errors are those of :func:`checked`.

        Examples
        --------
        >>> both = WeightedSums.of([2.0, 0.5], [1.0, 0.0]) + WeightedSums.of([0.5], [1.0])
        >>> both.rows, both.w, both.wr, both.most_weight
        (3.0, 3.0, 2.5, 2.0)
        """
        w, r, dropped = checked(weight, reward, **drops)
        if not w.size:
            return cls()
        square = w * w
        return cls(
            rows=w.size + (0.0 if dropped is None else float(dropped.sum())),
            w=float(w.sum()),
            ww=float(square.sum()),
            wr=dot(w, r),
            wwr=dot(square, r),
            wwrr=dot(square, r * r),
            r=float(r.sum()),
            least_weight=float(w.min()),
            most_weight=float(w.max()),
            least_reward=float(r.min()),
            most_reward=float(r.max()),
        )

    @classmethod
    def of_moments(
        cls, moments: Moments, *, weight: str = "w", worth: str = "w r", reward: str = "r"
    ) -> "WeightedSums":
        """Return the sums from moments that are there already, by the names of their columns.

        Raises
        ------
        BadInput
            A column is missing.

        Examples
        --------
        >>> weights, rewards = np.array([2.0, 0.5, 0.5]), np.array([1.0, 0.0, 1.0])
        >>> sums = WeightedSums.of_moments(Moments.of({"w": weights, "w r": weights * rewards, "r": rewards}))
        >>> round(sums.ww, 9), round(sums.wwr, 9), round(sums.wwrr, 9)
        (4.5, 4.25, 4.25)
        """
        missing = [name for name in (weight, worth, reward) if name not in moments.names]
        if missing:
            raise BadInput("no_column", "moments", ", ".join(moments.names), f"a column {missing[0]}")
        if not moments.rows:
            return cls()
        w, wr, r = (moments.names.index(name) for name in (weight, worth, reward))
        products = moments.comoment + moments.rows * np.outer(moments.mean, moments.mean)
        sums = moments.rows * moments.mean
        return cls(
            rows=float(moments.rows),
            w=float(sums[w]),
            ww=float(products[w, w]),
            wr=float(sums[wr]),
            wwr=float(products[w, wr]),
            wwrr=float(products[wr, wr]),
            r=float(sums[r]),
            least_weight=float(moments.low[w]),
            most_weight=float(moments.high[w]),
            least_reward=float(moments.low[r]),
            most_reward=float(moments.high[r]),
        )

    def __add__(self, other: "WeightedSums") -> "WeightedSums":
        return WeightedSums(
            rows=self.rows + other.rows,
            w=self.w + other.w,
            ww=self.ww + other.ww,
            wr=self.wr + other.wr,
            wwr=self.wwr + other.wwr,
            wwrr=self.wwrr + other.wwrr,
            r=self.r + other.r,
            least_weight=min(self.least_weight, other.least_weight),
            most_weight=max(self.most_weight, other.most_weight),
            least_reward=min(self.least_reward, other.least_reward),
            most_reward=max(self.most_reward, other.most_reward),
        )

    @property
    def ips(self) -> float | None:
        """The mean of weight times reward; None of no rows."""
        return self.wr / self.rows if self.rows else None

    @property
    def snips(self) -> float | None:
        """The same divided by the mean weight; None where all weights are 0."""
        return self.wr / self.w if self.w else None

    def check_rewards(self, rmin: float, rmax: float) -> None:
        """Refuse rewards that lie outside of the bounds that an interval was promised.

        Raises
        ------
        BadInput
            There is one.
        """
        if self.rows and not (rmin <= self.least_reward and self.most_reward <= rmax):
            found = f"rewards from {self.least_reward!r} to {self.most_reward!r}"
            raise BadInput("reward_out_of_bounds", "reward", found, f"rewards from {rmin!r} to {rmax!r}")


def cumulative(weight: ArrayLike, reward: ArrayLike, analyses: Sequence[int]) -> Iterator[WeightedSums]:
    """Yield the sums over the first so many rows, for each of some rising numbers of rows."""
    w, r, _ = checked(weight, reward)
    sums, done = WeightedSums(), 0
    for rows in analyses:
        sums = sums + WeightedSums.of(w[done:rows], r[done:rows])
        done = rows
        yield sums


def checked(weight: ArrayLike, reward: ArrayLike, **drops: Unpack[Dropped]) -> tuple[Floats, Floats, Floats | None]:
    """Return weights, rewards, and how many rows were dropped right before each; shape (rows,) each.

    Parameters
    ----------
    weight
        Importance weights, not negative.
    reward
        The rewards.
    drops
        See :class:`Dropped`.

    Raises
    ------
    BadInput
        The lengths differ, a number is not finite, a weight is negative, or a drop is impossible.
    """
    w, r = np.asarray(weight, dtype=np.float64), np.asarray(reward, dtype=np.float64)
    if w.ndim != 1 or w.shape != r.shape:
        raise BadInput("wrong_shape", "weight and reward", f"shapes {w.shape} and {r.shape}", "one number a row each")
    for name, column in (("weight", w), ("reward", r)):
        if not np.isfinite(column).all():
            raise BadInput("not_finite", name, str(column[~np.isfinite(column)][0]), "finite numbers")
    if w.size and w.min() < 0:
        raise BadInput("wrong_weight", "weight", str(w.min()), "weights that are not negative")
    p_drop, n_drop = drops.get("p_drop"), drops.get("n_drop")
    if p_drop is None and n_drop is None:
        return w, r, None
    share = np.broadcast_to(np.asarray(0.0 if p_drop is None else p_drop, dtype=np.float64), w.shape)
    if not ((share >= 0) & (share < 1)).all():
        raise BadInput("wrong_probability", "p_drop", str(share[~((share >= 0) & (share < 1))][0]), "from 0 to below 1")
    number = share / (1 - share) if n_drop is None else np.broadcast_to(np.asarray(n_drop, dtype=np.float64), w.shape)
    if not (np.isfinite(number) & (number >= 0)).all():
        raise BadInput("wrong_number", "n_drop", str(number[~(number >= 0)][:1]), "numbers that are not negative")
    return w / (1 - share), r, number


def dot(one: Floats, other: Floats) -> float:
    """Return the sum of products; of the same bits whatever the number of threads, which a BLAS does not promise."""
    return float(np.einsum("i,i->", one, other))
