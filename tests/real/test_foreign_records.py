"""What other Kafka clients may write: every codec, headers that are no text, transactions. No record stops a role."""

import asyncio
import json
from typing import Any

from aiokafka import AIOKafkaProducer
from aiokafka.protocol.produce import ProduceRequest
from aiokafka.record.default_records import _DefaultRecordBatchBuilderPy
from aiokafka.structs import TopicPartition
from confluent_kafka import Producer

from rewards.rules import Reward, StreamReward
from stream.config import Config, PolicyConfig
from tests.real.loop import Loop, loop_of, until

CODECS = ("none", "gzip", "snappy", "lz4", "zstd")
EACH = 20
BRIEF_S = 2.0
READ_TOPICS = ("decision-requests", "decisions", "clicks", "rewards", "versions")
REQUEST = {"policy": "front", "actions": [{"id": "boots"}, {"id": "hat"}]}


class _Name(str):
    """The name of a header that is not UTF-8."""

    def encode(self, *_: Any) -> bytes:
        return b"\xff\xfe" + bytes(str(self), "ascii")


HEADERS: list[list[tuple[str, bytes | None]]] = [
    [(_Name("a"), b"\xff")],
    [("twice", b"1"), ("twice", None), ("", b"")],
    [("reply-topic", None), ("correlation-id", b"\xff"), ("expires-ms", b"\xff")],
]
KEYS_AND_VALUES: list[tuple[bytes | None, bytes | None]] = [
    (None, None),
    (b"", b""),
    (b"\xff" * 50_000, b"\xff"),
    (None, b"[" * 10_000),
    (None, b'{"v": 1}'),
]


def configured(kafka: Any, redis_server: Any, prefix: str) -> Config:
    streams = {"clicks": StreamReward(weight=1.0, aggregate="sum"), "purchases": StreamReward(weight=0.0)}
    policy = PolicyConfig(window_s=300.0, reward=Reward(close_on=("purchases",), streams=streams))
    brief = PolicyConfig(window_s=BRIEF_S, reward=Reward(streams=streams))
    return Config(
        brokers=kafka.address,
        redis_url=redis_server.url,
        prefix=prefix,
        policies={"front": policy, "brief": brief},
        session_timeout_s=2.0,
        request_ttl_ms=60_000,
    )


async def send_foreign(producer: AIOKafkaProducer, topic: str) -> None:
    """Append one batch of records that no record of ours looks like."""
    batch = _DefaultRecordBatchBuilderPy(2, 0, 0, -1, -1, -1, 1 << 20)
    cases = [(key, value, headers) for headers in HEADERS for key, value in KEYS_AND_VALUES]
    for offset, (key, value, headers) in enumerate(cases):
        assert batch.append(offset, 0, key, value, headers) is not None
    content = bytes(batch.build())

    async def appended() -> bool:
        await producer.partitions_for(topic)
        leader = producer.client.cluster.leader_for_partition(TopicPartition(topic, 0))
        topics = [(topic, [(0, content)])]
        request = ProduceRequest(transactional_id=None, required_acks=-1, timeout=10_000, topics=topics)
        ((_, ((_, code, *_),)),) = (await producer.client.send(leader, request)).topics
        return bool(code == 0)

    # A topic that was made a moment ago may have no leader yet.
    await until(appended, 20)


def send_packed(config: Config, topic: str, codec: str, records: list[dict[str, Any]]) -> None:
    """Append records by librdkafka, as one compressed batch."""
    producer = Producer({"bootstrap.servers": config.brokers, "compression.type": codec, "linger.ms": 50})
    for record in records:
        producer.produce(config.topic(topic), json.dumps(record).encode())
    assert producer.flush(20) == 0


def send_in_transactions(config: Config, event_id: str) -> None:
    """Append a click in a transaction that is aborted, and another with a purchase in one that is not."""
    producer = Producer({"bootstrap.servers": config.brokers, "transactional.id": config.topic("shop")})
    producer.init_transactions(20)
    for number, commits in enumerate((False, True)):
        producer.begin_transaction()
        for stream in ("clicks", "purchases") if commits else ("clicks",):
            click = {"event_id": event_id, "id": f"{stream}-{number}"}
            producer.produce(config.topic(stream), json.dumps(click).encode())
            # The purchase ends the window, so the click must stand in the log before it.
            producer.flush(20)
        if commits:
            producer.commit_transaction(20)
        else:
            producer.abort_transaction(20)


