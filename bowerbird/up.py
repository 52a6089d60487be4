"""Everything on this machine, until it is asked to end: Kafka, Redis and a worker of every role.

Kafka, Redis and the roles end with this process, however it ends; see :mod:`embedded.watched` and
:mod:`bowerbird.supervised`.
"""

import asyncio
import fcntl
import logging
import os
import shlex
import signal
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, redirect_stderr, suppress
from pathlib import Path
from typing import IO, NamedTuple

import orjson

from bowerbird.settings import DEFAULT_FILE, load
from bowerbird.settings.built_in import chosen, on_servers, without_addresses
from bowerbird.supervisor import READY_POLL_S, Supervisor
from embedded import servers as embedded
from embedded.server import replace_taken_ports
from embedded.servers import Servers, servers
from records.errors import BowerbirdError, WrongConfiguration
from records.extras import needed_by
from stream.config import Config
from stream.json_log import log_as_json
from stream.kafka import topics

ROLES_LOG = "roles.log"
SERVERS_FOLDERS = ("kafka", "redis")
READY_WITHIN_S = 90.0
LOOK_EVERY_S = 0.5
LOG_LINES = 15
MOST_ENDS, ENDS_WITHIN_S = 3, 60.0
"""A server that ends more often within so long is not started again."""

log = logging.getLogger(__name__)


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
        Where the roles show their state.
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
        The file with the settings; None: see :func:`bowerbird.settings.built_in.chosen`.
    ready
        Called once every role does its work.
    progress
        Called with a line for each step on the way there.

    Raises
    ------
    WrongConfiguration
        The settings cannot be used, the folder is in use, or a role refuses its state.
    BowerbirdError
        A server could not be started, or not again when it had ended.
    """
    with suppress(KeyboardInterrupt), ExitStack() as stack:
        stack.callback(signal.signal, signal.SIGTERM, signal.signal(signal.SIGTERM, signal.default_int_handler))
        folder = folder.resolve() if folder is not None else None
        if folder is not None and "," in str(folder):
            raise WrongConfiguration(
                f"--dir: found {folder}, expected a folder without a comma, which Kafka takes for two"
            )
        kept = folder / DEFAULT_FILE if folder is not None else None
        settings = chosen(given, kept, os.environ)
        environment = without_addresses(os.environ)
        # What is wrong with them is said with the file's own lines, before anything is started.
        if settings.file is not None:
            _check_archive(load(settings.file, environment), kept=folder is not None)
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
        roles_log = place / ROLES_LOG
        with roles_log.open("ab") as output, _logged_to(output):
            began = output.tell()
            try:
                roles = Supervisor(config, config.roles, file, environment, stderr=output)
                up = Up(config, file, settings.file, "", roles_log, {}, elsewhere)
                asyncio.run(_Running(running, roles, up, progress).run(ready))
            except BowerbirdError as error:
                kind = WrongConfiguration if isinstance(error, WrongConfiguration) else BowerbirdError
                raise kind(f"{error}\nThe end of {roles_log}:\n{_tail(roles_log, began)}") from error


def _check_archive(config: Config, *, kept: bool) -> None:
    """Refuse an archive that cannot be written from here, or that is the copy of another Kafka than the empty one."""
    if config.archive.url is None:
        return
    from archive.names import log_file

    with needed_by("archive.url", "archive"):
        from archive.location import place_of
    if kept:
        return
    place = place_of(config.archive.url)
    if place.local is not None and place.read(log_file(config.prefix)) is not None:
        raise WrongConfiguration(
            f"archive.url: found {place.root}, the copy of a former Kafka, and without --dir an empty one is started"
            " each time; expected --dir FOLDER, which keeps Kafka and Redis for the next start, or another archive.url"
        )


class _Running:
    """The roles, on servers that run."""

    def __init__(self, running: Servers, roles: Supervisor, up: Up, progress: Callable[[str], None]) -> None:
        self._servers, self._roles, self._up, self._progress = running, roles, up, progress
        self._stopped: dict[tuple[str, str], str] = {}
        self._ended: dict[str, list[float]] = {}
        self._failed_starts: Counter[str] = Counter()

    async def run(self, ready: Callable[[Up], None]) -> None:
        """Keep the roles and the servers running until a signal, or until a server cannot be started again."""
        loop, this = asyncio.get_running_loop(), asyncio.current_task()
        assert this is not None
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, this.cancel)
        with suppress(asyncio.CancelledError):
            self._progress(f"Kafka answers at {self._servers.brokers}; creating its topics …")
            await topics.create(self._up.config)
            self._progress(f"Starting {', '.join(self._up.config.roles)} …")
            async with self._roles as roles:
                await self._until_ready()
                health = f"http://{self._up.config.metrics_host}:{roles.port}/health"
                ready(self._up._replace(health=health, pids=roles.pids))
                while True:
                    await asyncio.sleep(LOOK_EVERY_S)
                    await self._keep_servers()
                    await self._say_stopped()

    async def _until_ready(self) -> None:
        """Wait for the roles; what stands still waits for an operator, and for no limit."""
        clock = asyncio.get_running_loop().time
        give_up = clock() + READY_WITHIN_S
        while True:
            await self._keep_servers()
            await self._say_stopped()
            ready = await self._roles.readiness()
            if all(ready.values()) and not self._stopped:
                return
            self._roles.refuse()
            if self._stopped:
                give_up = clock() + READY_WITHIN_S
            if clock() > give_up:
                late = [role for role, is_ready in ready.items() if not is_ready]
                raise BowerbirdError(f"not ready after {READY_WITHIN_S:g} s: {', '.join(late)}")
            await asyncio.sleep(READY_POLL_S)

    async def _say_stopped(self) -> None:
        """Say what stands still, and that it goes on, once each."""
        stopped = await self._roles.stopped()
        for (role, part), sentence in stopped.items():
            if self._stopped.get((role, part)) != sentence:
                self._progress(f"{role} stands still: {sentence}")
        if stopped and not self._stopped:
            self._progress(
                f"Run it in another terminal, with --config {shlex.quote(str(self._up.file))}; the roles wait."
            )
        if self._stopped and not stopped:
            self._progress("The roles go on.")
        self._stopped = stopped

    async def _keep_servers(self) -> None:
        """Start a server again that has ended; its folder holds all that it has acknowledged."""
        for server in (self._servers.kafka, self._servers.redis):
            if server.running:
                continue
            name = type(server).__name__.removeprefix("Embedded")
            now_s = asyncio.get_running_loop().time()
            ended = [*(at_s for at_s in self._ended.get(name, []) if now_s - at_s < ENDS_WITHIN_S), now_s]
            self._ended[name] = ended
            if len(ended) > MOST_ENDS:
                raise BowerbirdError(
                    f"{name} has ended {len(ended)} times within {ENDS_WITHIN_S:g} s;"
                    f" its log is {server.folder / 'server.log'}"
                )
            self._progress(f"{name} has ended; starting it again on its data …")
            log.error("%s has ended; starting it again", name)
            try:
                await asyncio.to_thread(server.start)
            except BowerbirdError as error:
                self._failed_starts[name] += 1
                if self._failed_starts[name] == MOST_ENDS:
                    raise BowerbirdError(f"{name} has ended and does not start again: {error}") from error
                continue
            self._failed_starts[name] = 0
            self._progress(f"{name} runs again.")


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
    """Log this process's messages to the file of the roles' logs, not to the terminal."""
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
        entry = orjson.loads(line)
        return f"{entry['role']}: {entry['message']}"
    return line
