"""A topic ``versions`` that has grown for long: no start and no display reads more of it than of a young one."""

import asyncio
import subprocess
import sys
import urllib.request
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest
from redis.asyncio import Redis

from bowerbird import check
from bowerbird.status.observer import Observer
from bowerbird.trace import trace
from embedded.server import HOST, free_port
from embedded.servers import EmbeddedKafka, EmbeddedRedis
from policies.learn_position import Position
from policies.policy import digest, version_name
from policies.policy_store import Saved
from records.codec import encode
from records.policy_version import PolicyVersion
from stream.config import ArchiveConfig, Config, PolicyConfig, identity_in
from stream.kafka import follower, log
from stream.kafka.log import identify
from stream.kafka.versions import KafkaVersions
from stream.kafka.versions_tail import SNAPSHOT_EVERY
from stream.redis.policy_store import RedisPolicyStore
from stream.redis.saved_policies import versions_of
from stream.role import DECLARED
from tests.real.loop import Loop, decision, loop_of, until
from tests.serving import served, tables

OLD = 20_000
FEW = 6 * SNAPSHOT_EVERY
"""The join reads the tail once; the learner perhaps twice, for a policy that was saved earlier than another."""

COUNTED = """
import sys, msgspec
from pathlib import Path
from stream.config import Config, identity_in
from stream.kafka import follower, log
from stream.run import leave, run_role

config, made, count = msgspec.json.decode(sys.argv[2], type=Config), log.log_record, 0

def counting(record):
    global count
    if record.topic == config.topic("versions"):
        count += 1
        Path(sys.argv[3]).write_text(str(count))
    return made(record)

log.log_record = follower.log_record = counting
leave(run_role(config, sys.argv[1]))
"""


@pytest.fixture
async def loop(kafka: EmbeddedKafka, redis_server: EmbeddedRedis, prefix: str, tmp_path: Path) -> AsyncIterator[Loop]:
    config = Config(
        brokers=kafka.address,
        redis_url=redis_server.url,
        prefix=prefix,
        session_timeout_s=2.0,
        metrics_port=free_port(),
        archive=ArchiveConfig(url=str(tmp_path / "archive")),
        **tables({name: served() for name in ("busy", "quiet", "new")}),
    )
    async with loop_of(config) as made:
        yield made


def version(config: Config, policy: str, number: int) -> PolicyVersion:
    name = version_name(number, digest(b"uniform"))
    return PolicyVersion(
        policy=policy,
        placements=(policy,),
        number=number,
        version=name,
        kind="uniform",
        arguments="",
        salt=config.salt(policy),
        cut=0,
        last_seqs={},
        digest=digest(b"uniform"),
        examples=0,
        partition=config.learn_partition(policy),
    )


async def write_old(loop: Loop, redis: Redis) -> None:
    """Fill ``versions`` as a learner does, but faster: of each thousand only the last is waited for."""
    config, topic = loop.config, loop.config.topic("versions")
    await identify(loop.reader, config, loop.producer)
    versions, store = KafkaVersions(config, loop.producer, loop.reader), RedisPolicyStore(redis, config)

    async def save(policy: str, number: int, versions_read: int) -> None:
        position = Position(number, digest(b"uniform"))
        identity = identity_in(config, policy)
        record = encode(version(config, policy, number))
        assert await store.save(policy, None, Saved(position, identity, record, b"uniform", versions_read))

    for number in (1, 2, 3):
        await versions.append("quiet", encode(version(config, "quiet", number)))
    await save("quiet", 3, versions_read=3)
    for begin in range(1, OLD, SNAPSHOT_EVERY):
        numbers = range(begin, begin + SNAPSHOT_EVERY)
        sent = [await loop.producer.send(topic, encode(version(config, "busy", each)), partition=0) for each in numbers]
        await asyncio.gather(*sent[:-1])
        await versions.append("quiet", encode(version(config, "quiet", 3)))
    await save("busy", OLD, versions_read=OLD)
    await versions.stop()


@contextmanager
def counted(config: Config, monkeypatch: pytest.MonkeyPatch) -> Iterator[Counter[str]]:
    """Count what is read in this process, by topic."""
    count: Counter[str] = Counter()
    made = log.log_record

    def counting(record: object) -> log.LogRecord:
        whole = made(record)
        count[config.stream_of(whole.topic)] += 1
        return whole

    with monkeypatch.context() as patch:
        for module in (log, follower):
            patch.setattr(module, "log_record", counting)
        yield count


def ready(config: Config, role: str) -> bool:
    port = config.metrics_port + DECLARED[role].port
    try:
        with urllib.request.urlopen(f"http://{HOST}:{port}/ready", timeout=5) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


async def read_at_starts(config: Config, folder: Path) -> dict[str, int]:
    """Start every role, wait until each works, end them, and return how many records of ``versions`` each has read."""
    counts = {role: folder / f"{role}.count" for role in config.roles}
    for count in counts.values():
        count.write_text("0")
    settings = msgspec.json.encode(config)
    started = {
        role: subprocess.Popen([sys.executable, "-c", COUNTED, role, settings, count]) for role, count in counts.items()
    }

    async def all_ready() -> bool:
        assert not any(process.poll() for process in started.values())
        return all(await asyncio.gather(*(asyncio.to_thread(ready, config, role) for role in started)))

    try:
        await until(all_ready)
    finally:
        for process in started.values():
            process.terminate()
        for process in started.values():
            await asyncio.to_thread(process.wait, 30)
    return {role: int(count.read_text()) for role, count in counts.items()}


async def test_every_start_and_every_display_reads_few_records_of_an_old_topic(
    loop: Loop, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    config = loop.config
    async with Redis.from_url(config.redis_url) as redis:
        await write_old(loop, redis)
        store = RedisPolicyStore(redis, config)
        saved = {name: await store.read(name, model=False) for name in config.policies}
    assert sum(["end_offset" in record for record in await loop.records("versions")]) == OLD // SNAPSHOT_EVERY
    read = await read_at_starts(config, tmp_path)
    await loop.send("decisions", decision("visit", "quiet"), partition=0)
    assert set(read) == {"decide", "join", "learn", "archive"}
    with counted(config, monkeypatch) as count:
        async with Observer(config) as observer:
            status = await observer.look()
        read["status"] = count.pop("versions", 0)
        found = [each async for each in check.findings(config)]
        read["check"] = count.pop("versions", 0)
        numbers = {name: [each.number for each in await versions_of(config, name, 20, saved[name])] for name in saved}
        read["policy show"] = count.pop("versions", 0)
        traced = await trace(config, "visit")
        read["trace"] = count.pop("versions", 0)
    assert numbers == {"busy": list(range(OLD, OLD - 20, -1)), "quiet": [3, 2, 1], "new": []}
    assert [each.policy for each in traced.decisions] == ["quiet"]
    assert {policy.name: policy.number for policy in status.policies} == {"busy": OLD, "quiet": 3, "new": 0}
    states = {each.subject: each.holds for each in found if each.subject.startswith("state of policy")}
    assert states == {f"state of policy {name}": True for name in config.policies}
    changed = replace(config, policies=config.policies | {"quiet": PolicyConfig("uniform", "--other")})
    refused = [each async for each in check._published(changed) if not each.holds]
    assert [(each.subject, each.remedy) for each in refused] == [
        ("state of policy quiet", "set it back, or give the changed policy another name")
    ]
    # They do read it: what is counted is what is read.
    assert min(read["learn"], read["join"], read["check"], read["policy show"], read["trace"]) > 0
    assert {what: number for what, number in read.items() if number > FEW * (2 if what == "check" else 1)} == {}
