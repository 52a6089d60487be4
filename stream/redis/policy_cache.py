"""Decide's own copy of the latest published policies, and of how many decisions wait for their window.

It hears of a new version by Redis pub/sub, and asks each second as well, since a lost message must not leave it
stale. While Redis is away it goes on with what it has, and its metrics say so.
"""

import asyncio
import contextlib
import logging
from typing import NamedTuple, cast

from redis.asyncio import Redis
from redis.exceptions import RedisError

from policies.decide import LoadedPolicy
from policies.policy import Policy
from policies.policy_store import CHECK, identity_of, version_0
from records.codec import encode
from records.errors import BowerbirdError, StateRefused
from records.policy_version import PolicyVersion
from stream import metrics
from stream.config import Config, identity_in
from stream.redis.model_loader import ModelLoader
from stream.redis.policy_store import channel, model_key, of_its_type, read_published
from stream.redis.spoilt import counts, reading
from stream.redis.store import shard_key
from stream.retry import Outage
from stream.role import DECIDE
from stream.shutdown import ended

log = logging.getLogger(__name__)

ASK_EVERY_S = 1.0
TIMES_TO_BELIEVE = 3
"""How often in a row Redis must answer with an older version, or with another one of the same number, until it is
believed: one answer may come from a replica that lags behind."""

REDIS_FAILURES = (RedisError, OSError, TimeoutError)


class _Used(NamedTuple):
    """The version of a policy in use; ``record`` as it was published, None: not published."""

    policy: Policy
    number: int
    version: str
    record: bytes | None = None


