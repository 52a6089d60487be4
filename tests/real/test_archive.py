"""The archive role on a real broker: every record of the log in the files, each once, whatever is killed."""

import asyncio
import random
import re
import shutil
import signal
import socket
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import aiohttp
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, RecordsToDelete
from aiokafka.structs import TopicPartition
from redis.asyncio import Redis

import bowerbird
from archive.names import ArchiveFile
from archive.reader import Archive
from archive.schema import SCHEMAS, TOPICS
from bowerbird.recovery.recover import recover
from bowerbird.status.alarms import alarms
from bowerbird.status.observer import Observer
from embedded.servers import EmbeddedKafka, EmbeddedRedis
from records.codec import items
from stream.config import ArchiveConfig, Config
from stream.kafka.log import identify
from stream.role import DECLARED
from stream.stopped import kept
from tests.real.loop import Loop, RoleProcess, decision, delete, loop_of, make_anew, run_named, stop_sentence, until
from tests.serving import served, tables

pytestmark = pytest.mark.real

Record = tuple[str, int, int, int, int, bytes | None]
"""Topic, partition, offset, index, log time, bytes."""


@pytest.fixture
def config(kafka: EmbeddedKafka, redis_server: EmbeddedRedis, prefix: str, tmp_path: Path) -> Config:
    return Config(
        brokers=kafka.address,
        redis_url=redis_server.url,
        prefix=prefix,
        session_timeout_s=2.0,
        archive=ArchiveConfig(url=str(tmp_path / "archive"), max_s=0.3, max_rows=60),
        **tables({"front": served()}),
    )


@pytest.fixture
async def loop(config: Config) -> AsyncIterator[Loop]:
    async with loop_of(config) as made:
        yield made


def outcome(seq: int) -> dict[str, Any]:
    click = {"stream": "clicks", "time_ms": seq + 1, "partition": 0, "offset": seq, "index": 0}
    return {
        "v": 1,
        "event_id": f"visit-{seq}",
        "placement": "front",
        "policy": "front",
        "policy_version": "0-00000000",
        "shard": 0,
        "outcome_seq": seq,
        "reward": 1.0,
        "learn": True,
        "why": "window",
        "closed_ms": seq + 1000,
        "decision_position": {"time_ms": seq, "topic": "decisions", "partition": 0, "offset": seq, "index": 0},
        "feedback": [click | {"event": {"event_id": f"visit-{seq}", "value": 2.5}}] if seq % 2 else [],
        "decision": decision(f"visit-{seq}"),
    }


async def load(loop: Loop, start: int, stop: int) -> None:
    """Append records of every kind, alone and in arrays, good and bad."""
    for number in range(start, stop):
        some = [decision(f"visit-{number}-{index}") for index in range(number % 4)]
        await loop.send("decisions", some if number % 3 else decision(f"visit-{number}"), partition=number % 3)
        await loop.send("rewards", outcome(number), partition=0)
        if number % 10 == 0:
            for bad in (b"no json", b"[1, 2]", b"[", b"\xff", b"{}", b"[]", None):
                await loop.producer.send_and_wait(loop.config.topic("decisions"), bad, key=b"k", partition=1)
            headers = [("topic", b"clicks"), ("partition", b"7"), ("reason", b"late"), ("index", b"x" * 99)]
            letter = (loop.config.topic("dead-letters"), b"\x00[")
            await loop.producer.send_and_wait(*letter, headers=headers)


async def in_the_log(loop: Loop, starts: dict[tuple[str, int], int] | None = None) -> list[Record]:
    records: list[Record] = []
    for name in TOPICS:
        topic = loop.config.topic(name)
        for partition in await loop.reader.partitions(topic):
            begins = (await loop.reader.beginning([(topic, partition)]))[topic, partition]
            async for message in loop.reader.read(topic, partition, begins):
                try:
                    bodies = [message.value] if name == "dead-letters" else items(message.value)
                except Exception:
                    bodies = [message.value]
                place = (topic, partition, message.offset)
                records += [(*place, index, message.time_ms, body) for index, body in enumerate(bodies)]
    return sorted(records, key=lambda record: record[:4])


