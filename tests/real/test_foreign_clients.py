"""Clients that no one here wrote speak the contract: librdkafka's, Kafka's own, JavaScript's, Java's."""

import asyncio
import json
import secrets
import shutil
import subprocess
import time
from collections.abc import AsyncIterator, Callable
from functools import partial
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import pytest_asyncio
from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic  # type: ignore[attr-defined]

from bowerbird.asyncapi import document
from embedded import jars
from embedded.servers import EmbeddedKafka, EmbeddedRedis
from records.rule import Reward, StreamReward
from stream.config import Config
from tests.node import node
from tests.real.loop import Loop, loop_of, until
from tests.serving import served, tables

EXAMPLES = Path(__file__).parent.parent.parent / "examples"
REQUEST = {"v": 1, "placement": "front", "context": {"user": {"age": 34}}, "actions": [{"id": "boots"}, {"id": "hat"}]}
DOCUMENT = document()
VISITS = 150
RUNS = 5


pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def loop(kafka: EmbeddedKafka, redis_server: EmbeddedRedis) -> AsyncIterator[Loop]:
    """Give a service that decides, joins and learns; one for all clients."""
    # A click ends the waiting, so that a client may take its time to start.
    streams = {"clicks": StreamReward(weight=1.0), "leaves": StreamReward(weight=0.0)}
    reward = Reward(close_on=("clicks", "leaves"), streams=streams)
    arguments = "--cb_explore_adf --epsilon 0.1 -q uA --learning_rate 1"
    config = Config(
        brokers=kafka.address,
        redis_url=redis_server.url,
        prefix=f"t-{secrets.token_hex(4)}-",
        **tables({"front": served("vw", arguments, window_s=120.0, reward=reward)}),
        session_timeout_s=2.0,
        request_ttl_ms=60_000,
    )
    async with loop_of(config) as service:
        for role in ("decide", "join", "learn"):
            service.role(role)
        await service.send("decision-requests", REQUEST | {"event_id": "warm-up", "activate": False})

        async def decides() -> bool:
            return bool(await service.records("decisions"))

        await until(decides)
        yield service


async def learned(loop: Loop, event_id: str) -> dict[str, Any]:
    """Return the outcome of a decision, when a version has learned it; every record in the log fits the contract."""

    async def there() -> Any:
        outcomes = {each["event_id"]: each for each in await loop.records("rewards")}
        versions = [each for each in await loop.records("versions") if "policy" in each]
        return outcomes.get(event_id) if versions else None

    outcome: dict[str, Any] = await until(there)
    topics = {"decision-requests": 1, "decisions": 1, "clicks": 1, "rewards": 1, "versions": 2, "ticks": 1}
    for topic, least in topics.items():
        records = await loop.records(topic)
        assert len(records) >= least, topic
        for record in records:
            checker("feedback" if topic == "clicks" else topic).validate(record)
    return outcome


def checker(topic: str) -> Any:
    payload = DOCUMENT["components"]["messages"][topic]["payload"]
    return jsonschema.Draft7Validator({**payload, "components": DOCUMENT["components"]})


def check_clicked(outcome: dict[str, Any]) -> None:
    assert (outcome["reward"], outcome["why"], outcome["learn"]) == (1.0, "early", True)
    assert len(outcome["feedback"]) == 1


async def test_confluent_kafka(loop: Loop) -> None:
    brokers, prefix = loop.config.brokers, loop.config.prefix
    topic = f"{prefix}replies.confluent"
    event_id = await asyncio.to_thread(_confluent, brokers, prefix, topic)
    check_clicked(await learned(loop, event_id))


def _confluent(brokers: str, prefix: str, topic: str) -> str:
    admin = AdminClient({"bootstrap.servers": brokers})
    admin.create_topics([NewTopic(topic, 1, 1)])[topic].result()
    consumer = Consumer({"bootstrap.servers": brokers, "group.id": f"{prefix}caller", "auto.offset.reset": "earliest"})
    producer = Producer({"bootstrap.servers": brokers})
    try:
        consumer.assign([TopicPartition(topic, 0, 0)])
        requests = [
            # Spring's names of the headers, and an array of requests.
            ([REQUEST | {"event_id": "c-1"}, REQUEST | {"event_id": "c-2", "placement": "nobody"}], "kafka_"),
            (REQUEST | {"event_id": "c-3"}, ""),
        ]
        names = {"kafka_": ("kafka_replyTopic", "kafka_correlationId"), "": ("reply-topic", "correlation-id")}
        for number, (value, kind) in enumerate(requests):
            reply_topic, correlation = names[kind]
            headers: Any = [(reply_topic, topic.encode()), (correlation, str(number).encode())]
            producer.produce(f"{prefix}decision-requests", json.dumps(value), headers=headers)
        producer.flush()
        replies: dict[str, Any] = {}
        ends = time.monotonic() + 60
        while len(replies) < len(requests):
            assert time.monotonic() < ends, replies
            message: Any = consumer.poll(0.2)
            if message is not None and message.error() is None:
                ((name, header_value),) = message.headers()
                replies[header_value.decode()] = (name, json.loads(message.value()))
        for _, value in replies.values():
            checker("replies").validate(value)
        name, both = replies["0"]
        assert name == "kafka_correlationId"
        assert both[0]["event_id"] == "c-1"
        assert both[1]["error"]["code"] == "unknown_placement"
        name, one = replies["1"]
        assert (name, one["event_id"]) == ("correlation-id", "c-3")
        producer.produce(f"{prefix}clicks", json.dumps([{"event_id": "c-3", "id": "1"}] * 2), key=b"c-3")
        producer.flush()
    finally:
        consumer.close()
    return "c-3"


