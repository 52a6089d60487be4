"""Whether a role does its work: what it has done lately, and a guard that ends a process in which something has died.

Libraries keep tasks of their own. When one of them ends, nothing raises: the process lives on and does nothing. The
guard looks for such a task and ends the process with a code, so that its supervisor starts it again.
"""

import asyncio
import logging
import os
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import mode
from aiokafka.errors import KafkaError

log = logging.getLogger(__name__)

LIMIT_S = 30.0
"""A role that has not polled, or has finished no step, for so long is not healthy."""
LOOK_S = 0.5
WATCH_S = 0.1
LEAVE_S = 1.7
"""A process that was asked to stop, or that has crashed, is gone after so long, whatever hangs."""
STANDSTILL_S = 60.0
"""A role that does nothing for so long, beyond two sessions, is started again."""
FROZEN_S = 60.0
"""An event loop that has not turned for so long never will."""

Check = Callable[[], str | None]
"""Returns what has died, in words; None: nothing has."""

_TASKS = (
    ("_fetcher", "_fetch_task", "fetching"),
    ("_coordinator", "_coordination_task", "group membership"),
    ("_sender", "sender_task", "sending"),
    ("client", "_sync_task", "metadata"),
    ("_client", "_sync_task", "metadata"),
)


class RoleDiedError(Exception):
    """A part without which a role does nothing has ended."""


class Pulse:
    """When a role did what last.

    Attributes
    ----------
    polled_s, stepped_s
        Monotonic times of the last poll of its input and of the last finished step of its work; at first the start.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.clock = clock
        self.polled_s = self.stepped_s = clock()

    def polled(self) -> None:
        """Note that the input was asked for more, whether or not there was any."""
        self.polled_s = self.clock()

    def stepped(self) -> None:
        """Note that a step was finished: what it writes is in Kafka or Redis."""
        self.stepped_s = self.clock()

    def ages(self) -> tuple[float, float]:
        """Return the seconds since the last poll and the last step."""
        now = self.clock()
        return now - self.polled_s, now - self.stepped_s

    @property
    def healthy(self) -> bool:
        """Whether both happened within :data:`LIMIT_S`."""
        return max(self.ages()) <= LIMIT_S


def dead_client(what: str, client: Any) -> str | None:
    """Return what has ended in a started client of aiokafka.

    Parameters
    ----------
    what
        Names the client; None as ``client`` is one that was not started yet.
    """
    if client is None:
        return None
    if getattr(client, "_closed", False):
        return f"{what} is closed"
    for owner, name, does in _TASKS:
        task = getattr(getattr(client, owner, None), name, None)
        if isinstance(task, asyncio.Future) and task.done():
            return f"{what}: its task for {does} has ended"
    return None


def refuse_dead(what: str, client: Any) -> None:
    """Raise where something has ended in a client: a call would wait for it for ever.

    Raises
    ------
    KafkaError
        It says what; a client made anew works.
    """
    if (reason := dead_client(what, client)) is not None:
        raise KafkaError(reason)


def dead_among(clients: Mapping[str, Any]) -> str | None:
    """Return what has ended in one of several clients, by their names."""
    return next((reason for name, client in clients.items() if (reason := dead_client(name, client)) is not None), None)


class Standstill:
    """Says that a role does nothing any more, although no server has failed and no part of it says why it stands.

    Parameters
    ----------
    pulse, joined
        When it finished a step, and whether it is in its group.
    failures
        Returns how many calls of a server have failed so far.
    stopped
        Tells whether a part of the role stands still with a sentence.
    """

    def __init__(
        self, pulse: Pulse, joined: Callable[[], bool], failures: Callable[[], int], stopped: Callable[[], bool]
    ) -> None:
        self._pulse, self._joined, self._failures, self._stopped = pulse, joined, failures, stopped
        self._failed = failures()
        self._excused_s = self._joined_s = pulse.clock()

    def seconds(self) -> float:
        """Return for how long nothing has been done without an excuse; it is to be asked again and again."""
        now, failed = self._pulse.clock(), self._failures()
        if self._joined():
            self._joined_s = now
        if failed != self._failed or self._stopped():
            self._failed, self._excused_s = failed, now
        _, since_step_s = self._pulse.ages()
        return min(max(now - self._joined_s, since_step_s), now - self._excused_s)

    def longer_than(self, limit_s: float) -> Check:
        """Return the check that says so after a time."""
        sentence = f"it has done nothing for {limit_s:g} s, and no server has failed"
        return lambda: sentence if self.seconds() > limit_s else None


class Guard(mode.Service):
    """Ends the process when something in it has died.

    Parameters
    ----------
    services
        Their tasks run as long as they do.
    checks
        Further things that may die.
    """

    def __init__(self, services: Sequence[mode.Service], checks: Sequence[Check]) -> None:
        super().__init__()
        self._services, self._checks = services, checks
        self._seen: set[asyncio.Future[Any]] = set()
        self.looks = 0

    @mode.Service.task
    async def _look(self) -> None:
        former = None
        while not self.should_stop:
            await asyncio.sleep(LOOK_S)
            self.looks += 1
            reason = self.dead()
            # Once may be the moment at which a client is replaced.
            if reason is not None and reason == former and not self.should_stop:
                raise RoleDiedError(reason)
            former = reason

    def dead(self) -> str | None:
        """Return what has died, None: nothing."""
        for service in self._services:
            if service.should_stop:
                return None
            self._seen |= service._futures
        for task in self._seen:
            if task.done():
                return f"a task of the role has ended: {task!r}"
        return next((reason for check in self._checks if (reason := check()) is not None), None)


def _pending(worker: mode.Worker) -> list[str]:
    """Return what the tasks wait for that have not ended."""
    stacks = [task.get_stack(limit=1) for task in asyncio.all_tasks(worker.loop)]
    return sorted(f"{frame.f_code.co_qualname}:{frame.f_lineno}" for frames in stacks for frame in frames)


def end_for_certain(worker: mode.Worker, guard: Guard, code: int) -> Callable[[], None]:
    """End the process with a code when it hangs: at its end, or in the middle of its work.

    A thread looks, since nothing in a loop that stands still can.

    Returns
    -------
    callable
        Ends the thread.
    """
    over = threading.Event()

    def watch() -> None:
        # Counted in looks of this thread, not in time: a process that was paused has not hung.
        stopping = frozen = looks = 0
        while not over.wait(WATCH_S):
            stopping = stopping + 1 if worker.should_stop else 0
            frozen = frozen + 1 if guard.looks == looks else 0
            looks = guard.looks
            if stopping * WATCH_S >= LEAVE_S:
                log.critical("it does not stop within %g s, and is ended", LEAVE_S, extra={"tasks": _pending(worker)})
                os._exit(code)
            if frozen * WATCH_S >= FROZEN_S:
                log.critical("its event loop has stood still for %g s, and it is ended", FROZEN_S)
                os._exit(code)

    threading.Thread(target=watch, name="watchdog", daemon=True).start()
    return over.set
