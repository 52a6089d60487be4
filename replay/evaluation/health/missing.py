"""Statistics of a log with its missing weight filled in.

If no rare and heavy rows were drawn, a log looks balanced: its weights are similar, and their effective sample size is
large. Therefore the weight that the mean lacks to 1 is filled in with hypothetical rows. The verdict uses the worse of
each statistic with and without them, so that a log never looks better because it shows less.
"""

from typing import NamedTuple

import numpy as np

from replay.evaluation.health.central import effective
from replay.evaluation.health.state import State
from replay.evaluation.health.tail import pareto_k

FILLED = "filled_"
"""The prefix of a statistic with the missing rows filled in."""
NAMES = (
    *("ess", "effective_positives", "variance_ess_dr", "variance_ess_ips", "variance_ess_snips"),
    *("ess_share", "largest_share", "pareto_k"),
)
"""The statistics that are filled in."""
SMALL = 0.05
"""A smaller missing share of the weight is left alone: chance alone makes good logs lack as much."""
MOST_ROWS = 1_000
"""The largest number of missing rows that the tail of the weights is filled with."""


class Missing(NamedTuple):
    """Hypothetical rows that were not drawn: their total weight, the sum of its squares, and the weight of one row."""

    weight: float
    squares: float
    each: float


def missing(state: State) -> Missing | None:
    """Return the rows that raise the mean weight to 1 less the mass that could not be logged; None if it lacks little.

    A missing row has the largest weight in the log, or a larger one if whole pmfs promise a larger sum of squared
    weights than the log has; but at most all of the missing weight.
    """
    lacking = state.size - (state.unseen or 0.0) - state.weight.total
    if lacking <= SMALL * state.size:
        return None
    squares = 0.0 if state.squared is None else max(state.squared - state.weight.squares, 0.0)
    each = min(max(squares / lacking, float(state.largest.kept[-1])), lacking)
    return Missing(lacking, lacking * each, each)


def filled(state: State, known: dict[str, float | None]) -> dict[str, float | None]:
    """Return the statistics with the missing rows filled in, named ``filled_*``; without missing rows they are equal.

    The rewards of the missing rows are distributed as those of the logged rows, by weight; or one of them has the
    typical reward of the log and the others have none, whichever is worse. Otherwise a log would look better if the
    only heavy row with a reward is not in it.

    Parameters
    ----------
    state
        The sums of a log's rows.
    known
        The statistics of the logged rows.
    """
    lack = missing(state) or Missing(0.0, 0.0, 0.0)
    if not state.weight.squares:
        return {f"{FILLED}{name}": None for name in NAMES}
    weight, squares, ratio = state.weight.total, state.weight.squares, state.ratio
    more, more_fourth = lack.squares / squares, lack.squares * lack.each**2 / ratio.fourth[0]
    second, fourth = state.worth.second, state.worth.fourth
    if state.sized is not None:
        second, fourth = state.sized.second[2], state.sized.fourth[4]
    spreads = {"ips": (second, fourth), "snips": (ratio.second[2], ratio.fourth[4])}
    if state.corrected is not None:
        spreads["dr"] = state.corrected.second, state.corrected.fourth
    one, each = _one_with_a_reward(state, lack), state.worth_size * (1 + lack.weight / weight)
    found: dict[str, float | None] = {
        "ess": effective(weight + lack.weight, squares + lack.squares),
        "effective_positives": _worse(
            effective(each, state.worth.squares * (1 + more)),
            effective(state.worth_size + one.rows * one.worth, state.worth.squares + one.rows * one.worth**2),
        ),
        "variance_ess_dr": None,
    }
    for name, (second, fourth) in spreads.items():
        found[f"variance_ess_{name}"] = _worse(
            effective(second * (1 + more), fourth * (1 + more_fourth)),
            effective(second + one.rows * one.off**2, fourth + one.rows * one.off**4),
        )
    found["ess_share"] = (found["ess"] or 0.0) / state.rows
    found["largest_share"] = max(float(state.largest.kept[-1]), lack.each) / (weight + lack.weight)
    found["pareto_k"] = _pareto_k(state, lack) if lack.weight else known["pareto_k"]
    return {f"{FILLED}{name}": found[name] for name in NAMES}


class _One(NamedTuple):
    """A missing row with a reward: how much of a row is missing, its weight times reward, and how far that is off."""

    rows: float
    worth: float
    off: float


def _one_with_a_reward(state: State, lack: Missing) -> _One:
    # Larger rewards count by their size.
    typical = state.reward.squares / abs(state.reward.total) if state.reward.total else 0.0
    rows = min(lack.weight / lack.each, 1.0) if lack.each else 0.0
    return _One(rows, lack.each * typical, lack.each * (typical - state.ratio.ratio))


def _worse(one: float | None, other: float | None) -> float | None:
    return other if one is None else one if other is None else min(one, other)


def _pareto_k(state: State, lack: Missing) -> float | None:
    rows = min(max(round(lack.weight / lack.each), 1), MOST_ROWS) if lack.each else 0
    kept = np.sort(np.append(state.largest.kept, np.full(rows, lack.each)))
    return pareto_k(kept, state.rows + rows)
