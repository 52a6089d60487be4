"""Fields in quotes in a table as text, and quotes that would drop rows in silence.

A quote that begins a field and is a plain character to the program that wrote it takes the following lines into the
field. It is an error wherever it shows: at the end of the text, before anything but the end of a field, or where the
lines in it are rows.
"""

import re
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from records.errors import BadInput

RULE = (
    'fields in quotes as RFC 4180 has them ("5"" screen"): if a quote is a plain character, take it out or double it '
    "in a field in quotes, or save the table as Parquet"
)
NOT_CLOSED = "a quote that is not closed"
_ENDS = np.frombuffer(b"\r\n", dtype=np.uint8)
IsRow = Callable[[bytes], bool]
"""Whether a line is a row of the table by itself."""


class Fields(NamedTuple):
    """The fields in quotes of a text: where each begins and ends, shape (fields, 2), and whether the last is open."""

    spans: "np.ndarray[Any, Any]"
    open: bool


class Quotes:
    """Find the fields in quotes of a text.

    Parameters
    ----------
    delimiter
        What separates fields.
    name
        What errors call the file.
    """

    def __init__(self, delimiter: str, name: str) -> None:
        self._delimiter, self._name = delimiter.encode(), name
        # A quote within a field, as in 5" screen, is a character like others.
        begin = rb"(?:(?<=[\r\n%s])|\A)" % re.escape(self._delimiter)
        self._field = re.compile(begin + rb'"[^"]*(?:""[^"]*)*(?:(")|\Z)')

    def fields(self, text: bytes) -> Fields:
        """Return the fields in quotes."""
        found = [field.span() for field in self._field.finditer(text)] if b'"' in text else []
        last = self._field.match(text, found[-1][0]) if found else None
        spans = np.array(found, dtype=np.int64).reshape(-1, 2)
        return Fields(spans, last is not None and last.group(1) is None)

    def check(self, text: bytes, fields: Fields, line: int, is_row: IsRow | None) -> None:
        """Refuse quotes that break the rule.

        Parameters
        ----------
        text, fields
            Whole lines, and their fields in quotes.
        line
            The number of the first of them.
        is_row
            None: unknown.

        Raises
        ------
        BadInput
            There is one: the error names the line in which it opens.
        """
        spans = fields.spans[:-1] if fields.open else fields.spans
        if len(spans):
            behind = np.frombuffer(text + b"\n", dtype=np.uint8)[spans[:, 1]]
            right = np.isin(behind, [*_ENDS, *self._delimiter])
            if not right.all():
                begin, end = spans[int(np.argmin(right))].tolist()
                found = f"a quote within a field in quotes, after {_shown(text[begin:end])}"
                raise self._wrong(text, begin, line, found)
        if fields.open:
            raise self._wrong(text, int(fields.spans[-1, 0]), line, NOT_CLOSED)
        if is_row is None or not len(spans):
            return
        begun = np.searchsorted(spans[:, 0], ends := ends_in(text), side="right")
        for number in np.unique(begun[begun != np.searchsorted(spans[:, 1], ends, side="right")] - 1).tolist():
            begin, end = spans[number].tolist()
            first, last = text.rfind(b"\n", 0, begin) + 1, text.find(b"\n", end)
            if all(map(is_row, text[first : None if last < 0 else last].split(b"\n"))):
                raise self._wrong(text, begin, line, "rows within a field in quotes")

    def _wrong(self, text: bytes, begin: int, line: int, found: str) -> BadInput:
        at = line + text[:begin].count(b"\n")
        return BadInput("bad_log", f"{self._name}, line {at}", found, RULE)


def ends_in(text: bytes) -> "np.ndarray[Any, Any]":
    """Return where lines end, in quotes or not."""
    return np.flatnonzero(np.frombuffer(text, dtype=np.uint8) == 10)


def outside(text: bytes, fields: Fields) -> "np.ndarray[Any, Any]":
    """Return where lines end: each end that is in no field in quotes."""
    ends = ends_in(text)
    begun, over = (np.searchsorted(each, ends, side="right") for each in fields.spans.T)
    return np.asarray(ends[begun == over])


def _shown(field: bytes) -> str:
    text = field.decode(errors="replace")
    return repr(text if len(text) <= 40 else f"{text[:40]}…")
