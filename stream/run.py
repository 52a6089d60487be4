"""Run a role until a signal, with its health, readiness and metrics.

A role is a module of ``stream.roles`` with a function ``build(config) -> RoleParts``. Roles that read with a Faust
agent make their app by :func:`stream.kafka.faust_app.make_app`.
"""

import asyncio
import contextlib
import logging
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, NoReturn, cast

import mode

from records.errors import StateRefused, WrongConfiguration
from records.extras import extra_of, sentence
from stream import metrics, stopped
from stream.config import Config
from stream.health import HealthServer
from stream.json_log import log_as_json
from stream.liveness import STANDSTILL_S, Check, Guard, Pulse, Standstill, end_for_certain
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
        guard = Guard(parts.services, (*parts.checks, _standstill(config, role, parts)))
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


def _standstill(config: Config, role: str, parts: RoleParts) -> Check:
    app = parts.app
    joined = parts.ready if app is None else lambda: app.joined
    standstill = Standstill(
        parts.pulse, joined, lambda: metrics.failures(role), lambda: bool(stopped.stopped_parts(role))
    )
    # A tick is a step: two of them may be so far apart.
    longest_tick_s = max(config.join_tick_ms, config.decide_tick_ms) / 1000
    return standstill.longer_than(STANDSTILL_S + longest_tick_s + 2 * config.session_timeout_s)


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
