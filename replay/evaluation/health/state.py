"""Sums of a log's rows, from which its statistics are computed."""

import dataclasses
import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from replay.evaluation.health.actions import Actions
from replay.evaluation.health.central import AroundRatio, Central
from replay.evaluation.health.copies import Copies
from replay.evaluation.health.hashes import Sampled, uniform
from replay.evaluation.health.periods import Periods
from replay.evaluation.health.tail import Histogram, Largest
from replay.evaluation.health.units import ByUnit
from replay.evaluation.rows import EvaluationRows, Floats

RANK_BINS = 16
CERTAIN = 1 - 1e-9
"""Probabilities from here on count as certain."""
ROUNDING = 1e-5
"""Probabilities that were logged as 32-bit numbers and normalised still agree this well."""


@dataclass(frozen=True, slots=True)
class State:
    """Sums of a log's rows; ``a + b`` is the state of both, without the columns that one of them lacks.

    Added in the order of :mod:`replay.evaluation.blocks`, it is the same to the last bit for any number of processes.
    It takes some 400 kB, and as much again in a log that names units, however long the log is.

    Attributes
    ----------
    size
        The sum of the sample weights; without any the number of rows.
    sized, sized_weight
        Spread of the weighted means of ``weight * reward`` and ``weight``; None without sample weights.
    reward, propensity, weight, worth
        Moments of the columns; ``worth`` is weight times reward, and ``worth_size`` the sum of it without signs. Here
        and below ``weight`` includes the sample weight. Rewards are those of decisions: they count by sample weight.
    ratio
        What the self-normalised value spreads by.
    corrected
        Moments of the doubly robust ``model_target + weight (reward - model_logged)``; ``residual``: of
        ``reward - model_logged``.
    inverse_off
        Moments of ``1 / propensity - inverse``; ``inverse_low``, ``inverse_high``: the ends of ``inverse``;
        ``inverse_squares``: the sum of its squares, and ``squared_inverse`` the sum of that column.
    squared, squared_mean, unseen
        The sums over the rows of ``squared_weight``, of ``(1 - unseen)^2`` and of ``unseen``.
    spread_weight
        The histogram of the weights, ``spread_squared`` that of ``squared_weight``.
    ranks
        How many randomised ranks lie in each sixteenth.
    contradicting
        Rows whose propensity cannot be that of the pmf that was logged with it.
    certain
        Rows with the propensity 1.
    copies
        What shows rows that are copies of others; None in a log with event ids or without times.
    by_unit
        What the checks compare, by unit; None in a log that names none.
    """

    rows: int
    size: float
    sized: AroundRatio | None
    sized_weight: AroundRatio | None
    reward: Central
    propensity: Central
    weight: Central
    worth: Central
    worth_size: float
    ratio: AroundRatio
    corrected: Central | None
    residual: Central | None
    inverse_off: Central | None
    inverse_low: float
    inverse_high: float
    inverse_squares: float
    squared_inverse: float | None
    squared: float | None
    squared_mean: float
    unseen: float | None
    largest: Largest
    spread_weight: Histogram
    spread_squared: Histogram | None
    ranks: Floats | None
    contradicting: int
    certain: int
    actions: Actions | None
    versions: Actions | None
    events: Sampled | None
    units: Sampled | None
    groups: Sampled | None
    periods: Periods | None
    copies: Copies | None
    by_unit: ByUnit | None

    @staticmethod
    def of(rows: EvaluationRows, *, first: int = 0) -> "State":
        """Return the state of some rows, possibly empty.

        Raises
        ------
        ValueError
            A weight or a reward is not finite, or a weight is negative, or a propensity not above 0: a reader lets no
            such row pass.
        """
        times, reward, propensity = rows.sample_weight, rows.earned, rows.propensity
        contradicting = _contradicting(rows)
        if times is not None:
            rows = _with_sizes(rows, times)
        weight = rows.weight
        if not all(np.isfinite(column).all() for column in (weight, reward, rows.reward)):
            raise ValueError("expected finite weights and rewards")
        if not ((weight >= 0).all() and (propensity > 0).all()):
            raise ValueError("expected weights that are not negative, and propensities above 0")
        inverse, squared, unseen = rows.inverse, rows.squared_weight, rows.unseen
        residual = None if rows.model_logged is None else reward - rows.model_logged
        corrected = None if residual is None or rows.model_target is None else rows.model_target + weight * residual
        return State(
            rows=len(rows),
            size=float(len(rows) if times is None else times.sum()),
            sized=None if times is None else AroundRatio.of(times, weight / times * rows.reward),
            sized_weight=None if times is None else AroundRatio.of(times, weight / times),
            reward=Central.of(reward, times),
            propensity=Central.of(propensity),
            weight=Central.of(weight),
            worth=Central.of(weight * rows.reward),
            worth_size=float(np.abs(weight * rows.reward).sum()),
            ratio=AroundRatio.of(weight, rows.reward),
            corrected=None if corrected is None else Central.of(corrected),
            residual=None if residual is None else Central.of(residual),
            inverse_off=None if inverse is None else Central.of(1 / propensity - inverse),
            inverse_low=math.inf if inverse is None or not len(rows) else float(inverse.min()),
            inverse_high=-math.inf if inverse is None or not len(rows) else float(inverse.max()),
            inverse_squares=0.0 if inverse is None else float((inverse * inverse).sum()),
            squared_inverse=None if rows.squared_inverse is None else float(rows.squared_inverse.sum()),
            squared=None if squared is None else float(squared.sum()),
            squared_mean=float(len(rows)) if unseen is None else float(((1 - unseen) ** 2).sum()),
            unseen=None if unseen is None else float(unseen.sum()),
            largest=Largest.of(weight),
            spread_weight=Histogram.of(weight),
            spread_squared=None if squared is None else Histogram.of(squared),
            ranks=None if (ranks := _ranks(rows, first)) is None else _counted(ranks),
            contradicting=contradicting,
            certain=int((propensity >= CERTAIN).sum()),
            actions=None if rows.action is None else Actions.of(rows.action, propensity, weight, reward, times),
            versions=None if rows.version is None else Actions.of(rows.version, propensity, weight, reward, times),
            events=None if rows.event_hash is None else Sampled.of(rows.event_hash),
            units=None if rows.unit_hash is None else Sampled.of(rows.unit_hash),
            groups=None if rows.group_hash is None else Sampled.of(rows.group_hash),
            periods=None
            if rows.time_ms is None
            else Periods.of(rows.time_ms, np.stack([reward, propensity, weight], axis=1)),
            copies=Copies.of(rows),
            by_unit=ByUnit.of(rows, ranks, times),
        )

    def __add__(self, other: "State") -> "State":
        if not self.rows or not other.rows:
            return self if self.rows else other
        both = {
            each.name: _together(getattr(self, each.name), getattr(other, each.name))
            for each in dataclasses.fields(State)
        }
        both["inverse_low"] = min(self.inverse_low, other.inverse_low)
        both["inverse_high"] = max(self.inverse_high, other.inverse_high)
        return State(**both)


