"""Verification after Kafka has forgotten: from the archive, and from what outcomes carry."""

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from confluent_kafka import Consumer, TopicPartition
from confluent_kafka.admin import AdminClient

import bowerbird
from archive.reader import Archive
from bowerbird.verification import verify, verify_decision
from embedded.servers import EmbeddedKafka, EmbeddedRedis
from records.errors import WrongConfiguration
from stream.config import ArchiveConfig, Config
from tests.real.loop import Loop, loop_of, until
from tests.real.test_verify import config as service
from tests.real.test_verify import settled, traffic

pytestmark = pytest.mark.real


@pytest.fixture
def config(kafka: EmbeddedKafka, redis_server: EmbeddedRedis, prefix: str, tmp_path: Path) -> Config:
    made: Config = service.__wrapped__(kafka, redis_server, prefix)  # type: ignore[attr-defined]
    return replace(made, archive=ArchiveConfig(url=str(tmp_path / "archive"), max_s=0.3))


@pytest.fixture
async def loop(config: Config) -> AsyncIterator[Loop]:
    async with loop_of(config) as made:
        yield made


async def forget(config: Config, *names: str) -> None:
    """Remove all records of topics but the last of each partition, as retention does."""
    client_config: dict[str, str | int | float | bool] = {"bootstrap.servers": config.brokers, "group.id": "nobody"}

    def remove() -> None:
        admin, consumer = AdminClient(client_config), Consumer(client_config)
        partitions_of = {name: admin.list_topics().topics[config.topic(name)].partitions for name in names}
        every = [TopicPartition(config.topic(name), each) for name in names for each in partitions_of[name]]
        for where in every:
            _, end = consumer.get_watermark_offsets(where)
            where.offset = max(0, end - 1)
        for done in admin.delete_records(every).values():
            done.result()
        consumer.close()

    await asyncio.to_thread(remove)


async def command(config: Config, folder: Path, *arguments: str) -> tuple[int, str]:
    """Run the command, and return its exit code and its answer."""
    file = folder / "bowerbird.toml"
    policy_config = config.policies["front"]
    file.write_text(
        f'brokers = "{config.brokers}"\nredis_url = "{config.redis_url}"\nprefix = "{config.prefix}"\nshards = 2\n'
        "early_s = 5\ndedup_horizon_s = 60\n"
        f'[policies.front]\nkind = "vw"\narguments = "{policy_config.arguments}"\n[placements.front]\nwindow_s = 1\n'
        '[placements.front.reward]\nclose_on = ["purchases"]\n[placements.front.reward.streams.clicks]\nweight = 1.0\n'
    )
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "bowerbird", *arguments, "--config", str(file)), stdout=asyncio.subprocess.PIPE
    )
    output, _ = await process.communicate()
    return process.returncode or 0, output.decode()


async def test_what_kafka_has_forgotten_is_verified_from_the_archive(
    loop: Loop, config: Config, tmp_path: Path
) -> None:
    roles = [loop.role(role) for role in ("decide", "join", "learn", "archive")]
    await traffic(loop, 0, 1)
    # Feedback of what is decided much later would count for nothing.
    await until(lambda: loop.records("decisions"))
    await traffic(loop, 1, 60)
    sound = await settled(config, "front", 48)
    assert sound.ok, sound.findings
    logged = {name: len(await loop.records(name)) for name in ("decisions", "rewards", "versions")}
    url = str(tmp_path / "archive")

    async def archived() -> bool:
        try:
            return all(
                sum(map(len, Archive.at(url, config.prefix).batches(name))) >= count for name, count in logged.items()
            )
        except WrongConfiguration:
            return False

    await until(archived)
    for role in roles:
        role.stop()
    decided = {record["policy_version"]: record["event_id"] for record in await loop.records("decisions")}
    await forget(config, "decisions", "rewards", "clicks", "purchases")

    # Without the archive nothing can be proved, with it everything but that no other feedback was there.
    bare = await verify(config, "front")
    assert set(bare.found) == {"not_verifiable"}
    archive = Archive.at(url, config.prefix)
    verdict = await verify(config, "front", archive=archive)
    assert verdict.ok, verdict.findings
    assert verdict.identical
    assert verdict.own_feedback > 10
    same = ("decisions", "outcomes", "learned", "versions", "closed", "live_digest", "recomputed_digest", "pending")
    assert {name: getattr(verdict, name) for name in same} == {name: getattr(sound, name) for name in same}
    for version, event_id in list(decided.items())[:3]:
        (again,) = await verify_decision(config, event_id, archive=archive)
        assert again.ok, (version, again)

    code, text = await command(config, tmp_path, "verify", "front", "--archive", url)
    assert code == 0
    assert f"{verdict.own_feedback} by the feedback that they carry" in text
    code, text = await command(config, tmp_path, "verify", "front", "--archive", url, "--json")
    assert json.loads(text)["own_feedback"] == verdict.own_feedback
    assert (await command(config, tmp_path, "verify", "front", "--json"))[0] == 1
    assert (await command(config, tmp_path, "verify", "front", "--archive", str(tmp_path)))[0] == 2

    # Somebody raises a reward in the archive.
    for path in sorted((tmp_path / "archive").glob("*rewards/*/*.parquet")):
        table = pq.read_table(path, partitioning=None)
        raws = table.column("raw").to_pylist()
        rows = [row for row, raw in enumerate(raws) if b'"policy":"front"' in raw]
        if rows:
            raws[rows[0]] = raws[rows[0]].replace(b'"reward":', b'"reward":9', 1)
            break
    else:
        raise AssertionError("no outcome of front in the archive")
    place = table.schema.names.index("raw")
    pq.write_table(table.set_column(place, "raw", pa.array(raws, pa.binary())), path)
    assert {"reward", "digest"} & set((await verify(config, "front", archive=archive)).found)
    assert len(bowerbird.read(url, prefix=config.prefix)) == logged["rewards"]

    # The archive of another log proves nothing of this one.
    (tmp_path / "archive" / f"_{config.prefix}log.json").write_text('{"v":1,"log_id":"other/log"}')
    with pytest.raises(WrongConfiguration, match="other/log"):
        await verify(config, "front", archive=archive)
