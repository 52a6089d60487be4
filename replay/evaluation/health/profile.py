"""Compare adaptive and equal row weights over the period of a learner's log."""

import math

import numpy as np
from scipy.special import ndtr

from replay.evaluation.estimators.adaptive import Pieces, weights
from replay.evaluation.result import Finding

PARTS = 10
NAME = "time_profile"
UNEVEN = 0.2
"""Report a part of the log whose share of the weight exceeds its share of the rows by more than this."""
DIFFERS_BELOW = 0.05


def profile(pieces: Pieces, rows_at_once: float = 1.0) -> Finding:
    """Compare the time profiles of adaptive and equal weights, and the values that they give.

    The finding names the tenth of the log that adaptive weights favour most. Its p-value tests whether both values
    agree; a small one shows that rewards drift. It is not a fault, because the headline gives every row the same
    weight.

    Parameters
    ----------
    pieces
        The pieces of the whole log, in its order.
    rows_at_once
        The design effect: the variance of the value over that of independent rows.
    """
    rows = pieces.rows.astype(np.float64)
    h = weights(pieces) * rows
    total, count = float(h.sum()), float(rows.sum())
    if not total or count < 2:
        return _found(None, None, None, "too few rows to compare adaptive weights with equal ones")
    part = np.minimum(((rows.cumsum() - rows / 2) * PARTS / count).astype(np.int64), PARTS - 1)
    shares = np.bincount(part, h, PARTS) / total
    even = np.bincount(part, rows, PARTS) / count
    most = int(np.argmax(shares - even))
    # The weight of a row above its equal share, and the standard error of the difference of the values.
    more = (h / total) * count / rows - 1
    apart = float((more * rows * pieces.mean).sum() / count)
    plain = float((rows * pieces.mean).sum() / count)
    off = pieces.mean - plain
    squares = pieces.squares + rows * off**2
    error = math.sqrt(rows_at_once * float((more**2 * squares).sum())) / count
    p_value = 2 * float(ndtr(-abs(apart) / error)) if error else None
    says = "adaptive weights spread over the log's period nearly as its rows do"
    if shares[most] - even[most] > UNEVEN * even[most]:
        says = (
            f"adaptive weights give the {_ordinal(most)} tenth of the log {100 * shares[most]:.0f} % of the weight; if "
            "rewards drift, their value describes that part and not the whole period"
        )
        if p_value is not None and p_value < DIFFERS_BELOW:
            says += "; rewards do drift: the values by adaptive and by equal weights differ by more than chance"
    return _found(float(shares[most]), float(even[most]), p_value, says)


def _ordinal(part: int) -> str:
    return "first" if not part else "last" if part == PARTS - 1 else f"{part + 1}{_ENDS.get(part, 'th')}"


_ENDS = {1: "nd", 2: "rd"}


def _found(value: float | None, expected: float | None, p_value: float | None, says: str) -> Finding:
    return Finding(name=NAME, value=value, expected=expected, p_value=p_value, wrong=False, says=says)
