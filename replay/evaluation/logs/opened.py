"""A log file as bytes, whatever it is packed with; what is wrong with them becomes an error that names the file."""

import bz2
import csv
import io
import lzma
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import pyarrow as pa

from records.errors import BadInput, WrongConfiguration, of_disk
from replay.evaluation.logs.chunk import Progress
from replay.evaluation.logs.first_bytes import HEAD_BYTES, looks_like, members_of
from replay.evaluation.logs.open_bandit import COMPRESSIONS

_UNREADABLE = (
    *(OSError, EOFError, zlib.error, lzma.LZMAError, UnicodeError, csv.Error, pa.ArrowException),
    zipfile.BadZipFile,
)


@contextmanager
def opened(path: Path, progress: Progress, expected: str) -> Iterator[IO[bytes]]:
    """Open a log to be read from its beginning.

    Parameters
    ----------
    progress
        Called with how far the file has been read, in bytes on the disk.
    expected
        What its bytes should be, in words.

    Raises
    ------
    WrongConfiguration
        There is no such file.
    BadInput
        Its bytes are not what was expected, or cannot be read.
    """
    if not path.is_file():
        raise WrongConfiguration(f"{path}: found no such file, expected {expected}")
    try:
        with _Counted(path, progress) as counted, PACKED.get(path.suffix.lower(), _plain)(counted, "rb") as file:
            yield file
    except _UNREADABLE as error:
        raise damaged(path, error, expected) from None


def damaged(path: Path, error: Exception, expected: str) -> BadInput:
    """Return the error for a file that cannot be read: what it looks like, in our own words."""
    if isinstance(error, OSError) and error.errno is not None:
        return BadInput("bad_log", path.name, of_disk(error), "a readable file")
    with path.open("rb") as file:
        head = file.read(HEAD_BYTES)
    found = None if path.suffix.lower() in (*PACKED, ".parquet", ".arrow", ".feather", ".ipc") else looks_like(head)
    if not head:
        found = "an empty file"
    if isinstance(error, UnicodeError):
        found = found or NOT_UTF8
    elif path.suffix.lower() in PACKED:
        found = f"bytes that are damaged, cut short, or not packed as {path.suffix} says"
    return BadInput("bad_log", path.name, found or "bytes that are damaged or cut short", expected)


NOT_UTF8 = "text in another encoding than UTF-8, as Latin-1: convert it (iconv -t UTF-8)"


def _plain(file: IO[bytes], mode: str) -> IO[bytes]:
    return file


def _zstd(file: IO[bytes], mode: str) -> Any:
    return pa.CompressedInputStream(pa.PythonFile(file, "r"), "zstd")


@contextmanager
def _zip(file: IO[bytes], mode: str) -> Iterator[IO[bytes]]:
    with zipfile.ZipFile(file) as archive:
        members = members_of(archive)
        if len(members) != 1:
            raise BadInput("bad_log", "zip archive", f"{len(members)} files", "one file: unpack it, and name the file")
        with archive.open(members[0]) as member:
            yield member


PACKED: dict[str, Callable[..., Any]] = {**COMPRESSIONS, ".bz2": bz2.open, ".zst": _zstd, ".zip": _zip}
"""What opens a packed file, by its suffix."""


class _Counted(io.FileIO):
    """A file that reports how far it has been read."""

    def __init__(self, path: Path, progress: Progress) -> None:
        super().__init__(path)
        self._size, self._progress, self._passed = path.stat().st_size, progress, 0

    def read(self, size: int | None = -1, /) -> bytes:
        found = super().read(-1 if size is None else size)
        self._passed += len(found)
        self._progress(self._passed, self._size)
        return found
