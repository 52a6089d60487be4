"""The embedded servers: they are ours, they are checked, and they never outlive the process that started them."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from threading import Thread

import psutil
import pytest
import redis
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from embedded import jars
from embedded import server as embedded_server
from embedded.kafka import new_cluster_id
from embedded.server import HOST, choosing_ports, free_port
from embedded.servers import EmbeddedKafka, EmbeddedRedis, servers
from records.errors import BowerbirdError, WrongConfiguration
from tests.processes import lives

LOG_APPEND_TIME = 1
ROOT = Path(__file__).parents[2]


def wait_until(what: str, holds: Callable[[], bool], within_s: float = 120.0) -> None:
    give_up = time.monotonic() + within_s
    while not holds():
        assert time.monotonic() < give_up, f"not within {within_s} s: {what}"
        time.sleep(0.02)


async def create(address: str, topic: str) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=address)
    await admin.start()
    try:
        settings = {"message.timestamp.type": "LogAppendTime"}
        answer = await admin.create_topics([NewTopic(topic, 1, 1, topic_configs=settings)])
        assert [error for _, error, *_ in answer.topic_errors] == [0]
    finally:
        await admin.close()


async def send(address: str, topic: str, value: bytes, timestamp_ms: int | None = None) -> int:
    """Send with acks=all; return the offset."""
    async with AIOKafkaProducer(bootstrap_servers=address, acks="all") as producer:
        sent = await producer.send_and_wait(topic, value, timestamp_ms=timestamp_ms)
        assert sent.timestamp_type == LOG_APPEND_TIME
        return int(sent.offset)


async def read(address: str, topic: str, number: int) -> list[bytes]:
    async with AIOKafkaConsumer(bootstrap_servers=address, auto_offset_reset="earliest") as consumer:
        consumer.assign([TopicPartition(topic, 0)])
        records = [await consumer.getone() for _ in range(number)]
        assert all(record.timestamp_type == LOG_APPEND_TIME for record in records)
        return [record.value for record in records]


def test_both_executables_lie_in_the_environment(kafka: EmbeddedKafka, redis_server: EmbeddedRedis) -> None:
    environment = Path(sys.prefix).resolve()
    for server in (kafka, redis_server):
        assert Path(server.executable).resolve().is_relative_to(environment)
        assert Path(psutil.Process(server.pid).exe()).resolve().is_relative_to(environment)


def test_both_listen_on_loopback_only(kafka: EmbeddedKafka, redis_server: EmbeddedRedis) -> None:
    for server in (kafka, redis_server):
        listening = [
            connection.laddr.ip.removeprefix("::ffff:")
            for connection in psutil.Process(server.pid).net_connections("inet")
            if connection.status == psutil.CONN_LISTEN
        ]
        assert set(listening) == {HOST}


async def test_a_topic_with_log_append_time(kafka: EmbeddedKafka, prefix: str) -> None:
    topic = f"{prefix}clicks"
    await create(kafka.address, topic)
    long_ago_ms = 1
    assert await send(kafka.address, topic, b"first", long_ago_ms) == 0
    assert await send(kafka.address, topic, b"second") == 1
    assert await read(kafka.address, topic, 2) == [b"first", b"second"]


async def test_kafkas_own_clients_come_along(kafka: EmbeddedKafka, prefix: str) -> None:
    topic = f"{prefix}clicks"
    await create(kafka.address, topic)
    main_class = "org.apache.kafka.tools.ConsoleProducer"
    command = kafka.command(main_class, "--bootstrap-server", kafka.address, "--topic", topic)
    subprocess.run(command, input=b"typed\n", env=kafka.environment(), check=True, timeout=180)
    assert await read(kafka.address, topic, 1) == [b"typed"]


def test_every_write_is_synced(redis_server: EmbeddedRedis) -> None:
    with redis.Redis.from_url(redis_server.url, decode_responses=True) as client:
        assert client.config_get("append*") | client.config_get("save") == {
            **client.config_get("append*"),
            "appendonly": "yes",
            "appendfsync": "always",
            "save": "",
        }


def test_a_script_over_two_tags_is_refused(redis_server: EmbeddedRedis, prefix: str) -> None:
    with redis.Redis.from_url(redis_server.url) as client:
        assert client.eval("return 1", 2, f"{{{prefix}a}}:x", f"{{{prefix}a}}:y") == 1
        with pytest.raises(redis.ResponseError, match=r"same slot|CROSSSLOT"):
            client.eval("return 1", 2, f"{{{prefix}a}}:x", f"{{{prefix}b}}:y")


def test_the_socket_reaches_the_same_server(redis_server: EmbeddedRedis, prefix: str) -> None:
    assert redis_server.unix_socket_url is not None
    with (
        redis.Redis.from_url(redis_server.url) as by_port,
        redis.Redis.from_url(redis_server.unix_socket_url) as by_socket,
    ):
        by_port.set(f"{prefix}x", "1")
        assert by_socket.get(f"{prefix}x") == b"1"


def test_a_jar_with_one_byte_more_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    jars.ensure()
    shutil.copytree(jars.cache_folder() / "jars", tmp_path / "jars")
    monkeypatch.setenv("BOWERBIRD_CACHE", str(tmp_path))
    named = next(jar for jar in jars.listed() if ":kafka-server:" in jar.coordinate)
    with (tmp_path / "jars" / named.filename).open("ab") as jar:
        jar.write(b"x")
    with pytest.raises(WrongConfiguration) as refused, EmbeddedKafka(tmp_path / "data"):
        pytest.fail("a broker was started with a jar that is not the one of the list")
    assert named.filename in str(refused.value)
    assert named.sha256 in str(refused.value)


def test_the_class_path_is_the_list_and_nothing_else(kafka: EmbeddedKafka) -> None:
    command = psutil.Process(kafka.pid).cmdline()
    class_path = command[command.index("-cp") + 1].split(os.pathsep)
    assert [Path(path).name for path in class_path] == [jar.filename for jar in jars.listed()]


@pytest.mark.kill
async def test_a_killed_broker_goes_on_in_its_folder(own_kafka: Callable[..., EmbeddedKafka], tmp_path: Path) -> None:
    first = own_kafka(tmp_path)
    await create(first.address, "clicks")
    await send(first.address, "clicks", b"before")
    pid = first.pid
    first.kill()
    assert not lives(pid)
    second = own_kafka(tmp_path)
    assert (second.address, second.cluster_id) == (first.address, first.cluster_id)
    await send(second.address, "clicks", b"after")
    assert await read(second.address, "clicks", 2) == [b"before", b"after"]
    assert f"cluster.id={first.cluster_id}" in (tmp_path / "data" / "meta.properties").read_text()


@pytest.mark.kill
@pytest.mark.parametrize("cluster", [True, False])
def test_a_killed_redis_goes_on_in_its_folder(
    own_redis: Callable[..., EmbeddedRedis], tmp_path: Path, cluster: bool
) -> None:
    first = own_redis(tmp_path, cluster=cluster)
    with redis.Redis.from_url(first.url) as client:
        client.set("x", "acknowledged")
    first.kill()
    second = own_redis(tmp_path, cluster=cluster)
    assert second.url == first.url
    with redis.Redis.from_url(second.url) as client:
        assert client.get("x") == b"acknowledged"


OWNER = """
import os, sys, time
from embedded.servers import servers
try:
    with servers() as both:
        # A fork that goes on holds the owner's ends of all pipes.
        fork = os.fork() if "fork" in sys.argv else -1
        if fork == 0:
            time.sleep(60)
            os._exit(0)
        print(both.kafka.pid, both.redis.pid, both.kafka.folder, both.redis.folder, fork, flush=True)
        while True:
            time.sleep(60)