async def readable(loop: Loop, topic: str) -> list[dict[str, Any]]:
    """Return the records of a topic that are objects, arrays unpacked; others are passed over."""
    found: list[dict[str, Any]] = []
    name = loop.config.topic(topic)
    for partition in await loop.reader.partitions(name):
        begins = (await loop.reader.beginning([(name, partition)]))[name, partition]
        async for message in loop.reader.read(name, partition, begins):
            try:
                records = json.loads(message.value or b"null")
            except (ValueError, RecursionError):
                continue
            found += [each for each in (records if isinstance(records, list) else [records]) if isinstance(each, dict)]
    return found


async def outcomes(loop: Loop, wanted: set[str], policy: str = "front") -> dict[str, float]:
    """Wait for the outcomes of these decisions; return their rewards."""

    async def there() -> dict[str, float] | None:
        records = await readable(loop, "rewards")
        found = {each["event_id"]: each["reward"] for each in records if each.get("policy") == policy}
        return found if wanted <= set(found) else None

    return dict(await until(there, 60, every_s=0.3))


async def a_click_of_an_open_transaction_is_waited_for(loop: Loop) -> None:
    config = loop.config
    producer = Producer({"bootstrap.servers": config.brokers, "transactional.id": config.topic("slow-shop")})
    await asyncio.to_thread(producer.init_transactions, 20)
    producer.begin_transaction()
    producer.produce(config.topic("clicks"), b'{"event_id": "held", "id": "1"}')
    await asyncio.to_thread(producer.flush, 20)
    await loop.send("decision-requests", REQUEST | {"policy": "brief", "event_id": "held"})

    async def decided() -> bool:
        return any(record and record.get("event_id") == "held" for record in await readable(loop, "decisions"))

    await until(decided, 30)
    # The window passes, and the transaction is still open.
    await asyncio.sleep(BRIEF_S + 2)
    clicks = [(config.topic("clicks"), number) for number in await loop.reader.partitions(config.topic("clicks"))]
    held = await loop.reader.open_transactions(clicks)
    ((where, (offset, behind)),) = held.items()
    assert [record.value async for record in loop.reader.read(*where, offset)] == []
    assert behind >= 1
    await asyncio.to_thread(producer.commit_transaction, 20)
    assert await loop.reader.open_transactions(clicks) == {}
    assert await outcomes(loop, {"held"}, "brief") == {"held": 1.0}


def test_no_record_stops_a_role_and_every_codec_is_read(kafka, redis_server, prefix):
    async def scenario() -> None:
        config = configured(kafka, redis_server, prefix)
        async with loop_of(config) as loop:
            roles = [loop.role(name) for name in ("decide", "join", "learn")]
            for topic in READ_TOPICS:
                await send_foreign(loop.producer, config.topic(topic))
            event_ids = {codec: [f"{codec}-{number}" for number in range(EACH)] for codec in CODECS}
            for codec, ids in event_ids.items():
                requests = [REQUEST | {"event_id": event_id} for event_id in ids]
                await asyncio.to_thread(send_packed, config, "decision-requests", codec, requests)
            await asyncio.to_thread(
                send_packed, config, "decision-requests", "none", [REQUEST | {"event_id": "transacted"}]
            )
            for codec, ids in event_ids.items():
                for stream in ("clicks", "purchases"):
                    records = [{"event_id": event_id, "id": f"{stream}-1"} for event_id in ids]
                    await asyncio.to_thread(send_packed, config, stream, codec, records)
            await asyncio.to_thread(send_in_transactions, config, "transacted")
            wanted = {"transacted", *(event_id for ids in event_ids.values() for event_id in ids)}
            rewards = await outcomes(loop, wanted)
            assert rewards == dict.fromkeys(wanted, 1.0)
            await a_click_of_an_open_transaction_is_waited_for(loop)
            assert all(role.process is not None and role.process.poll() is None for role in roles)

    asyncio.run(scenario())
