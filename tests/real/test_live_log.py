"""What a service's Kafka holds is described and evaluated: the same as the records that were sent there."""

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest
import tomli_w

from embedded.servers import EmbeddedKafka
from records.outcome import Outcome
from stream.config import Config
from tests.real.loop import loop_of
from tests.replay.world import busy_world
from tests.serving import served, split, tables

pytestmark = pytest.mark.real


@pytest.fixture(scope="module")
def outcomes() -> list[Outcome]:
    return [outcome for _, outcome in busy_world(120).outcomes()]


async def described(*arguments: str, code: int = 0) -> str:
    return await output_of("log", "describe", *arguments, code=code)


async def output_of(*arguments: str, code: int = 0) -> str:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "bowerbird", *arguments),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await process.communicate()
    assert process.returncode == code, err.decode()
    return (out if code == 0 else err).decode()


async def test_what_kafka_holds_is_described(
    kafka: EmbeddedKafka, prefix: str, tmp_path: Path, outcomes: list[Outcome]
) -> None:
    config = Config(brokers=kafka.address, prefix=prefix, **tables({"front": served()}))
    settings: dict[str, Any] = {
        "brokers": kafka.address,
        "prefix": prefix,
        **split({"front": {"window_s": 1.0}}),
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
        description = json.loads(await described(str(file), "--json"))
        of_front = json.loads(await described("--format", "kafka", str(file), "--placement", "front", "--json"))
        evaluate = ("replay", "evaluate", str(file), "--placement", "front", "--json", "--target")
        judged = json.loads(await output_of(*evaluate, "uniform"))
        never_learned = json.loads(await output_of(*evaluate, "front", "--model", "none"))
        refused = await output_of(*evaluate, "front@3", code=2)
    learned = [outcome for outcome in outcomes if outcome.learn]
    assert (description["format"], description["log"]) == ("kafka", str(file))
    assert description["rows"] == len(learned)
    assert description["left_out"]["unreadable"] == 1
    assert description["rewards"]["mean"] == pytest.approx(sum(outcome.reward for outcome in learned) / len(learned))
    assert of_front["rows"] == sum(outcome.policy == "front" for outcome in learned)
    own = [each for each in learned if each.policy == "front" and each.policy_version != "external"]
    weights = [1 / 3 / json.loads(bytes(each.decision))["propensity"] for each in own]
    value = sum(weight * each.reward for weight, each in zip(weights, own, strict=True)) / len(own)
    assert (judged["rows"], judged["how"]["format"]) == (len(own), "kafka")
    assert judged["ips"] == pytest.approx(value, rel=1e-12)
    assert never_learned["target"] == "front@0"
    assert "published versions are computed from an archive" in refused


async def test_a_broker_that_is_away_is_a_sentence(
    prefix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where the settings lie elsewhere, as those of `bowerbird up`: its variable names them."""
    file = tmp_path / "bowerbird.toml"
    file.write_text(tomli_w.dumps({"brokers": "127.0.0.1:1", "prefix": prefix, **split({"front": {"window_s": 1.0}})}))
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert "`bowerbird up` shows where its own are" in await output_of("log", "describe", "bowerbird.toml", code=2)
    monkeypatch.setenv("BOWERBIRD_CONFIG", str(file))
    for command in (("log", "describe", "bowerbird.toml"), ("replay", "evaluate", "--target", "uniform", str(file))):
        said = await output_of(*command, code=1)
        assert "127.0.0.1:1" in said
        assert "Traceback" not in said
