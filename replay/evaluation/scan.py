"""The passes over a log: scan its versions and period, predict with the reward model, accumulate the sums."""

from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from records.errors import BadInput
from records.fields import EXTERNAL
from replay.evaluation.blocks import Blocks
from replay.evaluation.logs.chunk import Log, LogChunk, Progress, silent
from replay.evaluation.logs.numbered import NOTHING, Names
from replay.evaluation.logs.taken import scaled
from replay.evaluation.models.cross_fitting import CrossFitted, with_predictions
from replay.evaluation.rows import Codes, joined
from replay.evaluation.sample_weights import all_alike
from replay.evaluation.summary import EvaluationPlan, Summary, summarise

SCANNED = frozenset({"time_ms", "unit_hash", "version"})


class OpenLog(Protocol):
    """Open the log at its beginning, once for each pass."""

    def __call__(self, wanted: Collection[str], for_target: bool, names: Names | None = None, /) -> Log:
        """Return the log.

        Parameters
        ----------
        wanted
            Optional columns and inputs of the reward model to fill.
        for_target
            Whether to compute the target's probabilities; without them reading is faster.
        names
            Existing numbering of names.
        """


Stages = Callable[[str], Progress]
"""Called with the name of the next stage; returns a callback for its progress."""


class PolicyLog(NamedTuple):
    """A log opened for a policy, and the name of the policy."""

    name: str
    open_log: OpenLog


class PolicyLogs(NamedTuple):
    """A log opened for the policy to evaluate and for the one to compare with.

    Attributes
    ----------
    target, against
        The policy to evaluate, and the one to compare with; None: the logging policy.
    lacks
        The message if the log has no columns for balanced weights.
    """

    target: PolicyLog
    against: PolicyLog | None = None
    lacks: str = "found a log without the probabilities of all of its loggers"


class Scan(NamedTuple):
    """Result of the first pass.

    Attributes
    ----------
    versions
        Number of versions that wrote the log.
    first_ms, last_ms
        Times of the first and the last decision; None if unknown.
    units
        Whether all rows have a unit.
    blocks
        Number of blocks of the log.
    closed_ms
        As in :class:`~replay.evaluation.logs.chunk.LogChunk`.
    sized
        Whether the log has sample weights other than 1.
    apart
        Names of two versions of which one ended before the other began; None if there are none.
    lists
        Whether the log has ranked lists.
    """

    versions: int
    first_ms: int | None
    last_ms: int | None
    units: bool
    blocks: int
    closed_ms: int | None = None
    sized: bool = False
    apart: tuple[str, str] | None = None
    lists: bool = False

    @property
    def timed(self) -> bool:
        """Whether the log can be cut by time."""
        return self.first_ms is not None and self.first_ms != self.last_ms


