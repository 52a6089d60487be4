"""What a role's process serves over HTTP: its health, its readiness, its metrics."""

import logging
import os
from collections.abc import Callable

import mode
from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from records.errors import WrongConfiguration
from stream import stopped
from stream.config import Config
from stream.liveness import LIMIT_S, Pulse
from stream.role import DECLARED

log = logging.getLogger(__name__)


class HealthServer(mode.Service):
    """``/health`` (503 when it has done nothing lately), ``/ready`` (503 until the role works), ``/metrics``.

    ``/ready`` also names the parts that stand still, each with the sentence that says why.

    It listens on ``metrics_host`` at ``metrics_port`` plus the role's own (:mod:`stream.role`), with 0 at
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
        port = self._config.metrics_port and self._config.metrics_port + DECLARED[self._role].port
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
