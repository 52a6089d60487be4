"""Evaluation rows of an Open Bandit log for a policy whose probabilities depend only on item and position."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final, Literal, cast

import numpy as np
import pyarrow as pa
from numpy.lib.format import open_memmap
from numpy.typing import NDArray

from policies.features import Action
from records.errors import WrongConfiguration
from records.limits import PMF_TOLERANCE
from replay.evaluation.blocks import BLOCK_ROWS
from replay.evaluation.logs.chunk import LogChunk, Progress, between, gathered, silent
from replay.evaluation.logs.entries import WITHOUT_CONTEXTS
from replay.evaluation.logs.numbered import Names, Numbered
from replay.evaluation.logs.open_bandit_columns import Log, Shown
from replay.evaluation.logs.taken import UNIT, Taken
from replay.evaluation.models.rows import ModelRows, rows_of_catalogue
from replay.evaluation.rows import Codes, EvaluationRows, Floats

TIME = "timestamp"
TARGET_BYTES = 64 * 2**20
"""A larger file is no target, but a mistake."""


def read_target(path: Path) -> Floats:
    """Return a policy from a ``.npy`` file: probabilities of shape (actions, positions), each column with the sum 1.

    Raises
    ------
    WrongConfiguration
        The file holds something else.
    """

    def wrong(found: str, expected: str) -> WrongConfiguration:
        return WrongConfiguration(f"--target {path}: found {found}, expected {expected}")

    if not path.is_file():
        raise wrong("no such file", "uniform, or a .npy of shape (actions, positions)")
    if (size := path.stat().st_size) > TARGET_BYTES:
        raise wrong(f"{size} bytes", f"at most {TARGET_BYTES}")
    try:
        # Mapped, so that a header cannot ask for more memory than the file has; what it maps is never unpickled.
        mapped = open_memmap(path, mode="r")
    except (ValueError, OSError, EOFError, SyntaxError, OverflowError, MemoryError, TypeError) as error:
        raise wrong("no array", "a .npy of numbers") from error
    if mapped.dtype.kind not in "fiu" or mapped.ndim != 2 or not mapped.size:
        raise wrong(f"{mapped.dtype} of shape {mapped.shape}", "numbers of shape (actions, positions)")
    target = np.array(mapped, dtype=np.float64)
    if not (target >= 0).all():
        action, position = (int(index) for index in np.argwhere(~(target >= 0))[0])
        raise wrong(f"{target[action, position]} for action {action}, column {position}", "probabilities from 0 to 1")
    sums = target.sum(axis=0)
    if not (np.abs(sums - 1) <= PMF_TOLERANCE).all():
        column = int(np.argmax(~(np.abs(sums - 1) <= PMF_TOLERANCE)))
        raise wrong(f"the sum {sums[column]:.9g} in column {column}", "columns (one a position) with the sum 1")
    return target


ITSELF: Final = "itself"


class OpenBanditLog:
    """A log of the dataset, and a policy that is evaluated on it.

    The log has neither units nor whole pmfs: rows have no unit, and columns derived from pmfs are None.

    Parameters
    ----------
    target
        Of shape (actions, positions); None: every item alike; :data:`ITSELF`: the logging policy, so that every weight
        is 1.
    segments
        Columns of the log to cut it by, as ``position`` or ``user_feature_0``.
    names
        What is numbered already.
    entries
        Whether to fill the inputs of a reward model; it gets the position as a segment, and no context.

    Raises
    ------
    WrongConfiguration
        The target is for another number of items, or there is no such column.
    """

    provides = frozenset({WITHOUT_CONTEXTS})

    def __init__(
        self,
        log: Log,
        target: "Floats | Literal['itself'] | None" = None,
        *,
        segments: Sequence[str] = (),
        entries: bool = False,
        names: Names | None = None,
    ) -> None:
        itself, target = (True, None) if isinstance(target, str) else (False, target)
        if target is not None and len(target) != log.items:
            raise WrongConfiguration(
                f"--target: found {len(target)} actions, expected {log.items}: one for each item of {log.path.name}"
            )
        if missing := [name for name in segments if log.names.count(name) != 1]:
            raise WrongConfiguration(f"segment: found no column {missing[0]}, expected one of {log.path.name}")
        self._log, self._target, self._itself, self._segments = log, target, itself, tuple(segments)
        self._timed, self._entries = log.names.count(TIME) == 1, entries
        self._items = [Action(str(item), {}) for item in range(log.items)]
        self.names = names or Names(
            actions=Numbered(str(item) for item in range(log.items)),
            segments={name: Numbered() for name in segments},
        )

    def blocks(self, progress: Progress = silent, first: int = 0, last: int | None = None) -> Iterator[LogChunk]:
        """Yield the log in blocks, from ``first`` to ``last``, exclusive.

        Raises
        ------
        BadInput
            The log is damaged.
        WrongConfiguration
            The log has a position that the target does not know.
        """
        return between(gathered(self.parts(progress)), first, last)

    def parts(self, progress: Progress) -> Iterator[LogChunk]:
        """Yield the log in parts of blocks, as they are read."""
        row = 0
        others = [*self._segments, *([TIME] if self._timed else [])]
        for shown in self._log.read(progress, list(dict.fromkeys(others))):
            evaluation_rows = self._evaluation_rows(shown)
            start = 0
            while start < len(evaluation_rows):
                end = min(len(evaluation_rows), start + BLOCK_ROWS - row % BLOCK_ROWS)
                some, positions = evaluation_rows.where(slice(start, end)), shown.positions[start:end]
                entries = (self._of_items(some, positions),) if self._entries else ()
                yield LogChunk(row // BLOCK_ROWS, some, entries=entries, taken=self._taken(positions))
                start, row = end, row + end - start

    def _taken(self, positions: NDArray[np.int64]) -> Taken | None:
        if self._itself:
            return None
        if self._target is None:
            masses = np.full(self._log.items, len(positions) / self._log.items)
        else:
            masses = self._target @ np.bincount(positions - 1, minlength=self._target.shape[1])
        return {str(item): round(mass / UNIT) for item, mass in enumerate(masses.tolist())}

    def _evaluation_rows(self, shown: Shown) -> EvaluationRows:
        if self._itself:
            probabilities = shown.propensities
        elif self._target is None:
            probabilities = np.full(len(shown.clicks), 1 / self._log.items)
        else:
            known = shown.positions <= self._target.shape[1]
            if not known.all():
                row = int(np.argmin(known))
                columns = "1 column" if self._target.shape[1] == 1 else f"{self._target.shape[1]} columns"
                raise WrongConfiguration(
                    f"--target: found {columns}, expected one for each position of the log: line {shown.line + row} "
                    f"of {self._log.path.name} has the position {shown.positions[row]}"
                )
            probabilities = self._target[shown.item_ids, shown.positions - 1]
        return EvaluationRows(
            reward=shown.clicks.astype(np.float64),
            propensity=shown.propensities,
            target=probabilities,
            action=shown.item_ids.astype(np.int32),
            time_ms=self._times(shown),
            segments={name: self.names.segments[name].codes(shown.others.column(name)) for name in self._segments},
        )

    def _of_items(self, rows: EvaluationRows, positions: NDArray[np.int64]) -> ModelRows:
        target = np.full(self._log.items, 1 / self._log.items) if self._target is None else self._target
        return rows_of_catalogue(
            self._items,
            cast(Codes, rows.action),
            rows.reward,
            target if target.ndim == 1 else target.T[positions - 1],
            time_ms=rows.time_ms,
            segment=positions.astype(np.int32),
        )

    def _times(self, shown: Shown) -> NDArray[np.int64] | None:
        if not self._timed:
            return None
        texts = shown.others.column(TIME)
        try:
            times = texts.cast(pa.timestamp("us", "UTC"))
        except pa.ArrowInvalid:
            for row, text in enumerate(texts.to_pylist()):
                try:
                    pa.scalar(text).cast(pa.timestamp("us", "UTC"))
                except pa.ArrowInvalid:
                    raise self._log.bad(shown.line + row, TIME, repr(text), "a time with a zone (ISO 8601)") from None
            raise
        return np.asarray(times.cast(pa.timestamp("ms", "UTC"), safe=False).cast(pa.int64()))
