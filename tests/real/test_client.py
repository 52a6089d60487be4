"""The client on a real service: it asks and tells, a broker that restarts loses nothing, the fake says the same."""

import asyncio
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from aiokafka.admin import AIOKafkaAdminClient, NewPartitions, NewTopic

from bowerbird.fake import FakeLoop
from bowerbird.settings import load
from bowerbird.settings.built_in import BUILT_IN, on_servers
from bowerbird.status.alarms import notes
from bowerbird.status.observer import Observer
from bowerbird_client import BadInput, Client
from embedded.servers import EmbeddedKafka, EmbeddedRedis
from records.rule import Reward, StreamReward
from stream.config import Config
from stream.kafka import codecs
from tests.real.loop import Loop, loop_of, until
from tests.serving import served, tables

ROOT = Path(__file__).parent.parent.parent
REWARD = Reward(
    close_on=("purchases",),
    streams={"clicks": StreamReward(weight=1.0, aggregate="max"), "purchases": StreamReward(value=True)},
)


def config(kafka: EmbeddedKafka, redis: EmbeddedRedis, prefix: str, **options: Any) -> Config:
    policy = served("uniform", window_s=3.0, reward=REWARD, **options)
    return Config(
        brokers=kafka.address,
        redis_url=redis.url,
        prefix=prefix,
        **tables({"front": policy}),
        session_timeout_s=2.0,
        request_ttl_ms=20_000,
    )


async def ready(client: Client) -> None:
    """Return when the service decides."""

    async def decides() -> bool:
        return (await client.decide("front", ["boots"], default="boots", timeout_s=2.0, activate=False)).decided

    await until(decides)


async def visits(client: Client) -> list[str]:
    """Make eight decisions, and tell of what people did after them."""
    event_ids = [f"visit-{number}" for number in range(8)]
    # All at once, so that no window passes meanwhile.
    asked = (client.decide("front", ["boots", "hat"], event_id=event_id, timeout_s=20.0) for event_id in event_ids)
    assert all(answer.decided for answer in await asyncio.gather(*asked))
    for _ in range(2):
        await client.reward("visit-1", "clicks", id="one")
        await client.reward("visit-2", "clicks")
    await client.reward("visit-3", "purchases", value=4.5)
    await client.reward("visit-4", "clicks", value=9.0)
    await client.flush()
    return event_ids


def comparable(outcomes: list[dict[str, Any]], event_ids: list[str]) -> dict[str, Any]:
    """Return what an outcome says that does not depend on times and places."""
    return {
        each["event_id"]: (
            each["reward"],
            each["why"],
            each["learn"],
            len(each["feedback"]),
            each["decision"]["chosen"],
        )
        for each in outcomes
        if each["event_id"] in event_ids
    }


@pytest.mark.parametrize("activate_on", [None, "clicks"])
async def test_the_fake_says_what_the_service_says(
    kafka: EmbeddedKafka, redis_server: EmbeddedRedis, prefix: str, activate_on: str | None
) -> None:
    service = config(kafka, redis_server, prefix, activate_on=activate_on)
    async with loop_of(service) as loop:
        for role in ("decide", "join"):
            loop.role(role)
        async with Client(kafka.address, prefix=prefix, reply_topic="replies.test") as client:
            await ready(client)
            event_ids = await visits(client)

        async def all_closed() -> Any:
            outcomes = comparable(await loop.records("rewards"), event_ids)
            return outcomes if len(outcomes) == len(event_ids) else None

        real = await until(all_closed)
    fake = FakeLoop(service)
    async with Client(connection=fake.connection()) as client:
        await visits(client)
    fake.advance(4)
    assert comparable(fake.records("rewards"), event_ids) == real
    assert real["visit-3"][:3] == ((4.5, "early", True) if activate_on is None else (4.5, "not_activated", False))


@pytest.mark.kill
async def test_a_broker_that_restarts_loses_no_feedback_and_the_client_goes_on(
    own_kafka: Callable[..., EmbeddedKafka], redis_server: EmbeddedRedis, prefix: str
) -> None:
    kafka = own_kafka()
    async with loop_of(config(kafka, redis_server, prefix)) as loop:
        loop.role("decide")
        async with Client(kafka.address, prefix=prefix, reply_topic="replies.test", flush_within_s=60) as client:
            await ready(client)
            sent = [await client.reward(f"before-{number}", "clicks") for number in range(50)]
            await asyncio.to_thread(kafka.kill)
            sent += [await client.reward(f"during-{number}", "clicks") for number in range(50)]
            answer = await client.decide("front", ["boots", "hat"], default="hat", event_id="lost", timeout_s=0.3)
            assert (answer.chosen, answer.decided) == ("hat", False)
            await asyncio.to_thread(kafka.restart)
            await ready(client)
            sent += [await client.reward(f"after-{number}", "clicks") for number in range(50)]
        assert {record["id"] for record in await loop.records("clicks")} == set(sent)
        # Nobody waits for it any more: it must not be decided when the broker is back.
        assert "lost" not in {record["event_id"] for record in await loop.records("decision-requests")}


