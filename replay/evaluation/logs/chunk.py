"""A log in blocks: the common output of the readers of all formats."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

import pyarrow as pa

from records.errors import BadInput
from replay.evaluation.blocks import BLOCK_ROWS
from replay.evaluation.logs.numbered import Names
from replay.evaluation.logs.taken import Taken, together
from replay.evaluation.models.rows import ModelRows
from replay.evaluation.rows import EvaluationRows, joined

Progress = Callable[[int, int], None]
"""Called with the amount read so far and the total."""
OPTIONAL = frozenset(
    {
        *("squared_weight", "unseen", "inverse", "squared_inverse", "rank", "action"),
        *("event_hash", "unit_hash", "time_ms", "version"),
    }
)
"""Columns of :class:`~replay.evaluation.rows.EvaluationRows` that a reader fills on request, if the log has them."""

REWARD_RANGE = "reward_range"
"""Requests :attr:`LogChunk.reward_range` from the rules of the log, if it has any."""
Range = tuple[float, float]
MEAN_PROPENSITY = "mean_propensity"
"""A column that is filled only on request: for an archive it needs a prediction of every logger."""
SAMPLE_WEIGHT = "sample_weight"
"""Name of the column of sample weights, which may all be 1."""

_JUDGEABLE = "a decision that can be used"
_OPEN = (
    ". Open are decisions after the last one whose window ran to its end: of these the log has only the ones whose"
    " feedback closed the window early (close_on), so they do not count. "
)
WAIT = (
    "Evaluate again when window_s has passed since the last decision and a window without such feedback has closed; if"
    " every decision gets it, take a stream out of close_on"
)
"""What to do where all decisions are open."""

LARGEST = 1e15
"""Largest absolute reward: the fourth power of reward times weight must not overflow."""


def no_rows(left_out: Mapping[str, int]) -> BadInput:
    """Return the error for a log of which nothing is left, by the counts of what was left out."""
    counts = ", ".join(f"{count} {reason}" for reason, count in left_out.items()) or "none at all"
    return BadInput("no_rows", "rows", counts, _JUDGEABLE + (_OPEN + WAIT if left_out.get("open") else ""))


def silent(passed: int, of: int) -> None:
    """Ignore the progress of a reader."""


@dataclass(frozen=True, slots=True)
class LogChunk:
    """A block of a log.

    Attributes
    ----------
    index
        Its place in the log: block ``i`` is made of the raw rows from ``i * BLOCK_ROWS`` on, wherever reading began.
    rows
        Those that can be used, in the order of the log.
    left_out
        How many others there were, by reason.
    learned
        From so many of ``rows`` the target has learned.
    entries
        Inputs of a reward model for ``rows``, in one or more parts; empty if not requested or not available.
    reward_range
        The least and the largest reward that the rules of ``rows`` allow, infinite without a bound; None where it was
        not wanted, or the log has no rules.
    taken
        The sum of the target's probabilities over ``rows``, by action; None if the log lacks some of them.
    closed_ms
        When the latest decision was whose window ran to its end: of later ones those alone are in the log that
        feedback closed early. None where times were not wanted, or the log has no windows; 0 of no such decision.
    lists
        Whether there are ranked lists among ``rows``; no reward model has learned those.
    """

    index: int
    rows: EvaluationRows
    left_out: Mapping[str, int] = field(default_factory=dict)
    learned: int = 0
    entries: tuple[ModelRows, ...] = ()
    reward_range: Range | None = None
    closed_ms: int | None = None
    taken: Taken | None = None
    lists: bool = False


class Log(Protocol):
    """A log of any origin."""

    @property
    def names(self) -> Names:
        """Names of the numbers in its rows; complete once the log has been read."""

    @property
    def provides(self) -> frozenset[str]:
        """Optional columns that it can fill besides its own.

        What a reward model looks at (:mod:`~replay.evaluation.logs.entries`; nothing of a log that lacks the
        actions), and :data:`MEAN_PROPENSITY` where it knows all loggers.
        """

    def blocks(self, progress: Progress, first: int = 0, last: int | None = None) -> Iterator[LogChunk]:
        """Yield its blocks in order, from ``first`` to ``last``, exclusive."""


@runtime_checkable
class Windowed(Protocol):
    """A log whose decisions have a window for feedback."""

    def closed_ms(self, progress: Progress = silent) -> int:
        """Return the latest :attr:`LogChunk.closed_ms`, by reading little."""


def first_row_of(index: int) -> int:
    """Return the place in the log where a block begins."""
    return index * BLOCK_ROWS


def cut(batches: "Iterable[pa.RecordBatch]", first_row: int = 0) -> "Iterator[tuple[int, pa.RecordBatch]]":
    """Yield raw rows with the index of their block; no part spans two blocks.

    Parameters
    ----------
    first_row
        The place in the log of the first row.

    Examples
    --------
    >>> batch = pa.record_batch({"a": range(7)})
    >>> [(index, part.num_rows) for index, part in cut([batch, batch], first_row=BLOCK_ROWS - 10)]
    [(0, 7), (0, 3), (1, 4)]
    """
    row = first_row
    for batch in batches:
        start = 0
        while start < batch.num_rows:
            taken = min(batch.num_rows - start, BLOCK_ROWS - row % BLOCK_ROWS)
            yield row // BLOCK_ROWS, batch.slice(start, taken)
            start, row = start + taken, row + taken


def between(blocks: Iterable[LogChunk], first: int, last: int | None) -> Iterator[LogChunk]:
    """Yield some of the blocks of a log, and read no further."""
    for block in blocks:
        if last is not None and block.index >= last:
            return
        if block.index >= first:
            yield block


def gathered(parts: Iterable[LogChunk]) -> Iterator[LogChunk]:
    """Put the parts of each block together, which come in the order of the log."""
    waiting: list[LogChunk] = []
    for part in parts:
        if waiting and waiting[0].index != part.index:
            yield _together(waiting)
            waiting = []
        waiting.append(part)
    if waiting:
        yield _together(waiting)


def _together(parts: list[LogChunk]) -> LogChunk:
    if len(parts) == 1:
        return parts[0]
    left_out: Counter[str] = Counter()
    for part in parts:
        left_out.update(part.left_out)
    # A chunk without rows does not determine the columns.
    some = [part for part in parts if len(part.rows)] or parts[:1]
    return LogChunk(
        parts[0].index,
        joined([part.rows for part in some]),
        left_out,
        sum(part.learned for part in parts),
        tuple(each for part in parts for each in part.entries),
        spanned([part.reward_range for part in some]),
        max((part.closed_ms for part in parts if part.closed_ms is not None), default=None),
        together([part.taken for part in some]),
        any(part.lists for part in parts),
    )


def spanned(ranges: Sequence[Range | None]) -> Range | None:
    """Return the range that contains all given ones; None if one of them is unknown, or without any.

    Examples
    --------
    >>> spanned([(0.0, 1.0), (-2.0, 0.5)]), spanned([(0.0, 1.0), None])
    ((-2.0, 1.0), None)
    """
    known = [each for each in ranges if each is not None]
    if not known or len(known) < len(ranges):
        return None
    return min(low for low, _ in known), max(high for _, high in known)