def _with_sizes(rows: EvaluationRows, times: Floats) -> EvaluationRows:
    """Return rows with sample weights in their weights, without the columns of checks that cannot use them."""
    without: dict[str, Any] = dict.fromkeys(
        ("model_logged", "squared_weight", "inverse", "squared_inverse", "rank", "time_ms")
    )
    unseen = None if rows.unseen is None else rows.unseen * times
    return dataclasses.replace(rows, weight=rows.weight * times, unseen=unseen, **without)


def _together(left: Any, right: Any) -> Any:
    return None if left is None or right is None else left + right


def _ranks(rows: EvaluationRows, first: int) -> NDArray[np.int64] | None:
    """Return the sixteenths of randomised ranks (Czado, Gneiting, Held 2009, Biometrics 65:1254).

    If all is well, each has as many rows.

    The random number comes from the event, or from the place in the log: the count is the same every time.
    """
    if rows.rank is None:
        return None
    names = first + np.arange(len(rows), dtype=np.uint64) if rows.event_hash is None else rows.event_hash
    rank = rows.rank + rows.propensity * (uniform(names) - 0.5)
    places: NDArray[np.int64] = np.clip((rank * RANK_BINS).astype(np.int64), 0, RANK_BINS - 1)
    return places


def _counted(places: NDArray[np.int64]) -> Floats:
    return np.bincount(places, minlength=RANK_BINS).astype(np.float64)


def _contradicting(rows: EvaluationRows) -> int:
    wrong = rows.propensity > 1 + ROUNDING
    if rows.rank is not None:
        half = rows.propensity / 2
        wrong = wrong | (rows.rank - half < -ROUNDING) | (rows.rank + half > 1 + ROUNDING)
    if rows.squared_weight is not None:
        # One of the terms of the sum is the logged action's; and the sum of the mu is 1 (Cauchy and Schwarz).
        least = rows.weight * rows.target
        if rows.unseen is not None:
            least = np.maximum(least, (1 - rows.unseen) ** 2)
        wrong = wrong | (least > rows.squared_weight * (1 + 10 * ROUNDING))
    return int(wrong.sum())
