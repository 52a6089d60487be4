"""Any table as a log: Arrow, Parquet, or a frame of pandas or polars, whose columns are named."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol, runtime_checkable

import numpy as np
import pyarrow as pa

from archive.hashes import event_hashes, unit_hashes
from policies.policy import SMALLEST_PROPENSITY
from records.errors import BadInput, WrongConfiguration, shorten
from replay.evaluation.logs.chunk import (
    LARGEST,
    MEAN_PROPENSITY,
    SAMPLE_WEIGHT,
    LogChunk,
    Progress,
    between,
    cut,
    first_row_of,
    gathered,
    silent,
)
from replay.evaluation.logs.column_rows import LOG_TIMES, ColumnRows, by_chance, check_types, plain
from replay.evaluation.logs.frames import stream_of
from replay.evaluation.logs.numbered import Names, Numbered
from replay.evaluation.logs.pmf import Pmfs, flat, ranks, whole
from replay.evaluation.logs.taken import Taken, taken_by_name, taken_by_place
from replay.evaluation.logs.unit_like import groups_in, unit_like
from replay.evaluation.rows import EvaluationRows
from replay.evaluation.sample_weights import LEAST, MOST

BATCH_ROWS = 16_384
_OF_TARGET = ("target", "target_pmf", "weight")
_HEAVIEST = 1 / SMALLEST_PROPENSITY
IGNORED = "-"
"""Value for a field without a column, whatever the names of the columns."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Columns:
    """The column of each field: by default the column of the same name; ``-`` for none.

    Attributes
    ----------
    reward
        Numbers, or truths.
    propensity
        The logged probability of the logged action; not needed if ``pmf`` and ``action`` determine it.
    mean_propensity
        The average of that probability over all loggers, each by its share of the rows.
    action
        Its name or id, one of ``actions``; without those, or where those are texts, a whole number is its index in the
        lists.
    actions
        Lists of names or ids, one for each probability.
    pmf
        Lists of the logged probabilities, each with the sum 1.
    target
        The probability that the target gives to the logged action.
    target_pmf
        Lists of all its probabilities, as long as those of ``pmf``.
    weight
        The importance weight, where it is not target by propensity.
    sample_weight
        How many decisions a row counts as, above 0.
    pdrop
        The probability with which the row could have been dropped from the log: it counts as ``1 / (1 - pdrop)``.
    model_logged, model_target
        What a reward model says: see :class:`~replay.evaluation.rows.EvaluationRows`.
    time
        Times, dates, texts of ISO 8601, or whole numbers of ms since 1970.
    event, unit, version
        Texts or whole numbers.
    segments
        Names of columns to cut the log by.
    uniform
        The target takes every action alike, whatever ``target``, ``target_pmf`` and ``weight`` say; how many there are
        is the length of ``pmf`` or ``actions``.
    """

    reward: str = ""
    propensity: str = ""
    mean_propensity: str = ""
    action: str = ""
    actions: str = ""
    pmf: str = ""
    target: str = ""
    target_pmf: str = ""
    weight: str = ""
    sample_weight: str = ""
    pdrop: str = ""
    model_logged: str = ""
    model_target: str = ""
    time: str = ""
    event: str = ""
    unit: str = ""
    version: str = ""
    segments: Sequence[str] = ()
    uniform: bool = False

    def found_in(self, there: Sequence[str]) -> dict[str, str]:
        """Return the column of each field that has one.

        Raises
        ------
        WrongConfiguration
            A column that was named is not there, or one that is needed is not.
        """
        found: dict[str, str] = {}
        for each in self.segments:
            self._must_be_there("segment", each, there)
        for name in self.fields():
            given = getattr(self, name)
            if given == IGNORED or (self.uniform and name in _OF_TARGET):
                continue
            elif given:
                self._must_be_there(name, given, there)
                found[name] = given
            elif there.count(name) == 1 and not (name == "weight" and name in (self.sample_weight, self.pdrop)):
                found[name] = name
        if self.uniform and not {"pmf", "actions"} & {*found}:
            raise WrongConfiguration(
                "uniform: found no column pmf or actions, whose length is the number of actions, expected one of them; "
                "else evaluate a column with 1 / that number (target, or against)"
            )
        if {"sample_weight", "pdrop"} <= {*found}:
            expected = f"one of them: take the other out with --column pdrop={IGNORED}"
            raise WrongConfiguration(f"sample_weight and pdrop: found both, expected {expected}")
        needed = "reward" if "reward" not in found else "propensity"
        if needed not in found and not (needed == "propensity" and {"pmf", "action"} <= {*found}):
            among = shorten(", ".join(there))
            expected = f"one: name it with --column {needed}=..., in Python columns={{'{needed}': ...}}"
            raise WrongConfiguration(f"{needed}: found no column of this name among {among}, expected {expected}")
        return found

    @classmethod
    def fields(cls) -> list[str]:
        """Return the names of the fields that have columns."""
        return [name for name in cls.__slots__ if name not in ("segments", "uniform")]

    def read(self, there: Sequence[str]) -> list[str]:
        """Return the names of the columns that are read; errors are those of :meth:`found_in`."""
        like = self.unit_like(there)
        return list(dict.fromkeys([*self.found_in(there).values(), *self.segments, *([] if like is None else [like])]))

    def unit_like(self, there: Sequence[str]) -> str | None:
        """Return the column that seems to name units; None if one is named, or is said not to be there."""
        found = self.found_in(there)
        if "unit" in found or self.unit == IGNORED:
            return None
        like = unit_like(there, [*found.values(), *self.segments])
        return like if like is not None and there.count(like) == 1 else None

    def for_other(self, target: str = "", target_pmf: str = "") -> "Columns":
        """Return the columns of the same log for another policy, whose probabilities these columns are."""
        columns = {"target": target or IGNORED, "target_pmf": target_pmf or IGNORED}
        return replace(self, **columns, weight=IGNORED, model_target=IGNORED, uniform=False)

    def _must_be_there(self, what: str, name: str, there: Sequence[str]) -> None:
        if (count := there.count(name)) != 1:
            among = shorten(", ".join(there))
            raise WrongConfiguration(f"{what}: found {count} columns {name}, expected one among {among}")


