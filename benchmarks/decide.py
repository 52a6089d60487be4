"""Request to reply, against an echo that first writes the same bytes to a second topic."""

import asyncio
import contextlib
import json
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from secrets import token_hex
from statistics import median

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.structs import TopicPartition

from benchmarks.row import Others, Row, spread
from embedded.servers import EmbeddedKafka, EmbeddedRedis
from stream.config import Config
from stream.kafka.topics import create
from stream.shutdown import ended
from tests.real.loop import RoleProcess
from tests.serving import served, tables

RATES = (500, 1500)
PARTITIONS = 4
WARM_UP_S = 3.0
MEASURED_S = 8.0
REPEATS = 5
Q = (0.5, 0.99)
BAR_P50 = 1.3
BAR_P99 = 2.0

VERSION = b'"policy_version":"'
ECHO = """
import asyncio, sys
from benchmarks.decide import echo
asyncio.run(echo(*sys.argv[1:]))
"""


def run() -> list[Row]:
    """Measure decide and the echo in turns at each rate."""
    others = Others()
    with EmbeddedKafka() as kafka, EmbeddedRedis(unix_socket=True) as redis:
        config = Config(
            brokers=kafka.address,
            redis_url=redis.url,
            prefix=f"b-{token_hex(3)}-",
            partitions=PARTITIONS,
            request_ttl_ms=60_000,
            **tables({"front": served(kind="vw", arguments="--cb_explore_adf --epsilon 0.1 -q uA")}),
        )
        return [asyncio.run(_row(config, rate, others)) for rate in RATES]


async def _row(config: Config, rate: int, others: Others) -> Row:
    await create(config)
    requests, copies, replies = (config.topic(name) for name in ("echo-requests", "echo-copies", "replies.bench"))
    await create_topics(config, {requests: PARTITIONS, copies: PARTITIONS, replies: 1})
    sample = await _decision(config)
    with _echo(config, requests, copies, sample), contextlib.closing(_Worker(config)) as worker:
        async with replying_load(config, replies) as load:
            for topic in (requests, config.topic("decision-requests")):
                await load.measure(topic, rate, WARM_UP_S)
            ours: list[list[float]] = []
            peer: list[list[float]] = []
            for _ in range(REPEATS):
                with others.measured([worker.pid]):
                    peer.append(await load.measure(requests, rate, MEASURED_S))
                    ours.append(await load.measure(config.topic("decision-requests"), rate, MEASURED_S))
    p50s, p99s = ([quantile(one, q) / quantile(other, q) for one, other in zip(ours, peer, strict=True)] for q in Q)
    times = "; ".join(f"{name} {told(found)}" for name, found in (("decide", ours), ("echo", peer)))
    return Row(
        f"request to reply at {rate} a second",
        "an echo of two aiokafka clients that first writes the same bytes to a second topic with acks=all",
        f"p50 <= {BAR_P50} x, p99 <= {BAR_P99} x",
        f"p50 {spread(p50s)} x, p99 {spread(p99s)} x; {times}",
        median(p50s) <= BAR_P50 and median(p99s) <= BAR_P99,
        "two round trips to the broker one after the other, the prediction, and the CPU of both clients",
        others.median,
    )


def quantile(sorted_values: list[float], q: float) -> float:
    """Return a quantile."""
    return sorted_values[min(len(sorted_values) - 1, int(q * len(sorted_values)))]


def told(repeats: list[list[float]]) -> str:
    """Return the medians of both quantiles over the repeats, as text."""
    p50, p99 = (median(quantile(one, q) for one in repeats) for q in Q)
    return f"p50 {p50:.2f} ms, p99 {p99:.1f} ms"


class _Worker:
    """Decide in a process of its own."""

    def __init__(self, config: Config) -> None:
        self._role = RoleProcess(config, "decide").start()
        assert self._role.process is not None
        self.pid = self._role.process.pid

    def close(self) -> None:
        self._role.stop()


@contextlib.contextmanager
def _echo(config: Config, requests: str, copies: str, sample: bytes):  # type: ignore[no-untyped-def]
    process = subprocess.Popen([sys.executable, "-c", ECHO, config.brokers, requests, copies, sample.decode("latin-1")])
    try:
        yield
    finally:
        process.kill()
        process.wait()


async def echo(brokers: str, requests: str, copies: str, sample: str) -> None:
    """Write the sample for each request, wait for the acknowledgement, and reply with it."""
    value = sample.encode("latin-1")
    consumer = AIOKafkaConsumer(
        requests, bootstrap_servers=brokers, group_id=f"{requests}-echo", auto_offset_reset="earliest"
    )
    producer = AIOKafkaProducer(bootstrap_servers=brokers, acks="all")
    await consumer.start()
    await producer.start()
    while True:
        fetched = await consumer.getmany(timeout_ms=200)
        records = [record for found in fetched.values() for record in found]
        written = [await producer.send(copies, value, partition=record.partition) for record in records]
        await asyncio.gather(*written)
        for record in records:
            headers = dict(record.headers)
            topic = headers["reply-topic"].decode()
            await producer.send(topic, value, headers=[("correlation-id", headers["correlation-id"])])