async def test_kafkas_console_clients(loop: Loop, kafka: EmbeddedKafka) -> None:
    prefix, topic = loop.config.prefix, f"{loop.config.prefix}replies.console"
    server = ["--bootstrap-server", kafka.address]
    admin = AdminClient({"bootstrap.servers": kafka.address})
    admin.create_topics([NewTopic(topic, 1, 1)])[topic].result()

    def run(main_class: str, *options: str, lines: str = "") -> str:
        command = kafka.command(f"org.apache.kafka.tools.{main_class}", *server, *options)
        done = subprocess.run(
            command, input=lines, env=kafka.environment(), capture_output=True, text=True, timeout=180
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    produce = ("ConsoleProducer", "--topic")
    value = json.dumps(REQUEST | {"event_id": "console-1"})
    headed = ("--property", "parse.headers=true")
    line = f"reply-topic:{topic},correlation-id:7\t{value}\n"
    await asyncio.to_thread(run, *produce, f"{prefix}decision-requests", *headed, lines=line)
    consume = ("consumer.ConsoleConsumer", "--topic", topic, "--from-beginning", "--max-messages", "1")
    options = ("--timeout-ms", "60000", "--property", "print.headers=true")
    headers, _, reply = (await asyncio.to_thread(run, *consume, *options)).strip().partition("\t")
    assert headers == "correlation-id:7"
    checker("replies").validate(json.loads(reply))
    assert json.loads(reply)["event_id"] == "console-1"
    click = '{"event_id":"console-1","id":"1"}\n'
    await asyncio.to_thread(run, *produce, f"{prefix}clicks", lines=click)
    check_clicked(await learned(loop, "console-1"))


async def check_shop(loop: Loop, shop: Callable[[], str]) -> None:
    """Its visitors click on boots nine times in ten, and on a hat one time in ten: that is learned while it runs."""
    for _ in range(RUNS):
        replies = [json.loads(line) for line in (await asyncio.to_thread(shop)).splitlines()]
        assert len(replies) == VISITS
        for reply in replies:
            checker("replies").validate(reply)
        pmfs = [dict(zip(("boots", "hat"), reply["pmf"], strict=True)) for reply in replies]
        # On a busy machine all visits may be over before the policy that has learned from most of them answers.
        if (best := max(pmf["boots"] for pmf in pmfs[-5:])) > 0.9:
            break
    assert best > 0.9
    outcome = await learned(loop, replies[-1]["event_id"])
    assert (outcome["why"], outcome["learn"], len(outcome["feedback"])) == ("early", True, 1)


async def test_a_client_in_javascript(loop: Loop) -> None:
    script = EXAMPLES / "javascript" / "shop.js"
    await check_shop(loop, partial(node, script, loop.config.brokers, loop.config.prefix, str(VISITS)))


@pytest.mark.skipif(shutil.which("javac") is None, reason="a Java compiler is not installed")
async def test_a_client_in_java(loop: Loop, kafka: EmbeddedKafka, tmp_path: Path) -> None:
    path = ":".join(map(str, [*jars.ensure(), tmp_path]))

    def run() -> str:
        compiler = ["javac", "-cp", path, "-d", str(tmp_path), str(EXAMPLES / "java" / "Shop.java")]
        subprocess.run(compiler, check=True, capture_output=True, env=kafka.environment(), timeout=180)
        command = [kafka.executable, "-cp", path, "Shop", loop.config.brokers, loop.config.prefix, str(VISITS)]
        done = subprocess.run(command, capture_output=True, text=True, env=kafka.environment(), timeout=180)
        assert done.returncode == 0, done.stderr
        return done.stdout

    await check_shop(loop, run)
