"""A confidence sequence for a policy's value: it holds for any number of interim analyses and any stopping time.

Three ways lead through a log, all to the same bounds but for the guess that rows are measured by:

- Rows in memory: :meth:`GammaExponential.sequence`, after any numbers of rows.
- In the order of the log, from a state of constant size: :class:`Progress`, a guess a row. It cannot be cut into
  pieces that do not depend on earlier rows.
- Blocks of the log by any number of processes, in one pass:
  :class:`~replay.evaluation.intervals.log_segments.LogSegments`, a guess a segment of rows, by all rows before it; the
  segments grow with the log. Sums of segments are plain sums, so they are taken apart from the guesses, which are put
  in at the end.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Unpack

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import zeta

from records.errors import WrongConfiguration
from replay.evaluation.intervals.clopper_pearson import check_bounds
from replay.evaluation.intervals.gamma_mixture import MixtureSums, bounds
from replay.evaluation.intervals.interval import Analyses, Interval
from replay.evaluation.intervals.weighted_sums import Dropped, WeightedSums, checked, dot
from replay.evaluation.rows import Floats

# So many rows of some columns fit into the processor's cache.
_STEP_ROWS = 16_384


@dataclass(frozen=True, slots=True, kw_only=True)
class Guessed:
    """Sums with the guesses g of what the next row would be worth: of w g, w r g and g^2."""

    wg: float = 0.0
    wrg: float = 0.0
    gg: float = 0.0

    def __add__(self, other: "Guessed") -> "Guessed":
        return Guessed(wg=self.wg + other.wg, wrg=self.wrg + other.wrg, gg=self.gg + other.gg)


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """All that is known after some rows of a log.

    Attributes
    ----------
    sums
        Over the rows.
    low, high
        Sums with the guesses for the lower and the upper bound.
    rmin, rmax
        The bounds of the rewards by now.
    """

    rmin: float
    rmax: float
    sums: WeightedSums = field(default_factory=WeightedSums)
    low: Guessed = field(default_factory=Guessed)
    high: Guessed = field(default_factory=Guessed)

    @property
    def worths(self) -> tuple[float, float]:
        """The sums of weight times scaled reward, and of weight times what the scaled reward lacks to 1."""
        return scaled(self.sums, self.rmin, self.rmax)


@dataclass(frozen=True)
class GammaExponential:
    """A confidence sequence by a gamma-exponential mixture of empirical Bernstein bounds.

    The wealth of a gambler who bets that the value is larger than assumed, with a gamma distribution of stakes, stays
    below ``1 / alpha`` for ever but with the probability alpha, if the assumption is right; so values are excluded by
    which it passed that. The upper bound is the lower one of the mirrored rewards.

    It bounds the average, over all rows so far, of what they were expected to earn (weight times reward, given all
    that came before): no row has to be like another, logging policies may learn, weights need no bound. It assumes
    rewards within bounds, and right propensities: a mean weight of 1, which the upper bound needs.

    As ``cs`` of vw-estimators. From Waudby-Smith, Wu, Ramdas, Karampatziakis, Mineiro 2022, arXiv 2210.10768; the
    mixture is that of Howard, Ramdas, McAuliffe, Sekhon 2021, Annals of Statistics 49:1055, proposition 9.

    Parameters
    ----------
    rmin, rmax
        The smallest and the largest reward that is possible; what lies beyond is cut.
    empirical_r_bounds
        Widen them to the rewards that were seen, rather than cut these. What is known afterwards bounds nothing
        before, so the promise is lost.
    rho
        Of the stakes' distribution: small for long logs, large for short ones.
    truncate
        Keep guesses at or below 1: the proof needs it (Fan, Grama, Liu 2015, lemma 4.1), and a guess that one heavy
        weight spoiled costs width. vw-estimators does not: ``truncate=False`` gives its bounds.

    Raises
    ------
    WrongConfiguration
        There is no room between the bounds, or rho is not above 0.

    Examples
    --------
    >>> rewards = np.tile([1.0, 0.0, 0.0, 0.0], 250)
    >>> found = GammaExponential().sequence(np.ones(1000), rewards, [10, 100, 1000])
    >>> found.value.tolist(), found.low.round(3).tolist(), found.high.round(3).tolist()
    ([0.3, 0.25, 0.25], [0.0, 0.074, 0.198], [1.0, 0.426, 0.302])
    """

    rmin: float = 0.0
    rmax: float = 1.0
    empirical_r_bounds: bool = False
    rho: float = 1.0
    truncate: bool = True

    def __post_init__(self) -> None:
        check_bounds(self.rmin, self.rmax)
        if not 0 < self.rho < math.inf:
            raise WrongConfiguration(f"rho: found {self.rho!r}, expected a number above 0")

    def start(self) -> Progress:
        """Return what is known before the first row."""
        return Progress(rmin=self.rmin, rmax=self.rmax)

    def after(
        self,
        progress: Progress,
        weight: ArrayLike,
        reward: ArrayLike,
        **dropped: Unpack[Dropped],
    ) -> Progress:
        """Return what is known after more rows, in the order of the log.

        Parameters and errors are those of :func:`~replay.evaluation.intervals.weighted_sums.checked`.
        """
        w, r, d = checked(weight, reward, **dropped)
        for begin in range(0, len(w), _STEP_ROWS):
            some = slice(begin, begin + _STEP_ROWS)
            progress = self._step(progress, w[some], r[some], None if d is None else d[some])
        return progress

    def _step(self, before: Progress, w: Floats, r: Floats, dropped: Floats | None) -> Progress:
        rmin: Floats | float
        rmax: Floats | float
        if self.empirical_r_bounds:
            rmin = np.minimum(np.minimum.accumulate(r), before.rmin)
            rmax = np.maximum(np.maximum.accumulate(r), before.rmax)
            last_min, last_max = float(rmin[-1]), float(rmax[-1])
        else:
            r = np.clip(r, self.rmin, self.rmax)
            rmin, rmax = last_min, last_max = self.rmin, self.rmax
        worth = w * r
        sum_w, sum_wr = _sums_before(before.sums.w, w), _sums_before(before.sums.wr, worth)
        rows = before.sums.rows + np.arange(1, len(w) + 1)
        if dropped is not None:
            rows = rows + np.cumsum(dropped)
        found = []
        for guesses, worths in ((before.low, sum_wr - rmin * sum_w), (before.high, rmax * sum_w - sum_wr)):
            # What the next row is worth, by those before it and half a row that is worth 1.
            top = worths / (rmax - rmin) + 0.5
            guess = top / rows
            if self.truncate:
                guess = np.minimum(guess, 1.0)
            gg = dot(guess, guess)
            if dropped is not None:
                gg += float(self._dropped(top, rows - dropped, dropped).sum())
            found.append(guesses + Guessed(wg=dot(w, guess), wrg=dot(worth, guess), gg=gg))
        sums = before.sums + WeightedSums.of(w, r)
        if dropped is not None:
            sums = sums + WeightedSums(rows=float(dropped.sum()))
        return Progress(rmin=last_min, rmax=last_max, sums=sums, low=found[0], high=found[1])

    def _dropped(self, top: Floats, first: Floats, number: Floats) -> Floats:
        """Return the sum of the squared guesses of rows that were dropped: of ``(top / (first + i))^2`` for each."""
        cut = np.minimum(np.maximum(np.ceil(top - first), 0.0), number) if self.truncate else 0.0
        tail: Floats = top**2 * (zeta(2.0, first + cut) - zeta(2.0, first + number))
        return cut + tail

    def sequence(
        self,
        weight: ArrayLike,
        reward: ArrayLike,
        analyses: Sequence[int] | None = None,
        *,
        alpha: float = 0.05,
        **dropped: Unpack[Dropped],
    ) -> Analyses:
        """Return the bounds after some numbers of rows.

        Parameters
        ----------
        weight, reward, dropped
            The rows in the order of the log, as for :func:`~replay.evaluation.intervals.weighted_sums.checked`.
        analyses
            Increasing numbers of rows of the interim analyses; by default one, after all rows.
        alpha
            Probability that any interval misses.

        Raises
        ------
        BadInput
            As there.
        WrongConfiguration
            ``analyses`` does not increase, or exceeds the rows; or ``alpha`` does not lie between 0 and 1.
        """
        w, r, d = checked(weight, reward, **dropped)
        at = [len(w)] if analyses is None else [int(analysis) for analysis in analyses]
        if any(later <= earlier for earlier, later in pairwise(at)) or (at and at[-1] > len(w)):
            raise WrongConfiguration(f"analyses: found {at[:5]} ... {at[-1]}, expected rising numbers up to {len(w)}")
        progress, found, done = self.start(), [], 0
        for rows in at:
            for begin in range(done, rows, _STEP_ROWS):
                some = slice(begin, min(begin + _STEP_ROWS, rows))
                progress = self._step(progress, w[some], r[some], None if d is None else d[some])
            done = rows
            found.append(progress)
        return self.analyses(found, alpha=alpha)

    def interval(self, progress: Progress, *, alpha: float = 0.05) -> Interval:
        """Return the current bounds; parameters and errors are those of :meth:`analyses`."""
        return self.analyses([progress], alpha=alpha).at(0)

    def analyses(self, progresses: Iterable[Progress], *, alpha: float = 0.05) -> Analyses:
        """Return the bounds at some interim analyses; their ``rows`` are rounded, where drops are expected fractions.

        Raises
        ------
        WrongConfiguration
            ``alpha``, the probability that any interval misses, is not between 0 and 1.
        """
        many = list(progresses)
        rmin, rmax = np.array([each.rmin for each in many]), np.array([each.rmax for each in many])
        rows = np.array([each.sums.rows for each in many])
        worths = np.array([each.worths for each in many]).reshape(-1, 2)
        spreads = np.array([_spreads(each) for each in many]).reshape(-1, 2)
        total = np.array([each.sums.wr for each in many])
        return bounds(MixtureSums(rows, total, worths, spreads, rmin, rmax), rho=self.rho, alpha=alpha)


def nested(analyses: Analyses) -> Analyses:
    """Return the same analyses, each cut by all before it: only for a value that stays the same over the whole log.

    Where it may drift, each analysis bounds another average, and a cut would keep what was true once. Ends that cross
    say that the value was not the same, or that the sequence missed.
    """
    low, high = np.maximum.accumulate(analyses.low), np.minimum.accumulate(analyses.high)
    return Analyses(rows=analyses.rows, value=analyses.value, low=low, high=high, method=analyses.method)


def scaled(sums: WeightedSums, rmin: float, rmax: float) -> tuple[float, float]:
    """Return the sums of weight times scaled reward, and of weight times what the scaled reward lacks to 1."""
    return (sums.wr - rmin * sums.w) / (rmax - rmin), (rmax * sums.w - sums.wr) / (rmax - rmin)


def _spreads(progress: Progress) -> tuple[float, float]:
    sums, low, high = progress.sums, progress.low, progress.high
    rmin, rmax = progress.rmin, progress.rmax
    span = rmax - rmin
    return (
        (sums.wwrr - 2 * rmin * sums.wwr + rmin**2 * sums.ww) / span**2 - 2 * (low.wrg - rmin * low.wg) / span + low.gg,
        (sums.wwrr - 2 * rmax * sums.wwr + rmax**2 * sums.ww) / span**2
        + 2 * (high.wrg - rmax * high.wg) / span
        + high.gg,
    )


def _sums_before(start: float, column: Floats) -> Floats:
    """Return the sum of all that comes before each row: shape (rows,)."""
    sums = np.empty(len(column))
    sums[0] = start
    np.cumsum(column[:-1], out=sums[1:])
    sums[1:] += start
    return sums
