"""Every command and variable of docker-compose.yml and the Dockerfile, run outside of containers."""

import asyncio
import json
import subprocess
from collections.abc import Iterator

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient

from stream.kafka.log import LogReader
from stream.role import ROLES
from tests.real.composed import Composed, composed
from tests.real.loop import until

# One second after the answer the window closes, so that the test sees what is learned and archived.
QUICK = {"BOWERBIRD_PLACEMENTS__FRONT__WINDOW_S": "1", "BOWERBIRD_ARCHIVE__MAX_S": "1"}


@pytest.fixture(scope="module")
def service() -> Iterator[Composed]:
    with composed(overrides=QUICK) as running:
        created = running.run("topics", "create")
        assert created.returncode == 0, created.stderr
        for role in ROLES:
            running.start(role)
        running.until_ready()
        yield running


def test_the_broker_is_the_composed_one(service: Composed) -> None:
    command = service.services["kafka"].health
    assert command[0] == "/opt/kafka/bin/kafka-broker-api-versions.sh"
    arguments = [service.kafka.address if part == "kafka:19092" else part for part in command[1:]]
    java = service.kafka.command("org.apache.kafka.tools.BrokerApiVersionsCommand", *arguments)
    done = subprocess.run(java, env=service.kafka.environment(), capture_output=True, text=True, timeout=180)
    assert done.returncode == 0, done.stderr
    assert service.kafka.properties["controller.quorum.voters"]
    written = (service.kafka.folder / "data" / "meta.properties").read_text()
    assert f"cluster.id={service.services['kafka'].environment['CLUSTER_ID']}" in written


async def test_each_listener_leads_back_to_itself(service: Composed) -> None:
    # Else a client of the one side would be sent to an address that only the other side knows.
    for address in (service.kafka.address, service.kafka.host_address):
        admin = AIOKafkaAdminClient(bootstrap_servers=address)
        await admin.start()
        try:
            brokers = (await admin.describe_cluster())["brokers"]
        finally:
            await admin.close()
        assert [f"{broker['host']}:{broker['port']}" for broker in brokers] == [address]


def test_everything_is_as_the_service_needs_it(service: Composed) -> None:
    assert service.services["redis"].health == ["redis-cli", "ping"]
    done = service.run("check", "--json")
    findings = json.loads(done.stdout)["findings"]
    assert done.returncode == 0, [each for each in findings if not each["holds"]]
    by_subject = {each["subject"]: each["found"] for each in findings}
    assert by_subject["redis appendonly"] == "yes"
    assert by_subject["redis appendfsync"] == "always"
    assert by_subject["redis maxmemory-policy"] == "noeviction"


def test_every_role_is_healthy_by_the_images_own_check(service: Composed) -> None:
    assert {role: service.health(role) for role in ROLES} == dict.fromkeys(ROLES, 0)


async def test_a_click_is_learned_and_archived(service: Composed) -> None:
    # From outside, as a program on the machine that runs the containers.
    producer = AIOKafkaProducer(bootstrap_servers=service.kafka.host_address)
    consumer = AIOKafkaConsumer("decisions", bootstrap_servers=service.kafka.host_address, auto_offset_reset="earliest")
    await producer.start()
    await consumer.start()
    try:
        actions = [{"id": name, "features": {"item": {"kind": name}}} for name in ("boots", "hat")]
        request = {
            "event_id": "visit-1",
            "placement": "front",
            "context": {"user": {"city": "Lyon"}},
            "actions": actions,
        }
        await producer.send_and_wait("decision-requests", json.dumps(request).encode())
        decided = json.loads((await asyncio.wait_for(consumer.getone(), 120)).value)
        assert decided["event_id"] == "visit-1"
        await producer.send_and_wait("clicks", json.dumps({"event_id": "visit-1", "id": "click-1"}).encode())
    finally:
        await consumer.stop()
        await producer.stop()

    async def learned() -> bool:
        async with LogReader(service.config()) as reader:
            return (await reader.ends([("versions", 0)]))["versions", 0] >= 2

    async def archived() -> list[str]:
        return [str(file) for file in (service.folder / "archive").rglob("*.parquet") if "rewards" in str(file)]

    await until(learned)
    await until(archived)