Part = tuple[int, int | None]
"""The first block of a part of a log, and the one after its last; None: the end of the log."""
WHOLE: Part = (0, None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Accumulation:
    """The pass that computes the sums over a log, or a part of it; it can be pickled for other processes.

    Attributes
    ----------
    logs, columns
        The log, and the optional columns to fill.
    fitted
        The cross-fitted reward model.
    plan
        The sums to compute.
    closed_ms
        Decisions after this time are left out as open (see :class:`Scan`).
    """

    logs: PolicyLogs
    columns: Collection[str]
    fitted: CrossFitted | None
    plan: EvaluationPlan
    closed_ms: int | None

    def of_part(self, names: Names, part: Part) -> Blocks[Summary]:
        """Return the sums over a part of the log, with an existing numbering of names."""
        return self.of(self.logs.target.open_log(self.columns, True, names), silent, part)

    def of(self, log: Log, progress: Progress, part: Part = WHOLE) -> Blocks[Summary]:
        """Return the sums over blocks of the log opened for the target, in its order."""
        sums: Blocks[Summary] = Blocks()
        for blocks in self._side_by_side(log, progress, part):
            with_model = [each if self.fitted is None else predicted(each, self.fitted) for each in blocks]
            chunks = [each if self.closed_ms is None else closed(each, self.closed_ms) for each in with_model]
            chunk, other = shared(*chunks) if len(chunks) > 1 else (chunks[0], None)
            sums.put(chunk.index, summarise(chunk, self.plan, other))
        return sums

    def _side_by_side(self, log: Log, progress: Progress, part: Part) -> Iterator[tuple[LogChunk, ...]]:
        """Yield each block for the target with the same block for the compared policy, if there is one."""
        logs = [log.blocks(progress, *part)]
        if self.logs.against is not None:
            logs.append(self.logs.against.open_log(self.columns, True, log.names).blocks(silent, *part))
        return zip(*logs, strict=True)


def closed(chunk: LogChunk, closed_ms: int) -> LogChunk:
    """Return a block without the decisions after a time.

    If feedback may close windows early, the last decisions of the log are only those with feedback, since the other
    windows are still open. Including them would bias every value upwards.
    """
    times = chunk.rows.time_ms
    if times is None or not (late := times > closed_ms).any():
        return chunk
    rows = chunk.rows.where(~late)
    left_out = Counter(chunk.left_out) + Counter({"open": int(late.sum())})
    taken = scaled(chunk.taken, len(rows), len(chunk.rows))
    return replace(chunk, rows=rows, left_out=left_out, learned=min(chunk.learned, len(rows)), taken=taken)


def shared(one: LogChunk, other: LogChunk) -> tuple[LogChunk, LogChunk]:
    """Return the rows of a block that both policies accept.

    Raises
    ------
    BadInput
        The rows differ and have no event ids to match them by.
    """
    own_hashes, other_hashes = one.rows.event_hash, other.rows.event_hash
    if own_hashes is None or other_hashes is None:
        if len(one.rows) != len(other.rows):
            found = f"{len(one.rows)} rows for the one, {len(other.rows)} for the other"
            raise BadInput("not_the_same_rows", "against", found, "the same rows for both policies")
        return one, other
    if np.array_equal(own_hashes, other_hashes):
        return one, other
    both = np.isin(own_hashes, other_hashes)
    left_out = Counter(one.left_out) + Counter({"refused": int((~both).sum())})
    taken = scaled(one.taken, int(both.sum()), len(both))
    return replace(one, rows=one.rows.where(both), left_out=left_out, taken=taken), replace(
        other, rows=other.rows.where(np.isin(other_hashes, own_hashes))
    )


def cut_blocks(blocks: int, parts: int) -> list[Part]:
    """Return the range of blocks of each part, the end excluded.

    >>> cut_blocks(10, 3)
    [(0, 3), (3, 6), (6, 10)]
    """
    edges = [blocks * number // parts for number in range(parts + 1)]
    return [(first, last) for first, last in pairwise(edges) if first < last]


def names_of(open_log: OpenLog, progress: Progress) -> Names:
    """Return the names of a log, numbered in the order of the whole log."""
    log = open_log({"action", "version"}, True)
    for _ in log.blocks(progress):
        pass
    return log.names


def predicted(chunk: LogChunk, fitted: CrossFitted) -> LogChunk:
    """Return a block with the predictions of a reward model.

    Raises
    ------
    BadInput
        The block lacks the inputs of the model.
    """
    parts, first = [], 0
    for entries in chunk.entries:
        rows = chunk.rows.where(slice(first, first + len(entries)))
        parts.append(with_predictions(rows, entries, fitted.predict(entries)))
        first += len(entries)
    if first != len(chunk.rows):
        raise BadInput("no_actions", "actions", f"those of {first} of {len(chunk.rows)} rows", "those of all rows")
    return replace(chunk, rows=joined(parts) if parts else chunk.rows, entries=())


def scan(log: Log, progress: Progress) -> Scan:
    """Return the versions, the period and the length of a log."""
    first, last, units, blocks, closed, sized, lists = None, None, True, 0, None, False, False
    spans: dict[int, tuple[int, int]] = {}
    for chunk in log.blocks(progress):
        rows, blocks, lists = chunk.rows, chunk.index + 1, lists or chunk.lists
        if chunk.closed_ms is not None:
            closed = max(chunk.closed_ms, closed or 0)
        if not len(rows):
            continue
        units = units and rows.unit_hash is not None
        sized = sized or not all_alike(rows)
        if rows.time_ms is not None:
            low, high = int(rows.time_ms.min()), int(rows.time_ms.max())
            first, last = min(low, low if first is None else first), max(high, high if last is None else last)
            if rows.version is not None:
                _spans(spans, rows.version, rows.time_ms)
    apart = _apart(spans, log.names.versions.names)
    return Scan(versions_in(log.names), first, last, units, blocks, closed, sized, apart, lists)


def _spans(spans: dict[int, tuple[int, int]], version: Codes, time_ms: NDArray[np.int64]) -> None:
    """Add the first and the last time of each version."""
    for each in np.unique(version).tolist():
        times = time_ms[version == each]
        first, last = spans.get(each, (int(times[0]), int(times[0])))
        spans[each] = min(first, int(times.min())), max(last, int(times.max()))


def _apart(spans: Mapping[int, tuple[int, int]], names: Sequence[str]) -> tuple[str, str] | None:
    if not spans:
        return None
    ended, began = min(spans, key=lambda each: spans[each][1]), max(spans, key=lambda each: spans[each][0])
    return (names[ended], names[began]) if spans[ended][1] < spans[began][0] else None


def versions_in(names: Names) -> int:
    """Return by how many versions of policies of ours a log was written."""
    return sum(name != NOTHING and not name.endswith(f"@{EXTERNAL}") for name in names.versions.names)
