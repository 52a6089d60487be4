"""A confidence sequence by betting, for a value that does not change."""

import math
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from records.errors import BadInput, WrongConfiguration
from replay.evaluation.intervals.interval import Analyses
from replay.evaluation.logs.chunk import Range
from replay.evaluation.rows import EvaluationRows, Floats

METHOD = "betting"

CANDIDATES: Floats = np.unique(np.concatenate([np.geomspace(1e-6, 0.01, 240), np.linspace(0.01, 1.0, 1000)]))
"""Fine near 0, where rare rewards have their values, and even elsewhere."""

_LARGEST_STAKE = 0.5
_RUINED = -30.0
_TOGETHER = 16
_STEP_ROWS = 256


@dataclass(slots=True)
class Bettor:
    """What a gambler has who bets that the mean is larger than each candidate; it can only be small where that is true.

    Rows must come in the order of the log, and by one process: a stake depends on all rows before it. The state does
    not grow with the rows. The larger the candidate, the less there is to win: so those that were won against are the
    first ones, and stay excluded; bets that are as good as lost, on the last ones, are given up.

    Attributes
    ----------
    candidates
        For the mean: shape (candidates,), rising.
    capital
        The logarithm of what the gambler has by each that is still bet on: at most as many as candidates.
    won
        How many candidates were excluded: those before the ones that are still bet on.
    """

    miss: float
    candidates: Floats = field(default_factory=lambda: CANDIDATES)
    capital: Floats = field(init=False)
    won: int = field(default=0, init=False)
    rows: int = field(default=0, init=False)
    _total: float = field(default=0.0, init=False)
    _squares: float = field(default=0.0, init=False)

    def __post_init__(self) -> None:
        self.capital = np.zeros_like(self.candidates)

    def add(self, worths: Floats) -> None:
        """Bet on rows whose worths are not negative, and have a mean that is to be found."""
        start = 0
        while start < len(worths):
            # Steps end at the same rows however a log is cut into pieces.
            end = start + _STEP_ROWS - self.rows % _STEP_ROWS
            self._bet(worths[start:end])
            start = end
            if self.rows % _STEP_ROWS == 0:
                self._settle()

    def _bet(self, worths: Floats) -> None:
        number = np.arange(self.rows + 1, self.rows + len(worths) + 1)
        totals = self._total + worths.cumsum()
        guesses = (0.5 + totals) / (number + 1)
        squares = self._squares + ((worths - guesses) ** 2).cumsum()
        before = np.concatenate([[0.25 + self._squares], 0.25 + squares[:-1]]) / number
        stakes = np.sqrt(2 * math.log(1 / self.miss) / (before * number * np.log(number + 1)))
        candidates = self.candidates[self.won : self.won + len(self.capital)]
        stake = np.minimum(stakes[:, None], _LARGEST_STAKE / candidates)
        factors = 1 + stake * (worths[:, None] - candidates)
        for start in range(0, len(worths), _TOGETHER):
            self.capital += np.log(factors[start : start + _TOGETHER].prod(axis=0))
        self.rows, self._total, self._squares = int(number[-1]), float(totals[-1]), float(squares[-1])

    def _settle(self) -> None:
        # Ruined ones are kept for good, which makes the interval wider, if anything.
        won, left = self._winning, int(np.count_nonzero(self.capital > _RUINED))
        self.capital = self.capital[won : max(left, won)]
        self.won += won

    @property
    def _winning(self) -> int:
        return int(np.count_nonzero(self.capital >= -math.log(self.miss)))

    @property
    def bound(self) -> float:
        """The largest candidate that the gambler has won against, or 0: the mean is not below it."""
        won = self.won + self._winning
        return float(self.candidates[won - 1]) if won else 0.0


def betting(
    rows: EvaluationRows,
    analyses: NDArray[np.int64],
    *,
    constant: bool,
    rewards: Range = (0.0, 1.0),
    confidence: float = 0.95,
) -> Analyses:
    """Return the mean of weight times reward at each interim analysis, with intervals that hold simultaneously.

    A gambler bets before each row that its worth is above a candidate for the mean. If the candidate is right the
    capital has no reason to grow: that it ever becomes 1/d times as large has at most the chance d (Waudby-Smith and
    Ramdas 2024, Estimating means of bounded random variables by betting, JRSS B 86:1, theorem 3, the hedged capital
    process with plug-in stakes; for policies Waudby-Smith et al. 2022, arXiv 2210.10768). The upper bound is the lower
    one of what is missing to the largest reward, for which the mean weight has to be 1.

    Parameters
    ----------
    rows
        In the order of the log.
    analyses
        Numbers of rows of the interim analyses.
    constant
        Say that the value was the same in all of the log. Where it drifts the sequence is wrong as often as not; the
        gamma-exponential one allows for that.
    rewards
        The least and the largest that a row may earn. The values that are tried (:data:`CANDIDATES`) are shares of
        the way between them.
    confidence
        How often *all* intervals shall hold.

    Raises
    ------
    WrongConfiguration
        ``constant`` is false.
    BadInput
        A reward is outside of ``rewards``, or ``analyses`` does not increase.

    Examples
    --------
    >>> log = EvaluationRows(reward=np.tile([0.0, 1.0], 500), propensity=np.ones(1000), target=np.ones(1000))
    >>> found = betting(log, np.array([100, 1000]), constant=True)
    >>> bool(found.low[1] > found.low[0]), bool(found.holds(0.5).all())
    (True, True)
    """
    if not constant:
        raise WrongConfiguration("betting: found a value that may change, expected one that is said to be constant")
    least, largest = rewards
    if len(rows) and not (least <= rows.reward.min() and rows.reward.max() <= largest):
        found = f"{rows.reward.min()} to {rows.reward.max()}"
        raise BadInput("outside_bounds", "reward", found, f"{least} to {largest}")
    if (np.diff(analyses, prepend=0) < 1).any() or (len(analyses) and analyses[-1] > len(rows)):
        raise BadInput("wrong_analyses", "analyses", f"{analyses[:5]}", f"rising numbers from 1 to {len(rows)}")
    span = largest - least
    above, below = (Bettor((1 - confidence) / 2) for _ in range(2))
    share = (rows.reward - least) / span
    low, high = np.empty(len(analyses)), np.empty(len(analyses))
    start = 0
    for number, end in enumerate(analyses.tolist()):
        weight, some = rows.weight[start:end], share[start:end]
        above.add(weight * some)
        below.add(weight * (1 - some))
        low[number], high[number] = least + span * above.bound, largest - span * below.bound
        start = end
    value = (rows.weight * rows.reward).cumsum()[analyses - 1] / analyses
    return Analyses(analyses, value, low, high, METHOD)
