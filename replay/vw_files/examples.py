"""The examples of a file, one after the other: what Vowpal Wabbit's own reader would give it at once."""

import gzip
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import IO, NamedTuple, cast

import msgspec

from records.errors import BadInput
from replay.vw_files.arguments import LineFormat

MOST_BYTES = 64 * 1024 * 1024
"""A longer example is refused."""
_json = msgspec.json.Decoder(msgspec.Raw).decode
_BOM = b"\xef\xbb\xbf"
_GZIP = b"\x1f\x8b"


class _Sampled(msgspec.Struct):
    """What of a logged decision says that it is passed over."""

    pdrop: float = 0.0
    skip_learn: bool = msgspec.field(default=False, name="_skipLearn")


_sampled = msgspec.json.Decoder(_Sampled).decode


class FileExample(NamedTuple):
    """An example as bytes, and the number of its first line."""

    line: int
    text: bytes


def examples(file: Path, line_format: LineFormat, several_lines: bool) -> Iterator[FileExample]:
    """Yield the examples of a file; one that is packed by gzip is unpacked.

    Parameters
    ----------
    several_lines
        Whether an example of Vowpal Wabbit's text has several lines, and ends with an empty one.

    Raises
    ------
    BadInput
        An example has more than :data:`MOST_BYTES`.
    """
    with opened(file) as content:
        lines = _lines(file, content)
        if line_format is LineFormat.TEXT and several_lines:
            yield from _blocks(file, lines)
            return
        for number, line in lines:
            if line.strip() and not (line_format is LineFormat.DSJSON and _is_passed_over(line)):
                yield FileExample(number, line)


def oddity(text: bytes, line_format: LineFormat) -> str | None:
    """Say what is odd about an example that Vowpal Wabbit takes in silence; None: nothing.

    >>> oddity(b"hello", LineFormat.TEXT), oddity(b"| a", LineFormat.TEXT)
    ('a line without |', None)
    """
    if line_format is LineFormat.TEXT:
        return None if all(b"|" in line for line in text.split(b"\n")) else "a line without |"
    try:
        _json(text)
    except (msgspec.DecodeError, RecursionError):
        return "what is no JSON"
    return None


def opened(file: Path) -> IO[bytes]:
    """Open a file, unpacked where it is packed by gzip."""
    with file.open("rb") as content:
        packed = content.read(len(_GZIP)) == _GZIP
    return cast("IO[bytes]", gzip.open(file)) if packed else file.open("rb")


def _is_passed_over(line: bytes) -> bool:
    """Tell whether Vowpal Wabbit passes over a decision: it stands for infinitely many that were dropped, or says so.

    It reads the share of those that were dropped in single precision.
    """
    try:
        sampled = _sampled(line)
        return sampled.skip_learn or struct.unpack("f", struct.pack("f", sampled.pdrop))[0] == 1.0
    except (msgspec.DecodeError, RecursionError, OverflowError):
        return False


def _lines(file: Path, content: IO[bytes]) -> Iterator[tuple[int, bytes]]:
    number = 0
    while line := content.readline(MOST_BYTES + 1):
        number += 1
        _check_size(file, number, len(line))
        yield number, line.rstrip(b"\r\n").removeprefix(_BOM if number == 1 else b"")


def _blocks(file: Path, lines: Iterator[tuple[int, bytes]]) -> Iterator[FileExample]:
    block: list[bytes] = []
    first = size = 0
    for number, line in lines:
        if line.strip(b" \t"):
            first = first if block else number
            block.append(line)
            size += len(line) + 1
            _check_size(file, first, size)
        elif block:
            yield FileExample(first, b"\n".join(block))
            block, size = [], 0
    if block:
        yield FileExample(first, b"\n".join(block))


def _check_size(file: Path, line: int, size: int) -> None:
    if size > MOST_BYTES:
        raise BadInput("too_large", f"line {line} of {file}", f"more than {MOST_BYTES} bytes", "a smaller example")
