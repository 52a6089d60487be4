"""What the join does with work that cannot be done now, or may not be done before a recovery."""

import asyncio
import logging
from collections.abc import Awaitable, Callable

from records.errors import StateRefused
from stream import metrics, stopped
from stream.liveness import Pulse
from stream.redis.spoilt import Unreadable
from stream.retry import AWAY, REFUSED_PAUSE_S, count_failure, retry_pause, say_refused, say_server_refuses, until_there
from stream.role import JOIN
from stream.roles.input_guard import InputGuard
from stream.roles.join_display import JoinDisplay
from stream.run import PutRight

log = logging.getLogger(__name__)

HELD_POLL_S = 1.0
STATE = "the join's state"
"""What stands still while Redis refuses it."""


class JoinRetry:
    """Tries work again until it is done; while a shard is held, it waits for the recovery.

    Parameters
    ----------
    guard
        Holds the shards, and tells whether they are held.
    stopping
        Tells whether the role ends: then nothing is tried any more.
    """

    def __init__(self, guard: InputGuard, display: JoinDisplay, pulse: Pulse, stopping: Callable[[], bool]) -> None:
        self._guard, self._display, self._pulse, self._stopping = guard, display, pulse, stopping

    async def until_done(self, work: Callable[[], Awaitable[None]]) -> None:
        """Do work; hold back what may not be done.

        Raises
        ------
        PutRight
            A recovery has finished meanwhile, and this process is of before.
        """
        attempt = 0
        refused_parts: set[str] = set()
        while not self._stopping():
            try:
                await work()
                for part in refused_parts:
                    stopped.go_on(JOIN, part)
                return
            except PutRight:
                raise
            except StateRefused as refused:
                if isinstance(refused, Unreadable):
                    await until_there(JOIN, "holding its state", self._guard.need_recovery)
                refused_parts.add(refused.what)
                await self._wait(refused)
            except AWAY as error:
                count_failure(JOIN, error)
                log.warning("cannot go on now: %r", error)
                say_server_refuses(JOIN, STATE, attempt + 1, error)
                refused_parts.add(STATE)
                await retry_pause(attempt, longest_s=1.0)
            except Exception:
                metrics.UNEXPECTED_ERRORS.labels(JOIN).inc()
                log.exception("cannot go on now")
                await retry_pause(attempt)
            attempt += 1

    async def _wait(self, refused: StateRefused) -> None:
        say_refused(JOIN, refused.what, refused)
        if not await self._held():
            await asyncio.sleep(REFUSED_PAUSE_S)
            return
        # Nothing looks for them meanwhile, and the recovery is what is to be done.
        self._display.say_missing(set())
        while await self._held():
            self._pulse.stepped()
            await asyncio.sleep(HELD_POLL_S)
        # What waits here was read before the recovery, which may have begun elsewhere.
        raise PutRight("the recovery has finished: starting anew")

    async def _held(self) -> bool:
        return await until_there(JOIN, "waiting for a recovery", self._guard.held)
