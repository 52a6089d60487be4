"""Rewards of the last part of a log that may not have arrived yet."""

from typing import NamedTuple

import numpy as np
from scipy.special import ndtr

from replay.evaluation.health.periods import Periods
from replay.evaluation.rows import Floats

SHARES = (0.01, 0.02, 0.05, 0.1, 0.2)
"""Sizes of the last part that are tried, as shares of the rows."""
FEWEST_ROWS, FEWEST_WINDOWS = 50, 4
LOWER = 0.5
"""A last part is suspicious if its mean reward is below this share of that of every earlier part of its size."""
RARE = 1e-3


class Tail(NamedTuple):
    """The last part of a log: its share of the rows, its mean reward, the lowest one before it, and the p-value."""

    share: float
    mean: float
    before: float
    p_value: float


def late_rewards(periods: Periods) -> Tail | None:
    """Return the last part of a log whose rewards fall far below those of every earlier part, or None.

    A fall below half of the lowest earlier mean is neither a daily cycle nor slow drift. Negative rewards are not
    used.
    """
    counts, sums = periods.counts.astype(np.float64), periods.counts * periods.means[:, 0]
    rows = float(counts.sum())
    if not rows or (periods.means[:, 0] < 0).any():
        return None
    from_end = counts[::-1].cumsum()
    found: list[Tail] = []
    for length in sorted({int(np.searchsorted(from_end, share * rows)) + 1 for share in SHARES}):
        size = float(from_end[min(length, len(counts)) - 1])
        if size < FEWEST_ROWS or size > rows / (FEWEST_WINDOWS + 1):
            continue
        split = len(counts) - length
        windows = _windows(counts[:split], sums[:split], size)
        mean = float(sums[split:].sum()) / size
        if len(windows) < FEWEST_WINDOWS or mean >= LOWER * windows.min():
            continue
        before = rows - size
        level = float(sums[:split].sum()) / before
        off = periods.means[:split, 0] - level
        variance = float(periods.squares[:split, 0].sum() + counts[:split] @ (off * off)) / before
        error = (variance * (1 / size + 1 / before)) ** 0.5
        p_value = min(1.0, float(ndtr((mean - level) / error)) * len(SHARES)) if error else 0.0
        if p_value < RARE:
            found.append(Tail(size / rows, mean, float(windows.min()), p_value))
    return min(found, key=lambda each: each.mean) if found else None


def _windows(counts: Floats, sums: Floats, size: float) -> Floats:
    """Return the means of consecutive periods with at least ``size`` rows together, from the last one back."""
    window = ((counts[::-1].cumsum() - counts[::-1]) // size).astype(np.int64)
    rows, total = np.bincount(window, counts[::-1]), np.bincount(window, sums[::-1])
    whole = rows >= size / 2
    return np.asarray(total[whole] / rows[whole])
