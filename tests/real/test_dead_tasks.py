"""Tasks of Kafka's client that die in what is no role: the next call works, or says so; none waits for ever."""

import asyncio
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from aiokafka.errors import KafkaError
from redis.asyncio import Redis

from bowerbird.check import findings
from embedded.servers import EmbeddedKafka, EmbeddedRedis
from stream.config import ArchiveConfig
from stream.kafka.follower import Follower
from stream.kafka.log import LogReader
from stream.kafka.newest_messages import NewestMessages
from stream.liveness import _TASKS
from stream.role import DECLARED
from stream.stopped import kept
from tests.real.loop import Loop, loop_of
from tests.real.test_foreign_records import configured

SOON_S = 30.0


def tasks_of(client: Any) -> Iterator[tuple[str, asyncio.Task[Any]]]:
    """Yield the names and the tasks of a client of Kafka."""
    for owner, name, does in _TASKS:
        if isinstance(task := getattr(getattr(client, owner, None), name, None), asyncio.Task):
            yield does, task


async def ended(task: "asyncio.Task[Any]") -> None:
    """End a task as a fault of a library would: without any report."""
    task.cancel()
    await asyncio.wait({task})


async def test_what_is_no_role_goes_on_or_says_what_has_died(
    kafka: EmbeddedKafka, redis_server: EmbeddedRedis, prefix: str
) -> None:
    config = configured(kafka, redis_server, prefix)
    async with loop_of(config) as loop:
        await _a_follower(loop)
        await _a_reader(loop)
        await _what_is_new(loop)


async def _a_follower(loop: Loop) -> None:
    follower = Follower(loop.config, loop.config.topic("clicks"), 0)
    for number in range(2):
        await loop.send("clicks", {"number": number}, partition=0)
        assert len(await follower.to_end()) == 1
    for count, client in enumerate(("_consumer", "_asker")):
        for does, task in list(tasks_of(getattr(follower, client))):
            await ended(task)
            await loop.send("clicks", {"number": count}, partition=0)
            assert len(await asyncio.wait_for(follower.to_end(), SOON_S)) == 1, does
    await follower.stop()


async def _a_reader(loop: Loop) -> None:
    topic = loop.config.topic("clicks")
    for client in ("_asker", "_admin"):
        async with LogReader(loop.config) as reader:
            for _, task in list(tasks_of(getattr(reader, client))):
                await ended(task)
            asking = reader.topics([topic]) if client == "_admin" else reader.ends([(topic, 0)])
            with pytest.raises(KafkaError, match="has ended"):
                await asyncio.wait_for(asking, SOON_S)


async def _what_is_new(loop: Loop) -> None:
    topic = loop.config.topic("clicks")
    async with LogReader(loop.config) as reader, NewestMessages(loop.config, reader, [topic], 100) as recent:
        await recent.look(0)
        ((_, fetching), *_) = tasks_of(recent._consumer)
        await ended(fetching)
        await loop.send("clicks", {"number": 1}, partition=0)
        with pytest.raises(KafkaError, match="its task for fetching has ended"):
            await asyncio.wait_for(recent.look(0), SOON_S)


async def test_a_session_that_the_broker_refuses_is_named_by_every_role(
    redis_server: EmbeddedRedis, prefix: str, tmp_path: Path
) -> None:
    """Faust would wait for its group for ever, and the role would be ended and started for having done nothing."""
    with EmbeddedKafka() as kafka:
        config = replace(
            configured(kafka, redis_server, prefix),
            session_timeout_s=2.0,
            archive=ArchiveConfig(url=str(tmp_path / "archive")),
        )
        async with loop_of(config) as loop:
            roles = [loop.role(name) for name in DECLARED]
            codes = [await asyncio.to_thread(role.process.wait, SOON_S) for role in roles if role.process is not None]
            assert codes == [2] * len(DECLARED)
        found = {each.subject: each async for each in findings(config)}
        assert found["session_timeout_s"].found == "2 s; the brokers take 6 to 1800 s"
        assert not found["session_timeout_s"].holds
        async with Redis.from_url(config.redis_url) as redis:
            sentences = {part.role: part.sentence for part in await kept(redis, config)}
    assert sentences.keys() == set(DECLARED)
    assert all(each.startswith("session_timeout_s: the broker refuses 2 seconds") for each in sentences.values())
