"""Ranked lists: what was shown down to each place, with its probability and its reward."""

from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from policies.policy import MOST_CHOICES
from replay.evaluation.logs.chunk import LARGEST
from replay.evaluation.logs.outcome_rows import OutcomeRows
from replay.evaluation.logs.pmf import Numbers, Pmfs, flat
from replay.evaluation.rows import Flags, Floats, are_propensities

LIST_COLUMNS = ("actions", "pmf", "chosen", "picks", "rewards")
"""What :func:`lists_in` needs of outcomes among which there are lists."""
LEAST_PROBABILITY = 1e-50
"""A list that was logged with less is refused, and what a target gives less to counts as never taken by it: the fourth
power of a weight, and of its inverse, must be a number."""
SUM_TOLERANCE = 1e-9
_LOGGED, _UNIFORM, _REWARDS = "logged_by_place", "uniform_by_place", "reward_by_place"
"""Columns of lists of numbers that :func:`with_places` adds: one number for each place, one action being one place.

The first two are probabilities of what was shown down to the place: by the logging policy, and by the policy that draws
every action that is left alike.
"""


class Weighed(NamedTuple):
    """Weights and rewards of ranked lists, place by place: shape (rows,)."""

    weight: Floats
    reward: Floats


def are_lists(rows: OutcomeRows) -> Flags:
    """Tell which outcomes are those of lists."""
    return np.asarray(rows.numbers("places") > 1)


def have_places(rows: OutcomeRows) -> bool:
    """Tell whether :func:`with_places` has been there."""
    return _LOGGED in rows.batch.schema.names


def propensities(rows: OutcomeRows) -> Floats:
    """Return the logged probability of what was shown: of one action, or of a whole list."""
    return _last(rows, _LOGGED) if have_places(rows) else rows.numbers("propensity")


def uniform_probabilities(rows: OutcomeRows) -> Floats:
    """Return the same by the policy that draws every action alike."""
    return countable(_last(rows, _UNIFORM)) if have_places(rows) else 1 / rows.counts()


def uniform_by_place(rows: OutcomeRows) -> Floats:
    """Return, place after place, the uniform policy's probability of what was shown down to there."""
    return _floats(flat(rows.batch.column(_UNIFORM))[0])


def countable(probabilities: Floats) -> Floats:
    """Return a target's probabilities of lists, 0 for those below :data:`LEAST_PROBABILITY`."""
    return np.where(probabilities < LEAST_PROBABILITY, 0.0, probabilities)


def weighed_by_place(rows: OutcomeRows, target: Floats) -> Weighed:
    """Weigh the reward of each place by what was shown down to there, in one weight and one reward for each list.

    The weight of place k is ``w_k``, the ratio of the probabilities of the actions in places 1 to k (McInerney et al.
    2020, KDD, eq. 3 and 4). Of a list with K places the weight is the mean of all ``w_k``, whose expectation is 1, and
    the reward is ``K sum_k(w_k r_k) / sum_k(w_k)``. So weight times reward is ``sum_k(w_k r_k)``, and the reward is
    within the range of a list's rewards. If the target would show nothing of the list, it is the logged reward.

    Parameters
    ----------
    target
        The target's probabilities of what was shown down to each place, one after the other.
    """
    logged, begins = flat(rows.batch.column(_LOGGED))
    rewards = _floats(flat(rows.batch.column(_REWARDS))[0])
    starts, counts = begins[:-1], np.diff(begins)
    if not len(rows):
        return Weighed(np.empty(0), np.empty(0))
    weights = countable(target) / _floats(logged)
    sums, worth = np.add.reduceat(weights, starts), np.add.reduceat(weights * rewards, starts)
    shown = sums > 0
    reward = np.where(shown, counts * worth / np.where(shown, sums, 1.0), rows.numbers("reward"))
    # Only rounding moves it out of this range.
    low, high = (counts * bound.reduceat(rewards, starts) for bound in (np.minimum, np.maximum))
    return Weighed(sums / counts, np.clip(reward, low, high))


def with_places(rows: OutcomeRows) -> tuple[OutcomeRows, Flags]:
    """Return outcomes with the probabilities and the reward of each place, and which of them have to be refused.

    A list has several places, and as many picks and rewards. The first pick is the chosen action, with the decision's
    propensity, and the reward is the sum of the rewards. What is no list that a policy can have shown is refused, as
    every learner refuses it.
    """
    places, are = rows.numbers("places").astype(np.int64), are_lists(rows)
    picks, starts, picked = _values(rows, "picks")
    rewards, reward_starts, rewarded = _values(rows, "rewards")
    of_picks, of_rewards, actions = _floats(picks.field("propensity")), _floats(rewards), rows.counts()
    sums = np.bincount(np.repeat(np.arange(len(rows)), rewarded), weights=of_rewards, minlength=len(rows))
    alike = np.abs(sums - rows.numbers("reward")) <= SUM_TOLERANCE * np.maximum(1.0, np.abs(sums))
    # A missing reward is NaN, and so is the sum, which equals nothing.
    refused = are & ((picked != places) | (rewarded != places) | ~alike | (places * actions > MOST_CHOICES))
    propensity = rows.between("propensity", 0, 1)
    counts = np.where(are & ~refused, places, 1)
    begins = np.cumsum(counts) - counts
    of_rows = propensity, 1 / actions, rows.numbers("reward")
    logged, uniform, earned = (np.repeat(column, counts) for column in of_rows)
    ids, pmfs = _ids(rows, picks)
    at = np.full(len(ids.of_actions), False)
    for place in range(int(places.max(initial=1))):
        there = np.flatnonzero(are & ~refused & (places > place))
        if not len(there):
            break
        pick, here = starts[there] + place, begins[there] + place
        # Each pick is one of the actions that the places before have left.
        sought = np.full(len(rows), -2)
        sought[there] = ids.of_picks[pick]
        hits = (ids.of_actions == pmfs.each(sought)) & ~at
        once = pmfs.sums(hits.astype(np.int64))[there] == 1
        right = are_propensities(of_picks[pick])
        earned[here] = reward = of_rewards[reward_starts[there] + place]
        right &= np.abs(reward) <= LARGEST
        if not place:
            right &= (of_picks[pick] == propensity[there]) & (sought[there] == ids.of_chosen[there])
        refused[there[~(once & right)]] = True
        at |= hits
        if place:
            logged[here] = logged[here - 1] * np.where(right, of_picks[pick], 1.0)
            uniform[here] = uniform[here - 1] / np.maximum(actions[there] - place, 1)
    refused |= are & (logged[begins + counts - 1] < LEAST_PROBABILITY)
    ends = np.append(begins, len(logged))
    for name, column in ((_LOGGED, logged), (_UNIFORM, uniform), (_REWARDS, earned)):
        rows = rows.with_column(name, pa.LargeListArray.from_arrays(ends, column))
    return rows, refused


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


def _last(rows: OutcomeRows, name: str) -> Floats:
    """Return the last number of each row of a column of lists."""
    values, begins = flat(rows.batch.column(name))
    return _floats(values)[begins[1:] - 1]


def _floats(column: "pa.Array") -> Floats:
    return np.asarray(column.cast(pa.float64()).fill_null(np.nan), dtype=np.float64)


def _text(column: "pa.Array") -> "pa.Array":
    return column.cast(pa.large_string())
