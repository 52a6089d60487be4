"""Servers, names and settings that all tests share. A server starts only when a test asks for it."""

import os
import secrets
import signal
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from functools import cache
from pathlib import Path

import hypothesis
import pytest
import typer.main
import typer.testing

from embedded.kafka import SHORT_SESSIONS
from embedded.servers import EmbeddedKafka, EmbeddedRedis

REAL = Path(__file__).with_name("real")
REAL_TIMEOUT_S = 900
BROKER = {**SHORT_SESSIONS, "log.retention.check.interval.ms": 86_400_000}
"""Properties of the tests' brokers; records are removed by tests alone."""
"""Most of it is waiting, which takes long where other processes compute."""
LONGEST = (
    *("test_recover.py", "test_recover_without_archive.py", "test_remedies.py", "test_join.py", "test_archive.py"),
    *("test_coverage.py", "test_learn.py", "test_hidden_records.py", "test_up.py", "test_controls.py", "test_demo.py"),
    *(
        "test_decide.py",
        "test_recover_archive.py",
        "test_ends.py",
        "test_readme.py",
        "test_torture.py",
        "test_client.py",
    ),
)
"""What takes longest of tests/real, the longest first."""

# A command that is called takes a third of the time when all of them are built once, as in a process of their own.
typer.testing._get_command = cache(typer.main.get_command)  # type: ignore[attr-defined]

hypothesis.settings.register_profile("check", max_examples=40, deadline=None, derandomize=True, stateful_step_count=30)
hypothesis.settings.register_profile("ci", max_examples=150, deadline=None, print_blob=True)
hypothesis.settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "check"))


def pytest_configure() -> None:
    """Let Ctrl-C end what tests start, also in a run that a shell has put into the background."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what lies under tests/real, where every test has a real server, and begin with it.

    What takes long begins first, so that no process has much to do when the others have finished.
    """
    for item in items:
        if item.path.is_relative_to(REAL):
            item.add_marker(pytest.mark.real)
            if item.get_closest_marker("timeout") is None:
                item.add_marker(pytest.mark.timeout(REAL_TIMEOUT_S))
    items.sort(key=lambda item: _turn(item.path))


def _turn(path: Path) -> int:
    if not path.is_relative_to(REAL):
        return len(LONGEST) + 1
    return LONGEST.index(path.name) if path.name in LONGEST else len(LONGEST)


@pytest.fixture(scope="session")
def kafka() -> Iterator[EmbeddedKafka]:
    """Give the broker of this session, which no test stops. Sessions of 2 s are allowed."""
    with EmbeddedKafka(properties=BROKER) as server:
        yield server


@pytest.fixture(scope="session")
def redis_server() -> Iterator[EmbeddedRedis]:
    """Give the Redis of this session, in cluster mode: a script that touches two tags fails."""
    with EmbeddedRedis(cluster=True, unix_socket=True) as server:
        yield server


@pytest.fixture
def prefix() -> str:
    """Give a prefix of topics, groups and keys that no other test has."""
    return f"t-{secrets.token_hex(4)}-"


@pytest.fixture
def own_kafka() -> Iterator[Callable[..., EmbeddedKafka]]:
    """Give a maker of brokers of the test's own, started, to kill and restart; all stop with the test.

    It takes the arguments of `EmbeddedKafka`.
    """
    with ExitStack() as stack:

        def make(
            *arguments: Path, properties: Mapping[str, str | int] | None = None, preferred_port: int | None = None
        ) -> EmbeddedKafka:
            own = {**BROKER, **(properties or {})}
            server = EmbeddedKafka(*arguments, properties=own, preferred_port=preferred_port)
            stack.callback(server.stop)
            return server.start()

        yield make


@pytest.fixture
def own_redis() -> Iterator[Callable[..., EmbeddedRedis]]:
    """Give a maker of Redis servers of the test's own, started, to kill and restart; all stop with the test.

    It takes the arguments of `EmbeddedRedis`; cluster mode is on unless they say otherwise.
    """
    with ExitStack() as stack:

        def make(*arguments: Path, **options: object) -> EmbeddedRedis:
            server = EmbeddedRedis(*arguments, **{"cluster": True, **options})  # type: ignore[arg-type]
            stack.callback(server.stop)
            return server.start()

        yield make
