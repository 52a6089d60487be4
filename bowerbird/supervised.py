"""The child's side of supervision: it tells its port, and ends when its supervisor is gone."""

import logging
import os
import sys
import threading
from pathlib import Path

import orjson

EXIT_ORPHANED = 3


def become_supervised() -> None:
    """Tie this process to the supervisor that holds the other ends of its standard input and output.

    From here on the standard output is the standard error: a library that prints cannot disturb what is reported.
    """
    lifeline = os.dup(0)
    output = os.dup(1)
    os.dup2(2, 1)
    with Path(os.devnull).open() as nothing:
        os.dup2(nothing.fileno(), 0)
    sys.stdin = Path(os.devnull).open()  # noqa: SIM115 - as long as the process
    threading.Thread(target=_end_with_supervisor, args=(lifeline,), daemon=True).start()
    logging.getLogger("stream").addHandler(_TellsPort(output))


def _end_with_supervisor(lifeline: int) -> None:
    while os.read(lifeline, 64):
        pass
    # At once and without clean-up, as after kill -9: nothing is lost by it, and nothing can hold it up.
    os._exit(EXIT_ORPHANED)


class _TellsPort(logging.Handler):
    """Passes on the port that a role's server logs when it listens."""

    def __init__(self, output: int) -> None:
        super().__init__(logging.INFO)
        self._output = output

    def emit(self, record: logging.LogRecord) -> None:
        """Write the port, where the record has one."""
        port = getattr(record, "port", None)
        if isinstance(port, int):
            os.write(self._output, orjson.dumps({"port": port}) + b"\n")