@runtime_checkable
class Seekable(Protocol):
    """Batches that need not be read from the beginning."""

    def __iter__(self) -> "Iterator[pa.RecordBatch]":
        """Yield all."""

    def from_row(self, row: int) -> "tuple[int, Iterator[pa.RecordBatch]]":
        """Return how many rows are skipped, at most ``row``, and the batches behind them."""


@dataclass(frozen=True, slots=True)
class TableSource:
    """Where the rows of a log of named columns come from.

    Attributes
    ----------
    schema, batches
        Its columns, and its rows in the order of the log, as record batches of any size; where they are
        :class:`Seekable`, blocks are found without reading what lies before.
    called
        What errors call it.
    rows
        How many there are, for the progress; None: unknown.
    first_row
        The place in the log of the first row, where a part of it is read apart.
    time_like
        The column that seems to be the time, where none is named.
    """

    schema: pa.Schema
    batches: Iterable[pa.RecordBatch]
    called: str = "log"
    rows: int | None = None
    first_row: int = 0
    time_like: str | None = None


class ColumnLog:
    """A log of named columns.

    Parameters
    ----------
    source
        Its rows.
    columns
        The column of each field.
    names
        What is numbered already.

    Attributes
    ----------
    has_target
        Whether it has a target; else the target is the logging policy itself, and every weight is 1.
    """

    def __init__(self, source: TableSource, columns: Columns | None = None, names: Names | None = None) -> None:
        columns, schema = columns or Columns(), source.schema
        self.time_like = source.time_like
        self._found = columns.found_in(schema.names)
        self._source, self._called, self._first_row = source, source.called, source.first_row
        self._segments = tuple(columns.segments)
        self._unit_like = columns.unit_like(schema.names)
        segments = {name: Numbered() for name in columns.segments}
        self.names = names or Names(segments=segments, unit_like=self._unit_like)
        self.provides = frozenset({MEAN_PROPENSITY} & {*self._found})
        if {"sample_weight", "pdrop"} & {*self._found}:
            self.provides |= {SAMPLE_WEIGHT}
        self._uniform = columns.uniform
        self._weight_named = bool(columns.weight)
        self.has_target = self._uniform or bool({"target", "target_pmf", "weight"} & {*self._found})
        check_types(schema, self._found, self._segments)

    def blocks(self, progress: Progress = silent, first: int = 0, last: int | None = None) -> Iterator[LogChunk]:
        """Yield the log in blocks, from ``first`` to ``last``, exclusive.

        Raises
        ------
        BadInput
            A value is invalid in its column: the error names column and row, from 0.
        """
        return between(gathered(self._parts(progress, first)), first, last)

    def _parts(self, progress: Progress, first: int) -> Iterator[LogChunk]:
        row = self._first_row
        batches: Iterable[pa.RecordBatch] = self._source.batches
        if isinstance(batches, Seekable):
            skipped, batches = batches.from_row(first_row_of(first) - row)
            row += skipped
        small = (batch.slice(start, BATCH_ROWS) for batch in batches for start in range(0, batch.num_rows, BATCH_ROWS))
        for index, batch in cut(small, row):
            if index < first:
                row += batch.num_rows
                continue
            try:
                # Invalid UTF-8 and similar errors are detected only when values are read.
                batch.validate(full=True)
            except pa.ArrowInvalid:
                where, found = f"{self._called}, row {row} or after it", "bytes that are no value of their column"
                raise BadInput("bad_log", where, found, "columns that are what their types say") from None
            rows = ColumnRows({each: plain(batch.column(name)) for each, name in self._found.items()}, row, self.bad)
            evaluation_rows = self._evaluation_rows(rows, batch)
            if self._unit_like is not None:
                evaluation_rows = replace(evaluation_rows, group_hash=groups_in(batch, self._unit_like, row))
            yield LogChunk(index, evaluation_rows, taken=_taken(rows, self._target_pmfs(rows)))
            row += batch.num_rows
            if self._source.rows:
                progress(row - self._first_row, self._source.rows)

    def bad(self, name: str, row: int, found: str, expected: str) -> BadInput:
        """Return the error for a value."""
        hint = by_chance(name, self._found[name])
        return BadInput("bad_log", f"{self._called}, row {row}: {self._found[name]}", found, expected + hint)

    def _target_pmfs(self, rows: ColumnRows) -> Pmfs | None:
        """Return the target's probabilities of all actions, if the log has them."""
        if not self._uniform:
            return rows.pmfs("target_pmf")
        counts = rows.lengths("pmf" if "pmf" in rows else "actions")
        return Pmfs(np.repeat(1 / counts, counts), counts.cumsum() - counts, counts)

    def _evaluation_rows(self, rows: ColumnRows, batch: "pa.RecordBatch") -> EvaluationRows:
        known: dict[str, Any] = {}
        pmfs = rows.pmfs("pmf")
        target_pmfs = self._target_pmfs(rows)
        chosen = rows.chosen(pmfs or target_pmfs)
        target = propensity = rows.propensity(pmfs, chosen)
        if target_pmfs is not None and pmfs is not None:
            rows.alike("target_pmf", pmfs, target_pmfs.counts)
        if "target" in rows:
            target = rows.between("target", 0, 1)
        elif self._uniform and target_pmfs is not None:
            target = 1 / target_pmfs.counts
        elif target_pmfs is not None:
            if chosen is None:
                raise WrongConfiguration(
                    "action: found none that has a place in target_pmf, expected a column action with its index there, "
                    "from 0; or with its name, and a column actions with the names of all"
                )
            target = target_pmfs.at(chosen)
        if pmfs is not None:
            known |= whole(pmfs, None if target_pmfs is None else target_pmfs.values)._asdict()
            if target_pmfs is None and self.has_target:
                del known["squared_weight"], known["unseen"]
            if chosen is not None:
                known["rank"] = ranks(pmfs, chosen)
        for name in ("weight", "model_logged", "model_target"):
            if name in rows:
                known[name] = rows.between(name, *((0.0, _HEAVIEST) if name == "weight" else (-LARGEST, LARGEST)))
        if "weight" in rows and target is not propensity and not self._weight_named:
            rows.check_weight(known["weight"], target / propensity)
        if "sample_weight" in rows:
            known["sample_weight"] = rows.between("sample_weight", LEAST, MOST)
        if "pdrop" in rows:
            known["sample_weight"] = 1 / (1 - rows.between("pdrop", 0, 1 - LEAST))
        if MEAN_PROPENSITY in rows:
            known[MEAN_PROPENSITY] = rows.between(MEAN_PROPENSITY, SMALLEST_PROPENSITY, 1)
        if "weight" in rows and not {"target", "target_pmf"} & {*self._found}:
            target = known["weight"] * propensity
        if "action" in rows:
            known["action"] = self.names.actions.codes(rows.ids("action"))
        if "version" in rows:
            known["version"] = self.names.versions.codes(rows.ids("version"))
        if "time" in rows:
            known["time_ms"] = rows.times(LOG_TIMES in (batch.schema.metadata or {}))
        if "event" in rows:
            known["event_hash"] = np.asarray(event_hashes(rows.texts("event")))
        if "unit" in rows:
            events = rows.texts("event") if "event" in rows else rows.texts("unit")
            known["unit_hash"] = np.asarray(unit_hashes(rows.texts("unit"), events))
        known["segments"] = {
            name: self.names.segments[name].codes(plain(batch.column(name))) for name in self._segments
        }
        return EvaluationRows(
            reward=rows.between("reward", -LARGEST, LARGEST), propensity=propensity, target=target, **known
        )


def _taken(rows: ColumnRows, target: Pmfs | None) -> Taken | None:
    if target is None or "action" not in rows:
        return None
    if not rows.named():
        return taken_by_place(target)
    names, offsets = flat(rows.column("actions"))
    rows.alike("actions", target, np.diff(offsets))
    return taken_by_name(plain(names), target.values)


def as_log(data: Any, columns: Columns | None = None, called: str = "log") -> ColumnLog:
    """Return a frame, a table, a reader of batches, a mapping of names to arrays, or a list of rows as a log.

    A lazy frame is collected. An array of shape (rows, actions) in a mapping is a column of lists.

    Raises
    ------
    WrongConfiguration
        It is something else, or it lacks required columns.

    Examples
    --------
    >>> log = as_log({"reward": [1, 0], "propensity": [0.5, 0.25], "target": [1.0, 0.5]})
    >>> (block,) = log.blocks()
    >>> block.rows.weight.tolist()
    [2.0, 2.0]
    """
    columns = columns or Columns()
    schema, batches = stream_of(data, columns.read)
    return ColumnLog(TableSource(schema, batches, called), columns)
