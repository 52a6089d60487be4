"""What to do while Redis or the broker is away: say so once, try again, and let the input wait."""

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


async def until_there(role: str, what: str, call: Callable[[], Awaitable[Result]]) -> Result:
    """Return what a call returns; while a server is away it is called again."""
    attempt = 0
    while True:
        try:
            result = await call()
        except AWAY as error:
            if isinstance(error, RedisError):
                metrics.redis_failed(role)
            else:
                metrics.broker_failed(role)
            if attempt in TOLD_AT:
                log.warning("%s: %r; trying again", what, error)
            await retry_pause(attempt)
            attempt += 1
        else:
            metrics.redis_answered(role)
            metrics.broker_answered(role)
            return result
