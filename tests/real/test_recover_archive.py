"""A recovery where Kafka no longer reaches far enough: decisions come from the archive, lost feedback is named."""

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest
from confluent_kafka.admin import AdminClient
from confluent_kafka.admin._config import AlterConfigOpType, ConfigEntry, ConfigResource
from confluent_kafka.admin._resource import ResourceType
from redis.asyncio import Redis

from archive.reader import Archive
from bowerbird.recovery.logs import LogAccess
from bowerbird.recovery.options import RecoverOptions
from bowerbird.recovery.recover import recover
from embedded.servers import EmbeddedKafka, EmbeddedRedis
from records.errors import LossDetected
from records.rule import Reward, StreamReward
from stream.config import ArchiveConfig, Config
from tests.real.loop import Loop, decision, loop_of, until
from tests.real.test_verify_archive import forget
from tests.serving import served, tables

pytestmark = pytest.mark.real

RULE = {"window_s": 55.0, "early_s": 5.0, "reward": {"streams": {"clicks": {"weight": 1.0}}}}


async def keep_for_a_second(config: Config, name: str) -> None:
    """Let a topic keep its records for a second, and remove them."""

    def alter() -> None:
        entry = ConfigEntry("retention.ms", "1000", incremental_operation=AlterConfigOpType.SET)
        resource = ConfigResource(ResourceType.TOPIC, config.topic(name), incremental_configs=[entry])
        admin = AdminClient({"bootstrap.servers": config.brokers})
        for done in admin.incremental_alter_configs([resource]).values():
            done.result()

    await asyncio.to_thread(alter)
    await forget(config, name)


async def lose(loop: Loop, *topics: str) -> None:
    """Empty Redis and remove what topics hold."""
    for name in topics:
        await keep_for_a_second(loop.config, name)
    async with Redis.from_url(loop.config.redis_url) as redis:
        await redis.flushall()


async def test_what_kafka_has_forgotten_comes_from_the_archive_and_lost_feedback_is_named(
    kafka: EmbeddedKafka, own_redis: Callable[..., EmbeddedRedis], prefix: str, tmp_path: Path
) -> None:
    url = str(tmp_path / "archive")
    config = Config(
        brokers=kafka.address,
        redis_url=own_redis().url,
        prefix=prefix,
        early_s=5.0,
        dedup_horizon_s=120.0,
        session_timeout_s=2.0,
        archive=ArchiveConfig(url=url, max_s=0.3),
        **tables({"front": served(window_s=55.0, reward=Reward(streams={"clicks": StreamReward(weight=1.0)}))}),
    )
    async with loop_of(config) as loop:
        join = loop.role("join")
        loop.role("archive")
        for number in range(12):
            await loop.send("decisions", decision(f"e{number}", rule=RULE), partition=number % 3)
            await loop.send("clicks", {"event_id": f"e{number}", "id": "1"}, partition=number % 3)

        async def archived() -> bool:
            held = list((tmp_path / "archive").glob("*decisions/*/*.parquet"))
            return bool(held) and bool(Archive.at(url, prefix).table("decisions").num_rows == 12)

        await until(archived)
        archive = Archive.at(url, prefix)
        await lose(loop, "decisions")
        with pytest.raises(LossDetected, match="--archive") as refused:
            await recover(config, 0)
        assert f"{prefix}decisions[" in str(refused.value)
        done = await recover(config, 0, access=LogAccess(archive))
        assert done.join.pending == 12
        await lose(loop, "clicks")
        with pytest.raises(LossDetected, match="--accept-loss") as refused:
            await recover(config, 0, access=LogAccess(archive))
        assert f"{prefix}clicks[" in str(refused.value)
        done = await recover(config, 0, RecoverOptions(accept_loss=True), LogAccess(archive))
        assert done.join.pending == 12
        assert len(done.join.gone) == 3

        async def closed() -> list[float]:
            if join.process is not None and join.process.poll() is not None:
                join.start()
            rewards = {each["event_id"]: each["reward"] for each in await loop.records("rewards")}
            return sorted(rewards.values()) if len(rewards) == 12 else []

        # The last click of each partition is still there.
        assert await until(closed, 240.0) == [0.0] * 9 + [1.0] * 3
