"""Which outcomes of a log are used: those of one placement, each once."""

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from records.errors import LossDetected, WrongConfiguration, shorten
from replay.evaluation.logs.chunk import OPTIONAL, silent
from replay.evaluation.logs.numbered import Names
from replay.evaluation.logs.outcome_rows import OutcomeRows
from replay.evaluation.logs.outcome_source import OutcomeBatch, Outcomes
from replay.evaluation.logs.predicted import Logger
from replay.evaluation.rows import Flags

LOW = 2**32 - 1
"""The lower half of a number that is made of two."""


@dataclass(frozen=True, slots=True)
class OutcomeOptions:
    """Which outcomes of a log are used, and which columns are filled.

    Attributes
    ----------
    placement
        The placement whose outcomes are used; None: the only one of which there are some.
    external
        Use the decisions that another system took, and no others; without it, the others alone: two logging policies
        are never mixed. None: both.
    mixed
        Use the outcomes of all placements, to describe the log without evaluating a policy.
    count_missing
        Count outcomes that are missing between others as left out, instead of refusing the log.
    wanted
        Which of :data:`~replay.evaluation.logs.chunk.OPTIONAL` to fill, of
        :attr:`~replay.evaluation.logs.chunk.Log.provides`, and :data:`~replay.evaluation.logs.chunk.REWARD_RANGE`;
        the fewer, the faster.
    segments
        What to cut the log into: see :mod:`replay.evaluation.logs.segments`.
    names
        What is numbered already.
    loggers
        All versions that wrote it, for the column ``mean_propensity``; without them the column is missing.
    whole_lists
        Weigh a ranked list as a whole instead of place by place.
    """

    placement: str | None = None
    external: bool | None = False
    mixed: bool = False
    count_missing: bool = False
    wanted: Collection[str] = OPTIONAL
    segments: Sequence[str] = ()
    names: Names | None = None
    loggers: Sequence[Logger] = ()
    whole_lists: bool = False


ALL_COLUMNS = OutcomeOptions()


class OutcomeSelection:
    """Selects outcomes, batch by batch in the order of the log.

    Attributes
    ----------
    placement
        The placement whose outcomes are used; None: none was named, and none has come yet.
    """

    def __init__(self, outcomes: Outcomes, options: OutcomeOptions) -> None:
        self.placement = options.placement
        self._outcomes, self._options = outcomes, options
        self._last_seqs: dict[tuple[str, int], int] = {}

    def of(self, batch: OutcomeBatch, left_out: Counter[str]) -> OutcomeRows:
        """Return the outcomes of the placement, each once; count the others by reason."""
        rows = _readable(batch, left_out)
        placements = rows.texts("placement")
        if not self._options.mixed:
            own = placements.has(self._whose(placements.names) or "")
            rows = rows if own.all() else rows.where(pa.array(own))
        rows = leave_out(rows, left_out, "corrections", rows.numbers("revision") != 0)
        return leave_out(rows, left_out, "repeats", self._repeats(rows, batch.beheaded, left_out))

    def closed_ms(self, batch: OutcomeBatch) -> int:
        """Return when the latest decision was whose window ran to its end, of a named placement if one is named."""
        rows = _readable(batch, Counter())
        if self._options.placement is not None:
            rows = rows.where(pa.array(rows.texts("placement").has(self._options.placement)))
        return closed_ms(rows)

    def check_placement(self) -> None:
        """Raise if the log has outcomes, and none of them is of the placement that was named."""
        if (there := self._placements()) and self.placement not in there:
            expected = f"one of those in the log: {', '.join(there)}"
            raise WrongConfiguration(
                f"--placement: found no outcome of {shorten(str(self.placement))}, expected {expected}"
            )

    def _whose(self, placements: list[str]) -> str | None:
        for name in () if self._options.placement is not None else sorted(placements):
            if self.placement not in (None, name):
                raise WrongConfiguration(
                    f"--placement: found none, expected one of those in the log: {', '.join(self._placements())}"
                )
            self.placement = name
        return self.placement

    def _placements(self) -> list[str]:
        """Return the placements that the log holds outcomes of; reads it once."""
        seen: set[str] = set()
        for batch in self._outcomes.batches(("problem", "placement", "offset"), silent):
            seen.update(name for name in pc.unique(batch.rows.column("placement")).to_pylist() if name)
        return sorted(seen)

    def _repeats(self, rows: OutcomeRows, beheaded: bool, left_out: Counter[str]) -> Flags:
        shards = rows.numbers("shard").astype(np.int64) & LOW
        seqs, placements = rows.numbers("outcome_seq"), rows.texts("placement")
        repeats = np.zeros(len(seqs), dtype=np.bool_)
        for key in np.unique(placements.codes.astype(np.int64) << 32 | shards).tolist():
            placement, shard = placements.names[key >> 32], key & LOW
            own = np.flatnonzero((placements.codes == key >> 32) & (shards == shard))
            # A log that starts above 0 has begun with another seq than 1.
            last = self._last_seqs.get((placement, shard), int(seqs[own[0]]) - 1 if beheaded else 0)
            before = np.maximum.accumulate(np.concatenate(([last], seqs[own])))
            again = seqs[own] <= before[:-1]
            if (jumps := ~again & (seqs[own] > before[:-1] + 1)).any():
                if not self._options.count_missing:
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


def leave_out(rows: OutcomeRows, left_out: Counter[str], reason: str, which: Flags) -> OutcomeRows:
    """Return the other rows; count those that are left out."""
    if not which.any():
        return rows
    left_out[reason] += int(which.sum())
    return rows.where(pa.array(~which))


def closed_ms(rows: OutcomeRows) -> int:
    """Return when the latest decision was whose window ran to its end; 0 if none did."""
    return int(rows.times("decided_at")[rows.texts("why").has("window")].max(initial=0))


def _readable(batch: OutcomeBatch, left_out: Counter[str]) -> OutcomeRows:
    rows, problems = OutcomeRows(batch.rows, batch.place), batch.rows.column("problem")
    if unreadable := len(problems) - problems.null_count:
        left_out["unreadable"] += unreadable
        rows = rows.where(problems.is_null())
    return rows
