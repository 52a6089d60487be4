"""Standard input, output and error, whatever they are: closed, of another encoding, full.

Not even `typing` is imported here: the command imports this before it heeds Ctrl-C.
"""

import errno
import os
import sys

NO_ROOM = {
    errno.ENOSPC: "standard output, or a file: found no space left, expected room for what is written",
    errno.EMFILE: "open files: found as many as this process may have, expected more; raise the limit: ulimit -n 1024",
    errno.ENFILE: "open files: found as many as this machine may have, expected more",
}


def prepare() -> None:
    """Open those that are closed on the null device, and let what an encoding lacks be written as an escape."""
    if sys.stdin is None:
        sys.stdin = open(os.devnull, encoding="utf-8")  # noqa: SIM115, PTH123 - as long as the process
    for name in ("stdout", "stderr"):
        if (stream := getattr(sys, name)) is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115, PTH123
        elif hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")


def flush() -> None:
    """Write what is buffered; else the interpreter would, and print a traceback where it cannot."""
    try:
        sys.stdout.flush()
    except OSError as error:
        leave_without_room(error)


def leave_without_room(error: OSError) -> None:
    """End this process with a sentence where the disk of its output is full, or no file can be opened."""
    if error.errno in NO_ROOM and (error.filename is None or error.errno != errno.ENOSPC):
        sys.stderr.write(NO_ROOM[error.errno] + "\n")
        sys.stderr.flush()
        # What is still to be written cannot be.
        os._exit(1)