def in_the_files(config: Config) -> list[Record]:
    """Read every file, without any code that could hide a record that stands there twice."""
    assert config.archive.url is not None
    records: list[Record] = []
    for path in Path(config.archive.url).rglob("*.parquet"):
        table = pq.read_table(path, partitioning=None)
        columns = [table.column(name).to_pylist() for name in ("topic", "partition", "offset", "index")]
        times = [int(time.timestamp() * 1000 + 0.5) for time in table.column("log_time").to_pylist()]
        records += zip(*columns, times, table.column("raw").to_pylist(), strict=True)
    return sorted(records, key=lambda record: record[:4])


async def everything(loop: Loop) -> None:
    """Wait until the files hold what the log holds; they never hold anything else, or anything twice."""

    async def there() -> bool:
        in_files = in_the_files(loop.config)
        logged = await in_the_log(loop)
        assert len(set(in_files)) == len(in_files)
        assert set(in_files) <= set(logged)
        return in_files == logged

    await until(there)


@pytest.mark.kill
async def test_kill_9_under_load_neither_repeats_nor_misses_a_row(loop: Loop) -> None:
    chance = random.Random(5)
    sending = asyncio.create_task(load(loop, 0, 900))
    role = loop.role("archive")
    kills = 0
    while not sending.done() or kills < 4:
        before = len(in_the_files(loop.config))

        async def more(before: int = before) -> bool:
            return len(in_the_files(loop.config)) > before or sending.done()

        await until(more)
        await asyncio.sleep(chance.random() * 0.3)  # a kill at any moment, also between writing and naming
        role.kill()
        kills += 1
        role = loop.role("archive")
    await sending
    await everything(loop)
    assert role.stop() == 0


async def test_every_record_is_archived_once_by_two_workers_of_which_one_sleeps(loop: Loop) -> None:
    """A worker that slept past its session wakes with a file for what its successor has archived meanwhile."""
    first, second = loop.role("archive"), loop.role("archive")
    await load(loop, 0, 30)
    await everything(loop)
    for sleeper in (first, second):
        await load(loop, 30, 40)
        sleeper.signal(signal.SIGSTOP)
        await load(loop, 40, 60)
        await everything(loop)  # the other one has it all after two seconds
        sleeper.signal(signal.SIGCONT)
        await load(loop, 60, 70)
        await everything(loop)
    assert (first.stop(), second.stop()) == (0, 0)


async def test_files_are_per_topic_and_day_and_without_gaps(loop: Loop) -> None:
    role = loop.role("archive")
    await load(loop, 0, 150)
    # Markers of transactions take offsets, and are no messages.
    names = {name: loop.config.topic(name) for name in ("decisions", "rewards")}
    async with AIOKafkaProducer(bootstrap_servers=loop.config.brokers, transactional_id=loop.config.prefix) as other:
        for number in range(3):
            async with other.transaction():
                await other.send(names["decisions"], b"{}", partition=number)
                await other.send(names["rewards"], b"{}", partition=0)
            await everything(loop)
    assert role.stop() == 0
    # What is younger than a file is stored at the end.
    of_60_rows = set(Path(loop.config.archive.url or "").rglob("*.parquet"))
    archive = replace(loop.config.archive, max_s=3600.0, max_rows=10_000)
    port = with_port(loop, archive)
    await load(loop, 150, 160)
    # On a busy machine it would leave to the next worker what it cannot write within its time.
    patient = "import stream.liveness, stream.roles.archive as archive; "
    patient += "archive.CLOSE_WITHIN_S = stream.liveness.LEAVE_S = 20"
    role = loop.role("archive", before=patient)
    before = len(in_the_files(loop.config))
    await until(lambda: all_taken(loop, port))
    assert len(in_the_files(loop.config)) == before
    assert role.stop() == 0
    assert in_the_files(loop.config) == await in_the_log(loop)
    root = Path(loop.config.archive.url or "")
    following: dict[tuple[str, int], int] = {}
    files = [ArchiveFile.parse(str(path.relative_to(root))) for path in root.rglob("*.parquet")]
    for file in sorted(file for file in files if file is not None):
        assert file.first == following.get((file.topic, file.partition), 0)
        following[file.topic, file.partition] = file.last + 1
        table = pq.read_table(root / file.path, partitioning=None)
        assert table.num_rows <= 60 + 2 or root / file.path not in of_60_rows
        assert {f"{time:%Y-%m-%d}" for time in table.column("log_time").to_pylist()} <= {file.day}
        assert table.schema.equals(SCHEMAS[loop.config.stream_of(file.topic)])
        assert table.schema.metadata[b"bowerbird_archive"] == b"1"
    for topic in TOPICS[:2]:
        rows = bowerbird.read(str(root), topic, prefix=loop.config.prefix)
        assert rows.filter(pc.is_null(rows.column("problem"))).num_rows > 100


