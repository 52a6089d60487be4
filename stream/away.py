"""What to do while Redis or the broker is away: say so, try again, and let the input wait."""

import logging
from collections.abc import Awaitable, Callable
from typing import TypeVar

from aiokafka.errors import KafkaError
from redis.exceptions import RedisError

from stream import metrics
from stream.apps import retry_pause

log = logging.getLogger(__name__)

AWAY = (RedisError, KafkaError, OSError, TimeoutError)
"""What is raised while Redis or the broker is away."""
TOLD_AT = (0, 10)
"""Attempts of which the log tells: the first, and one that shows that it lasts."""

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
        if self.attempt in TOLD_AT:
            log.warning("%s: %r", sentence, error)
        self.attempt += 1

    def answered(self) -> None:
        """Note an answer: the next failure is told again."""
        self.attempt = 0


async def until_there(role: str, what: str, call: Callable[[], Awaitable[Result]]) -> Result:
    """Return what a call returns; while a server is away it is called again."""
    outage = Outage()
    while True:
        try:
            result = await call()
        except AWAY as error:
            if isinstance(error, RedisError):
                metrics.redis_failed(role)
            else:
                metrics.broker_failed(role)
            outage.failed(f"{what}; trying again", error)
            await retry_pause(outage.attempt - 1, longest_s=1.0)
        else:
            metrics.redis_answered(role)
            metrics.broker_answered(role)
            return result
