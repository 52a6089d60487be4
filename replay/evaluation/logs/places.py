"""Ranked lists by place: each place is a choice among the actions that the places before it have left."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from records.splitmix import GOLDEN
from replay.evaluation.logs.outcome_rows import OutcomeRows
from replay.evaluation.logs.pmf import Numbers, Pmfs, flat
from replay.evaluation.rows import Floats

LIST_COLUMNS = ("places", "actions", "pmf", "chosen", "picks", "rewards")
"""What :func:`by_place` needs of outcomes among which there are lists."""
PLACE = "place"
"""The column with the place of a row in its list, from 0."""
_NEVER = np.iinfo(np.int64).max


def by_place(rows: OutcomeRows) -> OutcomeRows:
    """Return a row for each place of each outcome.

    Actions, pmf, chosen action, propensity and reward are those of the place: what was left, and the pmf of the first
    place scaled to it (:class:`policies.single_action.SingleAction`). All other columns are those of the outcome; the
    column :data:`PLACE` is added.

    Raises
    ------
    Exception
        That of ``rows``: an outcome has not a pick and a reward for each place, or picks what is not among its actions.
    """
    places = _places(rows)
    row, place = _repeated(places)
    batch = rows.batch.take(pa.array(row))
    found = {name: batch.column(name) for name in batch.schema.names if name not in ("picks", "rewards", "raw")}
    if (places > 1).any():
        found |= _choices(_Lists.of(rows), row, place)
    found[PLACE] = pa.array(place)
    return OutcomeRows(pa.RecordBatch.from_arrays(list(found.values()), names=list(found)), rows.place)


def least_propensities(rows: OutcomeRows) -> Floats:
    """Return the smallest propensity of a place of each outcome; raises as :func:`by_place`."""
    lists, least = _Lists.of(rows), rows.between("propensity", 0, 1).copy()
    for place in range(1, int(lists.places.max(initial=1))):
        there = lists.reach(place)
        least[there] = np.minimum(least[there], lists.propensities[lists.starts[there] + place])
    return least


def columns_by_place(rows: OutcomeRows, known: Mapping[str, Any], ratios: Floats) -> dict[str, Any]:
    """Return the columns of evaluation rows in which places of lists differ from decisions of one action.

    Parameters
    ----------
    rows
        By place.
    known
        The columns as they are for decisions of one action.
    ratios
        The probability by the target over the logged one, of each row: shape (rows,).
    """
    place = rows.numbers(PLACE) if PLACE in rows.batch.schema.names else np.zeros(0, dtype=np.int64)
    if not place.any():
        return {}
    prior = prior_weights(place, ratios)
    hashes, unseen = known.get("event_hash"), known.get("unseen")
    return {
        "prior": prior,
        # They differ between the places of a decision; the first place keeps its own.
        "event_hash": None if hashes is None else hashes ^ (place.astype(np.uint64) * np.uint64(GOLDEN)),
        # What the whole pmf says of the weight of one choice is not the weight of a list.
        "squared_weight": None,
        "unseen": None if unseen is None else prior * unseen,
    }


def prior_weights(place: Numbers, ratios: Floats) -> Floats:
    """Return the product of the ratios of the places before each row's.

    With it the importance weight of a place is that of the list down to it, since the reward of a place may depend on
    the places above it, but not on those below (McInerney et al. 2020, KDD, eq. 3).

    Parameters
    ----------
    place, ratios
        The place of each row, and its probability by the target over the logged one: shape (rows,). The places of a
        list follow each other.

    Examples
    --------
    >>> prior_weights(np.array([0, 1, 2, 0]), np.array([2.0, 0.5, 3.0, 7.0])).tolist()
    [1.0, 2.0, 1.0, 1.0]
    """
    prior = np.ones(len(place))
    for each in range(1, int(place.max(initial=0)) + 1):
        at = np.flatnonzero(place == each)
        prior[at] = prior[at - 1] * ratios[at - 1]
    return prior


class _Lists(NamedTuple):
    """Outcomes of ranked lists, with their picks one after the other.

    Attributes
    ----------
    rows, places
        The outcomes, and how many places each has: shape (outcomes,).
    picks, propensities, rewards
        Of all places of all lists.
    starts
        Where the picks of each outcome begin: shape (outcomes,).
    reward_starts
        Where its rewards begin: shape (outcomes,).
    """

    rows: OutcomeRows
    places: Numbers
    picks: "pa.Array"
    propensities: Floats
    starts: Numbers
    rewards: Floats
    reward_starts: Numbers

    @classmethod
    def of(cls, rows: OutcomeRows) -> "_Lists":
        places = _places(rows)
        picks, starts = _of_lists(rows, "picks", places)
        rewards, reward_starts = _of_lists(rows, "rewards", places)
        propensities = _floats(picks.field("propensity"))
        right = np.isfinite(propensities) & (propensities > 0) & (propensities <= 1)
        if not right.all():
            at = int(np.argmin(right))
            row = int(np.searchsorted(starts, at, side="right")) - 1
            raise rows.bad("picks", row, f"the propensity {propensities[at]}", "a number above 0 and up to 1")
        return cls(rows, places, picks.field("action"), propensities, starts, _floats(rewards), reward_starts)

    def reach(self, place: int) -> Numbers:
        """Return the lists that have a place."""
        return np.flatnonzero((self.places > 1) & (self.places > place))

    def picked_at(self, pmfs: Pmfs, ids: "pa.Array") -> Numbers:
        """Return the place at which each action of each outcome was picked."""
        codes = np.asarray(pa.concat_arrays([_text(ids), _text(self.picks)]).dictionary_encode().indices.fill_null(-1))
        of_actions, of_picks = codes[: len(ids)], codes[len(ids) :]
        picked_at = np.full(len(of_actions), _NEVER)
        for place in range(int(self.places.max())):
            there = self.reach(place)
            sought = np.full(len(self.rows), -2)
            sought[there] = of_picks[self.starts[there] + place]
            hits = (of_actions == pmfs.each(sought)) & (picked_at == _NEVER)
            if (wrong := pmfs.sums(hits.astype(np.int64))[there] != 1).any():
                row = int(there[np.argmax(wrong)])
                found = repr(self.picks[int(self.starts[row]) + place].as_py())
                expected = "the id of exactly one action, of none before it"
                raise self.rows.bad("picks", row, f"{found} at place {place}", expected)
            picked_at[hits] = place
        return picked_at


def _choices(lists: _Lists, row: Numbers, place: Numbers) -> dict[str, Any]:
    """Return the columns that differ between the places of a list."""
    rows, pmfs = lists.rows, lists.rows.pmfs()
    parts, offsets = flat(rows.whole("actions"))
    if not (alike := np.diff(offsets) == pmfs.counts).all():
        wrong = int(np.argmin(alike))
        raise rows.bad("pmf", wrong, f"{pmfs.counts[wrong]} probabilities", f"{np.diff(offsets)[wrong]}, one an action")
    picked_at = lists.picked_at(pmfs, parts.field("id"))
    # Of each place all actions of its outcome, then those that are left.
    of_place, within = _repeated(pmfs.counts[row])
    entry = pmfs.starts[row][of_place] + within
    left = picked_at[entry] >= place[of_place]
    entry, of_place = entry[left], of_place[left]
    counts = np.bincount(of_place, minlength=len(row))
    scaled = _scaled(pmfs.values[entry], of_place, counts, place)
    ends = pa.array(np.concatenate(([0], np.cumsum(counts))), pa.int32())
    in_list, picked = lists.places[row] > 1, lists.starts[row] + place

    def either(name: str, of_lists: Floats, at: Numbers) -> "pa.Array":
        return pa.array(np.where(in_list, of_lists[np.where(in_list, at, 0)], rows.numbers(name)[row]))

    chosen = pa.concat_arrays([_text(rows.whole("chosen")), _text(lists.picks)])
    return {
        "actions": pa.ListArray.from_arrays(ends, parts.take(pa.array(entry))),
        "pmf": pa.ListArray.from_arrays(ends, pa.array(scaled)),
        "chosen": chosen.take(pa.array(np.where(in_list, len(rows) + picked, row))).dictionary_encode(),
        "propensity": either("propensity", lists.propensities, picked),
        "reward": either("reward", lists.rewards, lists.reward_starts[row] + place),
    }


def _places(rows: OutcomeRows) -> Numbers:
    return rows.numbers("places").astype(np.int64)


def _of_lists(rows: OutcomeRows, name: str, places: Numbers) -> "tuple[pa.Array, Numbers]":
    """Return the values of a column of lists, and where each row's begin; a list has as many as it has places."""
    column = rows.batch.column(name)
    counts = np.asarray(pc.list_value_length(column).fill_null(0)).astype(np.int64)
    if (wrong := (places > 1) & (counts != places)).any():
        row = int(np.argmax(wrong))
        raise rows.bad(name, row, str(counts[row]), f"{places[row]}, one for each place")
    return column.flatten(), np.cumsum(counts) - counts


def _repeated(counts: Numbers) -> tuple[Numbers, Numbers]:
    """Return for each of ``counts`` items of each row its row and its number within the row.

    >>> [each.tolist() for each in _repeated(np.array([2, 1]))]
    [[0, 0, 1], [0, 1, 0]]
    """
    row = np.repeat(np.arange(len(counts)), counts)
    return row, np.arange(len(row)) - np.repeat(np.cumsum(counts) - counts, counts)


def _scaled(values: Floats, of_place: Numbers, counts: Numbers, place: Numbers) -> Floats:
    """Return the probabilities of what is left at each place; at the first one they stay as they were logged."""
    sums = np.bincount(of_place, weights=values, minlength=len(counts))
    # All that had a probability is taken: what is left has the same one.
    even = np.where(sums > 0, 0.0, 1.0)[of_place] / counts[of_place]
    scaled = np.divide(values, sums[of_place], out=even, where=sums[of_place] > 0)
    return np.where(place[of_place] > 0, scaled, values)


def _floats(column: "pa.Array") -> Floats:
    return np.asarray(column.cast(pa.float64()).fill_null(np.nan), dtype=np.float64)


def _text(column: "pa.Array") -> "pa.Array":
    return column.cast(pa.large_string())
