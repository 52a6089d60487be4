"""Tables that lie in files: Parquet, Arrow and CSV."""

from collections.abc import Iterator, Sequence
from itertools import accumulate
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from records.errors import BadInput, WrongConfiguration
from replay.evaluation.logs.ahead import read_ahead
from replay.evaluation.logs.chunk import Progress, silent
from replay.evaluation.logs.column_rows import NUMBERS, group_of
from replay.evaluation.logs.columns import BATCH_ROWS, ColumnLog, Columns, TableSource
from replay.evaluation.logs.csv_table import CsvBatches, dialect_of, kinds_of
from replay.evaluation.logs.first_bytes import looks_like
from replay.evaluation.logs.formats import TEXT, name_of, parquet_in
from replay.evaluation.logs.numbered import Names
from replay.evaluation.logs.opened import damaged, opened
from replay.evaluation.logs.unit_like import time_like

_UNREADABLE = (pa.ArrowException, OSError, UnicodeDecodeError)
BUFFER_BYTES = 2**20
_ARROW = (".arrow", ".feather", ".ipc")
_WHOLE_ARROW = "an Arrow file, whole"
_STREAM, _FEATHER_1 = b"\xff\xff\xff\xff", b"FEA1"
"""How a stream of Arrow and a file of the first version of Feather begin."""
SUFFIXES = (".parquet", *_ARROW, *TEXT)


class Group(NamedTuple):
    """A row group of a Parquet file, and the place in the log of its first row."""

    file: Path
    number: int
    first_row: int
    rows: int


def groups_of(path: Path) -> list[Group]:
    """Return the row groups of a Parquet file, or of all in a folder in the order of their names.

    Raises
    ------
    WrongConfiguration
        There is no such file, or the folder is that of a Delta, Iceberg or Hudi table.
    BadInput
        One is damaged.
    """
    files = parquet_in(path) if path.is_dir() else [path]
    if not files or not files[0].is_file():
        found = "no Parquet file in the folder" if path.is_dir() else "no file"
        raise WrongConfiguration(f"{path}: found {found}, expected a table ({', '.join(SUFFIXES)})")
    sizes: list[tuple[Path, int, int]] = []
    for file in files:
        try:
            metadata = pq.read_metadata(file)
        except _UNREADABLE as error:
            raise _damaged(file, error) from None
        sizes += [(file, each, metadata.row_group(each).num_rows) for each in range(metadata.num_row_groups)]
    starts = accumulate((rows for *_, rows in sizes), initial=0)
    return [Group(file, number, start, rows) for (file, number, rows), start in zip(sizes, starts, strict=False)]


def parquet_log(
    path: Path, columns: Columns | None = None, *, groups: Sequence[Group] | None = None, names: Names | None = None
) -> ColumnLog:
    """Return the log in a Parquet file, or in all those of a folder; it is read a row group after the other.

    Parameters
    ----------
    groups
        Some of :func:`groups_of` that follow each other: the part of the log that is read. A part should begin where a
        block does (``first_row`` a multiple of ``BLOCK_ROWS``), or its first block is not that of the whole log.

    Raises
    ------
    WrongConfiguration
        There is no such file, or it has not the columns that are needed.
    BadInput
        A file is damaged.
    """
    columns = columns or Columns()
    groups = groups_of(path) if groups is None else groups
    if not groups:
        raise BadInput("bad_log", path.name, "no rows", "a table with rows")
    try:
        schema = pq.read_schema(groups[0].file)
    except _UNREADABLE as error:
        raise _damaged(groups[0].file, error) from None
    read = columns.read(schema.names)
    rows = sum(group.rows for group in groups)
    batches = _RowGroups(groups, schema, read)
    own = pa.schema([schema.field(name) for name in read])
    like = time_like(schema.names, columns.time)
    return ColumnLog(TableSource(own, batches, path.name, rows, groups[0].first_row, like), columns, names)


