"""Tables as text: what separates the fields, how numbers are written, and blocks of whole lines.

Each block is parsed by itself and serially: no thread of a reader outlives an error.
"""

import codecs
import csv
import io
import re
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Any

import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import csv as arrow_csv

from records.errors import BadInput
from replay.evaluation.logs.chunk import Progress, silent
from replay.evaluation.logs.first_bytes import looks_like
from replay.evaluation.logs.opened import NOT_UTF8, opened
from replay.evaluation.logs.quotes import NOT_CLOSED, RULE, Fields, IsRow, Quotes, outside

CSV_BYTES = 2**20
"""So much text is read at a time."""
LONGEST_LINE = 16 * 2**20
"""A longer one is refused."""
EXPECTED = "a table as text (CSV): a line of names, then a line for each row"
_SAMPLED = 100
_DELIMITER_LINE = re.compile(rb"sep=([^\x80-\xff\r\n])\r?\n", re.IGNORECASE)
"""The line by which a file declares its delimiter to Excel."""
_NULLS = arrow_csv.ConvertOptions().null_values
_TRUTHS = {"true", "false"}
_TRUE, _FALSE = ("True", "true", "TRUE", "1"), ("False", "false", "FALSE", "0")
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
    sample
        The first rows.
    """

    names: list[str]
    delimiter: str
    encoding: str
    truths: frozenset[int]
    sample: list[list[str]]
    decimal: str = "."

    def of_numbers(self, columns: Collection[str | None]) -> "Dialect":
        """Return how the file is written if these columns are its numbers: others say nothing of their decimals."""
        if self.delimiter == ",":
            return self
        cells = (cell for row in self.sample for name, cell in zip(self.names, row, strict=False) if name in columns)
        return replace(self, decimal="," if any(map(_DECIMAL_COMMA.fullmatch, cells)) else ".")


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
        if rows and len(lines.strip().splitlines()) > 1:
            raise BadInput("bad_log", f"{path.name}, line 1", NOT_CLOSED, RULE)
        raise BadInput("bad_log", path.name, "no rows", "a table with rows")
    names = [name.strip() for name in rows[0]]
    if all(_is_number(name) for name in names):
        expected = "a first line with the names of the columns, as reward,propensity,action"
        raise BadInput("bad_log", f"{path.name}, line 1", "numbers alone", expected)
    _check_shape(path.name, lines, rows)
    return Dialect(names, delimiter, encoding, _truths(rows[1:], len(names)), rows[1:])


def _check_shape(name: str, text: str, rows: Sequence[Sequence[str]]) -> None:
    """Refuse first lines that other programs write, whose names are not those of the fields below them."""
    names, where = rows[0], f"{name}, line 1"
    if "\n" not in text:
        raise BadInput("bad_log", name, "lines that end with a carriage return alone", "a line feed at the end of each")
    if names[0].startswith("#") and len(names) != len(rows[1]):
        expected = "the names of the columns: take out lines of comments"
        raise BadInput("bad_log", where, "a line that begins with #", expected)
    if len(names) > 1 and all(len(row) == len(names) + 1 for row in rows[1:]):
        expected = (
            "a name for each field: in R write.csv(..., row.names = FALSE); no delimiter at the end of a row, if "
            "nothing is behind it"
        )
        raise BadInput("bad_log", where, f"{len(names)} names, and {len(names) + 1} fields in each row", expected)
    first, second = (len(line.split()) for line in [*text.split("\n"), ""][:2])
    if len(names) == 1 and first > 1 and second in (first, first + 1):
        expected = "fields with , ; | or a tab between them: in R write.csv(..., row.names = FALSE)"
        raise BadInput("bad_log", where, "fields with spaces between them", expected)


def _separated(text: str) -> tuple[str, list[list[str]]]:
    """Return what cuts the first lines into the most fields, if possible as many in each line as in the first."""
    best: tuple[tuple[bool, int], str, list[list[str]]] = ((False, 0), ",", [])
    declared = _DELIMITER_LINE.match(text.encode())
    text = text[declared.end() :] if declared else text
    for delimiter in declared.group(1).decode() if declared else ",;\t|":
        reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
        rows: list[list[str]] = []
        with long_fields():
            for row in reader:
                if row:
                    rows.append(row)
                if len(rows) > _SAMPLED:
                    break
        names = len(rows[0]) if rows else 0
        # Where no delimiter cuts all lines alike, the error names the first that differs.
        score = names > 1 and all(len(row) == names for row in rows), names
        if score > best[0]:
            best = score, delimiter, rows
    return best[1], best[2]


@contextmanager
def long_fields() -> Iterator[None]:
    """Let the reader of Python read fields as long as a line may be."""
    before = csv.field_size_limit(LONGEST_LINE)
    try:
        yield
    finally:
        csv.field_size_limit(before)


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
    ids
        Columns of which an empty value, or one as NA, is none.
    progress
        Called with how far the file has been read.
    """

    def __init__(
        self,
        path: Path,
        dialect: Dialect,
        kinds: dict[str, "pa.DataType"],
        progress: Progress,
        ids: Collection[str] = (),
    ) -> None:
        self._path, self._dialect, self._kinds, self._progress, self._ids = path, dialect, kinds, progress, ids
        self.schema = pa.schema([*kinds.items()])

    def __iter__(self) -> "Iterator[pa.RecordBatch]":
        dialect = self._dialect
        with opened(self._path, self._progress, EXPECTED) as file:
            lines = whole_lines(file, dialect.encoding, dialect.delimiter, self._path.name, self._is_row)
            for line, rows in lines:
                if rows.strip():
                    yield from self._without_blanks(self._parsed(rows, line)).to_batches()

    def _without_blanks(self, table: "pa.Table") -> "pa.Table":
        for name in self._ids:
            column = table.column(name)
            known = pc.if_else(pc.is_in(column, value_set=pa.array(_NULLS)), None, column)
            table = table.set_column(table.column_names.index(name), name, known)
        return table

    def _is_row(self, line: bytes) -> bool:
        """Return whether a line is a row by itself: it has all fields, and numbers where they belong."""
        cells = line.decode(errors="replace").rstrip("\r").split(self._dialect.delimiter)
        named = zip(self._dialect.names, cells, strict=False)
        return len(cells) == len(self._dialect.names) and not any(self._expected(*each) for each in named)

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
                    true_values=_TRUE,
                    false_values=_FALSE,
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
        with long_fields():
            rows = [(row, reader.line_num) for row in reader]
        for row, end in rows:
            where, before = f"{self._path.name}, line {line + before}", end
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
            return "" if cell in (*_TRUE, *_FALSE, *_NULLS) else "True or False"
        comma = self._dialect.decimal == ","
        number = cell.strip(" \t")
        if number in _NULLS:
            return ""
        try:
            pa.scalar(number.replace(",", ".") if comma and "." not in number else number).cast(pa.float64())
        except pa.ArrowInvalid:
            return "a number" + (" with a decimal comma" if comma else "")
        return "a number with a decimal comma" if comma and "." in cell else ""