class PolicyCache:
    """The policies that decide predicts with: those that decide for a placement.

    Parameters
    ----------
    config
        Names the policies.
    redis
        Answers bytes (``decode_responses`` off), with a timeout.

    Attributes
    ----------
    choosers
        What decides for every placement, from the start: version 0 until Redis says otherwise.
    """

    def __init__(self, config: Config, redis: Redis) -> None:
        self._config = config
        self._redis = redis
        self._loader = ModelLoader()
        self._doubted: dict[str, tuple[bytes, int]] = {}
        self._pending: dict[str, int] = {}
        self._wake = asyncio.Event()
        self._news: set[str] = set()
        self._rules = {placement: encode(config.rule(placement)) for placement in config.placements}
        self.choosers: dict[str, LoadedPolicy] = {}
        self._used: dict[str, _Used] = {}
        for name in filter(config.decided_by, config.policies):
            identity = identity_in(config, name)
            position, model = version_0(identity.make)
            # Loaded from its bytes, as every other version is: some explorers hold more than they save.
            self._use(name, _Used(identity.make(model), 0, position.version), identity.salt, 0)

    def overloaded(self, placement: str) -> bool:
        """Tell whether more decisions of a placement wait for their window than its ``max_pending``."""
        return self._pending.get(placement, 0) > self._config.placements[placement].max_pending

    async def ask(self) -> None:
        """Ask Redis once for everything.

        Raises
        ------
        StateRefused
            What is published under a policy's name was learned by other arguments than the configured ones, or
            somebody has replaced a key by one of another type.
        RedisError, OSError
            Redis is away.
        """
        await self.ask_policies()
        await self._ask_pending()
        metrics.redis_answered(DECIDE)

    async def ask_policies(self) -> None:
        """Ask Redis once for the published policies; raises as :meth:`ask`."""
        for name in self._used:
            await self._ask_policy(name)

    async def run(self) -> None:
        """Follow Redis for ever; whatever fails is tried again."""
        outage = Outage()
        listening = asyncio.create_task(self._listen())
        try:
            while True:
                try:
                    await self._follow()
                    outage.answered()
                except REDIS_FAILURES as error:
                    metrics.redis_failed(DECIDE)
                    outage.failed("Redis is away; going on with the versions at hand", error)
                except BowerbirdError as error:
                    # What is at hand is right all the same, and a start with the contradiction is refused.
                    metrics.UNEXPECTED_ERRORS.labels(DECIDE).inc()
                    log.error("going on with the versions at hand: %s", error)
                await self._wait_for_news()
        finally:
            await ended(listening)

    async def _follow(self) -> None:
        """Ask as :meth:`ask`, but for no version during the pause after a load."""
        if not self._loader.pause_s:
            await self.ask_policies()
        await self._ask_pending()
        metrics.redis_answered(DECIDE)

    async def _wait_for_news(self) -> None:
        """Return after a second; until then, load each version that Redis announces, with pauses after large ones."""
        loop = asyncio.get_running_loop()
        until = loop.time() + ASK_EVERY_S
        while (left := until - loop.time()) > 0:
            pause_s = self._loader.pause_s
            if self._news and not pause_s:
                try:
                    await self._ask_policy(self._news.pop())
                except (BowerbirdError, *REDIS_FAILURES):
                    # Asked again within the second, which counts and logs it.
                    return
                continue
            self._wake.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(min(left, pause_s or left)):
                    await self._wake.wait()

    async def _listen(self) -> None:
        while True:
            subscription = self._redis.pubsub()
            try:
                await subscription.subscribe(channel(self._config))
                while True:
                    message = await subscription.get_message(ignore_subscribe_messages=True, timeout=30.0)
                    if message is not None:
                        name = cast(bytes, message["data"]).decode("utf-8", "replace")
                        if name in self._used:
                            self._news.add(name)
                            self._wake.set()
            except REDIS_FAILURES:
                metrics.redis_failed(DECIDE)
                await asyncio.sleep(ASK_EVERY_S)
            finally:
                with contextlib.suppress(*REDIS_FAILURES):
                    await subscription.aclose()  # type: ignore[no-untyped-call]

    async def _ask_policy(self, name: str) -> None:
        # The record alone first: a model may have megabytes, and most seconds bring no new one.
        with of_its_type(name):
            newest = cast("bytes | None", await self._redis.hget(model_key(self._config, name), "record"))
        if newest is None or newest == self._used[name].record:
            self._doubted.pop(name, None)
            return
        published = await read_published(self._redis, self._config, name)
        if published is None:
            return
        record = published.record
        if not self._believable(name, record):
            return
        self._refuse_contradictions(name, record)
        policy = await self._loader.load(name, published)
        self._use(name, _Used(policy, record.number, record.version, newest), record.salt, record.published_ms)

    def _believable(self, name: str, record: PolicyVersion) -> bool:
        """Tell whether to use a version: a newer one at once, any other when Redis has said so several times."""
        identity = f"{record.number} {record.digest}".encode()
        used = self._used[name]
        if record.number > used.number or record.version == used.version:
            self._doubted.pop(name, None)
            return True
        before, times = self._doubted.get(name, (identity, 0))
        times = times + 1 if before == identity else 1
        if times < TIMES_TO_BELIEVE:
            self._doubted[name] = (identity, times)
            return False
        log.error("policy %s goes back from version %s to %s: Redis has this one", name, used.version, record.version)
        self._doubted.pop(name, None)
        return True

    def _refuse_contradictions(self, name: str, record: PolicyVersion) -> None:
        for field_name, stored, expected in identity_of(record).differing(identity_in(self._config, name)):
            raise StateRefused(
                f"{field_name} of the published policy {name}",
                repr(stored),
                repr(expected),
                f"set it back, or give the changed policy another name; {CHECK}",
            )

    def _use(self, name: str, new: _Used, salt: str, published_ms: int) -> None:
        former = self._used.get(name)
        for placement in self._config.decided_by(name):
            self.choosers[placement] = LoadedPolicy(name, new.policy, new.version, salt, self._rules[placement])
        self._used[name] = new
        if former is not None:
            self._loader.close(former.policy)
            log.info("policy %s: version %s", name, new.version)
        metrics.policy_in_use(DECIDE, name, new.number, published_ms)

    async def _ask_pending(self) -> None:
        pending = dict.fromkeys(self._config.placements, 0)
        for shard in range(self._config.shards):
            key = shard_key(self._config.prefix, shard, "pending")
            with reading(key):
                stored = cast("dict[bytes, bytes]", await self._redis.hgetall(key))
            for name, count in counts(key, stored).items():
                if name in pending:
                    pending[name] += count
        self._pending = pending
        for name, waiting in pending.items():
            metrics.PENDING.labels(DECIDE, name).set(waiting)