class _RowGroups:
    """The rows of row groups."""

    def __init__(self, groups: Sequence[Group], schema: "pa.Schema", read: list[str]) -> None:
        self._groups, self._schema, self._read = groups, schema, read

    def __iter__(self) -> "Iterator[pa.RecordBatch]":
        return read_ahead(self._batches(self._groups))

    def from_row(self, row: int) -> "tuple[int, Iterator[pa.RecordBatch]]":
        """Return how many rows are skipped, and the batches behind them."""
        begin = self._groups[0].first_row
        left = [group for group in self._groups if group.first_row + group.rows - begin > row]
        skipped = left[0].first_row - begin if left else sum(group.rows for group in self._groups)
        return skipped, read_ahead(self._batches(left))

    def _batches(self, groups: Sequence[Group]) -> "Iterator[pa.RecordBatch]":
        kinds = {name: self._schema.field(name).type for name in self._read}
        texts = [name for name, kind in kinds.items() if pa.types.is_string(kind)]
        texts += [f"{name}.list.element" for name, kind in kinds.items() if kind == pa.list_(pa.string())]
        for file in dict.fromkeys(group.file for group in groups):
            own = [group.number for group in groups if group.file == file]
            try:
                metadata = pq.read_metadata(file)
                leaves = {metadata.schema.column(number).path for number in range(metadata.num_columns)}
                content = pq.ParquetFile(
                    file,
                    metadata=metadata,
                    pre_buffer=False,
                    buffer_size=BUFFER_BYTES,
                    read_dictionary=[text for text in texts if text in leaves],
                )
                with content:
                    self._check(file, metadata.schema.to_arrow_schema())
                    for batch in content.iter_batches(BATCH_ROWS, row_groups=own, columns=self._read):
                        yield batch.select(self._read)
            except _UNREADABLE as error:
                raise _damaged(file, error) from None

    def _check(self, file: Path, schema: "pa.Schema") -> None:
        """Refuse a file whose columns are not those of the first file."""
        first = self._groups[0].file
        for name in self._read:
            if (count := schema.names.count(name)) != 1:
                found = f"{count} columns {name}" if count else f"no column {name}"
                raise BadInput("bad_log", file.name, found, f"the columns of {first}")
            kind, expected = schema.field(name).type, self._schema.field(name).type
            if kind != expected and group_of(kind) != group_of(expected) and not pa.types.is_null(kind):
                raise BadInput("bad_log", f"{file.name}: {name}", f"{kind}", f"{expected}, as in {first.name}")


def table_log(
    path: Path, columns: Columns | None = None, progress: Progress = silent, names: Names | None = None
) -> ColumnLog:
    """Return the log in a file of any kind that :data:`SUFFIXES` names; see :func:`parquet_log`.

    Parameters
    ----------
    progress
        Called with how far CSV and Arrow files have been read.
    """
    columns = columns or Columns()
    if name_of(path).endswith(TEXT):
        return _csv_log(path, columns, progress, names)
    if not name_of(path).endswith(_ARROW):
        return parquet_log(path, columns, names=names)
    return _arrow_log(path, columns, names)


def _arrow_log(path: Path, columns: Columns, names: Names | None) -> ColumnLog:
    """Return the log in an Arrow file, or in a stream of Arrow in a file."""
    with opened(path, silent, _WHOLE_ARROW) as file:
        head = file.read(len(_STREAM))
        if head == _FEATHER_1:
            raise BadInput("bad_log", path.name, f"{looks_like(head)}", _WHOLE_ARROW)
        is_stream = head == _STREAM
        mapped = pa.memory_map(str(path))
        content = pa.ipc.open_stream(mapped) if is_stream else pa.ipc.open_file(mapped)
        there = content.schema.names
    read = columns.read(there)

    def batches() -> "Iterator[pa.RecordBatch]":
        with opened(path, silent, _WHOLE_ARROW):
            numbers = range(0 if is_stream else content.num_record_batches)
            for batch in content if is_stream else map(content.get_batch, numbers):
                yield batch.select(read)

    own = pa.schema([content.schema.field(name) for name in read])
    like = time_like(there, columns.time)
    return ColumnLog(TableSource(own, batches(), path.name, time_like=like), columns, names)


def _csv_log(path: Path, columns: Columns, progress: Progress, names: Names | None) -> ColumnLog:
    dialect = dialect_of(path)
    found = columns.found_in(dialect.names)
    numbers = [found.get(name) for name in ("reward", *NUMBERS)]
    ids = [found[name] for name in ("unit", "event") if name in found]
    kinds = kinds_of(dialect, columns.read(dialect.names), numbers)
    batches = CsvBatches(path, dialect.of_numbers(numbers), kinds, progress, ids)
    like = time_like(dialect.names, columns.time)
    return ColumnLog(TableSource(batches.schema, batches, path.name, time_like=like), columns, names)


def _damaged(file: Path, error: Exception) -> BadInput:
    return damaged(file, error, "a Parquet file, whole")