except KeyboardInterrupt:
    print("stopped", both.kafka.running, both.redis.running, flush=True)
"""


def start_owner(*arguments: str) -> tuple[subprocess.Popen[str], list[int], list[Path], int]:
    """Start a process that owns both servers; return it, their process ids and folders, and its fork's id."""
    owner = subprocess.Popen(
        [sys.executable, "-c", OWNER, *arguments],
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        start_new_session=True,
    )
    assert owner.stdout is not None
    words = owner.stdout.readline().split()
    assert len(words) == 5, "the owner ended before its servers ran"
    return owner, [int(word) for word in words[:2]], [Path(word) for word in words[2:4]], int(words[4])


@pytest.mark.kill
@pytest.mark.parametrize("more", ["alone", "fork"])
def test_both_die_with_a_killed_owner(more: str) -> None:
    owner, pids, folders, fork = start_owner(more)
    try:
        assert all(lives(pid) for pid in pids)
        os.kill(owner.pid, signal.SIGKILL)
        owner.wait()
        wait_until("both servers are gone", lambda: not any(lives(pid) for pid in pids))
        wait_until("their folders are gone", lambda: not any(folder.exists() for folder in folders))
    finally:
        owner.kill()
        if fork > 0:
            os.kill(fork, signal.SIGKILL)
        owner.communicate()


