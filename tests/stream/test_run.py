"""The shell of every role: logs, health, readiness, exit codes."""

import json
import logging
import sys
import types
from collections.abc import Iterator

import aiohttp
import pytest

from records.errors import StateRefused
from stream import stopped
from stream.config import Config
from stream.health import HealthServer
from stream.json_log import formatter
from stream.liveness import LIMIT_S, Pulse
from stream.run import RoleParts, run_role


@pytest.fixture
def logging_as_it_was() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:], root.level = handlers, level


def test_a_log_record_is_a_line_of_json() -> None:
    try:
        raise ValueError("no")
    except ValueError:
        record = logging.getLogger("stream.roles.learn").makeRecord(
            "stream.roles.learn", logging.ERROR, "f", 1, "a %s", ("b\nc",), sys.exc_info(), extra={"policy": "front"}
        )
    line = formatter("learn").format(record)
    assert "\n" not in line
    record_of_line = json.loads(line)
    assert (record_of_line["level"], record_of_line["role"], record_of_line["message"], record_of_line["policy"]) == (
        "ERROR",
        "learn",
        "a b\nc",
        "front",
    )
    assert record_of_line["exception"].endswith("ValueError: no")
    assert record_of_line["time"].endswith("+00:00")


async def test_health_readiness_and_metrics() -> None:
    ready, now = False, 100.0
    pulse = Pulse(lambda: now)
    server = HealthServer(Config(), "learn", lambda: ready, pulse)
    await server.on_start()
    try:
        async with aiohttp.ClientSession(f"http://127.0.0.1:{server.port}") as client:
            for path, status in (("/health", 200), ("/ready", 503), ("/metrics", 200)):
                async with client.get(path) as answer:
                    assert answer.status == status
            ready = True
            async with client.get("/ready") as answer:
                health = {"role": "learn", "ready": True, "stopped": {}}
                assert (answer.status, await answer.json()) == (200, health)
            stopped.stop("learn", "rewards[0]", "a; do b")
            async with client.get("/ready") as answer:
                assert (await answer.json())["stopped"] == {"rewards[0]": "a; do b"}
            stopped.go_on("learn")
            async with client.get("/ready") as answer:
                assert (await answer.json())["stopped"] == {}
            now += LIMIT_S + 1
            pulse.polled()
            async with client.get("/health") as answer:
                health = await answer.json()
                assert (answer.status, health["healthy"]) == (503, False)
                assert (health["last_poll_s"], health["last_step_s"]) == (0.0, LIMIT_S + 1)
            pulse.stepped()
            async with client.get("/health") as answer:
                assert (answer.status, (await answer.json())["healthy"]) == (200, True)
    finally:
        await server.on_stop()


@pytest.mark.parametrize(
    ("error", "code"),
    [(StateRefused("policy p", "a", "b", "do c"), 2), (RuntimeError("a fault"), 1)],
)
def test_a_role_that_may_not_start_says_so_by_its_exit_code(
    error: Exception,
    code: int,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    logging_as_it_was: None,
) -> None:
    def build(config: Config) -> RoleParts:
        raise error

    monkeypatch.setitem(sys.modules, "stream.roles.learn", types.SimpleNamespace(build=build))
    assert run_role(Config(redis_url="redis://127.0.0.1:1/0"), "learn") == code
    (line,) = capsys.readouterr().err.splitlines()
    record = json.loads(line)
    assert record["level"] == "CRITICAL"
    assert str(error) in record.get("exception", record["message"])
