"""Supervision without servers: processes that die, refuse, hang, and whose supervisor dies."""

import asyncio
import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from bowerbird import supervisor
from bowerbird.supervisor import RoleProcess, Supervisor, backoff_s
from records.errors import WrongConfiguration
from stream.config import Config
from stream.metrics import ROLE_RESTARTS
from tests.processes import lives
from tests.real.loop import until


def role(program: str) -> RoleProcess:
    return RoleProcess("learn", [sys.executable, "-c", textwrap.dedent(program)], os.environ)


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervisor, "FIRST_BACKOFF_S", 0.001)


def test_the_backoff_doubles_up_to_its_longest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervisor, "FIRST_BACKOFF_S", 0.1)
    assert [backoff_s(deaths) for deaths in (1, 2, 3, 6, 50)] == [0.1, 0.2, 0.4, 3.2, 10.0]


async def test_a_role_that_dies_is_started_again_and_counted() -> None:
    kept = role("raise SystemExit(1)")
    before = ROLE_RESTARTS.labels("learn")._value.get()
    task = asyncio.create_task(kept.keep())

    async def thrice() -> bool:
        return kept.restarts >= 3

    await until(thrice)
    kept.stop()
    await task
    assert kept.restarts == ROLE_RESTARTS.labels("learn")._value.get() - before
    assert not kept.refused


@pytest.mark.parametrize(
    ("own", "expected"),
    [({}, "glibc.malloc.hugetlb=1"), ({"GLIBC_TUNABLES": "glibc.malloc.hugetlb=0"}, "glibc.malloc.hugetlb=0")],
)
async def test_a_role_asks_for_huge_pages_unless_the_environment_decides(
    tmp_path: Path, own: dict[str, str], expected: str
) -> None:
    """Vowpal Wabbit touches a large table of weights page by page while nothing else can run."""
    noted = tmp_path / "noted"
    program = f"import os, pathlib; pathlib.Path({str(noted)!r}).write_text(os.environ['GLIBC_TUNABLES'])"
    environment = {name: value for name, value in os.environ.items() if name != "GLIBC_TUNABLES"} | own
    kept = RoleProcess("learn", [sys.executable, "-c", program], environment)
    task = asyncio.create_task(kept.keep())

    # Read once: the role ends by itself, and is started and writes again.
    async def written() -> str:
        return noted.read_text() if noted.exists() else ""

    assert await until(written) == expected
    kept.stop()
    await task


async def test_a_role_that_refuses_is_not_started_again_soon(caplog: pytest.LogCaptureFixture) -> None:
    kept = role("raise SystemExit(2)")
    task = asyncio.create_task(kept.keep())

    async def refused() -> bool:
        return kept.refused

    await until(refused)
    assert (kept.restarts, kept.state, kept.pid) == (0, "refused", None)
    kept.stop()
    await task
    assert "refuses to work" in caplog.text
    assert kept.restarts == 0


async def test_a_role_tells_its_port_and_what_it_prints_disturbs_nothing() -> None:
    program = """
        import logging, sys, time
        from bowerbird.supervised import become_supervised
        become_supervised()
        print("a library's chatter", flush=True)
        logging.getLogger("stream.run").setLevel(logging.INFO)
        logging.getLogger("stream.run").info("listening", extra={"port": 1234})
        time.sleep(60)
    """
    kept = role(program)
    task = asyncio.create_task(kept.keep())

    async def has_a_port() -> bool:
        return kept.port is not None

    await until(has_a_port)
    ports = [kept.port]
    kept.stop()
    await task
    ports.append(kept.port)
    assert ports == [1234, None]
    assert kept.exit_code == -signal.SIGTERM


ORPHANED = """
import asyncio, os, sys
from bowerbird.supervisor import RoleProcess
program = '''
from bowerbird.supervised import become_supervised
become_supervised()
import time
time.sleep(60)
'''
async def main():
    kept = RoleProcess("learn", [sys.executable, "-c", program], os.environ)
    task = asyncio.create_task(kept.keep())
    while kept.pid is None:
        await asyncio.sleep(0.01)
    print(kept.pid, flush=True)
    await task
asyncio.run(main())
"""


async def test_law_a_role_dies_with_its_supervisor() -> None:
    with subprocess.Popen([sys.executable, "-c", ORPHANED], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        parent.kill()

    async def gone() -> bool:
        return not lives(child)

    await until(gone)


@pytest.mark.parametrize("roles", [[], ["paint"], ["join", "join"]])
def test_wrong_roles_are_refused(roles: list[str]) -> None:
    with pytest.raises(WrongConfiguration, match="expected some of decide,join,learn"):
        Supervisor(Config(), roles)


async def test_until_ready_tells_of_a_refusal(tmp_path: Path) -> None:
    file = tmp_path / "wrong.toml"
    file.write_text("shards = 0")
    async with Supervisor(Config(), ["join"], file, stderr=subprocess.DEVNULL) as made:
        with pytest.raises(WrongConfiguration, match="refused to work"):
            await made.until_ready()
