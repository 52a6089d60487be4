"""The learn role without servers: when it publishes."""

import asyncio
import time
from types import SimpleNamespace
from typing import Any, cast

from redis.exceptions import ConnectionError as RedisAway

from policies.learn_worker import LearnWorker, Save
from stream.liveness import Pulse
from stream.roles.learned_policy import LearnedPolicy


class _Publisher:
    """Redis is away for two attempts."""

    def __init__(self) -> None:
        self.attempts_ms: list[float] = []

    async def save(self, learner: object, now_ms: int, *, move: bool) -> str:
        self.attempts_ms.append(time.monotonic() * 1000)
        if len(self.attempts_ms) < 3:
            raise RedisAway
        return "lost"


class _Schedule:
    def __init__(self) -> None:
        self.began_ms: list[float] = []

    def due(self, now_ms: float, learned: int) -> bool:
        return True

    def published(self, began_ms: float, ended_ms: float) -> None:
        self.began_ms.append(began_ms)


class _Learner:
    name, moved, kept_outcomes, learned = "front", True, 1, 1
    saved = SimpleNamespace(version="1-0a1b2c3d")


def test_waiting_for_redis_is_no_publishing_time() -> None:
    publisher, schedule = _Publisher(), _Schedule()
    worker: LearnWorker[Any] = LearnWorker({"front": 0}, {"front": ["front"]})
    states: Any = SimpleNamespace(publisher=lambda _: publisher)
    policy = LearnedPolicy("front", worker, states, cast(Any, None), Pulse())
    policy.learner = cast(Any, _Learner())
    worker.load(policy.learner, cast(Any, schedule), 0.0)
    asyncio.run(policy.save(Save("front", move=True)))
    (began_ms,) = schedule.began_ms
    assert publisher.attempts_ms[1] < began_ms <= publisher.attempts_ms[2]
