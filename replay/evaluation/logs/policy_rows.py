"""Outcomes that can be used, with what the target says of them, as evaluation rows and as a reward model's inputs."""

from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np

from replay.evaluation.logs.chunk import LARGEST, MEAN_PROPENSITY
from replay.evaluation.logs.entries import ActionIds, Examples, with_contexts
from replay.evaluation.logs.lists import (
    are_lists,
    countable,
    have_places,
    propensities,
    uniform_by_place,
    uniform_probabilities,
    weighed_by_place,
)
from replay.evaluation.logs.numbered import Names
from replay.evaluation.logs.outcome_rows import OutcomeRows
from replay.evaluation.logs.outcome_selection import LOW, OutcomeOptions
from replay.evaluation.logs.pmf import Pmfs, flat, ranks, whole
from replay.evaluation.logs.predicted import Predicted
from replay.evaluation.logs.segments import segment
from replay.evaluation.logs.taken import Taken, taken_by_name
from replay.evaluation.models.rows import ModelRows
from replay.evaluation.rows import Codes, EvaluationRows, Floats

OF_PMF = frozenset({"squared_weight", "unseen", "inverse", "squared_inverse", "rank"})
"""Columns that are computed from the probabilities of all actions."""


@dataclass(frozen=True, slots=True)
class PolicyRows:
    """Outcomes that can be used, with what the target says of them.

    Attributes
    ----------
    rows
        The outcomes.
    logged
        Whether the target is the logging policy itself, so that every weight is 1.
    predicted
        The target's predictions; None: those of the logging policy, or of the uniform policy.
    examples
        The decoded decisions, if they are needed.
    """

    rows: OutcomeRows
    logged: bool
    predicted: Predicted | None
    examples: Examples | None

    @property
    def lists(self) -> bool:
        """Whether there are ranked lists among the outcomes."""
        return bool(are_lists(self.rows).any())

    def evaluation_rows(self, options: OutcomeOptions, names: Names) -> EvaluationRows:
        """Return the columns that are wanted."""
        rows, wanted = self.rows, options.wanted
        # The rows agree with their pmfs; but what a pmf says of the weight of one action is not that of a list.
        known = self._of_pmf(options) if OF_PMF.intersection(wanted) else {}
        known = {} if self.lists else known
        if options.loggers:
            known[MEAN_PROPENSITY] = rows.numbers(MEAN_PROPENSITY)
        if "action" in wanted:
            known["action"] = names.actions.codes(rows.batch.column("chosen"))
        if "version" in wanted:
            known["version"] = _versions(rows, names)
        if "time_ms" in wanted:
            known["time_ms"] = rows.times("decided_at")
        for name in ("event_hash", "unit_hash"):
            if name in wanted:
                known[name] = rows.hashes(name)
        known["segments"] = {
            name: names.segments[name].codes(segment(name, rows.batch)) for name in options.segments if wanted
        }
        known["reward"] = reward = rows.between("reward", -LARGEST, LARGEST)
        if self.lists and not (self.logged or options.whole_lists):
            known["weight"], known["reward"] = weighed_by_place(rows, self._target_by_place())
            known["logged_reward"] = reward
        return EvaluationRows(propensity=propensities(rows), target=self._target(), **known)

    def model_rows(self, ids: ActionIds) -> ModelRows:
        """Return the inputs of a reward model."""
        pmfs = self.rows.pmfs()
        target = self._target_pmf(pmfs)
        if self.examples is None:
            return ids.rows(self.rows, pmfs, target)
        return with_contexts(self.rows, self.examples, pmfs, target)

    def taken(self) -> Taken:
        """Return the sum of the target's probabilities by action."""
        parts, _ = flat(self.rows.whole("actions"))
        return taken_by_name(parts.field("id"), self._target_pmf(self.rows.pmfs()))

    def _target(self) -> Floats:
        """Return the target's probability of what was shown."""
        if self.logged:
            return propensities(self.rows)
        if self.predicted is None:
            return uniform_probabilities(self.rows)
        target = self.predicted.target
        return countable(target) if have_places(self.rows) else target

    def _target_by_place(self) -> Floats:
        """Return the target's probabilities of what was shown down to each place, one after the other."""
        if self.predicted is None:
            return uniform_by_place(self.rows)
        return np.fromiter(chain.from_iterable(self.predicted.by_place), dtype=np.float64)

    def _target_pmf(self, pmfs: Pmfs) -> Floats:
        """Return the target's probabilities of all actions, as ``pmfs.values``."""
        if self.logged:
            return pmfs.values
        return 1 / pmfs.each(pmfs.counts) if self.predicted is None else self.predicted.flat(self.rows, pmfs)

    def _of_pmf(self, options: OutcomeOptions) -> dict[str, Any]:
        rows, predicted, pmfs = self.rows, self.predicted, self.rows.pmfs()
        known: dict[str, Any] = whole(pmfs, None if self.logged else self._target_pmf(pmfs))._asdict()
        if "rank" in options.wanted:
            chosen = rows.chosen(pmfs) if predicted is None else predicted.chosen
            rows.agree(pmfs, chosen)
            known["rank"] = ranks(pmfs, chosen)
        return {name: column for name, column in known.items() if name in options.wanted}


def _versions(rows: OutcomeRows, names: Names) -> Codes:
    policies, versions = rows.texts("policy"), rows.texts("policy_version")
    pairs, firsts, indices = np.unique(
        policies.codes.astype(np.int64) << 32 | versions.codes, return_index=True, return_inverse=True
    )
    numbers = np.zeros(len(pairs), dtype=np.int32)
    for index in np.argsort(firsts).tolist():
        policy, version = int(pairs[index]) >> 32, int(pairs[index]) & LOW
        numbers[index] = names.versions.number(f"{policies.names[policy]}@{versions.names[version]}")
    return np.asarray(numbers[indices], dtype=np.int32)
