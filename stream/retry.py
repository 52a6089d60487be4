"""What to do while Redis, the broker or a recovery is waited for: say so, try again, and let the input wait."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import TypeVar

from aiokafka.errors import BrokerResponseError, KafkaError, KafkaTimeoutError, NotEnoughReplicasError
from redis.exceptions import RedisError, ResponseError

from records.errors import LossDetected, StateRefused
from stream import metrics, stopped
from stream.clients import refusal_code

log = logging.getLogger(__name__)

AWAY = (RedisError, KafkaError, OSError, TimeoutError)
"""What is raised while Redis or the broker is away."""
BUSY = "BUSY"
"""Redis works on another call."""
LOGGED_AT = (0, 10)
"""Attempts of which the log tells: the first, and one that shows that it lasts."""
REFUSED_PAUSE_S = 5.0
"""Before a state that was refused is looked at again."""

Result = TypeVar("Result")


class Outage:
    """Says that a server is away at the first failure, and at one that shows that it lasts; not at every one.

    Attributes
    ----------
    attempt
        How many calls have failed since the last answer.
    """

    def __init__(self) -> None:
        self.attempt = 0

    def failed(self, sentence: str, error: Exception) -> None:
        """Note a failure."""
        if self.attempt in LOGGED_AT:
            log.warning("%s: %r", sentence, error)
        self.attempt += 1

    def answered(self) -> None:
        """Note an answer: the next failure is logged again."""
        self.attempt = 0


async def until_there(role: str, what: str, call: Callable[[], Awaitable[Result]]) -> Result:
    """Return what a call returns; while a server is away it is called again."""
    outage = Outage()
    while True:
        try:
            result = await call()
        except AWAY as error:
            count_failure(role, error)
            outage.failed(f"{what}; trying again", error)
            say_server_refuses(role, what, outage.attempt, error)
            await retry_pause(outage.attempt - 1, longest_s=1.0)
        else:
            stopped.go_on(role, what)
            metrics.redis_answered(role)
            metrics.broker_answered(role)
            return result


async def until_recovered(
    role: str,
    call: Callable[[], Awaitable[Result]],
    *,
    waits_after: type[StateRefused] = LossDetected,
    part: str | None = None,
) -> Result:
    """Return what a call of a role's start returns; while it is refused, an operator's remedy is waited for.

    Parameters
    ----------
    waits_after
        The refusals that have a remedy while the role runs; others are raised.
    part
        What stands still meanwhile, as ``bowerbird status`` shows it. None: what the refusal names.
    """
    refused_parts: set[str] = set()
    while True:
        try:
            result = await call()
        except StateRefused as refused:
            if not isinstance(refused, waits_after):
                raise
            refused_parts.add(part or refused.what)
            await refused_pause(role, part or refused.what, refused)
        else:
            for each in refused_parts:
                stopped.go_on(role, each)
            return result


async def refused_pause(role: str, part: str, refused: StateRefused) -> None:
    """Say why a part of a role stands still, and wait before its state is looked at again."""
    say_refused(role, part, refused)
    await asyncio.sleep(REFUSED_PAUSE_S)


def say_server_refuses(role: str, part: str, failures: int, error: BaseException) -> None:
    """Say that a part of a role stands still since Kafka or Redis does not take what it is given, and not for a moment.

    An error of the connection is not reported here: such a server is shown as down.
    """
    if failures < stopped.SAID_AFTER:
        return
    if isinstance(error, BrokerResponseError) and not error.retriable:
        refusal = f"Kafka refuses it ({type(error).__name__})"
    elif isinstance(error, KafkaTimeoutError | NotEnoughReplicasError):
        # So it is where more replicas must have a message than there are; the client tries again, and gives up.
        refusal = f"Kafka does not acknowledge it ({type(error).__name__})"
    elif isinstance(error, ResponseError) and refusal_code(error) != BUSY:
        refusal = f"Redis refuses it ({refusal_code(error)})"
    else:
        return
    stopped.stop(role, part, f"{part}: {refusal}: `bowerbird check` says what to set right")


def say_refused(role: str, part: str, refused: StateRefused) -> None:
    """Say why a part of a role stands still."""
    stopped.stop(role, part, refused)
    log.error("stopped: %s", refused)


def count_failure(role: str, error: BaseException) -> None:
    """Count a failed call of Redis or Kafka, and show that server as down."""
    failed = metrics.redis_failed if isinstance(error, RedisError) else metrics.broker_failed
    failed(role)


async def retry_pause(attempt: int, first_s: float = 0.1, longest_s: float = 5.0) -> None:
    """Wait before the next attempt at what failed: twice as long each time, up to ``longest_s``."""
    await asyncio.sleep(min(first_s * 2.0 ** min(attempt, 16), longest_s))
