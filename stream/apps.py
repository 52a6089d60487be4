"""What every role's process has in common: a Faust app, logs, health, readiness, metrics, and an end.

A role is a module of ``stream`` with a function ``build(config) -> RoleParts``; :func:`run_role` runs it
until a signal. Roles that read with a Faust agent make their app by :func:`role_app`.
"""

import asyncio
import contextlib
import json
import logging
import os
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn, cast

import mode
from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from records.errors import StateRefused, WrongConfiguration
from records.extras import extra_of, sentence
from stream import stopped
from stream.config import ROLES, Config
from stream.liveness import LIMIT_S, Check, Guard, Pulse, end_for_certain
from stream.shutdown import ended, within

if TYPE_CHECKING:
    from stream.kafka.faust_app import RoleApp

log = logging.getLogger(__name__)

LEFT_S = 0.3
EXIT_FAILED = 1
EXIT_REFUSED = 2
"""A wrong configuration, or a state that may not be continued: starting again would not help."""


class PutRight(Exception):  # noqa: N818
    """What a role has refused can be continued now: it ends, and its next process goes on."""


@dataclass(frozen=True, slots=True)
class RoleParts:
    """What a role consists of.

    Attributes
    ----------
    services
        Started in this order before the app, stopped after it in reverse.
    app
        The Faust app whose agents read the role's topics; None for a role without Faust.
    ready
        Tells whether the role does its work now.
    pulse
        What the role has done lately.
    checks
        Each returns what has died of the role, None: nothing has.
    """

    services: Sequence[mode.Service]
    app: "RoleApp | None"
    ready: Callable[[], bool]
    pulse: Pulse
    checks: Sequence[Check] = ()


class Progress(NamedTuple):
    """How far a consumer is in one partition.

    Attributes
    ----------
    position
        The offset of the next fetch; it moves over offsets that are no message.
    handed
        The offset after the last message that was given to the agent, -1 before the first.
    """

    position: int
    handed: int


def role_app(config: Config, role: str) -> "RoleApp":
    """Return a Faust app in the role's own group; imported here, because not every role pays for Faust."""
    from stream.kafka.faust_app import make_app

    return make_app(config, role)


def run_role(config: Config, role: str) -> int:
    """Run a role until SIGTERM or SIGINT.

    Returns
    -------
    int
        The exit code: 0 after a signal, 1 after a failure, 2 where starting again would not help.
    """
    log_as_json(role)
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    hanging = contextlib.ExitStack()
    try:
        parts = cast(RoleParts, import_module(f"stream.roles.{role}").build(config))
        guard = Guard(parts.services, parts.checks)
        worker = _Worker(
            HealthServer(config, role, parts.ready, parts.pulse),
            stopped.Teller(config, role, parts.ready),
            guard,
            *parts.services,
            *([parts.app] if parts.app is not None else []),
            loop=loop,
            override_logging=False,
            redirect_stdouts=False,
            quiet=True,
        )
        hanging.callback(end_for_certain(worker, guard, EXIT_FAILED))
        worker.run()
    except (WrongConfiguration, StateRefused) as refused:
        log.critical("%s", refused)
        stopped.keep_refusal(config, role, refused)
        return EXIT_REFUSED
    except ModuleNotFoundError as missing:
        log.critical("%s", sentence(f"role {role}", missing, extra_of(missing, role)))
        return EXIT_REFUSED
    except PutRight as right:
        log.warning("%s", right)
        return EXIT_FAILED
    except Exception:
        log.critical("the role %s failed", role, exc_info=True)
        return EXIT_FAILED
    finally:
        hanging.close()
        if not loop.is_closed():
            loop.close()
    log.info("stopped")
    return 0


def leave(code: int) -> NoReturn:
    """End the process at once with a code.

    When a role has returned, all that it holds is closed. The interpreter's own clean-up would take half a second more,
    and several on a busy machine.
    """
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


class _Worker(mode.Worker):
    """Runs services until a signal; the exception that stopped it, if any, is raised by :meth:`run`."""

    def run(self) -> None:
        loop = self.loop
        starting = asyncio.ensure_future(self.start(), loop=loop)
        self._starting_fut = starting
        try:
            with contextlib.suppress(asyncio.CancelledError):
                loop.run_until_complete(starting)
        finally:
            self.stop_and_shutdown()

    def carp(self, msg: str) -> None:
        """Say nothing: signals are logged."""

    def _gather_all(self) -> None:
        # The original waits a second for tasks that nothing ends.
        if left := asyncio.all_tasks(self.loop):
            self.loop.run_until_complete(within(ended(*left), LEFT_S))

    async def _sentinel_task(self) -> None:
        # The original sleeps a second at each stop.
        await asyncio.sleep(0)


