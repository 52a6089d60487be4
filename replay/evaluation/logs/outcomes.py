"""A log of the loop's outcomes, wherever they are read, for a policy that might have decided instead."""

from collections import Counter
from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa

from policies.policy import SMALLEST_PROPENSITY
from policies.training import action_cache
from records.fields import EXTERNAL
from replay.evaluation.logs.allowed_rewards import allowed_rewards
from replay.evaluation.logs.chunk import (
    MEAN_PROPENSITY,
    REWARD_RANGE,
    LogChunk,
    Progress,
    cut,
    first_row_of,
    gathered,
    silent,
)
from replay.evaluation.logs.entries import WITH_CONTEXTS, WITHOUT_CONTEXTS, ActionIds, examples_in
from replay.evaluation.logs.lists import LIST_COLUMNS, are_lists, with_places
from replay.evaluation.logs.numbered import Names, Numbered
from replay.evaluation.logs.outcome_rows import OutcomeRows
from replay.evaluation.logs.outcome_selection import (
    ALL_COLUMNS,
    OutcomeOptions,
    OutcomeSelection,
    closed_ms,
    leave_out,
)
from replay.evaluation.logs.outcome_source import NUMBERS, Outcomes
from replay.evaluation.logs.policy_rows import OF_PMF, PolicyRows
from replay.evaluation.logs.predicted import mean_propensities, predicted_by
from replay.evaluation.logs.segments import segment_column
from replay.proof.archived_policy import ArchivedPolicy

_COLUMNS = (*NUMBERS, "reward", "learn", "why", "propensity")
_ENTRIES = frozenset({WITHOUT_CONTEXTS, WITH_CONTEXTS})


