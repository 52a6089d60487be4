"""Outcomes as a reward model sees them: all actions of each decision, with contexts or without."""

from typing import NamedTuple

import numpy as np

from policies.features import Action, ActionCache
from policies.training import Example
from records.errors import BadInput
from records.limits import REWARD_LIMIT
from replay.evaluation.logs.numbered import Numbered
from replay.evaluation.logs.outcome_rows import OutcomeRows
from replay.evaluation.logs.pmf import Pmfs, flat
from replay.evaluation.logs.predicted import example_rows
from replay.evaluation.models.rows import Decided, ModelRows, rows_of
from replay.evaluation.rows import Flags, Floats

WITHOUT_CONTEXTS, WITH_CONTEXTS = "entries", "contexts"
"""Inputs of reward models that a reader of outcomes can fill besides columns."""


class Examples(NamedTuple):
    """Decoded decisions; ``refused`` are those whose features cannot be used: shape (rows,)."""

    decoded: list[Example]
    refused: Flags


def examples_in(rows: OutcomeRows, catalogue: ActionCache) -> Examples:
    """Decode outcomes from the bytes in the column ``raw``."""
    decoded: list[Example] = []
    refused = np.zeros(len(rows), dtype=np.bool_)
    for index, example in enumerate(example_rows(rows, catalogue)):
        if isinstance(example, BadInput):
            refused[index] = True
        else:
            decoded.append(example)
    return Examples(decoded, refused)


class ActionIds:
    """The actions of a log by their ids alone, as one catalogue for all of its rows."""

    def __init__(self) -> None:
        self._numbers = Numbered(most=2**31 - 1)
        self._catalogue: list[Action] = []

    def rows(self, rows: OutcomeRows, pmfs: Pmfs, target: Floats) -> ModelRows:
        """Return outcomes without contexts; ``target`` are the target's probabilities, as ``pmfs.values``."""
        parts, offsets = flat(rows.whole("actions"))
        codes = self._numbers.codes(parts.field("id").fill_null(""))
        self._catalogue += [Action(name, {}) for name in self._numbers.names[len(self._catalogue) :]]
        return ModelRows(
            catalogue=self._catalogue,
            action=codes,
            offsets=offsets,
            chosen=rows.chosen(pmfs),
            reward=_rewards(rows),
            target=np.clip(target, 0.0, 1.0),
            unit_hash=rows.hashes("unit_hash"),
            time_ms=rows.times("decided_at"),
        )


def with_contexts(rows: OutcomeRows, examples: Examples, pmfs: Pmfs, target: Floats) -> ModelRows:
    """Return outcomes with contexts; none of ``rows`` was refused."""
    decisions = (
        Decided(*question[:2], picks[0].action, reward, target[start : start + count].tolist())
        for (question, picks), reward, start, count in zip(
            examples.decoded,
            _rewards(rows).tolist(),
            pmfs.starts.tolist(),
            pmfs.counts.tolist(),
            strict=True,
        )
    )
    return rows_of(decisions, unit_hash=rows.hashes("unit_hash"), time_ms=rows.times("decided_at"))


def _rewards(rows: OutcomeRows) -> Floats:
    """Return the rewards, which a reward model takes up to a limit; the error names the file."""
    rewards = rows.numbers("reward")
    right = np.abs(rewards) <= REWARD_LIMIT
    if not right.all():
        row = int(np.argmin(right))
        raise rows.bad("reward", row, str(rewards[row]), f"a number within ±{REWARD_LIMIT:g}")
    return np.asarray(rewards, dtype=np.float64)
