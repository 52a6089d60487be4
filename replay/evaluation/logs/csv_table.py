"""Tables as text: what separates the fields, how numbers are written, and blocks of whole lines.

Each block is parsed by itself and serially: no thread of a reader outlives an error.
"""

import codecs
import csv
import io
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
import pyarrow as pa
from pyarrow import csv as arrow_csv

from records.errors import BadInput
from replay.evaluation.logs.chunk import Progress, silent
from replay.evaluation.logs.looks import looks_like
from replay.evaluation.logs.opened import NOT_UTF8, opened

CSV_BYTES = 2**20
"""So much text is read at a time."""
LONGEST_LINE = 16 * 2**20
"""A longer one is refused."""
EXPECTED = "a table as text (CSV): a line of names, then a line for each row"
_SAMPLED = 100
_TRUTHS = {"true", "false"}
_DECIMAL_COMMA = re.compile(r"\s*[+-]?\d*,\d+([eE][+-]?\d+)?\s*")


@dataclass(frozen=True, slots=True)
class Dialect:
    """How a file is written.

    Attributes
    ----------
    names
        Of the columns, in the order of the file.
    delimiter, decimal
        Separator of fields, and decimal separator of numbers.
    encoding
        ``utf-8-sig`` or ``utf-16``.
    truths
        Places of the columns whose values are True and False.
    """

    names: list[str]
    delimiter: str
    decimal: str
    encoding: str
    truths: frozenset[int]


def dialect_of(path: Path) -> Dialect:
    """Return how a file is written, from its first lines.

    Raises
    ------
    BadInput
        It is no table: the error says what it looks like.
    """
    with opened(path, silent, EXPECTED) as file:
        head = file.read(CSV_BYTES)
    encoding = "utf-16" if head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) else "utf-8-sig"
    if b"\0" in head and encoding != "utf-16":
        raise BadInput("bad_log", path.name, looks_like(head) or "bytes of a binary file", EXPECTED)
    try:
        text = codecs.getincrementaldecoder(encoding)().decode(head)
    except UnicodeDecodeError:
        raise BadInput("bad_log", path.name, looks_like(head) or NOT_UTF8, EXPECTED) from None
    if (found := looks_like(head)) is not None:
        raise BadInput("bad_log", path.name, found, EXPECTED)
    lines = text if len(head) < CSV_BYTES else text[: text.rfind("\n") + 1] or text
    delimiter, rows = _separated(lines)
    if len(rows) < 2:
        raise BadInput("bad_log", path.name, "no rows", "a table with rows")
    names = [name.strip() for name in rows[0]]
    if all(_is_number(name) for name in names):
        expected = "a first line with the names of the columns, as reward,propensity,action"
        raise BadInput("bad_log", f"{path.name}, line 1", "numbers alone", expected)
    return Dialect(names, delimiter, _decimal(delimiter, rows[1:]), encoding, _truths(rows[1:], len(names)))


def _separated(text: str) -> tuple[str, list[list[str]]]:
    """Return what cuts the first lines into the most fields, as many in each line as in the first."""
    best: tuple[int, str, list[list[str]]] = (0, ",", [])
    for delimiter in ",;\t|":
        reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
        rows: list[list[str]] = []
        try:
            for row in reader:
                if row:
                    rows.append(row)
                if len(rows) > _SAMPLED:
                    break
        except csv.Error:
            continue
        alike = bool(rows) and all(len(row) == len(rows[0]) for row in rows)
        # Lines that differ show nothing but in the usual form, whose errors name them.
        score = len(rows[0]) if alike else int(delimiter == "," and bool(rows) and len(rows[0]) > 1)
        if score > best[0]:
            best = score, delimiter, rows
    return best[1], best[2]


def _decimal(delimiter: str, rows: Sequence[Sequence[str]]) -> str:
    return "," if delimiter != "," and any(_DECIMAL_COMMA.fullmatch(cell) for row in rows for cell in row) else "."


def _truths(rows: Sequence[Sequence[str]], columns: int) -> frozenset[int]:
    return frozenset(
        place
        for place in range(columns)
        if any(len(row) > place and row[place].strip().lower() in _TRUTHS for row in rows)
    )


def _is_number(text: str) -> bool:
    try:
        float(text.replace(",", "."))
    except ValueError:
        return False
    return True


