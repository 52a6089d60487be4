"""A loop on real servers, for tests: its topics, its roles as processes, and what flows through them."""

import asyncio
import json
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, ClassVar
from weakref import WeakSet

import msgspec
import tomli_w
from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient

from stream.clients import redis_client
from stream.config import Config
from stream.kafka import topics
from stream.kafka.log import LogReader
from stream.stopped import kept

WINDOW_MS = 3_000
"""The window of a decision that :func:`decision` makes: a slow machine sends its feedback within it."""

SHOWN_S = 3.0
"""So long may a role take to show its tasks."""

CHILD = """
import sys, msgspec
from stream.run import leave, run_role
from stream.config import Config
leave(run_role(msgspec.json.decode(sys.argv[2], type=Config), sys.argv[1]))
"""


class RoleProcess:
    """A role in a process of its own, to kill and to start again; ``before``: statements that it runs first."""

    alive: ClassVar["WeakSet[RoleProcess]"] = WeakSet()

    def __init__(self, config: Config, role: str, before: str = "") -> None:
        self.config, self.role, self.before = config, role, before
        self.process: subprocess.Popen[bytes] | None = None
        self.alive.add(self)

    def start(self) -> "RoleProcess":
        """Start it; it works some seconds later."""
        config_json = msgspec.json.encode(self.config).decode()
        command = [sys.executable, "-c", f"{self.before}\n{CHILD}", self.role, config_json]
        self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL)
        return self

    def signal(self, number: int) -> None:
        """Send a signal."""
        assert self.process is not None
        self.process.send_signal(number)

    def kill(self) -> None:
        """Kill it with -9."""
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def stop(self, seconds: float = 30.0) -> int:
        """Ask it to end, and return its exit code."""
        assert self.process is not None
        self.process.terminate()
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.kill()
            raise


class Loop:
    """The topics of one service, and a producer and a reader for tests."""

    def __init__(self, config: Config, producer: AIOKafkaProducer, reader: LogReader) -> None:
        self.config, self.producer, self.reader = config, producer, reader
        self._roles: list[RoleProcess] = []

    def role(self, name: str, before: str = "") -> RoleProcess:
        """Start a role; it ends with the loop."""
        self._roles.append(RoleProcess(self.config, name, before).start())
        return self._roles[-1]

    async def send(self, topic: str, *records: Any, partition: int | None = None, key: str | None = None) -> int:
        """Append records as one message (several: an array) and return its log time."""
        value = json.dumps(records[0] if len(records) == 1 else records).encode()
        done = await self.producer.send_and_wait(
            self.config.topic(topic), value, key=key.encode() if key else None, partition=partition
        )
        return int(done.timestamp)

    async def records(self, topic: str) -> list[Any]:
        """Return all records of a topic, arrays unpacked, partition by partition."""
        return [record async for record in self.read(topic)]

    async def read(self, topic: str) -> AsyncIterator[Any]:
        """Yield all records of a topic."""
        name = self.config.topic(topic)
        for partition in await self.reader.partitions(name):
            begins = (await self.reader.beginning([(name, partition)]))[name, partition]
            async for message in self.reader.read(name, partition, begins):
                content = json.loads(message.value or b"null")
                for record in content if isinstance(content, list) else [content]:
                    yield record

    def close(self) -> None:
        """End the roles."""
        for role in self._roles:
            if role.process is not None and role.process.poll() is None:
                role.kill()


@asynccontextmanager
async def loop_of(config: Config) -> AsyncIterator[Loop]:
    """Give a loop whose topics are there."""
    await topics.create(config)
    producer = AIOKafkaProducer(bootstrap_servers=config.brokers, acks="all", max_request_size=4 * 1024 * 1024)
    await producer.start()
    try:
        async with LogReader(config) as reader:
            loop = Loop(config, producer, reader)
            try:
                yield loop
            finally:
                loop.close()
    finally:
        await producer.stop()


async def until(condition: Callable[[], Awaitable[Any]], seconds: float = 120.0, every_s: float = 0.1) -> Any:
    """Poll a condition until it holds, and return what it returned; fail after a deadline."""
    ends = time.monotonic() + seconds
    while True:
        value = await condition()
        if value:
            return value
        if time.monotonic() > ends:
            await show_tasks()
            raise AssertionError(f"not within {seconds} s, last found {value!r}")
        await asyncio.sleep(every_s)


