"""The worker command on real servers: roles as processes, started again, stopped, and gone with their supervisor."""

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from pathlib import Path

import aiohttp
import pytest
import tomli_w

from bowerbird.settings import load
from bowerbird.supervisor import Supervisor
from embedded.servers import EmbeddedKafka, EmbeddedRedis
from stream.config import Config
from stream.kafka import topics
from stream.role import LOOP_ROLES
from tests.processes import lives
from tests.real.loop import until
from tests.serving import split


@pytest.fixture
async def config_file(kafka: EmbeddedKafka, redis_server: EmbeddedRedis, prefix: str, tmp_path: Path) -> Path:
    file = tmp_path / "bowerbird.toml"
    settings = {
        "brokers": kafka.address,
        "redis_url": redis_server.url,
        "prefix": prefix,
        "session_timeout_s": 2.0,
        **split({"front": {"window_s": 1.0, "reward": {"streams": {"clicks": {"weight": 1.0}}}}}),
    }
    file.write_text(tomli_w.dumps(settings))
    await topics.create(load(file, {}))
    return file


@pytest.fixture
def config(config_file: Path) -> Config:
    return load(config_file, {})


@pytest.fixture
async def supervisor(config: Config, config_file: Path) -> AsyncIterator[Supervisor]:
    async with Supervisor(config, LOOP_ROLES, config_file) as made:
        await made.until_ready()
        yield made


async def gone(*pids: int) -> bool:
    return not any(map(lives, pids))


async def test_a_role_that_dies_comes_back_and_is_counted(supervisor: Supervisor) -> None:
    before = supervisor.pids
    assert set(before) == set(LOOP_ROLES)
    os.kill(before["learn"], signal.SIGKILL)

    async def back() -> bool:
        return supervisor.pids.get("learn") not in (None, before["learn"]) and (await supervisor.readiness())["learn"]

    await until(back)
    assert supervisor.restarts == {"decide": 0, "join": 0, "learn": 1}
    assert {role: supervisor.pids[role] for role in ("decide", "join")} == {
        role: before[role] for role in ("decide", "join")
    }
    async with aiohttp.ClientSession(f"http://127.0.0.1:{supervisor.port}") as http:
        async with http.get("/health") as answer:
            health = await answer.json()
        async with http.get("/ready") as answer:
            assert answer.status == 200
        async with http.get("/metrics") as answer:
            assert 'bowerbird_role_restarts_total{role="learn"}' in await answer.text()
    assert health["healthy"]
    assert health["roles"]["learn"]["restarts"] == 1
    for port in supervisor.ports.values():
        async with aiohttp.ClientSession() as http, http.get(f"http://127.0.0.1:{port}/metrics") as answer:
            assert answer.status == 200


async def test_stop_ends_every_role_by_itself(supervisor: Supervisor) -> None:
    pids = supervisor.pids
    await supervisor.stop()
    assert await gone(*pids.values())
    # By SIGTERM and with a clean end, not by SIGKILL.
    assert {name: role.exit_code for name, role in supervisor.roles.items()} == dict.fromkeys(LOOP_ROLES, 0)


async def test_a_role_that_does_not_stop_is_killed(supervisor: Supervisor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bowerbird.supervisor.STOP_S", 0.5)
    pids = supervisor.pids
    os.kill(pids["learn"], signal.SIGSTOP)
    await supervisor.stop()
    assert supervisor.roles["learn"].exit_code == -signal.SIGKILL
    assert await gone(*pids.values())


Start = Callable[..., Awaitable[asyncio.subprocess.Process]]


@pytest.fixture
async def worker(config_file: Path) -> AsyncIterator[Start]:
    """Give a starter of the command, each in a process group of its own, killed at the end where it still runs."""
    started: list[asyncio.subprocess.Process] = []

    async def start(*options: str) -> asyncio.subprocess.Process:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "bowerbird", "worker", "--config", str(config_file), *options),
            stderr=asyncio.subprocess.PIPE,
            start_new_session=True,
        )
        started.append(process)
        return process

    yield start
    for process in started:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def ready_pids(process: asyncio.subprocess.Process) -> dict[str, int]:
    """Read the log until every role is ready."""
    assert process.stderr is not None
    async with asyncio.timeout(180):
        while line := await process.stderr.readline():
            with suppress(ValueError):
                record = json.loads(line)
                if record["message"] == "ready" and record["role"] == "supervisor":
                    return {str(role): int(pid) for role, pid in record["pids"].items()}
    raise AssertionError("the worker ended before it was ready")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_stops_the_worker(worker: Start, number: signal.Signals) -> None:
    process = await worker()
    pids = await ready_pids(process)
    process.send_signal(number)
    await process.communicate()
    assert process.returncode == 0
    assert await gone(*pids.values())


async def test_roles_die_with_their_supervisor(worker: Start) -> None:
    process = await worker()
    pids = await ready_pids(process)
    process.kill()
    await process.wait()
    await until(lambda: gone(*pids.values()))


async def test_a_refused_role_is_told_and_not_hammered(worker: Start, config_file: Path) -> None:
    config_file.write_text("rewards_partitions = 2\n" + config_file.read_text())
    process = await worker("--roles", "learn")
    _, errors = await process.communicate()
    lines = [json.loads(line) for line in errors.splitlines()]
    assert process.returncode == 2
    assert [line["exit_code"] for line in lines if line.get("died") == "learn"] == [2]
    assert any("rewards_partitions" in line["message"] for line in lines)