class CsvBatches:
    """The rows of some columns of a file, read from its beginning.

    Parameters
    ----------
    path, dialect
        Which file, and how it is written.
    kinds
        The type of each column that is read.
    progress
        Called with how far the file has been read.
    """

    def __init__(self, path: Path, dialect: Dialect, kinds: dict[str, "pa.DataType"], progress: Progress) -> None:
        self._path, self._dialect, self._kinds, self._progress = path, dialect, kinds, progress
        self.schema = pa.schema([*kinds.items()])

    def __iter__(self) -> "Iterator[pa.RecordBatch]":
        dialect = self._dialect
        with opened(self._path, self._progress, EXPECTED) as file:
            for line, rows in whole_lines(file, dialect.encoding, dialect.delimiter, self._path.name):
                if rows.strip():
                    yield from self._parsed(rows, line).to_batches()

    def _parsed(self, text: bytes, line: int) -> "pa.Table":
        dialect = self._dialect
        try:
            return arrow_csv.read_csv(
                pa.BufferReader(text),
                read_options=arrow_csv.ReadOptions(
                    block_size=len(text) + 1, use_threads=False, column_names=dialect.names
                ),
                parse_options=arrow_csv.ParseOptions(
                    delimiter=dialect.delimiter, ignore_empty_lines=True, newlines_in_values=True
                ),
                convert_options=arrow_csv.ConvertOptions(
                    include_columns=[*self._kinds],
                    column_types=self._kinds,
                    decimal_point=dialect.decimal,
                    true_values=["True", "true", "TRUE", "1"],
                    false_values=["False", "false", "FALSE", "0"],
                ),
            )
        except pa.ArrowInvalid:
            raise self._wrong(text, line) from None

    def _wrong(self, text: bytes, line: int) -> BadInput:
        """Return the error for the first row that is wrong."""
        try:
            content = text.decode()
        except UnicodeDecodeError as error:
            at = line + text[: error.start].count(b"\n")
            return BadInput("bad_log", f"{self._path.name}, line {at}", NOT_UTF8, EXPECTED)
        names = self._dialect.names
        reader = csv.reader(io.StringIO(content, newline=""), delimiter=self._dialect.delimiter)
        before = 0
        for row in reader:
            where, before = f"{self._path.name}, line {line + before}", reader.line_num
            if row and len(row) != len(names):
                expected = f"{len(names)}, as the first line has"
                return BadInput("bad_log", where, f"{len(row)} fields", expected)
            for name, cell in zip(names, row, strict=False):
                expected = self._expected(name, cell)
                if expected:
                    return BadInput("bad_log", f"{where}: {name}", repr(cell), expected)
        return BadInput("bad_log", f"{self._path.name}, line {line} or after it", "a row that cannot be read", EXPECTED)

    def _expected(self, name: str, cell: str) -> str:
        kind = self._kinds.get(name)
        if kind is None or pa.types.is_string(kind):
            return ""
        if pa.types.is_boolean(kind):
            return "" if cell.strip().lower() in {*_TRUTHS, "0", "1", ""} else "True or False"
        decimal = self._dialect.decimal
        try:
            float((cell.replace(decimal, ".") if decimal == "," and "." not in cell else cell) or "nan")
        except ValueError:
            return "a number" + (" with a decimal comma" if decimal == "," else "")
        return "a number with a decimal comma" if decimal == "," and "." in cell else ""


def whole_lines(file: IO[bytes], encoding: str, delimiter: str, name: str) -> Iterator[tuple[int, bytes]]:
    """Yield some whole lines at a time and the number of the first, from 1, without the line of names.

    The reader of Arrow that streams a file reads ahead in a thread of its own. If the interpreter ends while that
    thread reads a file of Python, the process aborts. So each text is parsed by itself.

    Parameters
    ----------
    file, encoding, delimiter
        The text, and how it is written.
    name
        What errors call the file.

    Raises
    ------
    BadInput
        A line has no end.
    """
    line, quoted = 1, _quoted(delimiter)
    for number, text in enumerate(_blocks(_decoded(file, encoding), quoted, name)):
        head = 0 if number else _end_of_line(text, quoted)
        yield line + text[:head].count(b"\n"), text[head:]
        line += text.count(b"\n")


def _decoded(file: IO[bytes], encoding: str) -> Iterator[bytes]:
    """Yield the text as UTF-8 without a mark at its beginning."""
    if encoding == "utf-16":
        decoder = codecs.getincrementaldecoder(encoding)()
        while content := file.read(CSV_BYTES):
            yield decoder.decode(content).encode()
        yield decoder.decode(b"", final=True).encode()
        return
    first = True
    while content := file.read(CSV_BYTES):
        yield content.removeprefix(codecs.BOM_UTF8) if first else content
        first = False


def _blocks(texts: Iterator[bytes], quoted: re.Pattern[bytes], name: str) -> Iterator[bytes]:
    """Yield whole lines; an end of line within quotes ends none."""
    rest = b""
    for text in texts:
        rest += text
        if end := _last_end(rest, quoted):
            yield rest[:end]
            rest = rest[end:]
        elif len(rest) > LONGEST_LINE:
            found = f"a line of more than {LONGEST_LINE} bytes, or a quote that is not closed"
            raise BadInput("bad_log", name, found, EXPECTED)
    if rest:
        yield rest


def _quoted(delimiter: str) -> re.Pattern[bytes]:
    """Return what a field in quotes looks like. A quote within a field, as in 5" screen, is a character like others."""
    return re.compile(rb'(?:(?<=[\n%s])|\A)"[^"]*(?:""[^"]*)*(?:"|\Z)' % re.escape(delimiter.encode()))


def _outside(text: bytes, quoted: re.Pattern[bytes]) -> "np.ndarray[Any, Any]":
    """Return where lines end: each end that is in no quoted field."""
    ends = np.flatnonzero(np.frombuffer(text, dtype=np.uint8) == 10)
    if b'"' not in text:
        return ends
    spans = np.array([field.span() for field in quoted.finditer(text)], dtype=np.int64).reshape(-1, 2)
    begun, over = (np.searchsorted(each, ends, side="right") for each in spans.T)
    return np.asarray(ends[begun == over])


def _last_end(text: bytes, quoted: re.Pattern[bytes]) -> int:
    ends = _outside(text, quoted)
    return int(ends[-1]) + 1 if len(ends) else 0


def _end_of_line(text: bytes, quoted: re.Pattern[bytes]) -> int:
    """Return where the line of names ends: the first that is not empty."""
    for end in _outside(text, quoted).tolist():
        if text[:end].strip():
            return int(end) + 1
    return len(text)


def kinds_of(dialect: Dialect, read: Sequence[str], numbers: Sequence[str | None]) -> dict[str, Any]:
    """Return the type that each column is read as: a number, a truth, or a text."""
    kinds: dict[str, Any] = {}
    for name in read:
        truth = dialect.names.index(name) in dialect.truths
        kinds[name] = pa.string() if name not in numbers else pa.bool_() if truth else pa.float64()
    return kinds
