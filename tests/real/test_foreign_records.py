"""What other Kafka clients may write: every codec, headers that are no text, transactions. No record stops a role."""

import asyncio
import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, cast

import aiohttp
from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.protocol.produce import ProduceRequest
from aiokafka.record.default_records import _DefaultRecordBatchBuilderPy
from aiokafka.structs import TopicPartition
from confluent_kafka import Producer
from prometheus_client.parser import text_string_to_metric_families
from redis.asyncio import Redis

from bowerbird.status.observer import Observer
from embedded.server import free_port
from records.rule import Reward, StreamReward
from stream.config import Config
from stream.metrics import OPEN_TRANSACTION
from stream.redis.policy_store import model_key, read_published
from stream.role import DECLARED
from stream.roles.join_inputs import PAUSE_AT
from tests.real.loop import Loop, loop_of, until
from tests.real.test_learn import outcome
from tests.serving import served, tables

CODECS = ("none", "gzip", "snappy", "lz4", "zstd")
EACH = 20
ANY = -1
"""The partition is the producer's choice."""
HELD_METRIC = OPEN_TRANSACTION._name
BRIEF_S = 2.0
YEAR_9999_MS = 253_370_764_800_000
READ_TOPICS = ("decision-requests", "decisions", "clicks", "rewards", "versions")
REQUEST = {"placement": "front", "actions": [{"id": "boots"}, {"id": "hat"}]}


class _Name(str):
    """The name of a header that is not UTF-8."""

    def encode(self, *_: Any) -> bytes:
        return b"\xff\xfe" + bytes(str(self), "ascii")


HEADERS: list[list[tuple[str, bytes | None]]] = [
    [(_Name("a"), b"\xff")],
    [("twice", b"1"), ("twice", None), ("", b"")],
    [("reply-topic", None), ("correlation-id", b"\xff"), ("expires-ms", b"\xff")],
]
Foreign = tuple[bytes | None, bytes | None, list[tuple[str, bytes | None]]]
KEYS_AND_VALUES: list[tuple[bytes | None, bytes | None]] = [
    (None, None),
    (b"", b""),
    (b"\xff" * 50_000, b"\xff"),
    (None, b"[" * 10_000),
    (None, b'{"v": 1}'),
]


def configured(kafka: Any, redis_server: Any, prefix: str) -> Config:
    streams = {"clicks": StreamReward(weight=1.0, aggregate="sum"), "purchases": StreamReward(weight=0.0)}
    policy = served(window_s=300.0, reward=Reward(close_on=("purchases",), streams=streams))
    brief = served(window_s=BRIEF_S, reward=Reward(streams=streams))
    return Config(
        brokers=kafka.address,
        redis_url=redis_server.url,
        prefix=prefix,
        **tables({"front": policy, "brief": brief}),
        session_timeout_s=2.0,
        request_ttl_ms=60_000,
    )


async def send_foreign(producer: AIOKafkaProducer, topic: str) -> None:
    """Append one batch of records that no record of ours looks like."""
    await append_batch(producer, topic, [(key, value, names) for names in HEADERS for key, value in KEYS_AND_VALUES])


async def append_batch(producer: AIOKafkaProducer, topic: str, cases: Sequence[Foreign]) -> None:
    """Append records with whatever headers as one batch to the first partition of a topic."""
    batch = _DefaultRecordBatchBuilderPy(2, 0, 0, -1, -1, -1, 1 << 20)
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
    await until(appended)


def send_packed(config: Config, topic: str, codec: str, records: list[dict[str, Any]], partition: int = ANY) -> None:
    """Append records by librdkafka, as one compressed batch."""
    producer = Producer({"bootstrap.servers": config.brokers, "compression.type": codec, "linger.ms": 50})
    for record in records:
        producer.produce(config.topic(topic), json.dumps(record).encode(), partition=partition)
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
            # The purchase ends the window, so the click must be in the log before it.
            producer.flush(20)
        if commits:
            producer.commit_transaction(20)
        else:
            producer.abort_transaction(20)