@pytest.mark.kill
def test_ctrl_c_in_the_terminal_lets_the_owner_stop_them() -> None:
    owner, pids, folders, _ = start_owner()
    try:
        assert os.getpgid(owner.pid) not in {os.getpgid(pid) for pid in pids}
        # What a terminal does: the signal goes to the whole group.
        os.killpg(owner.pid, signal.SIGINT)
        said, _ = owner.communicate(timeout=120)
        assert said.split() == ["stopped", "False", "False"]
        assert not any(lives(pid) for pid in pids)
        assert not any(folder.exists() for folder in folders)
    finally:
        owner.kill()
        owner.communicate()


@pytest.mark.kill
def test_a_server_dies_with_its_watcher(own_redis: Callable[..., EmbeddedRedis]) -> None:
    if sys.platform != "linux":
        pytest.skip("only Linux signals a process whose parent has died")
    server = own_redis(cluster=False)
    pid = server.pid
    psutil.Process(pid).parent().kill()  # type: ignore[union-attr]
    wait_until("the server is gone", lambda: not lives(pid))
    assert not server.running


def test_no_cluster_id_looks_like_an_option(monkeypatch: pytest.MonkeyPatch) -> None:
    made = iter([uuid.UUID(bytes=b"\xfb" * 16), uuid.UUID(bytes=b"\x00" * 16)])
    monkeypatch.setattr("embedded.kafka.uuid.uuid4", lambda: next(made))
    assert new_cluster_id() == "A" * 22


def test_a_start_that_fails_says_why(own_redis: Callable[..., EmbeddedRedis], tmp_path: Path) -> None:
    with pytest.raises(BowerbirdError, match="no-such-setting"):
        own_redis(tmp_path, settings={"no-such-setting": 1})


def test_a_missing_package_names_the_settings_of_own_servers(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("embedded.kafka", "embedded.redis"):
        monkeypatch.setattr(f"{module}.find_spec", lambda name: None)
    with pytest.raises(WrongConfiguration, match="`brokers`"):
        EmbeddedKafka()
    with pytest.raises(WrongConfiguration, match="BOWERBIRD_REDIS_SERVER"):
        EmbeddedRedis()


def test_another_redis_may_be_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, redis_server: EmbeddedRedis
) -> None:
    named = tmp_path / "my-redis"
    named.symlink_to(redis_server.executable)
    monkeypatch.setenv("BOWERBIRD_REDIS_SERVER", str(named))
    with EmbeddedRedis() as server:
        assert server.executable == str(named)
    monkeypatch.setenv("BOWERBIRD_REDIS_SERVER", str(tmp_path / "absent"))
    with pytest.raises(WrongConfiguration, match="absent"):
        EmbeddedRedis()


async def test_both_in_a_coroutine_and_in_one_folder(tmp_path: Path) -> None:
    with servers(tmp_path) as both:
        assert both.kafka.folder == tmp_path / "kafka"
        await create(both.brokers, "clicks")
        async with EmbeddedRedis() as third:
            with redis.Redis.from_url(third.url) as client:
                assert client.ping()
        assert not third.running


def test_two_servers_that_do_not_listen_yet_get_two_ports(monkeypatch: pytest.MonkeyPatch) -> None:
    few = range(31_500, 31_900)
    monkeypatch.setattr(embedded_server, "PORTS", few)
    ports = [free_port() for _ in range(100)]
    assert len(set(ports)) == 100
    assert set(ports) <= set(few)


def test_a_server_takes_the_preferred_port_whenever_it_is_free(tmp_path: Path) -> None:
    preferred = free_port()
    with socket.socket() as taken:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        taken.bind((HOST, preferred))
        taken.listen()
        with EmbeddedRedis(tmp_path, preferred_port=preferred) as server:
            assert server.port != preferred
            redis.Redis.from_url(server.url).set("x", "kept")
    with EmbeddedRedis(tmp_path, preferred_port=preferred) as server:
        assert server.url == f"redis://{HOST}:{preferred}/0"
        assert redis.Redis.from_url(server.url).get("x") == b"kept"
    with EmbeddedRedis(tmp_path) as server:
        assert server.port == preferred


def test_usual_ports_are_chosen_by_one_start_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BOWERBIRD_CACHE", str(tmp_path))
    entered: list[int] = []

    def choose() -> None:
        with choosing_ports():
            entered.append(2)

    other = Thread(target=choose)
    with choosing_ports():
        other.start()
        other.join(0.2)
        entered.append(1)
    other.join()
    assert entered == [1, 2]
