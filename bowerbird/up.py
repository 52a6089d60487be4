"""Everything on this machine, until it is told to end: Kafka, Redis and a worker of every role.

Kafka, Redis and the roles end with this process, however it ends; see :mod:`stream.watched` and
:mod:`bowerbird.supervised`.
"""

import asyncio
import fcntl
import json
import logging
import os
import signal
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, redirect_stderr, suppress
from pathlib import Path
from typing import IO, NamedTuple

from bowerbird.settings import DEFAULT_FILE, load
from bowerbird.supervisor import Supervisor
from bowerbird.up_settings import Settings, chosen, on_servers, without_addresses
from policies.errors import BowerbirdError, WrongConfiguration
from stream import embedded, topics
from stream.apps import log_as_json
from stream.config import Config
from stream.embedded import Servers, servers
from stream.embedded_server import replace_taken_ports

ROLES_LOG = "roles.log"
SERVERS_FOLDERS = ("kafka", "redis")
READY_WITHIN_S = 90.0
LOOK_EVERY_S = 0.5
LOG_LINES = 15


def _silent(line: str) -> None:
    pass


class Up(NamedTuple):
    """What runs now.

    Attributes
    ----------
    config, file
        The settings, and the file that holds them for other commands.
    source
        The file that they were taken from; None: they are built in.
    health
        Where the roles' state is told.
    log
        Where the roles log to.
    pids
        The process of each role.
    elsewhere
        A sentence for each server that does not listen on its usual port.
    """

    config: Config
    file: Path
    source: Path | None
    health: str
    log: Path
    pids: dict[str, int]
    elsewhere: list[str]


def run(
    folder: Path | None, given: Path | None, ready: Callable[[Up], None], progress: Callable[[str], None] = _silent
) -> None:
    """Start everything, say so, and return after SIGINT or SIGTERM, when everything has ended.

    Parameters
    ----------
    folder
        Where data and settings stay for the next start; None: a temporary folder.
    given
        The file with the settings; None: see :func:`bowerbird.up_settings.chosen`.
    ready
        Called once every role does its work.
    progress
        Called with a line for each step on the way there.

    Raises
    ------
    WrongConfiguration
        The settings cannot be used, the folder is in use, or a role refuses its state.
    BowerbirdError
        A server could not be started, or has ended.
    """
    with suppress(KeyboardInterrupt), ExitStack() as stack:
        stack.callback(signal.signal, signal.SIGTERM, signal.signal(signal.SIGTERM, signal.default_int_handler))
        folder = folder.resolve() if folder is not None else None
        kept = folder / DEFAULT_FILE if folder is not None else None
        settings = chosen(given, kept, os.environ)
        environment = without_addresses(os.environ)
        # What is wrong with them is told with the file's own lines, before anything is started.
        if settings.file is not None:
            load(settings.file, environment)
        place = folder or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bowerbird-up-")))
        stack.enter_context(_alone(place))
        for server in SERVERS_FOLDERS:
            replace_taken_ports(place / server)
        progress("Starting Kafka and Redis …")
        running = stack.enter_context(servers(folder, usual_ports=True))
        elsewhere = [*_elsewhere("Kafka", running.kafka.port, embedded.KAFKA_PORT)]
        elsewhere += _elsewhere("Redis", running.redis.port, embedded.REDIS_PORT)
        file = place / DEFAULT_FILE
        file.write_text(on_servers(settings.document, running.brokers, running.redis_url))
        config = load(file, environment)
        log = place / ROLES_LOG
        with log.open("ab") as output, _logged_to(output):
            began = output.tell()
            try:
                loop = _Running(running, config, settings, file, log, environment, output, elsewhere)
                asyncio.run(loop.run(ready, progress))
            except BowerbirdError as error:
                kind = WrongConfiguration if isinstance(error, WrongConfiguration) else BowerbirdError
                raise kind(f"{error}\nThe end of {log}:\n{_tail(log, began)}") from error


class _Running:
    """The roles, on servers that run."""

    def __init__(
        self,
        running: Servers,
        config: Config,
        settings: Settings,
        file: Path,
        log: Path,
        environment: dict[str, str],
        output: IO[bytes],
        elsewhere: list[str],
    ) -> None:
        self._servers, self._config, self._settings = running, config, settings
        self._file, self._log, self._environment, self._output = file, log, environment, output
        self._elsewhere = elsewhere

    async def run(self, ready: Callable[[Up], None], progress: Callable[[str], None]) -> None:
        """Keep the roles running until a signal or until a server ends."""
        loop, this = asyncio.get_running_loop(), asyncio.current_task()
        assert this is not None
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, this.cancel)
        with suppress(asyncio.CancelledError):
            progress(f"Kafka answers at {self._servers.brokers}; creating its topics …")
            await topics.create(self._config)
            progress(f"Starting {', '.join(self._config.roles)} …")
            roles = Supervisor(self._config, self._config.roles, self._file, self._environment, stderr=self._output)
            async with roles:
                await self._until_ready(roles)
                health = f"http://{self._config.metrics_host}:{roles.port}/health"
                source = self._settings.file
                ready(Up(self._config, self._file, source, health, self._log, roles.pids, self._elsewhere))
                while True:
                    await asyncio.sleep(LOOK_EVERY_S)
                    self._look()

    async def _until_ready(self, roles: Supervisor) -> None:
        try:
            await roles.until_ready(READY_WITHIN_S)
        except TimeoutError:
            late = [role for role, is_ready in (await roles.readiness()).items() if not is_ready]
            raise BowerbirdError(f"not ready after {READY_WITHIN_S:g} s: {', '.join(late)}") from None

    def _look(self) -> None:
        for server in (self._servers.kafka, self._servers.redis):
            if not server.running:
                name = type(server).__name__.removeprefix("Embedded")
                raise BowerbirdError(f"{name} has ended; its log is {server.folder / 'server.log'}")


def _elsewhere(server: str, port: int, usual: int) -> Iterator[str]:
    """Say where a server listens if that is not its usual port."""
    if port != usual:
        yield f"Port {usual} was taken by another program, so {server} listens on port {port}."


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Hold the folder: two brokers, or two Redis, on one folder would spoil its data."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "up.lock").open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise WrongConfiguration(
                f"--dir: found {folder} in use by another `bowerbird up`, expected a free folder;"
                " stop that one, or name another folder"
            ) from None
        yield


@contextmanager
def _logged_to(output: IO[bytes]) -> Iterator[None]:
    """Log what this process has to say beside what the roles log, and not on the terminal."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    with os.fdopen(os.dup(output.fileno()), "w", buffering=1) as stderr, redirect_stderr(stderr):
        log_as_json("supervisor")
        try:
            yield
        finally:
            root.handlers[:] = handlers
            root.setLevel(level)


def _tail(log: Path, began: int) -> str:
    with log.open("rb") as file:
        file.seek(began)
        lines = file.read().decode(errors="replace").splitlines()[-LOG_LINES:]
    return "\n".join(_message(line) for line in lines)


def _message(line: str) -> str:
    """Return the sentence of a line of the log, where it has one."""
    with suppress(ValueError, TypeError, KeyError):
        told = json.loads(line)
        return f"{told['role']}: {told['message']}"
    return line
