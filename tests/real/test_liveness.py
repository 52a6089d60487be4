"""A role in which something has died ends by itself, with a code, so that its supervisor starts it again."""

import asyncio
import sys
import time
from pathlib import Path

import msgspec

from embedded.servers import EmbeddedKafka, EmbeddedRedis
from records.rule import Reward, StreamReward
from stream.config import ArchiveConfig, Config
from stream.kafka import topics
from tests.serving import served, tables

ROOT = Path(__file__).parents[2]
HARMS = (
    ("join", "fetcher"),
    ("learn", "coordinator"),
    ("learn", "coordinator's error"),
    ("join", "offset out of range"),
    ("archive", "metadata"),
    ("join", "sender"),
    ("learn", "producer"),
    ("join", "loop"),
    ("join", "a step that never ends"),
    ("archive", "loop"),
    ("decide", "decide's fetcher"),
    ("decide", "decide's clock"),
)
WITHIN_S = 30.0
AT_ONCE = 3


async def _ends(config: Config, role: str, harm: str) -> tuple[int | None, float]:
    """Return the exit code of a harmed role and the seconds from the harm to its end."""
    config_json = msgspec.json.encode(config).decode()
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.real.harmed", role, config_json, harm),
        cwd=ROOT,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        assert process.stdout is not None
        assert await asyncio.wait_for(process.stdout.readline(), 120) == b"ready\n"
        since = time.monotonic()
        code = await asyncio.wait_for(process.wait(), WITHIN_S)
        return code, time.monotonic() - since
    except TimeoutError:
        return None, WITHIN_S
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def test_a_role_in_which_something_dies_ends_with_a_code(
    kafka: EmbeddedKafka, redis_server: EmbeddedRedis, prefix: str, tmp_path: Path
) -> None:
    free = asyncio.Semaphore(AT_ONCE)

    async def one(number: int, role: str, harm: str) -> tuple[int | None, float]:
        config = Config(
            brokers=kafka.address,
            redis_url=redis_server.url,
            prefix=f"{prefix}{number}-",
            partitions=1,
            session_timeout_s=2.0,
            archive=ArchiveConfig(url=str(tmp_path / str(number))),
            **tables({"front": served(reward=Reward(streams={"clicks": StreamReward(weight=1.0)}))}),
        )
        async with free:
            await topics.create(config)
            return await _ends(config, role, harm)

    ended = await asyncio.gather(*(one(number, *case) for number, case in enumerate(HARMS)))
    codes = {" ".join(case): code for case, (code, _) in zip(HARMS, ended, strict=True)}
    assert set(codes.values()) == {1}, codes
