"""Statistical tests for faults of a log: each returns a p-value, or None if the log lacks the data.

All hold whatever the logging policy did, also where it learned from the log: given the context, the logged action
follows the logged pmf. Sums of weights are skewed, so the tests are one-sided twice, and each errs on the safe side:
what lies too high is measured by the larger of the expected and the seen variance; to what lies too low, one more of
the large terms is added.

Rows of a unit (a user) may be correlated, since an action may be drawn once for all of them. Where units return, each
variance is that between units (:mod:`replay.evaluation.health.units`): the design effect is how many rows count as one.
"""

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from scipy.special import chdtrc, ndtr, stdtr

from replay.evaluation.health.actions import COUNT, INVERSE, SQUARED_INVERSE
from replay.evaluation.health.state import RANK_BINS, ROUNDING, State
from replay.evaluation.health.statistics import UNITS_RETURN
from replay.evaluation.health.units import CLASSES, ByUnit, Column

FEWEST = 5
"""Minimum effective number of draws for a test of an action."""
MANY = 50
"""Minimum effective number of draws from which an action's sum of squares limits what others may lack."""


def mean_weight(state: State) -> float | None:
    """Test that the mean weight is 1 minus the unseen mass; with whole pmfs its variance is known."""
    expected = state.size - (state.unseen or 0.0)
    largest = float(state.largest.kept[-1])
    units = _units(state)
    effect = _effect(state, None if units is None else units.weight)
    if state.squared is not None:
        known = state.squared - state.squared_mean
        variance = _Variance(max(state.weight.second, known), known, effect=effect)
        return _two_sided(state.weight.total, expected, state, variance)
    # Weights that were never drawn are unknown; one more of the largest weight is assumed to be possible.
    high, low = state.weight.second, _by_ratio(state.weight.squares, state.weight.total, state.rows)
    if state.sized_weight is not None:
        # Sample weights may depend on the reward, and so on the weight.
        high = state.sized_weight.second[2]
        low = high + state.weight.squares * max(state.size / (state.weight.total or math.inf) - 1, 0.0)
    return _two_sided(state.weight.total, expected, state, _Variance(high, low, largest, effect))


def inverse_propensity(state: State) -> float | None:
    """Test that 1 / propensity adds up to the number of rows for each action; else to the number of actions, over all.

    Each action alone needs that all are offered in all rows: the number of possible actions never changes, and not
    more than that many were ever logged. The smallest p-value is corrected for the number of actions (Bonferroni).
    """
    actions, off = state.actions, state.inverse_off
    if off is None:
        return None
    if actions is None or actions.crowded or not _all_offered(state):
        low = math.inf if state.squared_inverse is None else state.squared_inverse - state.inverse_squares
        high = off.second if math.isinf(low) else max(off.second, low)
        units = _units(state)
        effect = _effect(state, None if units is None else units.inverse)
        return _two_sided(off.total, 0.0, state, _Variance(high, low, effect=effect))
    found = [value for value in each_action(state) if value is not None]
    return min(1.0, min(found) * len(found)) if found else None


def _all_offered(state: State) -> bool:
    assert state.actions is not None
    never_changes = state.inverse_low == state.inverse_high
    return never_changes and int((state.actions.sums[COUNT] > 0).sum()) <= state.inverse_low


def each_action(state: State) -> list[float | None]:
    """Return for each action the p-value of its mean of 1 / propensity; None for rarely drawn actions.

    Nobody knows which action's rare draws are those that did not come: what all of them lack is allowed to each.
    """
    if state.actions is None:
        return []
    rows, inverses, squares = state.rows, state.actions.sums[INVERSE], state.actions.sums[SQUARED_INVERSE]
    ratios = [_by_ratio(squared, inverse, rows) for squared, inverse in zip(squares, inverses, strict=True)]
    effects = _effects_of_actions(state)
    missing = math.inf
    if state.squared_inverse is not None:
        drawn = [
            ratio + rows
            for ratio, inverse, squared, effect in zip(ratios, inverses, squares, effects, strict=True)
            if inverse * inverse >= MANY * squared * effect > 0
        ]
        missing = max(state.squared_inverse - sum(drawn), 0.0)
    found: list[float | None] = []
    for inverse, squared, ratio, effect in zip(inverses, squares, ratios, effects, strict=True):
        if not squared or inverse * inverse / squared < FEWEST * effect:
            found.append(None)
            continue
        seen = max(float(squared - inverse * inverse / rows), 0.0)
        variance = _Variance(max(seen, ratio), ratio + missing, effect=effect)
        found.append(_two_sided(float(inverse), rows, state, variance))
    return found


def _effects_of_actions(state: State) -> list[float]:
    assert state.actions is not None
    units, actions = _units(state), state.actions.sums.shape[1]
    if units is None or units.actions is None:
        return [1.0] * actions
    each = [_effect(state, units.actions, place) for place in range(CLASSES)]
    return [each[action % CLASSES] for action in range(actions)]


