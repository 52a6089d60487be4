"""A server process that dies with the process that started it."""

import contextlib
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from records.errors import BowerbirdError

WATCHER = Path(__file__).with_name("watcher.py")
LOG_TAIL_BYTES = 4000


class WatchedProcess:
    """One server, started through ``watcher.py`` in a session of its own.

    Ctrl-C in the terminal reaches neither the server nor its watcher: the owner decides. When the owner is
    gone, however it ended, the server is killed.

    Parameters
    ----------
    command : sequence of str
        The executable, by its path, and its arguments.
    log : Path
        The file that the server's output is appended to.
    environment : mapping, optional
        The server's environment; default: this process' own.
    remove : Path, optional
        A folder to remove once the owner is gone without having stopped the server.

    Raises
    ------
    BowerbirdError
        The process could not be started.
    """

    def __init__(
        self,
        command: Sequence[str],
        log: Path,
        environment: Mapping[str, str] | None = None,
        remove: Path | None = None,
    ) -> None:
        self.log = log
        self._command = list(command)
        watcher = [sys.executable, "-I", "-S", str(WATCHER), str(os.getpid()), str(remove or "")]
        with log.open("ab") as output:
            self._log_start = output.tell()
            self._watcher = subprocess.Popen(
                [*watcher, *self._command],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=output,
                env=environment,
                start_new_session=True,
                bufsize=0,
            )
        assert self._watcher.stdout is not None
        announced = self._watcher.stdout.readline()
        self._watcher.stdout.close()
        if not announced:
            raise BowerbirdError(f"{command[0]} could not be started: {self.log_tail()}")
        self.pid = int(announced)

    @property
    def running(self) -> bool:
        """Whether the server has not ended yet."""
        return self._watcher.poll() is None

    def kill(self) -> None:
        """End the server with SIGKILL and wait until it is gone."""
        self._order(b"K")
        self._watcher.wait()
        self._let_go()

    def stop(self, within_s: float) -> None:
        """End the server with SIGTERM, and with SIGKILL when it still runs after `within_s` seconds."""
        self._order(b"T")
        try:
            self._watcher.wait(within_s)
        except subprocess.TimeoutExpired:
            self._order(b"K")
            self._watcher.wait()
        self._let_go()

    def log_tail(self) -> str:
        """Return the end of what the server wrote since this start."""
        with self.log.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(self._log_start, size - LOG_TAIL_BYTES))
            return file.read().decode(errors="replace").strip()

    def _order(self, order: bytes) -> None:
        pipe = self._watcher.stdin
        if pipe is not None and not pipe.closed:
            # A watcher that has ended reads no more; its server is gone.
            with contextlib.suppress(BrokenPipeError):
                pipe.write(order)

    def _let_go(self) -> None:
        if self._watcher.stdin is not None:
            with contextlib.suppress(BrokenPipeError):
                self._watcher.stdin.close()
