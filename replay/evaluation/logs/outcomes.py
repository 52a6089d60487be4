"""Judges the outcomes of the loop, wherever they were read, for a policy that might have decided instead."""

from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from policies.policy import SMALLEST_PROPENSITY
from policies.training import action_cache
from records.errors import LossDetected, WrongConfiguration, shorten
from records.fields import EXTERNAL
from replay.evaluation.logs.allowed_rewards import allowed_rewards
from replay.evaluation.logs.chunk import (
    LARGEST,
    MEAN_PROPENSITY,
    OPTIONAL,
    REWARD_RANGE,
    LogChunk,
    Progress,
    cut,
    first_row_of,
    gathered,
    silent,
)
from replay.evaluation.logs.entries import (
    WITH_CONTEXTS,
    WITHOUT_CONTEXTS,
    ActionIds,
    Examples,
    examples_in,
    with_contexts,
)
from replay.evaluation.logs.lists import (
    LIST_COLUMNS,
    UNIFORM,
    WHOLE,
    are_lists,
    countable,
    lists_in,
    propensities,
    uniform_probabilities,
)
from replay.evaluation.logs.numbered import Names, Numbered
from replay.evaluation.logs.outcome_rows import OutcomeRows
from replay.evaluation.logs.outcome_source import NUMBERS, Outcomes
from replay.evaluation.logs.pmf import Pmfs, flat, ranks, whole
from replay.evaluation.logs.predicted import Logger, Predicted, mean_propensities, predicted_by
from replay.evaluation.logs.segments import segment, segment_column
from replay.evaluation.logs.taken import Taken, taken_by_name
from replay.evaluation.models.rows import ModelRows
from replay.evaluation.rows import Codes, EvaluationRows, Flags, Floats
from replay.proof.archived_policy import ArchivedPolicy

_COLUMNS = (*NUMBERS, "reward", "learn", "why", "propensity")
_LOW = 2**32 - 1
"""The lower half of a number that is made of two."""
_ENTRIES = frozenset({WITHOUT_CONTEXTS, WITH_CONTEXTS})
_OF_PMF = {"squared_weight", "unseen", "inverse", "squared_inverse", "rank"}


