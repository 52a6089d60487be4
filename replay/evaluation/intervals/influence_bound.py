"""The influence bound: how far a single row could move a value, including rows that were not observed yet."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from replay.evaluation.estimators.estimator import Estimator, all_terms
from replay.evaluation.rows import EvaluationRows, Floats

GUESS = 1.0
"""Largest possible reward if none is given and no row has a reward."""


@dataclass(frozen=True, slots=True)
class InfluenceBound:
    """The influence bound: the most extreme rows if every row had the largest, or the least, possible reward.

    For each term these are the rows in which it is smallest and largest, with all their terms. ``a + b`` is the bound
    for the rows of both; it assumes that terms are linear in the reward, as those of all estimators are.

    Attributes
    ----------
    names
        Names of the k terms.
    least, largest
        Range of rewards.
    guessed
        Whether ``largest`` is a guess because no row has a reward.
    rows
        Terms of the most extreme rows with the least and with the largest reward: shape (4 k, 2, k). The first 2 k are
        extreme with the largest reward, the others with the least; in each half the i-th has the smallest and the
        (k + i)-th the largest term i. Empty without rows.
    seen
        The smallest and the largest reward that was logged.
    given
        Whether the largest possible reward is given.
    """

    names: tuple[str, ...]
    least: float
    largest: float
    guessed: bool
    rows: Floats
    seen: tuple[float, float] = (math.inf, -math.inf)
    given: bool = False

    @property
    def constant(self) -> float | None:
        """The only reward that was seen, where nothing says what else one can be; of 0 and 1 the other is assumed."""
        least, most = self.seen
        return None if self.given or least != most or least in (0.0, GUESS) else least

    @classmethod
    def of(
        cls, estimators: Sequence[Estimator], rows: EvaluationRows, *, least: float = 0.0, largest: float | None = None
    ) -> "InfluenceBound":
        """Return the influence bound of some rows.

        Parameters
        ----------
        estimators
            Estimators whose terms to use.
        rows
            The rows; may be empty.
        least, largest
            Range of rewards, widened to the observed ones. By default ``largest`` is the observed maximum.

        Examples
        --------
        >>> from replay.evaluation.estimators.importance import InversePropensity
        >>> rows = EvaluationRows(reward=np.zeros(2), propensity=np.array([0.5, 0.1]), target=np.array([0.5, 0.5]))
        >>> bound = InfluenceBound.of([InversePropensity()], rows)
        >>> bound.largest, bound.steps({"w r": 1.0}, {"w r": 0.0}, rows=2)
        (1.0, (2.5, 0.0))
        """

        def terms(reward: float) -> dict[str, Floats]:
            return all_terms(estimators, rows.with_reward(reward))

        return cls.by(terms, rows.rewards, least=least, largest=largest)

    @classmethod
    def by(
        cls,
        terms: Callable[[float], dict[str, Floats]],
        rewards: Sequence[Floats],
        *,
        least: float = 0.0,
        largest: float | None = None,
    ) -> "InfluenceBound":
        """Return the influence bound of rows whose terms are those of a function of what each of them earns.

        Parameters
        ----------
        terms
            It returns them.
        rewards
            What the rows did earn, of shape (rows,): as it was logged, then as estimators weigh it.
        least, largest
            As for :meth:`of`.
        """
        ranges = [(float(each.min(initial=math.inf)), float(each.max(initial=-math.inf))) for each in rewards]
        given = largest is not None
        least = min(least, *(low for low, _ in ranges))
        highest = max(least if largest is None else largest, *(high for _, high in ranges))
        guessed = largest is None and highest <= least
        largest = max(GUESS, least + GUESS) if guessed else highest
        ends = [terms(reward) for reward in (least, largest)]
        names = tuple(ends[0])
        if not len(rewards[0]):
            return cls(names, least, largest, guessed, np.empty((0, 2, len(names))), ranges[0], given)
        which = [
            int(choose(end[name])) for end in (ends[1], ends[0]) for choose in (np.argmin, np.argmax) for name in names
        ]
        rows = np.stack([np.stack([end[name][which] for name in names], axis=1) for end in ends], axis=1)
        return cls(names, least, largest, guessed, rows, ranges[0], given)

    def __add__(self, other: "InfluenceBound") -> "InfluenceBound":
        if self.names != other.names:
            raise ValueError(
                f"expected the influence bound of {', '.join(self.names)}; found that of {', '.join(other.names)}"
            )
        # What was seen is better than a guess.
        both = [each.largest for each in (self, other) if each.guessed == (self.guessed and other.guessed)]
        least, largest = min(self.least, other.least), max(both)
        left, right = self._with(least, largest), other._with(least, largest)
        rows = _further(left, right) if len(left) and len(right) else left if len(left) else right
        seen = min(self.seen[0], other.seen[0]), max(self.seen[1], other.seen[1])
        return InfluenceBound(
            self.names, least, largest, self.guessed and other.guessed, rows, seen, self.given or other.given
        )

    def _with(self, least: float, largest: float) -> Floats:
        """Return the rows, had they earned other rewards."""
        low, high = self.rows[:, :1], self.rows[:, 1:]
        if self.largest == self.least:
            return self.rows
        share: NDArray[Any] = (np.array([least, largest]) - self.least) / (self.largest - self.least)
        rows: Floats = low + (high - low) * share[:, None]
        return rows

    def steps(self, slopes: Mapping[str, float], means: Mapping[str, float], rows: int) -> tuple[float, float]:
        """Return by how much one more row could lift the value, and lower it; neither is negative.

        Parameters
        ----------
        slopes, means
            The value's derivative by each term's mean, and the mean; a term that has no slope does not count.
        rows
            How many rows the means are of.
        """
        slope = np.array([slopes.get(name, 0.0) for name in self.names])
        mean = np.array([means.get(name, 0.0) for name in self.names])
        moved = (self.rows - mean) @ slope
        return float(moved.max(initial=0.0)) / rows, float((-moved).max(initial=0.0)) / rows


def _further(one: Floats, other: Floats) -> Floats:
    """Return of each term the row that is further out; of the left ones where they are as far."""
    terms = one.shape[2]

    def far(rows: Floats) -> Floats:
        found = [
            rows[2 * half * terms + side * terms + term, 1 - half, term] * (2 * side - 1)
            for half in (0, 1)
            for side in (0, 1)
            for term in range(terms)
        ]
        return np.array(found)

    return np.where((far(other) > far(one))[:, None, None], other, one)
