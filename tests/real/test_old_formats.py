"""Messages of the formats 0 and 1, which Kafka wrote before 0.11, in every topic that a role reads.

Kafka 4 takes no such messages any more, but hands out those that its log has kept. So they are laid into the log of a
broker that stands still, as it has them after an upgrade.
"""

import binascii
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from aiokafka.record.legacy_records import LegacyRecordBatchBuilder
from redis.asyncio import Redis

from archive.writer import ArchiveStore
from embedded.servers import EmbeddedKafka, EmbeddedRedis
from records.codec import encode
from records.log_identity import LogIdentity
from records.rule import Reward, StreamReward
from stream.config import ArchiveConfig, Config
from stream.kafka import topics
from stream.kafka.consumer import MAGIC_AT
from stream.redis.policy_store import read_published
from tests.real.loop import Loop, decision, loop_of, until
from tests.real.test_foreign_records import REQUEST, outcomes
from tests.real.test_learn import outcome
from tests.serving import served, tables

FORMATS = [(magic, codec) for magic in (0, 1) for codec in ("none", "gzip", "snappy", "lz4")]
CODECS = {"none": 0, "gzip": 1, "snappy": 2, "lz4": 3}
UNREADABLE = (0, "lz4")
"""LZ4 was framed in a way of its own in format 0; aiokafka does not read it, so it becomes a dead letter."""
Logs = dict[str, list[tuple[int, str, Any]]]
"""Of each topic its messages: format, codec, record."""
FRAME = bytes.fromhex("04224d18604082")
SEGMENT = "00000000000000000000.log"
RULE = {"window_s": 2.0, "early_s": 5.0, "reward": {"streams": {"clicks": {"weight": 1.0}}}}


def old_log(messages: Sequence[tuple[int, str, Any]]) -> bytes:
    """Return messages, each with its format and codec, as the bytes of a log: each in a wrapper if it is compressed."""
    log = bytearray()
    for offset, (magic, codec, record) in enumerate(messages):
        value = record if isinstance(record, bytes) else json.dumps(record).encode()
        if codec == "lz4":
            message = _lz4(magic, offset, value)
        else:
            # Inside a wrapper of format 1 offsets count from its first message.
            message = _message(magic, CODECS[codec], 0 if magic and codec != "none" else offset, value)
        # The offset of a wrapper is that of its last message.
        message[:8] = offset.to_bytes(8, "big")
        log += message
    return bytes(log)