async def readable(loop: Loop, topic: str) -> list[dict[str, Any]]:
    """Return the records of a topic that are objects, arrays unpacked; others are passed over."""
    dicts: list[dict[str, Any]] = []
    name = loop.config.topic(topic)
    for partition in await loop.reader.partitions(name):
        begins = (await loop.reader.beginning([(name, partition)]))[name, partition]
        async for message in loop.reader.read(name, partition, begins):
            try:
                records = json.loads(message.value or b"null")
            except (ValueError, RecursionError):
                continue
            dicts += [each for each in (records if isinstance(records, list) else [records]) if isinstance(each, dict)]
    return dicts


async def outcomes(loop: Loop, wanted: set[str], policy: str = "front") -> dict[str, float]:
    """Wait for the outcomes of these decisions; return their rewards."""

    async def there() -> dict[str, float] | None:
        records = await readable(loop, "rewards")
        rewards = {each["event_id"]: each["reward"] for each in records if each.get("policy") == policy}
        return rewards if wanted <= set(rewards) else None

    return dict(await until(there, 240, every_s=0.3))


async def shown_held(config: Config, labels: dict[str, str]) -> float | None:
    """Return what the join shows of an open transaction."""
    url = f"http://127.0.0.1:{config.metrics_port + DECLARED['join'].port}/metrics"
    async with aiohttp.ClientSession() as session, session.get(url) as answer:
        families = text_string_to_metric_families(await answer.text())
        samples = [sample for family in families for sample in family.samples]
    return next((each.value for each in samples if each.name == HELD_METRIC and each.labels == labels), None)


async def a_click_of_an_open_transaction_is_waited_for(loop: Loop) -> None:
    config = loop.config
    producer = Producer({"bootstrap.servers": config.brokers, "transactional.id": config.topic("slow-shop")})
    await asyncio.to_thread(producer.init_transactions, 20)
    producer.begin_transaction()
    producer.produce(config.topic("clicks"), b'{"event_id": "held", "id": "1"}')
    await asyncio.to_thread(producer.flush, 20)
    await loop.send("decision-requests", REQUEST | {"placement": "brief", "event_id": "held"})

    async def decided() -> bool:
        return any(record and record.get("event_id") == "held" for record in await readable(loop, "decisions"))

    await until(decided)
    # The window passes, and the transaction is still open.
    await asyncio.sleep(BRIEF_S + 2)
    clicks = [(config.topic("clicks"), number) for number in await loop.reader.partitions(config.topic("clicks"))]
    held = await loop.reader.open_transactions(clicks)
    ((where, (offset, behind)),) = held.items()
    assert [record.value async for record in loop.reader.read(*where, offset)] == []
    assert behind >= 1
    labels = {"topic": "clicks", "partition": str(where[1])}

    async def shown() -> bool:
        return await shown_held(config, labels) == behind

    await until(shown)
    producer.produce(config.topic("decision-requests"), b'{"event_id": "held too", "placement": "brief"}', partition=0)
    await asyncio.to_thread(producer.flush, 20)
    async with Observer(config) as observer:
        (seen,) = (await observer.look()).transactions
    assert (seen.role, seen.topic, seen.partition) == ("decide", config.topic("decision-requests"), 0)
    await asyncio.to_thread(producer.commit_transaction, 20)

    async def all_ended() -> bool:
        return await loop.reader.open_transactions(clicks) == {}

    # The coordinator answers a commit before its markers are in the partitions.
    await until(all_ended)
    assert await outcomes(loop, {"held"}, "brief") == {"held": 1.0}

    async def gone() -> bool:
        return await shown_held(config, labels) == 0

    await until(gone)


def test_no_record_stops_a_role_and_every_codec_is_read(kafka, redis_server, prefix):
    async def scenario() -> None:
        config = replace(configured(kafka, redis_server, prefix), metrics_port=free_port())
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


