"""The commands on real servers: what they tell, and how they exit."""

import asyncio
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import tomli_w
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from redis.asyncio import Redis

from bowerbird.settings import load
from bowerbird.supervisor import Supervisor
from embedded.servers import EmbeddedKafka, EmbeddedRedis
from stream.role import LOOP_ROLES
from tests.real.loop import loop_of, until
from tests.serving import split


@pytest.fixture
def file(kafka: EmbeddedKafka, redis_server: EmbeddedRedis, prefix: str, tmp_path: Path) -> Path:
    reward = {"close_on": ["clicks"], "streams": {"clicks": {"weight": 1.0}}}
    settings = {
        "brokers": kafka.address,
        "redis_url": redis_server.url,
        "prefix": prefix,
        "session_timeout_s": 2.0,
        "request_ttl_ms": 60_000,
        **split(
            {
                "front": {
                    "kind": "vw",
                    "arguments": "--cb_explore_adf --epsilon 0.2",
                    "window_s": 1.0,
                    "publish_ms": 100,
                    "reward": reward,
                },
                "side": {"window_s": 1.0, "reward": reward},
            }
        ),
    }
    made = tmp_path / "bowerbird.toml"
    made.write_text(tomli_w.dumps(settings))
    return made


async def bowerbird(*arguments: str, file: Path) -> tuple[int, str]:
    """Run a command, and return its exit code and what it wrote."""
    done = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-m", "bowerbird", *arguments, "--config", str(file)],
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout + done.stderr


async def run_json(*arguments: str, file: Path, code: int = 0) -> Any:
    """Run a command with ``--json``, and return the parsed output."""
    exited, output = await bowerbird(*arguments, "--json", file=file)
    assert exited == code, output
    return json.loads(output)


async def test_topics_are_created_and_checked(file: Path, prefix: str) -> None:
    missing = await run_json("topics", "check", file=file, code=1)
    created = await run_json("topics", "create", file=file)
    assert {problem["topic"] for problem in missing["problems"]} == set(created["created"])
    assert f"{prefix}clicks" in created["created"]
    assert await run_json("topics", "create", file=file) == {"created": []}
    assert await run_json("topics", "check", file=file) == {"problems": []}


async def test_a_topic_that_contradicts_is_named_and_nothing_is_created(
    file: Path, kafka: EmbeddedKafka, prefix: str
) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka.address)
    await admin.start()
    try:
        settings = {"message.timestamp.type": "CreateTime"}
        await admin.create_topics([NewTopic(f"{prefix}decisions", 3, 1, topic_configs=settings)])

        async def there() -> bool:
            return f"{prefix}decisions" in await admin.list_topics()

        await until(there)
        code, output = await bowerbird("topics", "create", file=file)
        names = [name for name in await admin.list_topics() if name.startswith(prefix)]
    finally:
        await admin.close()
    assert code == 2
    for part in (f"{prefix}decisions", "message.timestamp.type", "CreateTime", "LogAppendTime"):
        assert part in output
    assert names == [f"{prefix}decisions"]


async def findings(file: Path, code: int) -> dict[str, dict[str, Any]]:
    report = await run_json("check", file=file, code=code)
    assert report["holds"] == (code == 0)
    for finding in report["findings"]:
        assert finding["holds"] == (finding["remedy"] == ""), finding
    return {finding["subject"]: finding for finding in report["findings"]}


async def test_check_tells_what_is_wrong_and_what_to_do(file: Path, redis_server: EmbeddedRedis, prefix: str) -> None:
    by_subject = await findings(file, 1)
    assert by_subject["configuration"]["holds"]
    assert by_subject["broker"]["holds"]
    assert "topics create" in by_subject[f"topic {prefix}rewards"]["remedy"]
    await run_json("topics", "create", file=file)
    by_subject = await findings(file, 0)
    for subject in (
        "redis appendfsync",
        "redis maxmemory-policy",
        "policy front",
        "policy side",
        "shards",
        "retention",
        "session_timeout_s",
        "codecs",
    ):
        assert by_subject[subject]["holds"]
    assert "gzip, snappy, lz4, zstd" in by_subject["codecs"]["found"]
    redis = Redis.from_url(redis_server.url)
    try:
        await redis.config_set("appendfsync", "everysec")
        by_subject = await findings(file, 1)
    finally:
        await redis.config_set("appendfsync", "always")
        await redis.aclose()
    assert [subject for subject, finding in by_subject.items() if not finding["holds"]] == ["redis appendfsync"]
    assert "CONFIG SET appendfsync always" in by_subject["redis appendfsync"]["remedy"]
    file.write_text(file.read_text().replace("--epsilon 0.2", "--epsilon 0.2 --large_action_space"))
    code, said = await bowerbird("check", file=file)
    assert code == 2
    assert re.search(r"line \d+: policies\.front\.arguments: .*'--large_action_space' is refused", said)


async def test_what_never_changes_is_remembered(file: Path, redis_server: EmbeddedRedis, prefix: str) -> None:
    await run_json("topics", "create", file=file)
    config = load(file, {})
    async with Supervisor(config, ["join", "learn"], file) as supervisor:
        await supervisor.until_ready()
    file.write_text("shards = 3\n" + file.read_text())
    by_subject = await findings(file, 1)
    assert [subject for subject, finding in by_subject.items() if not finding["holds"]] == ["shards"]
    assert "1" in by_subject["shards"]["remedy"]


async def test_policies_are_listed_shown_and_verified(file: Path) -> None:
    await run_json("topics", "create", file=file)
    config = load(file, {})
    nothing = {policy["name"]: policy for policy in await run_json("policy", "list", file=file)}
    assert nothing["front"]["number"] == 0
    assert nothing["front"]["published_ms"] is None
    assert nothing["front"]["version"] == f"0-{nothing['front']['digest'][:8]}"
    async with loop_of(config) as loop, Supervisor(config, LOOP_ROLES, file) as supervisor:
        await supervisor.until_ready()
        for number in range(30):
            request = {
                "event_id": f"visit-{number}",
                "placement": "front",
                "context": {"age": number % 7},
                "actions": [{"id": "a"}, {"id": "b"}],
            }
            await loop.send("decision-requests", request, partition=number % 3)
            if number % 3:
                await loop.send("clicks", {"event_id": f"visit-{number}"}, partition=number % 3)

        async def learned() -> bool:
            return bool((await run_json("policy", "list", file=file))[0]["examples"] == 30)

        await until(learned)
        shown = await run_json("policy", "show", "front", file=file)
        verdict = await run_json("verify", "front", file=file)
        decided = await run_json("verify", "--decision", "visit-7", file=file)
        unknown, _ = await bowerbird("verify", "--decision", "nobody", file=file)
        text = [await bowerbird(*words, file=file) for words in (["policy", "list"], ["policy", "show", "front"])]
        text += [
            await bowerbird(*words, file=file) for words in (["verify", "front"], ["verify", "--decision", "visit-7"])
        ]
    assert verdict["ok"]
    assert verdict["identical"]
    assert verdict["learned"] == 30
    assert decided["ok"]
    assert unknown == 1
    assert shown["version"] == shown["versions"][0]["version"] == verdict["live_version"]
    assert [version["number"] for version in shown["versions"]] == list(range(shown["number"], 0, -1))[:20]
    assert [code for code, _ in text] == [0, 0, 0, 0]
    assert "identical" in text[2][1]
