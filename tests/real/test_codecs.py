"""Topics that the broker compresses: every role, the client, verify, trace and the archive read each codec."""

import asyncio
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest
from confluent_kafka.admin import (  # type: ignore[attr-defined]
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    NewTopic,
    ResourceType,
)

import bowerbird
from bowerbird.trace import trace
from bowerbird_client import Client
from embedded.servers import EmbeddedKafka, EmbeddedRedis
from records.errors import WrongConfiguration
from stream.config import ArchiveConfig, Config
from stream.role import ROLES
from tests.real.loop import loop_of, until
from tests.real.test_verify import config as service
from tests.real.test_verify import settled

pytestmark = pytest.mark.real

CODECS = ("gzip", "snappy", "lz4", "zstd")
TOPICS = ("decision-requests", "decisions", "clicks", "purchases", "rewards", "versions", "replies.shop")
EACH = 2
CONTEXT = {"user": {"city": "Lyon"}}


def compress(config: Config, codec: str) -> None:
    """Let the broker compress whatever is appended from now on."""
    entry = ConfigEntry("compression.type", codec, incremental_operation=AlterConfigOpType.SET)
    topics = [ConfigResource(ResourceType.TOPIC, config.topic(name), incremental_configs=[entry]) for name in TOPICS]
    admin = AdminClient({"bootstrap.servers": config.brokers})
    for done in admin.incremental_alter_configs(topics).values():
        done.result(20)


async def test_every_codec_of_the_broker_is_read_by_all(
    kafka: EmbeddedKafka, redis_server: EmbeddedRedis, prefix: str, tmp_path: Path
) -> None:
    made: Config = service.__wrapped__(kafka, redis_server, prefix)  # type: ignore[attr-defined]
    config = replace(made, archive=ArchiveConfig(url=str(tmp_path / "archive"), max_s=0.3))
    async with loop_of(config) as loop:
        replies = NewTopic(config.topic("replies.shop"), 1, 1)
        admin = AdminClient({"bootstrap.servers": config.brokers})
        await asyncio.to_thread(admin.create_topics([replies])[replies.topic].result, 20)
        async with Client(kafka.address, prefix=prefix, reply_topic="replies.shop") as client:
            for number, codec in enumerate(CODECS):
                await asyncio.to_thread(compress, config, codec)
                if not number:
                    for role in ROLES:
                        loop.role(role)
                for _ in range(EACH):
                    answer = await client.decide("front", ["a", "b"], CONTEXT, timeout_s=60.0)
                    for stream in ("clicks", "purchases"):
                        await client.reward(answer.event_id, stream)
                        await client.flush()
                verdict = await settled(config, "front", EACH * (number + 1))
                assert verdict.ok, codec
                assert verdict.learned == EACH * (number + 1)
        (decision,) = (await trace(config, answer.event_id)).decisions
        assert decision.outcome is not None
        assert (decision.outcome.reward, decision.outcome.fate) == (1.0, "learned")

        async def archived() -> bool:
            with suppress(WrongConfiguration):
                return int(bowerbird.read(str(tmp_path / "archive"), prefix=prefix).num_rows) == EACH * len(CODECS)
            return False

        await until(archived)