async def test_outcomes_and_versions_with_any_headers_are_learned(kafka: Any, redis_server: Any, prefix: str) -> None:
    """As a program copies them that mirrors topics and adds what it likes."""
    vw = served("vw", "--cb_explore_adf", window_s=1.0, publish_ms=100)
    config = replace(configured(kafka, redis_server, prefix), **tables({"front": vw}))
    async with loop_of(config) as loop, Redis.from_url(config.redis_url) as redis:
        learn = loop.role("learn")
        for first in (1, 4):
            values = [json.dumps(outcome(seq)).encode() for seq in range(first, first + 3)]
            cases: list[Foreign] = [(b"front", value, names) for value, names in zip(values, HEADERS, strict=True)]
            await append_batch(loop.producer, config.topic("rewards"), cases)

            async def learned(count: int = first + 2) -> bool:
                published = await read_published(redis, config, "front")
                return published is not None and published.record.examples == count

            await until(learned)
            # The same record again, as a producer in doubt writes it.
            record = cast("bytes | None", await redis.hget(model_key(config, "front"), "record"))
            await append_batch(loop.producer, config.topic("versions"), [(b"front", record, HEADERS[0])])
        assert learn.process is not None
        assert learn.process.poll() is None


async def test_a_burst_and_then_silence_holds_no_window_back(kafka: Any, redis_server: Any, prefix: str) -> None:
    """More messages of a partition in one fetch than wait in memory: the join pauses it, and nothing comes later."""
    config = configured(kafka, redis_server, prefix)
    async with loop_of(config) as loop:
        loop.role("decide")
        loop.role("join")
        await loop.send("decision-requests", REQUEST | {"event_id": "first", "placement": "brief"})
        assert await outcomes(loop, {"first"}, "brief") == {"first": 0.0}
        clicks = [{"event_id": "second", "id": "1"}, *([{"no": "click"}] * (25 * PAUSE_AT))]
        await asyncio.to_thread(send_packed, config, "clicks", "gzip", clicks)
        await loop.send("decision-requests", REQUEST | {"event_id": "second", "placement": "brief"})
        assert await outcomes(loop, {"second"}, "brief") == {"first": 0.0, "second": 1.0}


async def test_feedback_with_a_time_of_its_producer_stops_no_role(kafka: Any, redis_server: Any, prefix: str) -> None:
    """A topic of feedback that was altered to CreateTime, and times of 0, 1, the years 2000 and 9999."""
    config = configured(kafka, redis_server, prefix)
    async with loop_of(config) as loop:
        roles = [loop.role("decide"), loop.role("join")]
        await loop.send("decision-requests", REQUEST | {"event_id": "first", "placement": "brief"})
        assert await outcomes(loop, {"first"}, "brief") == {"first": 0.0}
        await set_time_type(config, "clicks", "CreateTime")
        for time_ms in (0, 1, 946_684_800_000, YEAR_9999_MS):
            click = json.dumps({"event_id": "second", "id": str(time_ms)}).encode()
            for partition in range(config.partitions):
                where = {"timestamp_ms": time_ms, "partition": partition}
                await loop.producer.send_and_wait(config.topic("clicks"), click, **where)
        await set_time_type(config, "clicks", "LogAppendTime")
        await loop.send("decision-requests", REQUEST | {"event_id": "second", "placement": "brief"})
        await loop.send("clicks", {"event_id": "second", "id": "now"})
        rewards = await outcomes(loop, {"first", "second"}, "brief")
        assert rewards == {"first": 0.0, "second": 1.0}
        assert all(role.process is not None and role.process.poll() is None for role in roles)


async def set_time_type(config: Config, topic: str, time_type: str) -> None:
    """Alter how a topic gets its timestamps."""
    admin = AIOKafkaAdminClient(bootstrap_servers=config.brokers)
    await admin.start()
    try:
        settings = {"message.timestamp.type": time_type, "message.timestamp.after.max.ms": str(2**63 - 1)}
        await admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, config.topic(topic), settings)])
    finally:
        await admin.close()