class Judge:
    """Judges the outcomes of one placement.

    Parameters
    ----------
    outcomes
        The log.
    target
        What is judged; None: the logging policy itself, so that every weight is 1.
    of
        The placement whose outcomes it is judged on; None: the only one of which there are some.
    external
        Judge it on the decisions that another system took, and on no others; without it, on the others alone: two
        logging policies are never mixed. None: on both.
    mixed
        Use the outcomes of all placements, to describe the log without evaluating a policy.
    wanted
        Which of :data:`~replay.evaluation.logs.chunk.OPTIONAL` to fill, of :attr:`provides`, and
        :data:`~replay.evaluation.logs.chunk.REWARD_RANGE`; the fewer, the faster.
    segments
        What to cut the log into: see :mod:`replay.evaluation.logs.segments`.
    names
        What is numbered already.
    count_missing
        Count outcomes that are missing between others as left out, instead of refusing the log.
    loggers
        All versions that wrote it, for the column ``mean_propensity``; without them the column is missing.
    """

    def __init__(
        self,
        outcomes: Outcomes,
        target: ArchivedPolicy | None,
        of: str | None = None,
        external: bool | None = False,
        *,
        mixed: bool = False,
        wanted: Collection[str] = OPTIONAL,
        segments: Sequence[str] = (),
        names: Names | None = None,
        count_missing: bool = False,
        loggers: Sequence[Logger] = (),
    ) -> None:
        self.provides = _ENTRIES | {MEAN_PROPENSITY} if loggers else _ENTRIES
        self._loggers = loggers
        self.names = names or Names(segments={name: Numbered() for name in segments})
        self._outcomes, self._target, self._of, self._external = outcomes, target, of, external
        self._told = of is not None
        self._mixed, self._wanted, self._segments = mixed, frozenset(wanted), tuple(segments)
        self._count_missing = count_missing
        # Its probabilities depend only on the number of actions, so no outcome has to be decoded.
        self._predicts = None if target is None or target.policy.kind == "uniform" else target.policy
        self._last_seqs: dict[tuple[str, int], int] = {}
        self._lists: bool | None = None
        self._catalogue = action_cache()
        self._ids = ActionIds()
        for name in segments:
            segment_column(name)

    def blocks(self, progress: Progress = silent, first: int = 0, last: int | None = None) -> Iterator[LogChunk]:
        """Yield the log in blocks, in its order, every outcome once.

        Parameters
        ----------
        first, last
            Only the blocks from ``first`` to ``last``, exclusive. What lies before is read as far as is needed to know
            that no outcome is missing or comes twice, so that parts of a log can be judged apart.

        Raises
        ------
        WrongConfiguration
            The log has outcomes of several placements and none was named, or none of the named placement.
        StateRefused, BadInput
            A file is damaged, or holds what no join has written.
        LossDetected
            Outcomes are missing between others, and who knows which.
        """
        groups = gathered(self._parts(progress, first, last))
        return self._some(groups) if self._told and not first and last is None else groups

    def _some(self, chunks: Iterator[LogChunk]) -> Iterator[LogChunk]:
        """Yield the blocks of a whole log, in which the placement that was named must have an outcome."""
        some = False
        for chunk in chunks:
            some = some or len(chunk.rows) > 0 or bool(chunk.left_out)
            yield chunk
        if not some and (there := self._placements()) and self._of not in there:
            expected = f"one of those in the log: {', '.join(there)}"
            raise WrongConfiguration(f"--placement: found no outcome of {shorten(str(self._of))}, expected {expected}")

    def closed_ms(self, progress: Progress = silent) -> int:
        """Return when the latest decision was whose window ran to its end: that of all blocks, by reading little."""
        latest = 0
        for found in self._outcomes.batches(("problem", "placement", "why", "decided_at", "offset"), progress):
            problems = found.rows.column("problem")
            whole = problems.null_count == len(problems)
            rows = OutcomeRows(found.rows if whole else found.rows.filter(problems.is_null()), found.place)
            if self._told:
                rows = rows.where(pa.array(rows.texts("placement").has(self._of or "")))
            latest = max(latest, _closed_ms(rows))
        return latest

    def _parts(self, progress: Progress, first: int, last: int | None) -> Iterator[LogChunk]:
        wanted = self._wanted
        row = 0
        for found in self._outcomes.batches(self._needed(wanted), progress, first_row_of(first)):
            for index, batch in cut([found.rows], row):
                if last is not None and index >= last:
                    return
                rows = OutcomeRows(batch, found.place)
                if index < first:
                    self._numbered(rows, found.beheaded, Counter())
                else:
                    yield self._part(index, rows, found.beheaded, wanted)
            row += found.rows.num_rows

    def _needed(self, wanted: frozenset[str]) -> list[str]:
        columns = [*_COLUMNS, *(LIST_COLUMNS if self._has_lists() else ())]
        entries = wanted & _ENTRIES
        if self._predicts or self._loggers or WITH_CONTEXTS in wanted:
            columns += ["raw"]
        if entries:
            columns += ["pmf", "chosen", "actions", "decided_at", "unit_hash"]
        if self._target is not None or wanted & _OF_PMF:
            columns += ["pmf"]
        if "rank" in wanted:
            columns += ["chosen", "actions"]
        columns += ["chosen"] if "action" in wanted else []
        columns += ["decided_at"] if "time_ms" in wanted else []
        columns += ["rule"] if REWARD_RANGE in wanted else []
        columns += [name for name in ("event_hash", "unit_hash") if name in wanted]
        columns += [segment_column(name) for name in self._segments]
        return list(dict.fromkeys(columns))

    def _has_lists(self) -> bool:
        """Tell whether the log may have ranked lists; asks for it once."""
        if self._lists is None:
            self._lists = self._outcomes.may_have_lists()
        return self._lists

    def _numbered(self, rows: OutcomeRows, beheaded: bool, left_out: Counter[str]) -> OutcomeRows:
        """Return the outcomes of the placement that is judged, each once."""
        problems = rows.batch.column("problem")
        if unreadable := len(problems) - problems.null_count:
            left_out["unreadable"] += unreadable
            rows = rows.where(problems.is_null())
        placements = rows.texts("placement")
        if not self._mixed:
            own = placements.has(self._whose(placements.names) or "")
            rows = rows if own.all() else rows.where(pa.array(own))
        corrections = rows.numbers("revision") != 0
        if corrections.any():
            left_out["corrections"] += int(corrections.sum())
            rows = rows.where(pa.array(~corrections))
        repeats = self._repeats(rows, beheaded, left_out)
        if repeats.any():
            left_out["repeats"] += int(repeats.sum())
            rows = rows.where(pa.array(~repeats))
        return rows

    def _part(self, index: int, rows: OutcomeRows, beheaded: bool, wanted: frozenset[str]) -> LogChunk:
        left_out: Counter[str] = Counter()
        rows = self._numbered(rows, beheaded, left_out)

        def leave_out(reason: str, which: Flags) -> OutcomeRows:
            if not which.any():
                return rows
            left_out[reason] += int(which.sum())
            return rows.where(pa.array(~which))

        why, learn = rows.texts("why"), rows.flags("learn")
        closed_ms = _closed_ms(rows) if "time_ms" in wanted and len(rows) else None
        for reason in why.names if not learn.all() else ():
            left_out[reason] += int((why.has(reason) & ~learn).sum())
        rows = rows if learn.all() else rows.where(pa.array(learn))
        if self._external is not None:
            external = rows.texts("policy_version").has(EXTERNAL)
            rows = leave_out("own" if self._external else "external", external != self._external)
        # The learner refuses them too.
        rows = leave_out("refused", rows.numbers("places") < 1)
        rows = leave_out("refused", rows.between("propensity", 0, 1) < SMALLEST_PROPENSITY)
        if are_lists(rows).any():
            found = lists_in(rows)
            rows = rows.with_column(WHOLE, found.propensity).with_column(UNIFORM, found.uniform)
            rows = leave_out("refused", found.refused)
        if self._loggers:
            mean = mean_propensities(self._loggers, rows, self._catalogue)
            # A column, so that rows which are left out from here on take their own along.
            rows = rows.with_column(MEAN_PROPENSITY, mean)
            rows = leave_out("refused", np.isnan(mean))
        predicted = predicted_by(self._predicts, rows, self._catalogue) if self._predicts else None
        if predicted is not None:
            rows = leave_out("refused", predicted.refused)
        examples = examples_in(rows, self._catalogue) if WITH_CONTEXTS in wanted else None
        if examples is not None and examples.refused.any():
            rows = leave_out("refused", examples.refused)
        evaluation_rows = self._evaluation_rows(rows, predicted, wanted)
        learned: Any = ()
        if self._target is not None and self._of in self._target.learned_from:
            learned = rows.numbers("offset") < self._target.cut
        lists = bool(are_lists(rows).any())
        entries = (self._entries(rows, predicted, examples),) if wanted & _ENTRIES and not lists else ()
        allowed = allowed_rewards(rows) if REWARD_RANGE in wanted else None
        taken = self._taken(rows, predicted) if {"rank", "action"} <= wanted else None
        return LogChunk(
            index, evaluation_rows, +left_out, int(np.sum(learned)), entries, allowed, closed_ms, taken, lists
        )

    def _taken(self, rows: OutcomeRows, predicted: Predicted | None) -> Taken:
        pmfs = rows.pmfs()
        target = pmfs.values if self._target is None else self._target_of(rows, predicted, pmfs)
        parts, _ = flat(rows.whole("actions"))
        return taken_by_name(parts.field("id"), target)

    def _entries(self, rows: OutcomeRows, predicted: Predicted | None, examples: Examples | None) -> ModelRows:
        pmfs = rows.pmfs()
        target = pmfs.values if self._target is None else self._target_of(rows, predicted, pmfs)
        if examples is None:
            return self._ids.rows(rows, pmfs, target)
        return with_contexts(rows, examples, pmfs, target)

    def _target_of(self, rows: OutcomeRows, predicted: Predicted | None, pmfs: Pmfs) -> Floats:
        return 1 / pmfs.each(pmfs.counts) if predicted is None else predicted.flat(rows, pmfs)

    def _whose(self, placements: list[str]) -> str | None:
        for name in () if self._told else sorted(placements):
            if self._of not in (None, name):
                raise WrongConfiguration(
                    f"--placement: found none, expected one of those in the log: {', '.join(self._placements())}"
                )
            self._of = name
        return self._of

    def _placements(self) -> list[str]:
        """Return the placements that the log holds outcomes of; reads it once."""
        seen: set[str] = set()
        for batch in self._outcomes.batches(("problem", "placement", "offset"), silent):
            seen.update(name for name in pc.unique(batch.rows.column("placement")).to_pylist() if name)
        return sorted(seen)

    def _repeats(self, rows: OutcomeRows, beheaded: bool, left_out: Counter[str]) -> Flags:
        shards = rows.numbers("shard").astype(np.int64) & _LOW
        seqs, placements = rows.numbers("outcome_seq"), rows.texts("placement")
        repeats = np.zeros(len(seqs), dtype=np.bool_)
        for key in np.unique(placements.codes.astype(np.int64) << 32 | shards).tolist():
            placement, shard = placements.names[key >> 32], key & _LOW
            own = np.flatnonzero((placements.codes == key >> 32) & (shards == shard))
            # A log that starts above 0 has begun with another seq than 1.
            last = self._last_seqs.get((placement, shard), int(seqs[own[0]]) - 1 if beheaded else 0)
            before = np.maximum.accumulate(np.concatenate(([last], seqs[own])))
            again = seqs[own] <= before[:-1]
            if (jumps := ~again & (seqs[own] > before[:-1] + 1)).any():
                if not self._count_missing:
                    at = int(np.argmax(jumps))
                    raise LossDetected(
                        f"placement {placement}, shard {shard} in {rows.where_is(int(own[at]))}",
                        f"seq {seqs[own[at]]}",
                        f"seq {before[at] + 1}",
                        "outcomes are missing before it: bring their file back from a copy",
                    )
                left_out["missing"] += int((seqs[own] - before[:-1] - 1)[jumps].sum())
            repeats[own] = again
            self._last_seqs[placement, shard] = int(before[-1])
        return repeats

    def _evaluation_rows(
        self, rows: OutcomeRows, predicted: Predicted | None, wanted: frozenset[str]
    ) -> EvaluationRows:
        propensity, known = propensities(rows), {}
        target = propensity
        if predicted is not None:
            target = countable(predicted.target) if WHOLE in rows.batch.schema.names else predicted.target
        elif self._target is not None:
            target = uniform_probabilities(rows)
        if wanted & _OF_PMF:
            known = self._of_pmf(rows, predicted, wanted)
            if are_lists(rows).any():
                # The rows agree with their pmfs; but what a pmf says of the weight of one action is not that of a list.
                known = {}
        if self._loggers:
            known[MEAN_PROPENSITY] = rows.numbers(MEAN_PROPENSITY)
        if "action" in wanted:
            known["action"] = self.names.actions.codes(rows.batch.column("chosen"))
        if "version" in wanted:
            known["version"] = self._versions(rows)
        if "time_ms" in wanted:
            known["time_ms"] = rows.times("decided_at")
        for name in ("event_hash", "unit_hash"):
            if name in wanted:
                known[name] = rows.hashes(name)
        known["segments"] = {
            name: self.names.segments[name].codes(segment(name, rows.batch)) for name in self._segments if wanted
        }
        return EvaluationRows(
            reward=rows.between("reward", -LARGEST, LARGEST), propensity=propensity, target=target, **known
        )

    def _of_pmf(self, rows: OutcomeRows, predicted: Predicted | None, wanted: frozenset[str]) -> dict[str, Any]:
        pmfs = rows.pmfs()
        target = None if self._target is None else self._target_of(rows, predicted, pmfs)
        known: dict[str, Any] = whole(pmfs, target)._asdict()
        if "rank" in wanted:
            chosen = rows.chosen(pmfs) if predicted is None else predicted.chosen
            rows.agree(pmfs, chosen)
            known["rank"] = ranks(pmfs, chosen)
        return {name: column for name, column in known.items() if name in wanted}

    def _versions(self, rows: OutcomeRows) -> Codes:
        policies, versions = rows.texts("policy"), rows.texts("policy_version")
        pairs, firsts, places = np.unique(
            policies.codes.astype(np.int64) << 32 | versions.codes, return_index=True, return_inverse=True
        )
        numbers = np.zeros(len(pairs), dtype=np.int32)
        for place in np.argsort(firsts).tolist():
            policy, version = int(pairs[place]) >> 32, int(pairs[place]) & _LOW
            numbers[place] = self.names.versions.number(f"{policies.names[policy]}@{versions.names[version]}")
        return np.asarray(numbers[places], dtype=np.int32)


def _closed_ms(rows: OutcomeRows) -> int:
    """Return when the latest decision was whose window ran to its end; 0 where none did."""
    return int(rows.times("decided_at")[rows.texts("why").has("window")].max(initial=0))