class HealthServer(mode.Service):
    """``/health`` (503 when it has done nothing lately), ``/ready`` (503 until the role works), ``/metrics``.

    ``/ready`` also names the parts that stand still, each with the sentence that says why.

    It listens on ``metrics_host`` at ``metrics_port`` plus the role's index in :data:`ROLES`, with 0 at
    a free port, and logs which one it is.
    """

    def __init__(self, config: Config, role: str, ready: Callable[[], bool], pulse: Pulse) -> None:
        super().__init__()
        self._config, self._role, self._is_ready, self._pulse = config, role, ready, pulse
        self._runner: web.AppRunner | None = None
        self.port = 0

    async def on_start(self) -> None:
        """Listen."""
        server = web.Application()
        server.router.add_get("/health", self._health)
        server.router.add_get("/ready", self._ready)
        server.router.add_get("/metrics", self._metrics)
        self._runner = web.AppRunner(server, handle_signals=False, access_log=None)
        await self._runner.setup()
        port = self._config.metrics_port and self._config.metrics_port + ROLES.index(self._role)
        try:
            await web.TCPSite(self._runner, self._config.metrics_host, port).start()
        except OSError as error:
            raise WrongConfiguration(
                f"metrics_port: {self._config.metrics_host}:{port} can't be listened on ({error.strerror});"
                " choose another port, or 0 for a free one"
            ) from None
        self.port = self._runner.addresses[0][1]
        log.info("listening", extra={"host": self._config.metrics_host, "port": self.port})

    async def on_stop(self) -> None:
        """Close the port."""
        if self._runner is not None:
            await self._runner.cleanup()

    async def _health(self, request: web.Request) -> web.Response:
        healthy = self._pulse.healthy
        polled_s, stepped_s = (round(age_s, 1) for age_s in self._pulse.ages())
        shown = {"healthy": healthy, "last_poll_s": polled_s, "last_step_s": stepped_s, "limit_s": LIMIT_S}
        return web.json_response({"role": self._role, "pid": os.getpid(), **shown}, status=200 if healthy else 503)

    async def _ready(self, request: web.Request) -> web.Response:
        ready = self._is_ready()
        shown = {"role": self._role, "ready": ready, "stopped": stopped.stopped_parts(self._role)}
        return web.json_response(shown, status=200 if ready else 503)

    async def _metrics(self, request: web.Request) -> web.Response:
        return web.Response(body=generate_latest(), headers={"Content-Type": CONTENT_TYPE_LATEST})


_LOG_RECORD_FIELDS = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime"}


class JsonFormatter(logging.Formatter):
    """A log record as one line of JSON; fields given as ``extra`` stand beside the message."""

    def __init__(self, role: str) -> None:
        super().__init__()
        self._role = role

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        moment = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        line: dict[str, Any] = {
            "time": f"{moment}.{int(record.msecs):03d}Z",
            "level": record.levelname.lower(),
            "role": self._role,
            "logger": record.name,
            "message": record.getMessage(),
        }
        line |= {name: value for name, value in vars(record).items() if name not in _LOG_RECORD_FIELDS}
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str, ensure_ascii=False)


def _says_more_than_a_service(record: logging.LogRecord) -> bool:
    """Leave out what each service says of its start and its stop."""
    return record.levelno > logging.INFO or not str(record.msg).startswith("[^")


def log_as_json(role: str, level: int = logging.INFO) -> None:
    """Log to the standard error stream, a JSON object a line; of foreign libraries warnings only."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter(role))
    handler.addFilter(_says_more_than_a_service)
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
    for ours in ("stream", "rewards", "policies", "bowerbird"):
        logging.getLogger(ours).setLevel(level)
    # aiokafka reports each attempt at a broker that is away as an error; the roles say so themselves.
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)


def scratch_folder() -> Path:
    """Return a folder for what Faust insists on keeping in files; nothing of ours lies there."""
    folder = Path(tempfile.gettempdir()) / f"bowerbird-faust-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    return folder


async def retry_pause(attempt: int, first_s: float = 0.1, longest_s: float = 5.0) -> None:
    """Wait before the next attempt at what failed: twice as long each time, up to ``longest_s``."""
    await asyncio.sleep(min(first_s * 2.0 ** min(attempt, 16), longest_s))
