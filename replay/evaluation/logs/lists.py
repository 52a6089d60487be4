"""Ranked lists as decisions of one choice: the whole list, with the product of the probabilities of its places."""

from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from policies.policy import MOST_CHOICES, SMALLEST_PROPENSITY
from replay.evaluation.logs.outcome_rows import OutcomeRows
from replay.evaluation.logs.pmf import Numbers, Pmfs
from replay.evaluation.rows import Flags, Floats

LIST_COLUMNS = ("actions", "pmf", "chosen", "picks", "rewards")
"""What :func:`lists_in` needs of outcomes among which there are lists."""
LEAST_PROBABILITY = 1e-50
"""A list that was logged with less is refused, and what a target gives less to counts as never taken by it: the fourth
power of a weight, and of its inverse, must be a number."""
SUM_TOLERANCE = 1e-9
WHOLE, UNIFORM = "whole_propensity", "whole_uniform"
"""Columns of numbers that :func:`with_lists` adds: :attr:`Lists.propensity` and :attr:`Lists.uniform`."""


class Lists(NamedTuple):
    """The ranked lists among outcomes; all have the shape (rows,).

    Attributes
    ----------
    refused
        Which are no list that a policy can have shown; no learner takes them.
    propensity
        The logged probability of the whole list; of one action, that of the action.
    uniform
        The same by the policy that draws every action that is left alike.
    """

    refused: Flags
    propensity: Floats
    uniform: Floats


def are_lists(rows: OutcomeRows) -> Flags:
    """Tell which outcomes are those of lists."""
    return np.asarray(rows.numbers("places") > 1)


def propensities(rows: OutcomeRows) -> Floats:
    """Return the logged probability of what was shown: of one action, or of a whole list."""
    return rows.numbers(WHOLE if WHOLE in rows.batch.schema.names else "propensity")


def uniform_probabilities(rows: OutcomeRows) -> Floats:
    """Return the same by the policy that draws every action alike."""
    return countable(rows.numbers(UNIFORM)) if UNIFORM in rows.batch.schema.names else 1 / rows.counts()


def countable(probabilities: Floats) -> Floats:
    """Return a target's probabilities of lists, 0 for those below :data:`LEAST_PROBABILITY`."""
    return np.where(probabilities < LEAST_PROBABILITY, 0.0, probabilities)


def lists_in(rows: OutcomeRows) -> Lists:
    """Return the lists among outcomes.

    A list has several places, and as many picks and rewards. The first pick is the chosen action, with the decision's
    propensity, and the reward is the sum of the rewards.

    The importance weight of a list is the ratio of the probabilities of all of its places (McInerney et al. 2020, KDD,
    eq. 1): its reward, the sum over the places, may depend on all of them.
    """
    places, are = rows.numbers("places").astype(np.int64), are_lists(rows)
    picks, starts, picked = _values(rows, "picks")
    rewards, _, rewarded = _values(rows, "rewards")
    logged, actions = _floats(picks.field("propensity")), rows.counts()
    sums = np.bincount(np.repeat(np.arange(len(rows)), rewarded), weights=_floats(rewards), minlength=len(rows))
    alike = np.abs(sums - rows.numbers("reward")) <= SUM_TOLERANCE * np.maximum(1.0, np.abs(sums))
    # A missing reward is NaN, and so is the sum, which equals nothing.
    refused = are & ((picked != places) | (rewarded != places) | ~alike | (places * actions > MOST_CHOICES))
    propensity, uniform = rows.between("propensity", 0, 1).copy(), 1 / actions
    ids, pmfs = _ids(rows, picks)
    at = np.full(len(ids.of_actions), False)
    for place in range(int(places.max(initial=1))):
        there = np.flatnonzero(are & ~refused & (places > place))
        if not len(there):
            break
        pick = starts[there] + place
        # Each pick is one of the actions that the places before have left.
        sought = np.full(len(rows), -2)
        sought[there] = ids.of_picks[pick]
        hits = (ids.of_actions == pmfs.each(sought)) & ~at
        once = pmfs.sums(hits.astype(np.int64))[there] == 1
        right = np.isfinite(logged[pick]) & (logged[pick] >= SMALLEST_PROPENSITY) & (logged[pick] <= 1)
        if not place:
            right &= (logged[pick] == propensity[there]) & (sought[there] == ids.of_chosen[there])
        refused[there[~(once & right)]] = True
        at |= hits
        if place:
            propensity[there] *= np.where(right, logged[pick], 1.0)
            uniform[there] /= np.maximum(actions[there] - place, 1)
    return Lists(refused | (are & (propensity < LEAST_PROBABILITY)), propensity, uniform)


class _Ids(NamedTuple):
    of_actions: Numbers
    of_picks: Numbers
    of_chosen: Numbers


def _ids(rows: OutcomeRows, picks: "pa.Array") -> tuple[_Ids, Pmfs]:
    """Return the ids of actions, picks and chosen actions as numbers, and where the actions of each outcome are."""
    counts = rows.counts()
    ids = rows.action_ids(counts)
    texts = pa.concat_arrays([_text(ids), _text(picks.field("action")), _text(rows.whole("chosen"))])
    codes = np.asarray(texts.dictionary_encode().indices.fill_null(-1)).astype(np.int64)
    of_actions, of_picks, of_chosen = np.split(codes, (len(ids), len(ids) + len(picks)))
    # A pick without an id matches no action, not even one without an id.
    of_picks = np.where(of_picks < 0, -2, of_picks)
    return _Ids(of_actions, of_picks, of_chosen), Pmfs(np.zeros(len(ids)), np.cumsum(counts) - counts, counts)


def _values(rows: OutcomeRows, name: str) -> "tuple[pa.Array, Numbers, Numbers]":
    """Return the values of a column of lists, where each row's begin, and how many it has."""
    column = rows.batch.column(name)
    counts = np.asarray(pc.list_value_length(column).fill_null(0)).astype(np.int64)
    return column.flatten(), np.cumsum(counts) - counts, counts


def _floats(column: "pa.Array") -> Floats:
    return np.asarray(column.cast(pa.float64()).fill_null(np.nan), dtype=np.float64)


def _text(column: "pa.Array") -> "pa.Array":
    return column.cast(pa.large_string())
