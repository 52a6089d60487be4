"""Reads what importance weights need of an Open Bandit log, by the column: one of any length in little memory."""

import csv
import io
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pyarrow import csv as arrow_csv

from records.errors import BadInput, WrongConfiguration
from replay.evaluation.logs.chunk import Progress, silent
from replay.evaluation.logs.csv_table import whole_lines
from replay.evaluation.logs.opened import opened
from replay.evaluation.rows import are_propensities

EXPECTED = "a CSV file, whole, in UTF-8"

BLOCK_BYTES = 2**20
"""So much text is read at a time; a longer line is refused."""
AFFINITY = "user-item_affinity_"
"""Of these there is a column an item."""
_COLUMNS = {"item_id": pa.int64(), "position": pa.int64(), "click": pa.int64(), "propensity_score": pa.float64()}


class Shown(NamedTuple):
    """Items that were shown, by the column: shape (rows,) each.

    Attributes
    ----------
    line
        Of the file, where the first of them stands.
    positions
        From 1.
    clicks
        1 or 0.
    others
        Further requested columns, unchanged.
    """

    line: int
    item_ids: NDArray[np.int64]
    positions: NDArray[np.int64]
    clicks: NDArray[np.int64]
    propensities: NDArray[np.float64]
    others: "pa.RecordBatch"


_UNEVEN = re.compile(r"Row #(\d+): Expected (\d+) columns, got (\d+)")


@dataclass(frozen=True, slots=True)
class Log:
    """A log file whose first line is as the dataset describes it.

    Attributes
    ----------
    items
        How many items there are to choose from.
    names
        Of all columns.
    """

    path: Path
    items: int
    names: Sequence[str] = ()

    def bad(self, line: int, column: str, found: object, expected: str) -> BadInput:
        """Return the error for a value."""
        return BadInput("bad_log", f"{self.path.name}, line {line}: {column}", str(found), expected)

    def read(self, progress: Progress, others: Sequence[str] = ()) -> Iterator[Shown]:
        """Yield the rows in the order of the log.

        Parameters
        ----------
        others
            Further columns to read, as text.

        Raises
        ------
        BadInput
            A row is not as the dataset describes it; the error names line and column.
        """
        with opened(self.path, progress, EXPECTED) as file:
            for line, text in whole_lines(file, "utf-8-sig", ",", self.path.name):
                first = line
                for batch in self._batches(text, line, others):
                    yield self._shown(batch, first, others)
                    first += batch.num_rows

    def _batches(self, text: bytes, line: int, others: Sequence[str]) -> "Sequence[pa.RecordBatch]":
        if not text:
            return []
        try:
            found = arrow_csv.read_csv(
                pa.BufferReader(text),
                read_options=arrow_csv.ReadOptions(
                    block_size=len(text) + 1, use_threads=False, column_names=[*self.names]
                ),
                parse_options=arrow_csv.ParseOptions(ignore_empty_lines=False),
                convert_options=arrow_csv.ConvertOptions(
                    include_columns=[*_COLUMNS, *(name for name in others if name not in _COLUMNS)],
                    column_types=dict.fromkeys([*_COLUMNS, *others], pa.string()),
                ),
            )
        except pa.ArrowInvalid as error:
            # The reader's own handler of such rows cannot be used: it fails on rows that are not UTF-8.
            if (uneven := _UNEVEN.search(str(error))) is None:
                raise
            row, expected, fields = uneven.groups()
            where = f"{self.path.name}, line {line + int(row) - 1}"
            raise BadInput("bad_log", where, f"{fields} fields", f"{expected}, as the first line has") from None
        return list(found.to_batches())

    def _shown(self, batch: "pa.RecordBatch", line: int, others: Sequence[str]) -> Shown:
        item_ids, positions, clicks, propensities = (self._numbers(batch, name, line) for name in _COLUMNS)
        shown = Shown(line, item_ids, positions, clicks, propensities, batch.select(list(others)))
        self._check(
            shown.item_ids,
            (shown.item_ids >= 0) & (shown.item_ids < self.items),
            line,
            "item_id",
            f"0 to {self.items - 1}, for the first line has {self.items} columns {AFFINITY}*",
        )
        self._check(shown.positions, shown.positions >= 1, line, "position", "1 or more")
        self._check(shown.clicks, (shown.clicks == 0) | (shown.clicks == 1), line, "click", "0 or 1")
        self._check(
            shown.propensities,
            are_propensities(shown.propensities),
            line,
            "propensity_score",
            "a probability from 2^-66 to 1",
        )
        return shown

    def _check(self, values: NDArray[Any], right: NDArray[np.bool_], line: int, column: str, expected: str) -> None:
        if not right.all():
            wrong = int(np.argmin(right))
            raise self.bad(line + wrong, column, values[wrong], expected)

    def _numbers(self, batch: "pa.RecordBatch", name: str, line: int) -> NDArray[Any]:
        texts, kind = batch.column(name), _COLUMNS[name]
        try:
            return np.asarray(texts.cast(kind).to_numpy(zero_copy_only=False))
        except pa.ArrowInvalid:
            for index, text in enumerate(texts):
                try:
                    text.cast(kind)
                except pa.ArrowInvalid:
                    raise self.bad(line + index, name, repr(text.as_py()), "a number") from None
            raise


def log_at(path: Path) -> Log:
    """Return the log at a path: a file, or a folder of the dataset with a log and its ``item_context``.

    Raises
    ------
    WrongConfiguration
        There is no log.
    BadInput
        Its first line is not as the dataset describes it.
    """
    file = path
    if path.is_dir():
        found = [each for each in sorted(path.iterdir()) if ".csv" in each.suffixes and "item_context" not in each.name]
        if len(found) != 1:
            logs = ", ".join(each.name for each in found) or "none"
            raise WrongConfiguration(f"{path}: found {logs}, expected one log (a .csv or .csv.gz): name the file")
        file = found[0]
    if not file.is_file():
        raise WrongConfiguration(f"{path}: found no such file, expected a log of the Open Bandit Dataset")
    with opened(file, silent, EXPECTED) as content:
        first = content.read(BLOCK_BYTES).split(b"\n", 1)[0]
        names: list[str] = next(csv.reader(io.StringIO(first.decode("utf-8-sig"))), [])
    for column in _COLUMNS:
        if (count := names.count(column)) != 1:
            raise BadInput("bad_log", f"{file.name}, line 1: {column}", f"{count} of them", "one column of this name")
    items = sum(name.startswith(AFFINITY) for name in names)
    if not items:
        raise BadInput("bad_log", f"{file.name}, line 1: {AFFINITY}0", "none", "a column an item, as in the dataset")
    return Log(file, items, tuple(names))