def with_port(loop: Loop, archive: ArchiveConfig) -> int:
    """Give the archive role a port for its metrics, and return it."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = int(free.getsockname()[1])
    loop.config = replace(loop.config, archive=archive, metrics_port=port - DECLARED["archive"].port)
    return port


async def all_taken(loop: Loop, port: int) -> bool:
    """Ask the role's metrics whether it has read every partition to its end."""
    try:
        async with aiohttp.ClientSession() as http, http.get(f"http://127.0.0.1:{port}/metrics") as answer:
            text = await answer.text()
    except aiohttp.ClientError:
        return False
    lags = re.findall(r'^bowerbird_input_lag\{.*role="archive".*\} (\S+)$', text, re.MULTILINE)
    return len(lags) == 8 and not any(map(float, lags))


async def forget(loop: Loop, topic: str, partition: int, before: int) -> None:
    """Remove records as retention does."""
    admin = AIOKafkaAdminClient(bootstrap_servers=loop.config.brokers)
    await admin.start()
    try:
        where = TopicPartition(loop.config.topic(topic), partition)
        await admin.delete_records({where: RecordsToDelete(before_offset=before)})
    finally:
        await admin.close()


async def test_what_was_lost_before_it_was_archived_shows_as_a_gap(loop: Loop) -> None:
    role = loop.role("archive")
    await load(loop, 0, 20)
    await everything(loop)
    role.stop()
    await load(loop, 20, 40)
    await forget(loop, "rewards", 0, 30)
    role.start()
    await load(loop, 40, 50)
    logged = await in_the_log(loop)
    rewards = [record for record in logged if record[0] == loop.config.topic("rewards")]
    assert len(rewards) == 20

    async def there() -> bool:
        return set(logged) <= set(in_the_files(loop.config))

    await until(there)
    archive = Archive.at(loop.config.archive.url or "", loop.config.prefix)
    assert archive.held("rewards", 0) == (30, 50)
    assert len({record[2] for record in in_the_files(loop.config) if record[0] == loop.config.topic("rewards")}) == 40


async def test_files_that_were_taken_away_are_written_again_from_the_log(loop: Loop) -> None:
    role = loop.role("archive")
    await load(loop, 0, 30)
    await everything(loop)
    role.stop()
    for path in Path(loop.config.archive.url or "").rglob("*.parquet"):
        path.unlink()
    role.start()
    await everything(loop)


async def test_a_folder_that_is_emptied_while_the_role_runs_is_filled_again(loop: Loop) -> None:
    loop.config = replace(loop.config, archive=replace(loop.config.archive, max_s=0.3))
    role = loop.role("archive")
    await load(loop, 0, 20)
    await everything(loop)
    role.stop()
    port = with_port(loop, replace(loop.config.archive, max_s=3600.0))
    role = loop.role("archive")
    await load(loop, 20, 30)
    await until(lambda: all_taken(loop, port))
    shutil.rmtree(loop.config.archive.url or "")
    await load(loop, 30, 40)
    role.process = await again(role)
    role.stop()
    role.config = loop.config = replace(loop.config, archive=replace(loop.config.archive, max_s=0.3))
    role.start()
    await everything(loop)


async def test_files_without_the_beginning_of_their_archive_are_set_aside_by_a_command(loop: Loop) -> None:
    """Its folder was emptied, and a worker has stored later files before it noticed."""
    role = loop.role("archive")
    await load(loop, 0, 20)
    await everything(loop)
    role.stop()
    root = Path(loop.config.archive.url or "")
    (root / f"_{loop.config.prefix}log.json").unlink()
    role.start()
    sentence = await stop_sentence(loop.config, "archive", "files without")
    assert "begins anew" in await run_named(loop.config, sentence)
    shutil.rmtree(root / "_former")
    await everything(loop)


async def test_an_archive_that_cannot_be_written_says_so_and_goes_on_by_itself(loop: Loop) -> None:
    loop.role("archive")
    await load(loop, 0, 10)
    await everything(loop)
    root = Path(loop.config.archive.url or "")
    root.rename(root.with_name("away"))
    root.write_text("no folder")
    await load(loop, 10, 20)
    assert "found not a directory" in await stop_sentence(loop.config, "archive", f"archive.url {root}")
    root.unlink()
    root.with_name("away").rename(root)
    await everything(loop)
    async with Redis.from_url(loop.config.redis_url) as redis:

        async def goes_on() -> bool:
            return not await kept(redis, loop.config)

        await until(goes_on)