SCRIPT = """
import sys
from bowerbird_client import BlockingClient
client = BlockingClient(sys.argv[1], prefix=sys.argv[2], reply_topic="replies.test", batch_ms=500)
for number in range(20):
    client.reward(f"visit-{number}", "clicks")
"""


async def test_a_program_that_just_ends_sends_what_it_told(
    kafka: EmbeddedKafka, redis_server: EmbeddedRedis, prefix: str
) -> None:
    async with loop_of(config(kafka, redis_server, prefix)) as loop:
        command = [sys.executable, "-c", SCRIPT, kafka.address, prefix]
        done = await asyncio.to_thread(subprocess.run, command, cwd=ROOT, capture_output=True, text=True, timeout=180)
        assert (done.returncode, done.stderr) == (0, "")
        assert len(await loop.records("clicks")) == 20
        assert await codecs.failures(loop.config) == {}
        async with Client(kafka.address, prefix=prefix, reply_topic="replies.test") as client:
            for stream in ("clics", "decisions", "check", "replies.nobody"):
                with pytest.raises(BadInput, match=r"expected a stream of the service: clicks, purchases \(unknown"):
                    await client.reward("visit-1", stream)
            await client.flush()


async def test_feedback_of_a_topic_that_is_deleted_is_refused_with_its_name(kafka: EmbeddedKafka, prefix: str) -> None:
    """aiokafka would ask for its metadata without a pause for 40 s, and the caller would wait as long."""
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka.address)
    await admin.start()
    try:
        names = [f"{prefix}{name}" for name in ("clicks", "views", "decision-requests")]
        await admin.create_topics([NewTopic(name, 1, 1) for name in names])
        async with Client(kafka.address, prefix=prefix, reply_topic="replies.shop") as client:
            await client.reward("visit-1", "clicks")
            await client.flush()
            await admin.delete_topics([f"{prefix}clicks"])
            await client.reward("visit-2", "clicks")
            with pytest.raises(BadInput, match="found 'clicks', expected a stream of the service: views"):
                await asyncio.wait_for(client.flush(), 60)
            with pytest.raises(BadInput, match="unknown_stream"):
                await client.reward("visit-3", "clicks")
            await client.reward("visit-3", "views")
            await asyncio.wait_for(client.flush(), 60)
    finally:
        await admin.close()


async def test_the_shop_learns_while_one_watches(
    kafka: EmbeddedKafka, redis_server: EmbeddedRedis, prefix: str, tmp_path: Path
) -> None:
    """By the settings of a fresh ``bowerbird up``, in its first run; its late views are neither alarm nor warning."""
    file = tmp_path / "bowerbird.toml"
    file.write_text(on_servers(f'prefix = "{prefix}"\n{BUILT_IN}', kafka.address, redis_server.url))
    service = load(file, {})
    async with loop_of(service) as loop:
        for role in ("decide", "join", "learn"):
            loop.role(role)
        async with Client(kafka.address, prefix=prefix, reply_topic="replies.test") as client:
            await ready(client)
        command = [sys.executable, "examples/shop.py", "--brokers", kafka.address, "--prefix", prefix]
        done = await asyncio.to_thread(
            subprocess.run, command, cwd=ROOT, env=_path(), capture_output=True, text=True, timeout=120
        )
        assert done.returncode == 0, done.stderr
        clicked = [int(line.split()[2]) for line in done.stdout.splitlines()[:4]]
        assert clicked[-1] >= 50, done.stdout
        await _activated(loop)
        async with Observer(service) as observer:
            status = await observer.look()
        assert {letter.partition(" of ")[2] for letter in status.dead_letters} <= {"views"}
        assert notes(service, status) == []
        assert [symptom for policy in status.policies for symptom in policy.symptoms] == []


async def _activated(loop: Loop) -> None:
    decided = {record["event_id"] for record in await loop.records("decisions")}
    seen = {record["event_id"] for record in await loop.records("views")}
    assert seen
    assert seen <= decided


def _path() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT)}


async def test_replies_in_partitions_that_were_added_are_read(
    kafka: EmbeddedKafka, redis_server: EmbeddedRedis, prefix: str
) -> None:
    async with loop_of(config(kafka, redis_server, prefix)) as loop:
        loop.role("decide")
        async with Client(kafka.address, prefix=prefix, reply_topic="replies.test") as client:
            await ready(client)
            admin = AIOKafkaAdminClient(bootstrap_servers=kafka.address)
            await admin.start()
            try:
                await admin.create_partitions({f"{prefix}replies.test": NewPartitions(8)})
            finally:
                await admin.close()

            added = [(f"{prefix}replies.test", number) for number in range(1, 8)]

            async def written_there() -> bool:
                await client.decide("front", ["boots"], default="boots", timeout_s=1)
                return any((await loop.reader.ends(added)).values())

            await until(written_there)

            async def all_answered() -> bool:
                asked = (client.decide("front", ["boots"], default="boots", timeout_s=5) for _ in range(24))
                return all(answer.decided for answer in await asyncio.gather(*asked))

            await until(all_answered)
