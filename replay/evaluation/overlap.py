"""Which actions the target takes and the log holds, and how heavy the weights are."""

from collections.abc import Sequence

import numpy as np

from replay.evaluation.health.actions import COUNT, REWARD, WEIGHT
from replay.evaluation.health.state import State
from replay.evaluation.health.tail import HIGHEST, LOWEST, STEPS
from replay.evaluation.health.verdict import MOST_SHOWN
from replay.evaluation.logs.taken import UNIT, Taken
from replay.evaluation.result import (
    ActionOverlap,
    Bin,
)

ACTIONS = 1_000
"""Maximum number of actions in the table of overlap, the most frequently logged ones."""
NOT_LOGGED = "(not in the log)"
"""The name of all actions of the target together that were not logged, if they cannot be distinguished."""


def bins(state: State) -> list[Bin]:
    """Return a bin for each doubling of the weight, from the smallest that there is to the largest."""
    spread, total = state.spread_weight, state.weight.total
    doublings = (HIGHEST - LOWEST) // STEPS
    counts, sums = (each.reshape(doublings, STEPS).sum(axis=1) for each in (spread.counts, spread.sums))
    found = [Bin(low=0.0, high=0.0, rows=spread.zeros, share=0.0)] if spread.zeros else []
    some = np.flatnonzero(counts)
    for place in range(int(some[0]), int(some[-1]) + 1) if len(some) else ():
        low = 2.0 ** (place + LOWEST // STEPS) * state.rows / state.size
        share = float(sums[place]) / total if total else 0.0
        found.append(Bin(low=low, high=2 * low, rows=int(counts[place]), share=share))
    return found


def overlap(state: State, names: Sequence[str], taken: Taken | None) -> list[ActionOverlap]:
    """Return each action's share of the log and of the target; first those that the target takes and were not logged.

    The target's shares are means of its probabilities. If the log lacks them, they follow from the weights;
    what the weights lack to 1 is the first row then, if it is more than chance may explain.
    """
    if state.actions is None or state.actions.crowded:
        return []
    sums = state.actions.sums
    logged = [action for action in np.argsort(-sums[COUNT], kind="stable").tolist() if sums[COUNT, action]]
    called = {action: names[action] if action < len(names) else str(action) for action in logged}
    mean_weight = state.weight.total / state.size
    every = state.size * max(mean_weight, 1.0)
    unseen = {NOT_LOGGED: 1 - mean_weight} if taken is None and mean_weight < MOST_SHOWN else {}
    if taken is not None:
        seen = {*called.values()}
        unseen = {name: mass * UNIT / state.rows for name, mass in taken.items() if name not in seen and mass > 0}
    return [
        ActionOverlap(action=name, rows=0, logged=0.0, target=share, reward=None)
        for name, share in sorted(unseen.items(), key=lambda each: (-each[1], each[0]))[:ACTIONS]
    ] + [
        ActionOverlap(
            action=called[action],
            rows=max(round(sums[COUNT, action]), 1),
            logged=float(sums[COUNT, action]) / state.size,
            target=float(sums[WEIGHT, action]) / every
            if taken is None
            else taken.get(called[action], 0) * UNIT / state.rows,
            reward=float(sums[REWARD, action] / sums[COUNT, action]),
        )
        for action in logged[:ACTIONS]
    ]
