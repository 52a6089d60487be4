"""A log file as bytes, whatever it is packed with; what is wrong with them becomes an error that names the file."""

import csv
import io
import lzma
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import pyarrow as pa

from policies.errors import BadInput, WrongConfiguration
from replay.logs.chunk import Progress
from replay.logs.open_bandit import COMPRESSIONS

_UNREADABLE = (OSError, EOFError, zlib.error, lzma.LZMAError, UnicodeDecodeError, csv.Error, pa.ArrowException)


@contextmanager
def opened(path: Path, progress: Progress, expected: str) -> Iterator[IO[bytes]]:
    """Open a log to be read from its beginning.

    Parameters
    ----------
    progress
        Told how far the file has been read, in bytes as they lie on the disk.
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
        with _Counted(path, progress) as counted, COMPRESSIONS.get(path.suffix, _plain)(counted, "rb") as file:
            yield file
    except _UNREADABLE as error:
        raise BadInput("bad_log", path.name, str(error).replace("\n", " "), expected) from None


def _plain(file: IO[bytes], mode: str) -> IO[bytes]:
    return file


class _Counted(io.FileIO):
    """A file that tells how far it has been read."""

    def __init__(self, path: Path, progress: Progress) -> None:
        super().__init__(path)
        self._size, self._progress, self._passed = path.stat().st_size, progress, 0

    def read(self, size: int | None = -1, /) -> bytes:
        found = super().read(-1 if size is None else size)
        self._passed += len(found)
        self._progress(self._passed, self._size)
        return found