class OutcomeLog:
    """The outcomes of one placement, with the target's probabilities.

    Parameters
    ----------
    outcomes
        The outcomes.
    target
        The policy to evaluate; None: the logging policy itself, so that every weight is 1.
    options
        Which outcomes are used, and which columns are filled.
    """

    def __init__(
        self, outcomes: Outcomes, target: ArchivedPolicy | None, options: OutcomeOptions = ALL_COLUMNS
    ) -> None:
        self._outcomes, self._target, self._options = outcomes, target, options
        self._wanted = frozenset(options.wanted)
        self.provides = _ENTRIES | {MEAN_PROPENSITY} if options.loggers else _ENTRIES
        self.names = options.names or Names(segments={name: Numbered() for name in options.segments})
        self._selection = OutcomeSelection(outcomes, options)
        # The probabilities of the uniform policy depend only on the number of actions: no outcome has to be decoded.
        self._predicts = None if target is None or target.policy.kind == "uniform" else target.policy
        self._actions = action_cache()
        self._ids = ActionIds()
        for name in options.segments:
            segment_column(name)

    def blocks(self, progress: Progress = silent, first: int = 0, last: int | None = None) -> Iterator[LogChunk]:
        """Yield the log in blocks, in its order, every outcome once.

        Parameters
        ----------
        first, last
            Only the blocks from ``first`` to ``last``, exclusive. What lies before is read as far as is needed to know
            that no outcome is missing or comes twice, so that parts of a log can be read apart.

        Raises
        ------
        WrongConfiguration
            The log has outcomes of several placements and none was named, or none of the named placement.
        StateRefused, BadInput
            A file is damaged, or holds what no join has written.
        LossDetected
            Outcomes are missing between others, and who knows which.
        """
        some = False
        for chunk in gathered(self._parts(progress, first, last)):
            some = some or len(chunk.rows) > 0 or bool(chunk.left_out)
            yield chunk
        if not some and self._options.placement is not None and not first and last is None:
            self._selection.check_placement()

    def closed_ms(self, progress: Progress = silent) -> int:
        """Return when the latest decision was whose window ran to its end: that of all blocks, by reading little."""
        batches = self._outcomes.batches(("problem", "placement", "why", "decided_at", "offset"), progress)
        return max((self._selection.closed_ms(batch) for batch in batches), default=0)

    def _parts(self, progress: Progress, first: int, last: int | None) -> Iterator[LogChunk]:
        row = 0
        for batch in self._outcomes.batches(self._needed(), progress, first_row_of(first)):
            for index, rows in cut([batch.rows], row):
                if last is not None and index >= last:
                    return
                part, left_out = batch._replace(rows=rows), Counter[str]()
                selected = self._selection.of(part, left_out)
                if index >= first:
                    yield self._part(index, selected, left_out)
            row += batch.rows.num_rows

    def _needed(self) -> list[str]:
        """Return the columns of outcomes that are read."""
        wanted, options = self._wanted, self._options
        columns = [*_COLUMNS, *(LIST_COLUMNS if self._outcomes.may_have_lists() else ())]
        if self._predicts or options.loggers or WITH_CONTEXTS in wanted:
            columns += ["raw"]
        if wanted & _ENTRIES:
            columns += ["pmf", "chosen", "actions", "decided_at", "unit_hash"]
        if self._target is not None or wanted & OF_PMF:
            columns += ["pmf"]
        if "rank" in wanted:
            columns += ["chosen", "actions"]
        columns += ["chosen"] if "action" in wanted else []
        columns += ["decided_at"] if "time_ms" in wanted else []
        columns += ["rule"] if REWARD_RANGE in wanted else []
        columns += [name for name in ("event_hash", "unit_hash") if name in wanted]
        columns += [segment_column(name) for name in options.segments]
        return list(dict.fromkeys(columns))

    def _part(self, index: int, selected: OutcomeRows, left_out: Counter[str]) -> LogChunk:
        wanted, target = self._wanted, self._target
        closed = closed_ms(selected) if "time_ms" in wanted and len(selected) else None
        found = self._predicted(self._usable(selected, left_out), left_out)
        rows = found.rows
        # Checks the rows, so it comes before what is made of them.
        evaluation_rows = found.evaluation_rows(self._options, self.names)
        learned: Any = ()
        if target is not None and self._selection.placement in target.learned_from:
            learned = rows.numbers("offset") < target.cut
        return LogChunk(
            index,
            evaluation_rows,
            +left_out,
            learned=int(np.sum(learned)),
            entries=(found.model_rows(self._ids),) if wanted & _ENTRIES and not found.lists else (),
            reward_range=allowed_rewards(rows) if REWARD_RANGE in wanted else None,
            closed_ms=closed,
            taken=found.taken() if {"rank", "action"} <= wanted else None,
            lists=found.lists,
        )

    def _usable(self, rows: OutcomeRows, left_out: Counter[str]) -> OutcomeRows:
        """Return the outcomes that a learner takes, of the system that is evaluated; lists with their probabilities."""
        external = self._options.external
        why, learn = rows.texts("why"), rows.flags("learn")
        for reason in why.names if not learn.all() else ():
            left_out[reason] += int((why.has(reason) & ~learn).sum())
        rows = rows if learn.all() else rows.where(pa.array(learn))
        if external is not None:
            others = rows.texts("policy_version").has(EXTERNAL) != external
            rows = leave_out(rows, left_out, "own" if external else "external", others)
        # The learner refuses them too.
        rows = leave_out(rows, left_out, "refused", rows.numbers("places") < 1)
        rows = leave_out(rows, left_out, "refused", rows.between("propensity", 0, 1) < SMALLEST_PROPENSITY)
        if are_lists(rows).any():
            rows, refused = with_places(rows)
            rows = leave_out(rows, left_out, "refused", refused)
        return rows

    def _predicted(self, rows: OutcomeRows, left_out: Counter[str]) -> PolicyRows:
        """Return the outcomes that no policy refuses, with the predictions of the target and of the loggers."""
        predicted, examples, loggers = None, None, self._options.loggers
        if loggers:
            mean = mean_propensities(loggers, rows, self._actions)
            # A column, so that rows which are left out from here on take their own along.
            rows = rows.with_column(MEAN_PROPENSITY, mean)
            rows = leave_out(rows, left_out, "refused", np.isnan(mean))
        if self._predicts is not None:
            predicted = predicted_by(self._predicts, rows, self._actions)
            rows = leave_out(rows, left_out, "refused", predicted.refused)
        if WITH_CONTEXTS in self._wanted:
            examples = examples_in(rows, self._actions)
            rows = leave_out(rows, left_out, "refused", examples.refused)
        return PolicyRows(rows, self._target is None, predicted, examples)
