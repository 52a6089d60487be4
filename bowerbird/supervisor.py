"""A process per role, started again when it dies; none of them outlives its supervisor.

A role is ``python -m bowerbird role NAME`` in a session of its own, so that Ctrl-C reaches the supervisor alone. Its
standard input is a pipe whose other end only the supervisor holds: the end of the pipe ends the role, also after
``kill -9`` of the supervisor (see :mod:`bowerbird.supervised`). On its standard output it tells the port of its
``/health``, ``/ready`` and ``/metrics``.
"""

import asyncio
import logging
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO, Any, cast

import aiohttp
import orjson
from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from records.errors import WrongConfiguration
from stream.config import Config
from stream.metrics import ROLE_RESTARTS
from stream.role import HUGE_PAGES, ROLES, SUPERVISOR_PORT
from stream.run import EXIT_REFUSED
from stream.shutdown import within

log = logging.getLogger(__name__)

FIRST_BACKOFF_S = 0.1
LONGEST_BACKOFF_S = 10.0
REFUSED_BACKOFF_S = 60.0
"""A role that refuses its configuration or its state needs an operator; asking again once a minute is enough."""
STABLE_AFTER_S = 30.0
"""A role that lived so long starts its backoff again from the first."""
STOP_S = 5.0
"""What is left of this long after SIGTERM is killed, which loses nothing."""
READY_POLL_S = 0.05


def backoff_s(deaths: int) -> float:
    """Return how long to wait before a start, after so many deaths in a row.

    >>> [backoff_s(deaths) for deaths in (1, 2, 3, 99)]
    [0.1, 0.2, 0.4, 10.0]
    """
    return min(FIRST_BACKOFF_S * 2.0 ** min(deaths - 1, 30), LONGEST_BACKOFF_S)


class RoleProcess:
    """One role: its process, and what became of the processes before it.

    Attributes
    ----------
    restarts
        Starts after a death.
    port
        Where the running process answers; None until it has said so.
    exit_code
        Of the last process that ended; negative: the signal that ended it.
    """

    def __init__(
        self,
        role: str,
        command: Sequence[str],
        environment: Mapping[str, str],
        stderr: int | IO[bytes] | None = None,
    ) -> None:
        self.role = role
        self.restarts = 0
        self.port: int | None = None
        self.exit_code: int | None = None
        self._command, self._environment, self._stderr = command, environment, stderr
        self._process: asyncio.subprocess.Process | None = None
        self._stopping = asyncio.Event()

    @property
    def pid(self) -> int | None:
        """The process id; None while no process runs."""
        return self._process.pid if self._process is not None else None

    @property
    def refused(self) -> bool:
        """Whether the last process refused its configuration or its state, and none runs now."""
        return self._process is None and self.exit_code == EXIT_REFUSED

    @property
    def state(self) -> str:
        """``running``, ``refused`` or ``waiting`` (for its next start)."""
        return "running" if self._process is not None else "refused" if self.refused else "waiting"

    async def keep(self) -> None:
        """Start the role, and again whenever it dies, until :meth:`stop`."""
        deaths = 0
        clock = asyncio.get_running_loop().time
        while not self._stopping.is_set():
            started = clock()
            code = await self._run_once()
            if self._stopping.is_set():
                return
            deaths = 1 if clock() - started >= STABLE_AFTER_S else deaths + 1
            pause_s = REFUSED_BACKOFF_S if code == EXIT_REFUSED else backoff_s(deaths)
            facts = {"died": self.role, "exit_code": code, "again_in_s": pause_s}
            if code == EXIT_REFUSED:
                log.critical("the role %s refuses to work, see its last message", self.role, extra=facts)
            else:
                log.error("the role %s died", self.role, extra=facts)
            await within(self._stopping.wait(), pause_s)
            if self._stopping.is_set():
                return
            self.restarts += 1
            ROLE_RESTARTS.labels(self.role).inc()

    async def _run_once(self) -> int:
        process = await asyncio.create_subprocess_exec(
            *self._command,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=self._stderr,
            env=HUGE_PAGES | dict(self._environment),
            start_new_session=True,
        )
        self._process = process
        log.info("the role %s started", self.role, extra={"started": self.role, "role_pid": process.pid})
        try:
            if self._stopping.is_set():
                process.terminate()
            await self._listen(process)
            self.exit_code = await process.wait()
        finally:
            self._process, self.port = None, None
        return self.exit_code

    async def _listen(self, process: asyncio.subprocess.Process) -> None:
        assert process.stdout is not None
        while line := await process.stdout.readline():
            with suppress(ValueError, TypeError, KeyError):
                self.port = int(orjson.loads(line)["port"])

    def stop(self) -> None:
        """Ask the process to stop, and start no other."""
        self._stopping.set()
        self._signal(signal.SIGTERM)

    def kill(self) -> None:
        """End the process at once."""
        self._signal(signal.SIGKILL)

    def _signal(self, number: signal.Signals) -> None:
        if self._process is not None:
            with suppress(ProcessLookupError):
                self._process.send_signal(number)


