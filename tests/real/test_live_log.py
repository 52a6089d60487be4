"""``bowerbird log describe`` of what a service's Kafka holds: the same as of the records that were sent there."""

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest
import tomli_w

from rewards.records import Outcome
from stream.config import Config, PolicyConfig
from stream.embedded import EmbeddedKafka
from tests.real.loop import loop_of
from tests.replay.world import busy_world

pytestmark = pytest.mark.real


@pytest.fixture(scope="module")
def outcomes() -> list[Outcome]:
    return [outcome for _, outcome in busy_world(120).outcomes()]


async def described(*arguments: str, code: int = 0) -> str:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "bowerbird", "log", "describe", *arguments),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await process.communicate()
    assert process.returncode == code, err.decode()
    return (out if code == 0 else err).decode()


async def test_what_kafka_holds_is_described(
    kafka: EmbeddedKafka, prefix: str, tmp_path: Path, outcomes: list[Outcome]
) -> None:
    config = Config(brokers=kafka.address, prefix=prefix, policies={"front": PolicyConfig()})
    settings: dict[str, Any] = {
        "brokers": kafka.address,
        "prefix": prefix,
        "policies": {"front": {"window_s": 1.0}},
    }
    file = tmp_path / "bowerbird.toml"
    file.write_text(tomli_w.dumps(settings))
    async with loop_of(config) as loop:
        empty = json.loads(await described(str(file), "--json"))
        assert (empty["rows"], empty["left_out"]) == (0, {})
        for start in range(0, len(outcomes), 7):
            some = [json.loads(msgspec.json.encode(outcome)) for outcome in outcomes[start : start + 7]]
            await loop.send("rewards", *some, partition=0)
        await loop.send("rewards", "no outcome", partition=0)
        told = json.loads(await described(str(file), "--json"))
        of_front = json.loads(await described("--format", "kafka", str(file), "--policy", "front", "--json"))
    learned = [outcome for outcome in outcomes if outcome.learn]
    assert (told["format"], told["log"]) == ("kafka", f"{prefix}rewards")
    assert told["rows"] == len(learned)
    assert told["left_out"]["unreadable"] == 1
    assert told["rewards"]["mean"] == pytest.approx(sum(outcome.reward for outcome in learned) / len(learned))
    assert of_front["rows"] == sum(outcome.policy == "front" for outcome in learned)


async def test_a_broker_that_is_away_is_a_sentence(prefix: str, tmp_path: Path) -> None:
    file = tmp_path / "bowerbird.toml"
    file.write_text(
        tomli_w.dumps({"brokers": "127.0.0.1:1", "prefix": prefix, "policies": {"front": {"window_s": 1.0}}})
    )
    said = await described(str(file), code=1)
    assert "127.0.0.1:1" in said
    assert "Traceback" not in said