async def show_tasks() -> None:
    """Let the roles write what their tasks wait for to the standard error stream, as mode does on this signal."""
    for role in RoleProcess.alive:
        if role.process is not None and role.process.poll() is None and _catches(role.process.pid, signal.SIGUSR1):
            role.process.send_signal(signal.SIGUSR1)
    await asyncio.sleep(SHOWN_S)


def _catches(process: int, number: int) -> bool:
    """Tell whether a process handles a signal yet, which would end it otherwise."""
    try:
        status = Path(f"/proc/{process}/status").read_text()
    except OSError:
        return False
    caught = re.search(r"^SigCgt:\s*([0-9a-f]+)", status, re.MULTILINE)
    return caught is not None and bool(int(caught[1], 16) >> (number - 1) & 1)


def decision(event_id: str, policy: str = "front", **fields: Any) -> dict[str, Any]:
    """Return a decision as decide would have logged it."""
    rule = {"window_s": WINDOW_MS / 1000, "early_s": 5.0, "reward": {"streams": {"clicks": {"weight": 1.0}}}}
    return {
        "v": 1,
        "event_id": event_id,
        "placement": policy,
        "policy": policy,
        "context": {"user": {"age": 30}},
        "actions": [{"id": "a"}, {"id": "b"}],
        "pmf": [0.5, 0.5],
        "chosen": "a",
        "propensity": 0.5,
        "ranking": ["a", "b"],
        "policy_version": "0-00000000",
        "rule": rule,
        **fields,
    }


def numbered(outcomes: Iterable[dict[str, Any]]) -> dict[int, dict[str, Any]]:
    """Return outcomes by seq, repeats dropped: the first of a seq counts."""
    by_seq: dict[int, dict[str, Any]] = {}
    for outcome in outcomes:
        by_seq.setdefault(outcome["outcome_seq"], outcome)
    return by_seq


def _without_nulls(value: Any) -> Any:
    """Leave out what is not set: TOML has no null."""
    if isinstance(value, dict):
        return {name: _without_nulls(each) for name, each in value.items() if each is not None}
    return [_without_nulls(each) for each in value] if isinstance(value, list) else value


async def stop_sentence(config: Config, role: str, part: str = "", meanwhile: Callable[[], None] = lambda: None) -> str:
    """Wait until a role says that something stands still, and return the sentence, as `bowerbird status` shows it."""
    redis = redis_client(config)

    async def sentence() -> str:
        meanwhile()
        parts = await kept(redis, config)
        return next((each.sentence for each in parts if each.role == role and part in each.part + each.sentence), "")

    try:
        return str(await until(sentence))
    finally:
        await redis.aclose()


async def run_named(config: Config, sentence: str, *further: str, code: int | None = 0) -> str:
    """Run exactly the command that a sentence names, in a process of its own, and return what it said.

    ``code`` is how it must end; None: in any way.
    """
    match = re.search("`bowerbird ([^`]+)`", sentence)
    assert match, sentence
    with tempfile.NamedTemporaryFile("w", suffix=".toml") as file:
        file.write(tomli_w.dumps(_without_nulls(msgspec.to_builtins(config))))
        file.flush()
        done = await asyncio.to_thread(
            subprocess.run,
            [sys.executable, "-m", "bowerbird", *match[1].split(), *further, "--config", file.name],
            capture_output=True,
            text=True,
            check=False,
        )
    assert code in (None, done.returncode), done.stdout + done.stderr
    return done.stdout + done.stderr


async def make_anew(loop: Loop, topic: str) -> None:
    """Delete a topic and create it again, as an operator does who wants it empty."""
    await delete(loop, topic)
    await topics.create(loop.config)


async def delete(loop: Loop, topic: str) -> None:
    """Delete a topic, and wait until it is gone."""
    admin = AIOKafkaAdminClient(bootstrap_servers=loop.config.brokers)
    await admin.start()
    try:
        name = loop.config.topic(topic)
        await admin.delete_topics([name])

        async def gone() -> bool:
            return name not in await admin.list_topics()

        await until(gone)
    finally:
        await admin.close()
