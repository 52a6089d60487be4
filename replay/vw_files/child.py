"""The process that learns: ``python -m replay.vw_files.child FD REQUEST``. Vowpal Wabbit may end it at any example.

Through the file descriptor it sends lines of JSON: before each example where it is, and in the end what Vowpal
Wabbit says of all.
"""

import contextlib
import os
import sys
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import cast

import msgspec
import pylibvw

from policies.vw import crossing
from records.errors import BadInput, of_disk
from replay.vw_files.arguments import LineFormat
from replay.vw_files.examples import examples, oddity

MOST_ODD = 10
"""So many examples are named as odd."""


class Request(msgspec.Struct, frozen=True):
    """What is to be learned: the arguments of Vowpal Wabbit, the files in their order, and their format."""

    command: tuple[str, ...]
    files: tuple[str, ...]
    line_format: str


class Place(msgspec.Struct, frozen=True, tag="place"):
    """The example that is learned now, and the share of its file before it, in bytes."""

    file: str
    line: int
    passed: int
    of: int


class Refusal(msgspec.Struct, frozen=True, tag="refusal"):
    """Why nothing more is learned; ``found`` is the sentence of Vowpal Wabbit, or ours.

    ``unreadable``: a file that cannot be read on; it says which.
    """

    found: str
    at: Place | None = None
    unreadable: str = ""


class Summary(msgspec.Struct, frozen=True, tag="summary"):
    """What Vowpal Wabbit said at its end, and what was odd: the first of it."""

    text: str
    warnings: tuple[str, ...] = ()


Sent = Place | Refusal | Summary
encode = msgspec.json.Encoder().encode


class _Log:
    """Takes what Vowpal Wabbit writes: of its driver, and of its logger."""

    def __init__(self) -> None:
        self.driver: list[str] = []
        self.logger: list[str] = []

    def log_driver(self, text: str) -> None:
        self.driver.append(text)

    def log_logger(self, text: str) -> None:
        self.logger.append(text)

    log = log_driver


def learn(request: Request, send: Callable[[Sent], None]) -> None:
    """Learn all examples of a request; send where it is, and what comes of it."""
    log = _Log()
    # It must live as long as the workspace, which does not keep it.
    writer = pylibvw.vw_log(log)
    place: Place | None = None
    odd: list[str] = []
    try:
        # Before the others, which may end with one that lacks its value.
        workspace = pylibvw.vw(["--no_stdin", *request.command], writer)
        for place, text in _placed(request, workspace._is_multiline()):
            # Each one is a call of the system, which is little next to an example.
            send(place)
            if len(odd) < MOST_ODD and (found := oddity(text, LineFormat(request.line_format))) is not None:
                odd.append(f"line {place.line} of {place.file}: found {found}; Vowpal Wabbit learns of it what it can")
            (crossing.learn if workspace._is_multiline() else crossing.learn_line)(workspace, text)
        workspace.finish()
    except BrokenPipeError:
        raise
    except (OSError, EOFError, zlib.error, BadInput) as error:
        send(Refusal(_found(error), unreadable=place.file if place is not None else request.files[0]))
        return
    except (RuntimeError, ValueError, MemoryError) as error:
        send(Refusal(_found(error), place))
        return
    send(Summary("".join(log.driver), (*odd, *"".join(log.logger).splitlines()[:MOST_ODD])))


def _found(error: Exception) -> str:
    """Return what Vowpal Wabbit says of an example or an argument: it names both."""
    return of_disk(error) if isinstance(error, OSError) else str(error)


def _placed(request: Request, several_lines: bool) -> Iterator[tuple[Place, bytes]]:
    for name in request.files:
        file, passed = Path(name), 0
        size = file.stat().st_size
        for example in examples(file, LineFormat(request.line_format), several_lines):
            yield Place(name, example.line, passed, size), example.text
            passed += len(example.text)


def main() -> None:
    """Learn what the arguments of the process say."""
    number, request = sys.argv[1:]
    with os.fdopen(int(number), "wb", buffering=0) as out, contextlib.suppress(BrokenPipeError):
        # Without its parent it ends in silence.
        learn(msgspec.json.decode(request, type=Request), lambda sent: cast(None, out.write(encode(sent) + b"\n")))
        sys.stdout.flush()
    # Destroying some workspaces (--cats) ends in a fault of memory; all is written.
    os._exit(0)


if __name__ == "__main__":
    main()
