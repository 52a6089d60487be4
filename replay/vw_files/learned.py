"""Learning a file of Vowpal Wabbit's, and what came of it."""

import os
import re
import signal
import subprocess
import sys
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, NamedTuple

import msgspec

from records.errors import BadInput, WrongConfiguration, of_disk, shorten
from replay.vw_files.arguments import FileArguments, LineFormat, parsed
from replay.vw_files.child import Place, Refusal, Request, Sent, Summary
from replay.vw_files.examples import opened

Progress = Callable[[int, int], None]
_decode = msgspec.json.Decoder(Sent).decode


class Learned(NamedTuple):
    """What came of a file.

    Attributes
    ----------
    examples
        How many were learned, decisions of several lines counted once.
    average_loss
        As Vowpal Wabbit writes it, with six decimals; ``n.a.``: no example had a label.
    warnings
        What was odd, and was learned all the same: the first of it.
    """

    examples: int
    average_loss: str
    warnings: tuple[str, ...]


class VwOptions(NamedTuple):
    """How to learn a file.

    Attributes
    ----------
    arguments
        Of Vowpal Wabbit.
    line_format
        None: as the arguments say, else as the file looks.
    predictions
        Where Vowpal Wabbit writes its predictions; None: nowhere, or where the arguments say.
    """

    arguments: str
    line_format: LineFormat | None = None
    predictions: Path | None = None


def learned(files: Sequence[Path], options: VwOptions, progress: Progress = lambda passed, of: None) -> Learned:
    """Learn files one after the other, from their first example to their last, in a child process.

    Parameters
    ----------
    files
        Empty: those that the arguments name.

    Raises
    ------
    WrongConfiguration
        An argument is refused, here or by Vowpal Wabbit; or a file is not there.
    BadInput
        An example cannot be learned, or has ended the process.
    """
    request, written = requested(files, options)
    result = _run(request, progress)
    for name in written:
        if not Path(name).exists():
            raise _unwritable(Path(name), "nothing written")
    return result


def requested(files: Sequence[Path], options: VwOptions) -> tuple[Request, Sequence[str]]:
    """Return what the child process is asked to do, and what it will write, for which folders are made.

    Errors are those of :func:`learned`.
    """
    given = parsed(options.arguments)
    names = tuple(map(str, files)) or given.files
    if not names:
        raise WrongConfiguration("FILE: found none, expected a file of examples")
    for name in names:
        if not _is_utf8(name):
            raise WrongConfiguration(f"{name!r}: found a name that is not UTF-8, expected another one")
        if not Path(name).is_file():
            raise WrongConfiguration(f"{name}: found no file, expected examples for Vowpal Wabbit")
    line_format = _format(options.line_format, given, Path(names[0]))
    command = list(given.command)
    if line_format is not LineFormat.TEXT and given.line_format is None:
        command.append(f"--{line_format}")
    written = [*given.written]
    if options.predictions is not None:
        command += ["--predictions", str(options.predictions)]
        written.append(str(options.predictions))
    for name in written:
        _prepare(Path(name), [Path(each) for each in names])
    return Request(tuple(command), names, line_format), written


def _prepare(written: Path, read: Sequence[Path]) -> None:
    """Make the folder of a file that will be written; refuse one that cannot be, or that is read."""
    try:
        written.parent.mkdir(parents=True, exist_ok=True)
        if written.is_dir():
            raise _unwritable(written, "a folder")
        if written.exists() and any(map(written.samefile, read)):
            raise _unwritable(written, "the file of examples")
    except OSError as error:
        raise _unwritable(written, of_disk(error)) from None


def _unwritable(written: Path, found: str) -> WrongConfiguration:
    return WrongConfiguration(f"{written}: found {found}, expected a file that can be written")


def _format(wanted: LineFormat | None, given: FileArguments, file: Path) -> LineFormat:
    """Return the format of the lines; ``--json`` among the arguments is one of Vowpal Wabbit's, too."""
    if given.line_format is not None:
        if wanted is LineFormat.DSJSON and given.line_format is not wanted:
            raise WrongConfiguration(f"--format: found {wanted}, expected {given.line_format}, as the arguments say")
        return given.line_format
    try:
        return wanted or looks_like(file)
    except (OSError, EOFError, zlib.error):
        # The child says what is wrong with it.
        return LineFormat.TEXT


def _is_utf8(name: str) -> bool:
    try:
        os.fsencode(name).decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


def looks_like(file: Path) -> LineFormat:
    """Return the format of a file by its first bytes: a line of JSON that has a cost is a logged decision."""
    with opened(file) as content:
        head = content.read(65_536).lstrip(b"\xef\xbb\xbf \t\r\n")
    if not head.startswith(b"{"):
        return LineFormat.TEXT
    return LineFormat.DSJSON if re.search(rb'"(_label_cost|c)"\s*:', head) else LineFormat.JSON


def _run(request: Request, progress: Progress) -> Learned:
    with _child(request) as (child, sent):
        place: Place | None = None
        said: Sent | None = None
        for line in sent:
            said = _decode(line)
            if isinstance(said, Place):
                place = said
                progress(place.passed, place.of)
        child.wait()
    if isinstance(said, Summary):
        return _read(said)
    if isinstance(said, Refusal) and said.unreadable:
        raise WrongConfiguration(f"{said.unreadable}: found {said.found}, expected a file that can be read to its end")
    if isinstance(said, Refusal):
        if said.at is None:
            raise WrongConfiguration(f"--vw-args: found {shorten(said.found)}, expected arguments of Vowpal Wabbit")
        raise BadInput("refused_by_vw", _where(said.at), shorten(said.found), "an example that it can learn")
    how = f"{signal.Signals(-child.returncode).name}" if child.returncode < 0 else f"code {child.returncode}"
    if place is None:
        raise WrongConfiguration(f"--vw-args: found arguments that end Vowpal Wabbit ({how}), expected others")
    raise BadInput("refused_by_vw", _where(place), f"what ends Vowpal Wabbit ({how})", "an example that it can learn")


@contextmanager
def _child(request: Request) -> "Iterator[tuple[subprocess.Popen[bytes], IO[bytes]]]":
    receives, sends = os.pipe()
    command = [sys.executable, "-m", "replay.vw_files.child", str(sends), msgspec.json.encode(request).decode()]
    with os.fdopen(receives, "rb") as sent:
        try:
            child = subprocess.Popen(command, stdin=subprocess.DEVNULL, pass_fds=[sends])
        finally:
            os.close(sends)
        try:
            yield child, sent
        finally:
            child.kill()
            child.wait()


def _read(summary: Summary) -> Learned:
    found = dict(re.findall(r"^(number of examples|average loss) = (\S+)", summary.text, re.MULTILINE))
    return Learned(int(found["number of examples"]), found["average loss"], summary.warnings)


def _where(place: Place) -> str:
    return f"line {place.line} of {place.file}"