def _message(magic: int, codec: int, offset: int, value: bytes) -> bytearray:
    builder = LegacyRecordBatchBuilder(magic, codec, 1 << 20)
    assert builder.append(offset, timestamp=time.time_ns() // 1_000_000, key=None, value=value) is not None
    return bytearray(builder.build())


def _lz4(magic: int, offset: int, value: bytes) -> bytearray:
    """Return a wrapper around a message; aiokafka neither writes nor reads one of format 0."""
    inner = bytes(_message(magic, 0, 0 if magic else offset, value))
    # A frame of one block that is stored as it is.
    frame = FRAME + (len(inner) | 1 << 31).to_bytes(4, "little") + inner + bytes(4)
    message = _message(magic, 0, 0, frame)
    message[17] = CODECS["lz4"]
    message[12:16] = binascii.crc32(message[16:]).to_bytes(4, "big")
    return message


def lay(kafka: EmbeddedKafka, services: Sequence[tuple[Config, Logs]]) -> None:
    """Lay logs into the first partitions of empty topics while the broker stands still."""
    files = {
        kafka.folder / "data" / f"{config.topic(topic)}-0" / SEGMENT: old_log(messages)
        for config, logs in services
        for topic, messages in logs.items()
    }
    while not all(file.exists() for file in files):
        time.sleep(0.05)
    kafka.kill()
    for file, content in files.items():
        file.write_bytes(content)
    kafka.start()


def _each(make: Callable[[str], Any]) -> list[tuple[int, str, Any]]:
    """Return a record of each format and codec, made of its name."""
    return [(magic, codec, make(f"{magic}-{codec}")) for magic, codec in FORMATS]


async def test_every_role_reads_messages_of_old_formats(
    own_kafka: Callable[..., EmbeddedKafka], redis_server: EmbeddedRedis, prefix: str, tmp_path: Path
) -> None:
    """As in the log of a cluster that was upgraded; behind them stand messages of today."""
    kafka = own_kafka()
    rule = Reward(streams={"clicks": StreamReward(weight=1.0)})
    config = Config(
        brokers=kafka.address,
        redis_url=redis_server.url,
        prefix=prefix,
        partitions=1,
        session_timeout_s=2.0,
        request_ttl_ms=60_000,
        early_s=120.0,
        archive=ArchiveConfig(url=str(tmp_path), max_s=0.5),
        **tables({"front": served("vw", "--cb_explore_adf", window_s=2.0, publish_ms=100, reward=rule)}),
    )
    learning = replace(config, prefix=f"l-{prefix}")
    for each in (config, learning):
        await topics.create(each)
    log_id = [(1, "none", encode(LogIdentity(log_id="0123")))]
    logs: Logs = {
        "versions": log_id,
        "decision-requests": _each(lambda name: REQUEST | {"event_id": name}),
        "decisions": _each(lambda name: decision(f"made-{name}", rule=RULE)),
        "clicks": _each(lambda name: {"event_id": f"made-{name}", "id": "1"}),
        "dead-letters": _each(lambda name: b"a letter"),
    }
    rewards = [(*form, outcome(seq)) for seq, form in enumerate(set(FORMATS) - {UNREADABLE}, 1)]
    made_rewards: Logs = {"versions": log_id, "rewards": [*rewards, (*UNREADABLE, outcome(99))]}
    lay(kafka, [(config, logs), (learning, made_rewards)])
    async with loop_of(config) as loop, loop_of(learning) as other, Redis.from_url(config.redis_url) as redis:
        roles = [loop.role(name) for name in ("decide", "join", "learn", "archive")] + [other.role("learn")]
        await loop.send("decision-requests", REQUEST | {"event_id": "new"})
        await loop.send("clicks", {"event_id": "new", "id": "1"})
        made = {f"made-{magic}-{codec}": 1.0 for magic, codec in FORMATS if (magic, codec) != UNREADABLE}
        # The time to live of requests without a time is over.
        decided = {f"1-{codec}": 0.0 for codec in CODECS}
        expected = made | decided | {"new": 1.0}
        assert await outcomes(loop, set(expected)) == expected

        async def learned() -> bool:
            published = [await read_published(redis, each, "front") for each in (config, learning)]
            return [each.record.examples if each else 0 for each in published] == [len(expected), len(rewards)]

        await until(learned)
        for service, count in ((loop, 3), (other, 1)):

            async def buried(service: Loop = service, count: int = count) -> bool:
                return len(await _buried(service)) >= count

            await until(buried)
            assert len(await _buried(service)) == count
        store, ends = ArchiveStore(str(tmp_path), prefix), await _ends(loop)

        async def archived() -> bool:
            return all((store._end(*name) or 0) >= end for name, end in ends.items())

        await until(archived)
        assert all(role.process is not None and role.process.poll() is None for role in roles)


async def _buried(loop: Loop) -> list[bytes]:
    """Return the dead letters that roles wrote, which are the unreadable messages as they came."""
    topic = loop.config.topic("dead-letters")
    values: list[bytes] = []
    for partition in await loop.reader.partitions(topic):
        values += [record.value or b"" async for record in loop.reader.read(topic, partition, 0) if record.headers]
    assert all(value[MAGIC_AT : MAGIC_AT + 2] == bytes([0, CODECS["lz4"]]) for value in values)
    return values


async def _ends(loop: Loop) -> dict[tuple[str, int], int]:
    return await loop.reader.ends([(loop.config.topic(name), 0) for name in ("decisions", "versions", "dead-letters")])