async def test_an_archive_of_another_log_or_topic_is_set_aside_by_the_command_that_is_named(
    loop: Loop, tmp_path: Path
) -> None:
    """The role waits meanwhile, and goes on by itself; what was archived stays readable."""
    root = tmp_path / "archive"
    root.mkdir()
    (root / f"_{loop.config.prefix}log.json").write_text('{"v":1,"log_id":"other/log"}')
    role = loop.role("archive")
    sentence = await stop_sentence(loop.config, "archive", "other/log")
    assert "begins anew" in await run_named(loop.config, sentence)
    await load(loop, 0, 20)
    await everything(loop)
    # The new topic is soon longer than the old one, so that offsets alone tell nothing.
    before = in_the_files(loop.config)
    await make_anew(loop, "decisions")
    await load(loop, 20, 80)
    sentence = await stop_sentence(loop.config, "archive", "made anew")
    shown = await status(loop.config)
    assert f"archive stands still: {sentence}." in shown
    output = await run_named(loop.config, sentence)
    (former,) = [path for path in (root / "_former").iterdir() if str(path) in output]
    old = in_the_files(replace(loop.config, archive=ArchiveConfig(url=str(former))))
    assert old == [record for record in before if record[0] == loop.config.topic("decisions")]
    assert Archive.at(str(former), loop.config.prefix).held("decisions", 0)
    shutil.rmtree(root / "_former")
    role.process = await again(role)
    await everything(loop)

    async def well() -> bool:
        return not any("archive stands still" in alarm for alarm in await status(loop.config))

    await until(well)
    # Without `versions` the rest is archived all the same. It held the log's own name, which is another one afterwards.
    await delete(loop, "versions")
    await load(loop, 80, 90)

    async def the_rest_is_archived() -> bool:
        return set(await in_the_log(loop)) <= set(in_the_files(loop.config))

    await until(the_rest_is_archived)
    await run_named(loop.config, next(each for each in await status(loop.config) if "versions is missing" in each))
    # By its id, or by its end: who looks first is a matter of time.
    sentence = await stop_sentence(loop.config, "archive", "made anew")
    assert "versions" in sentence
    assert "begins anew" in await run_named(loop.config, sentence)
    shutil.rmtree(root / "_former")
    role.process = await again(role)
    await everything(loop)


async def status(config: Config) -> list[str]:
    """Return the alarms of ``bowerbird status``."""
    async with Observer(config) as observer:
        return alarms(config, await observer.look())


async def again(role: RoleProcess) -> Any:
    """Wait until a role ends since it was put right, and start it, as its supervisor does."""
    assert role.process is not None
    assert await asyncio.to_thread(role.process.wait, 30) == 1
    return role.start().process


async def test_an_archive_that_is_longer_than_versions_is_set_aside_with_the_state_of_the_former_log(
    loop: Loop, tmp_path: Path
) -> None:
    """With that topic the name of the log has gone: the join's state is another log's, too."""
    role = loop.role("archive")
    await load(loop, 0, 10)
    assert (await recover(loop.config, 0)).join.needed
    for _ in range(3):
        await loop.producer.send_and_wait(loop.config.topic("versions"), b"[]", partition=0)
    await everything(loop)
    assert role.stop() == 0
    await make_anew(loop, "versions")
    # Else the name of the log, or the id of the topic, tells first.
    name = await identify(loop.reader, loop.config, loop.producer)
    (tmp_path / "archive" / f"_{loop.config.prefix}log.json").write_text(f'{{"v":1,"log_id":"{name}"}}')
    (tmp_path / "archive" / f"_{loop.config.prefix}topics.json").unlink()
    role.start()
    sentence = await stop_sentence(loop.config, "archive", "ends at offset")
    assert "begins anew" in await run_named(loop.config, sentence)
    shutil.rmtree(tmp_path / "archive" / "_former")
    role.process = await again(role)
    await everything(loop)


async def test_an_archive_without_a_place_is_refused(loop: Loop) -> None:
    loop.config = replace(loop.config, archive=ArchiveConfig())
    role = loop.role("archive")
    assert role.process is not None
    assert await asyncio.to_thread(role.process.wait, 30) == 2