def _units(state: State) -> ByUnit | None:
    """Return the sums by unit where units return."""
    returning = state.units is not None and (state.units.rows_each_of(state.rows) or 1.0) > UNITS_RETURN
    return state.by_unit if returning else None


def _effect(state: State, column: Column | None, at: int = 0) -> float:
    """Return how many rows count as one: 1 where no unit returns, all of a unit where a column never varies."""
    units = _units(state)
    if units is None or column is None or state.units is None:
        return 1.0
    counts = state.units.counts.astype(np.float64)
    return units.effect(column, at, unknown=float((counts**2).sum() / counts.sum()))


def _by_ratio(squares: float, total: float, rows: int) -> float:
    """Return the variance of a sum that should be ``rows``, by the ratio of squares to numbers.

    Where too little was drawn, both lack the same, which their ratio does not show.
    """
    return max(float(squares / total) * rows - rows, 0.0) if total else 0.0


def draws(state: State) -> float | None:
    """Test that the draws follow the pmf: randomised ranks are uniform.

    Twice: by their mean, and by a chi-square of sixteenths; the smaller p-value counts double.
    """
    if state.ranks is None or state.rows < 5 * RANK_BINS:
        return None
    rows, expected = state.rows, state.rows / RANK_BINS
    places, variance = np.arange(RANK_BINS) - (RANK_BINS - 1) / 2, rows * (RANK_BINS**2 - 1) / 12
    units = _units(state)
    if units is not None and units.ranks is not None:
        if units.used < 2:
            return None
        by_mean = units.of_mean((units.ranks * places).sum(axis=1), variance)
        return min(1.0, 2 * min(by_mean, units.of_counts(units.ranks, np.full(RANK_BINS, expected))))
    middle = float(state.ranks @ places)
    by_mean = 2 * float(ndtr(-abs(middle) / math.sqrt(variance)))
    by_bins = float(chdtrc(RANK_BINS - 1, ((state.ranks - expected) ** 2).sum() / expected))
    return min(1.0, 2 * min(by_mean, by_bins))


def shares(state: State, expected: Mapping[int, float]) -> float | None:
    """Test the shares of rows of versions, or of the arms of a test (sample-ratio mismatch).

    Parameters
    ----------
    state
        Of a log that names versions.
    expected
        The share that each shall have; those that are not named shall have none.
    """
    if state.versions is None:
        return None
    counts = state.versions.sums[COUNT]
    total = float(counts.sum())
    wanted = np.zeros(max([len(counts), *(number + 1 for number in expected)]))
    for number, share in expected.items():
        wanted[number] = share
    observed = np.pad(counts, (0, len(wanted) - len(counts)))
    if not total or not wanted.sum():
        return None
    if observed[wanted == 0].any():
        return 0.0
    some = wanted > 0
    wanted = wanted / wanted.sum() * total
    units = _units(state)
    if units is not None and units.versions is not None:
        # More versions than classes are tested by their class.
        classes = np.bincount(np.arange(len(wanted)) % CLASSES, weights=wanted, minlength=CLASSES).astype(np.float64)
        if units.used < 2 or np.count_nonzero(classes) < 2:
            return None if units.used < 2 else 1.0
        return units.of_counts(units.versions[:, classes > 0], classes[classes > 0])
    wanted = wanted[some]
    return float(chdtrc(len(wanted) - 1, ((observed[some] - wanted) ** 2 / wanted).sum())) if len(wanted) > 1 else 1.0


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """Correct p-values for their number, so that the probability of any false alarm is that of a single test.

    Holm 1979, Scandinavian Journal of Statistics 6:65.

    Examples
    --------
    >>> holm([0.5, None, 0.01])
    [0.5, None, 0.02]
    """
    known = sorted((value, place) for place, value in enumerate(p_values) if value is not None)
    corrected: list[float | None] = [None] * len(p_values)
    highest = 0.0
    for order, (value, place) in enumerate(known):
        highest = max(highest, min(1.0, value * (len(known) - order)))
        corrected[place] = highest
    return corrected


class _Variance(NamedTuple):
    """The variance of a sum: ``high`` if it is too high; ``low`` if it is too low, after ``one_more`` is added.

    ``effect`` rows count as one: the design effect of units.
    """

    high: float
    low: float
    one_more: float = 0.0
    effect: float = 1.0


def _two_sided(total: float, expected: float, state: State, variance: _Variance) -> float | None:
    """Return the p-value of a sum over all rows."""
    off, units = total - expected, _units(state)
    if state.rows < 2 or (units is not None and units.used < 2):
        return None
    if abs(off) <= ROUNDING * max(abs(expected), state.size):
        return 1.0
    high, low, one_more, effect = variance
    one_more *= effect
    spread = effect * max(high, 0.0)
    if off < 0:
        off, spread = min(off + one_more, 0.0), effect * max(low, 0.0) + one_more * one_more
    if spread <= 0:
        return 0.0
    errors = -abs(off) / math.sqrt(spread)
    return min(1.0, 2 * float(ndtr(errors) if units is None else stdtr(units.freedom, errors)))