def whole_lines(
    file: IO[bytes], encoding: str, delimiter: str, name: str, is_row: IsRow | None = None
) -> Iterator[tuple[int, bytes]]:
    """Yield some whole lines at a time and the number of the first, from 1, without the line of names.

    The reader of Arrow that streams a file reads ahead in a thread of its own. If the interpreter ends while that
    thread reads a file of Python, the process aborts. So each text is parsed by itself.

    Parameters
    ----------
    file, encoding, delimiter
        The text, and how it is written.
    name
        What errors call the file.
    is_row
        See :meth:`~replay.evaluation.logs.quotes.Quotes.check`.

    Raises
    ------
    BadInput
        A line has no end, or a quote breaks the rule.
    """
    line, quotes = 1, Quotes(delimiter, name)
    for number, (text, fields) in enumerate(_blocks(_decoded(file, encoding), quotes, name)):
        quotes.check(text, fields, line, is_row)
        head = 0 if number else _end_of_line(text, fields)
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


def _blocks(texts: Iterator[bytes], quotes: Quotes, name: str) -> Iterator[tuple[bytes, Fields]]:
    """Yield whole lines and their fields in quotes; an end of line within quotes ends none."""
    rest, begun = b"", 1
    for text in texts:
        rest += text
        fields = quotes.fields(rest)
        if len(ends := outside(rest, fields)):
            end = int(ends[-1]) + 1
            yield rest[:end], Fields(fields.spans[fields.spans[:, 1] <= end], open=False)
            begun += rest[:end].count(b"\n")
            rest = rest[end:]
        elif len(rest) > LONGEST_LINE:
            found = f"{NOT_CLOSED}, or a line of more than {LONGEST_LINE} bytes"
            raise BadInput("bad_log", f"{name}, line {begun}", found, RULE if b'"' in rest else EXPECTED)
    if rest:
        yield rest, quotes.fields(rest)


def _end_of_line(text: bytes, fields: Fields) -> int:
    """Return where the line of names ends: the first that is not empty, and does not declare the delimiter."""
    declared = _DELIMITER_LINE.match(text)
    begin = declared.end() if declared else 0
    for end in outside(text, fields).tolist():
        if text[begin:end].strip():
            return int(end) + 1
    return len(text)


def kinds_of(dialect: Dialect, read: Sequence[str], numbers: Sequence[str | None]) -> dict[str, Any]:
    """Return the type that each column is read as: a number, a truth, or a text."""
    kinds: dict[str, Any] = {}
    for name in read:
        truth = dialect.names.index(name) in dialect.truths
        kinds[name] = pa.string() if name not in numbers else pa.bool_() if truth else pa.float64()
    return kinds