class Load:
    """Sends at a steady rate, whether or not replies come, and notes how long each took, in ms.

    Attributes
    ----------
    versions
        What the replies of the last measurement cite.
    """

    def __init__(self, producer: AIOKafkaProducer, consumer: AIOKafkaConsumer, reply_topic: str) -> None:
        self._producer, self._consumer, self._reply_topic = producer, consumer, reply_topic
        self._sent: dict[bytes, float] = {}
        self._took: list[float] = []
        self._number = 0
        self.versions: set[bytes] = set()

    async def hear(self) -> None:
        """Note the replies until it is cancelled."""
        while True:
            for records in (await self._consumer.getmany(timeout_ms=200)).values():
                now = time.perf_counter()
                for record in records:
                    sent = self._sent.pop(dict(record.headers)["correlation-id"], None)
                    if sent is not None:
                        self._took.append((now - sent) * 1000)
                        begins = record.value.find(VERSION) + len(VERSION)
                        self.versions.add(record.value[begins : record.value.find(b'"', begins)])

    async def measure(self, topic: str, rate: int, seconds: float) -> list[float]:
        """Return the times from request to reply, in ms, sorted."""
        self._took = []
        self._sent = {}
        self.versions = set()
        began = time.perf_counter()
        count = round(rate * seconds)
        for index in range(count):
            due = began + index / rate
            if (early := due - time.perf_counter()) > 0:
                await asyncio.sleep(early)
            self._number += 1
            name = str(self._number).encode()
            # From when it was due: a load that falls behind must not make the replies look faster.
            self._sent[name] = due
            await self._producer.send(
                topic,
                _request(f"e{self._number}"),
                partition=index % PARTITIONS,
                headers=[("correlation-id", name), ("reply-topic", self._reply_topic.encode())],
            )
        ends = time.perf_counter() + 30
        while self._sent and time.perf_counter() < ends:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        if self._sent:
            raise RuntimeError(f"{len(self._sent)} of {count} requests to {topic} got no reply")
        return sorted(self._took)


@asynccontextmanager
async def replying_load(config: Config, replies: str) -> AsyncIterator[Load]:
    """Yield a load whose replies are heard."""
    producer = AIOKafkaProducer(bootstrap_servers=config.brokers, acks=1)
    consumer = AIOKafkaConsumer(bootstrap_servers=config.brokers)
    await producer.start()
    await consumer.start()
    partition = TopicPartition(replies, 0)
    consumer.assign([partition])
    await consumer.seek_to_end(partition)
    load = Load(producer, consumer, replies)
    hearing = asyncio.create_task(load.hear())
    try:
        yield load
    finally:
        await ended(hearing)
        await consumer.stop()
        await producer.stop()


async def create_topics(config: Config, names: dict[str, int]) -> None:
    """Create topics, each with so many partitions, and wait until they are there."""
    admin = AIOKafkaAdminClient(bootstrap_servers=config.brokers)
    await admin.start()
    try:
        there = set(await admin.list_topics())
        new = [
            NewTopic(name, partitions, 1, topic_configs={"message.timestamp.type": "LogAppendTime"})
            for name, partitions in names.items()
            if name not in there
        ]
        if new:
            await admin.create_topics(new)
        while not set(names) <= set(await admin.list_topics()):  # noqa: ASYNC110
            await asyncio.sleep(0.05)
    finally:
        await admin.close()


def _request(event_id: str) -> bytes:
    actions = [
        {"id": f"a{number}", "features": {"item": {"kind": f"k{number}", "price": number}}} for number in range(10)
    ]
    return json.dumps(
        {
            "event_id": event_id,
            "placement": "front",
            "context": {"user": {"age": 30, "city": "Berlin"}},
            "actions": actions,
        }
    ).encode()


async def _decision(config: Config) -> bytes:
    """Return the bytes that decide would write for a request."""
    from types import SimpleNamespace

    from redis.asyncio import Redis

    from stream.redis.policy_cache import PolicyCache
    from stream.roles.deciding import Requests

    async with Redis.from_url(config.redis_url) as redis:
        record = SimpleNamespace(
            topic="decision-requests", partition=0, offset=0, timestamp=0, key=None, value=_request("e1"), headers=()
        )
        requests = Requests(config, PolicyCache(config, redis), "cluster")
        request = requests.open(record, 0)
        await requests.read([request])
        requests.decide(request, 0)
        return request.reply()