class Supervisor:
    """Keeps roles running. An asynchronous context manager: its end stops them.

    Parameters
    ----------
    config
        The service's settings, for the addresses of health and metrics; the roles read them themselves.
    roles
        Which roles; each gets one process. Default: those that the service needs.
    config_file
        Handed to the roles as ``--config``; None: they look for the settings as every command does.
    environment
        Of the roles; that of this process unless given.
    stderr
        Where the roles' logs go; where this process's go unless given.

    Raises
    ------
    WrongConfiguration
        A role is unknown or named twice.

    Examples
    --------
    ::

        async with Supervisor(config, ["decide", "join", "learn"], Path("bowerbird.toml")) as supervisor:
            await supervisor.until_ready()
            os.kill(supervisor.pids["learn"], signal.SIGKILL)      # it comes back
    """

    def __init__(
        self,
        config: Config,
        roles: Sequence[str] | None = None,
        config_file: Path | None = None,
        environment: Mapping[str, str] | None = None,
        stderr: int | IO[bytes] | None = None,
    ) -> None:
        roles = config.roles if roles is None else roles
        if not roles or not set(roles) <= set(ROLES) or len(set(roles)) < len(roles):
            raise WrongConfiguration(
                f"roles: found {','.join(roles) or 'none'}, expected some of {','.join(ROLES)}, each once"
            )
        self._config = config
        environment = os.environ if environment is None else environment
        # The role's process runs the same Python, but only this process may know the package's folder.
        paths = [str(Path(__file__).resolve().parents[1]), environment.get("PYTHONPATH", "")]
        environment = {**environment, "PYTHONPATH": os.pathsep.join(filter(None, paths))}
        file = ["--config", str(config_file.resolve())] if config_file is not None else []
        self.roles = {
            role: RoleProcess(
                role,
                [sys.executable, "-m", "bowerbird", "role", role, "--supervised", *file],
                environment,
                stderr,
            )
            for role in roles
        }
        self._tasks: list[asyncio.Task[None]] = []
        self._http: aiohttp.ClientSession | None = None
        self._server: web.AppRunner | None = None
        self.port: int | None = None

    @property
    def pids(self) -> dict[str, int]:
        """The process id of each role that runs now."""
        return {name: role.pid for name, role in self.roles.items() if role.pid is not None}

    @property
    def restarts(self) -> dict[str, int]:
        """How often each role was started after a death."""
        return {name: role.restarts for name, role in self.roles.items()}

    @property
    def ports(self) -> dict[str, int]:
        """The port at which each role that has reported one answers ``/health``, ``/ready`` and ``/metrics``."""
        return {name: role.port for name, role in self.roles.items() if role.port is not None}

    async def __aenter__(self) -> "Supervisor":
        await self.start()
        return self

    async def __aexit__(self, *error: object) -> None:
        await self.stop()

    async def start(self) -> None:
        """Start the roles, and a server that tells how they are; does not wait until they are ready."""
        self._http = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=1))
        await self._serve()
        self._tasks = [asyncio.create_task(role.keep(), name=name) for name, role in self.roles.items()]

    async def stop(self) -> None:
        """Stop the roles with SIGTERM, those that are still there after 5 s with SIGKILL."""
        for role in self.roles.values():
            role.stop()
        if self._tasks:
            _, late = await asyncio.wait(self._tasks, timeout=STOP_S)
            for task in late:
                log.error("the role %s did not stop within %g s and is killed", task.get_name(), STOP_S)
                self.roles[task.get_name()].kill()
            await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._server is not None:
            await self._server.cleanup()
        if self._http is not None:
            await self._http.close()

    async def until_ready(self, timeout_s: float = 60.0) -> None:
        """Return when every role does its work.

        Raises
        ------
        WrongConfiguration
            A role refuses its configuration or its state.
        TimeoutError
            Some role was not ready in time.
        """
        async with asyncio.timeout(timeout_s):
            while not all((await self.readiness()).values()):
                self.refuse()
                await asyncio.sleep(READY_POLL_S)

    async def readiness(self) -> dict[str, bool]:
        """Ask every role whether it does its work now."""
        return await self._asked("ready")

    async def health(self) -> dict[str, bool]:
        """Ask every role whether it has done its work lately."""
        return await self._asked("health")

    async def stopped(self) -> dict[tuple[str, str], str]:
        """Return the sentence of each part of a role that stands still, by role and part."""
        answers = await asyncio.gather(*(self._readiness(role) for role in self.roles.values()))
        return {
            (name, part): sentence
            for name, answer in zip(self.roles, answers, strict=True)
            for part, sentence in answer.get("stopped", {}).items()
        }

    def refuse(self) -> None:
        """Raise where a role refuses its configuration or its state.

        Raises
        ------
        WrongConfiguration
            One does.
        """
        if refused := [name for name, role in self.roles.items() if role.refused]:
            raise WrongConfiguration(f"refused to work, see the log: {', '.join(refused)}")

    async def run(self) -> int:
        """Keep the roles running until SIGTERM or SIGINT, and stop them.

        Returns
        -------
        int
            The exit code: 0, or 2 where every role refuses to work.
        """
        loop = asyncio.get_running_loop()
        signalled = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, signalled.set)
        async with self:
            ready = False
            while not signalled.is_set():
                if all(role.refused for role in self.roles.values()):
                    log.critical("every role refuses to work")
                    return EXIT_REFUSED
                if not ready and (ready := all((await self.readiness()).values())):
                    log.info("ready", extra={"ports": self.ports, "pids": self.pids})
                await within(signalled.wait(), 0.2)
        return 0

    async def _asked(self, question: str) -> dict[str, bool]:
        answers = await asyncio.gather(*(self._answers(role, question) for role in self.roles.values()))
        return dict(zip(self.roles, answers, strict=True))

    async def _answers(self, role: RoleProcess, question: str) -> bool:
        if role.port is None or self._http is None:
            return False
        try:
            async with self._http.get(f"http://{self._own_host}:{role.port}/{question}") as answer:
                return answer.status == 200
        except (aiohttp.ClientError, TimeoutError):
            return False

    async def _readiness(self, role: RoleProcess) -> dict[str, Any]:
        if role.port is None or self._http is None:
            return {}
        with suppress(aiohttp.ClientError, TimeoutError, ValueError):
            async with self._http.get(f"http://{self._own_host}:{role.port}/ready") as answer:
                return cast("dict[str, Any]", await answer.json())
        return {}

    @property
    def _own_host(self) -> str:
        host = self._config.metrics_host
        everywhere = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}  # noqa: S104
        return everywhere.get(host, f"[{host}]" if ":" in host else host)

    async def _serve(self) -> None:
        server = web.Application()
        server.router.add_get("/health", self._answer_health)
        server.router.add_get("/ready", self._answer_ready)
        server.router.add_get("/metrics", self._answer_metrics)
        self._server = web.AppRunner(server, handle_signals=False, access_log=None)
        await self._server.setup()
        # Behind the roles' ports.
        port = self._config.metrics_port and self._config.metrics_port + SUPERVISOR_PORT
        try:
            await web.TCPSite(self._server, self._config.metrics_host, port).start()
        except OSError as error:
            raise WrongConfiguration(
                f"metrics_port: {self._config.metrics_host}:{port} can't be listened on ({error.strerror});"
                " choose another port, or 0 for a free one"
            ) from None
        self.port = self._server.addresses[0][1]
        log.info("listening", extra={"host": self._config.metrics_host, "port": self.port})

    async def _answer_health(self, request: web.Request) -> web.Response:
        ready, healthy = await asyncio.gather(self.readiness(), self.health())
        roles = {
            name: {
                "state": role.state,
                "healthy": healthy[name],
                "ready": ready[name],
                "pid": role.pid,
                "port": role.port,
                "restarts": role.restarts,
            }
            for name, role in self.roles.items()
        }
        well = all(healthy.values())
        return web.json_response({"healthy": well, "roles": roles}, status=200 if well else 503)

    async def _answer_ready(self, request: web.Request) -> web.Response:
        ready = await self.readiness()
        return web.json_response({"ready": ready}, status=200 if all(ready.values()) else 503)

    async def _answer_metrics(self, request: web.Request) -> web.Response:
        return web.Response(body=generate_latest(), headers={"Content-Type": CONTENT_TYPE_LATEST})
