"""Kills of workers and servers with -9 at random points under load, and the proof that nothing came of it.

``make torture`` is 20 kills, at least 3 of each kind; six kills, each kind at least once, are part of the tests.
``python -m tests.torture --kills 20 --seed 7`` does the same kills in the same order again (their very moments depend
on the machine).
"""

import argparse
import asyncio
import json
import logging
import os
import random
import secrets
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import tomli_w
from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError

from bowerbird.settings import load
from bowerbird.supervisor import Supervisor
from bowerbird.verification import verify
from embedded.kafka import SHORT_SESSIONS
from embedded.servers import Servers, servers
from records.errors import StateRefused
from replay.proof.verdict import Verdict
from stream.config import Config
from stream.kafka import topics
from stream.kafka.log import LogReader
from stream.preflight import explain
from stream.role import LOOP_ROLES
from tests.serving import split

KINDS = (*LOOP_ROLES, "redis", "kafka")
WEIGHTS = {"clicks": 1.0, "purchases": 5.0}
MESSAGES_A_SECOND = 25
REQUESTS_A_MESSAGE = 3
LATEST_FEEDBACK_S = 1.5
SETTLE_S = 120.0

Say = Callable[[str], None]


@dataclass(slots=True)
class Kill:
    """One kill: what, how much input was unacknowledged at that moment, and when all worked again."""

    kind: str
    unacknowledged: int
    back_after_s: float


@dataclass(slots=True)
class Report:
    """What was done and what the logs prove."""

    seed: int
    kills: list[Kill] = field(default_factory=list)
    sent: set[str] = field(default_factory=set)
    decided: set[str] = field(default_factory=set)
    verdicts: dict[str, Verdict] = field(default_factory=dict)

    @property
    def problems(self) -> list[str]:
        """What is not as it must be."""
        sentences = [f"{len(lost)} requests have no decision"] if (lost := self.sent - self.decided) else []
        for name, verdict in self.verdicts.items():
            sentences += [f"{name}: {finding.kind} {finding.where}: {finding.message}" for finding in verdict.findings]
            if not verdict.ok or not verdict.identical or verdict.pending or verdict.waiting:
                sentences.append(f"{name}: {msgspec.json.encode(verdict).decode()}")
        counted = sum(verdict.decisions for verdict in self.verdicts.values())
        closed = sum(verdict.outcomes for verdict in self.verdicts.values())
        if not counted == closed == len(self.decided):
            sentences.append(f"{len(self.decided)} event ids were decided, {counted} decisions have {closed} outcomes")
        return sentences


def plan(kills: int, rng: random.Random) -> list[str]:
    """Return the kinds of the kills in their order: of 20 at least 3 of each, of 6 at least one."""
    least = min(3, kills // len(KINDS))
    kinds = list(KINDS) * least
    kinds += rng.choices(KINDS, k=kills - len(kinds))
    rng.shuffle(kinds)
    return kinds


class Load:
    """Requests of two policies and their feedback: before and after, twice, in any partition."""

    def __init__(self, config: Config, rng: random.Random) -> None:
        self._config, self._rng = config, rng
        self._producer = AIOKafkaProducer(bootstrap_servers=config.brokers, acks="all", enable_idempotence=True)
        self._later: set[asyncio.Task[None]] = set()
        self._stopping = False
        self._count = 0
        self.sent: set[str] = set()

    async def run(self) -> None:
        """Send until :meth:`stop`, and return when all is acknowledged."""
        await self._producer.start()
        try:
            while not self._stopping:
                ids = [f"visit-{self._count + index}" for index in range(REQUESTS_A_MESSAGE)]
                self._count += len(ids)
                for event_id in ids:
                    self._feed_back(event_id)
                self._spawn(self._ask(ids))
                await asyncio.sleep(self._rng.expovariate(MESSAGES_A_SECOND))
            while self._later:
                await asyncio.gather(*self._later)
        finally:
            for task in self._later:
                task.cancel()
            await self._producer.stop()

    def stop(self) -> None:
        """Send nothing new."""
        self._stopping = True

    def _spawn(self, work: Any) -> None:
        task = asyncio.ensure_future(work)
        self._later.add(task)
        task.add_done_callback(self._later.discard)

    async def _ask(self, ids: list[str]) -> None:
        requests = [
            {
                "event_id": event_id,
                "placement": self._rng.choice(list(self._config.policies)),
                "context": {"user": {"age": self._rng.randrange(7), "place": self._rng.choice("abc")}},
                "actions": [{"id": name, "features": {"length": size}} for size, name in enumerate("xyz")],
            }
            for event_id in ids
        ]
        await self._send("decision-requests", requests)
        self.sent.update(ids)

    def _feed_back(self, event_id: str) -> None:
        if self._rng.random() < 0.6:
            for _ in range(self._rng.choice([1, 1, 2])):
                self._spawn(self._after("clicks", [{"event_id": event_id, "id": "click"}]))
        if self._rng.random() < 0.1:
            self._spawn(self._after("purchases", [{"event_id": event_id}, {"event_id": event_id}]))

    async def _after(self, stream: str, feedback: list[dict[str, str]]) -> None:
        await asyncio.sleep(self._rng.uniform(0.0, LATEST_FEEDBACK_S))
        await self._send(stream, feedback)

    async def _send(self, topic: str, records: list[Any]) -> None:
        value = json.dumps(records).encode()
        partition = self._rng.randrange(self._config.partitions)
        while True:
            try:
                await self._producer.send_and_wait(self._config.topic(topic), value, partition=partition)
            except KafkaError:
                # Not known whether it was appended: again, as any caller would.
                await asyncio.sleep(0.2)
            else:
                return


class Torture:
    """One service, its load and its servers, and kills of any of them."""

    def __init__(self, config: Config, supervisor: Supervisor, own: Servers, rng: random.Random, say: Say) -> None:
        self._config, self._supervisor, self._servers = config, supervisor, own
        self._rng, self._say = rng, say

    async def kill(self, kind: str) -> Kill:
        """Kill at a random moment when unacknowledged input is there; return when all work again."""
        await asyncio.sleep(self._rng.uniform(0.2, 1.5))
        while (unacknowledged := await self._unacknowledged(kind)) == 0:
            await asyncio.sleep(0.01)
        started = time.monotonic()
        if kind in LOOP_ROLES:
            restarts = self._supervisor.restarts[kind]
            os.kill(self._supervisor.pids[kind], signal.SIGKILL)
            async with asyncio.timeout(SETTLE_S):
                while self._supervisor.restarts[kind] == restarts:
                    await asyncio.sleep(0.02)
        else:
            server = self._servers.redis if kind == "redis" else self._servers.kafka
            await asyncio.to_thread(server.kill)
            await asyncio.sleep(self._rng.uniform(0.0, 2.0))
            await asyncio.to_thread(server.restart)
        await self._supervisor.until_ready(SETTLE_S)
        return Kill(kind, unacknowledged, time.monotonic() - started)

    async def _unacknowledged(self, kind: str) -> int:
        """Return how many messages lie before a role (a server: before any) that it has not acknowledged."""
        config = self._config
        feedback = [config.topic(stream) for stream in config.streams]
        inputs = {
            "decide": [config.topic("decision-requests")],
            "join": [config.topic("decisions"), *feedback],
            "learn": [config.topic("rewards")],
        }
        waiting = 0
        async with LogReader(config) as reader:
            for role in [kind] if kind in LOOP_ROLES else LOOP_ROLES:
                for topic in inputs[role]:
                    partitions = await reader.partitions_of(topic)
                    ends = await reader.ends(partitions)
                    acknowledged = await reader.committed(config.group(role), partitions)
                    waiting += sum(end - acknowledged.get(partition, 0) for partition, end in ends.items())
        return waiting


async def torture(kills: int, seed: int, say: Say = print) -> Report:
    """Do the kills under load, let everything settle, and return what the logs prove."""
    rng = random.Random(seed)
    report = Report(seed)
    # Its clients tell of every attempt at a broker that is away, which is the point here.
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
    say(f"torture: seed {seed}, {kills} kills")
    with (
        tempfile.TemporaryDirectory(prefix="bowerbird-torture-") as folder,
        servers(cluster=True, properties=SHORT_SESSIONS) as own,
    ):
        config, file = _settings(own, Path(folder))
        await topics.create(config)
        with (Path(folder) / "roles.log").open("wb") as log:
            async with Supervisor(config, LOOP_ROLES, file, stderr=log) as supervisor:
                await supervisor.until_ready(SETTLE_S)
                load_ = Load(config, rng)
                loading = asyncio.create_task(load_.run())
                try:
                    tortured = Torture(config, supervisor, own, rng, say)
                    for number, kind in enumerate(plan(kills, rng), 1):
                        done = await tortured.kill(kind)
                        report.kills.append(done)
                        say(
                            f"{number:>2} {kind:<6} {done.unacknowledged:>5} messages unacknowledged,"
                            f" all ready after {done.back_after_s:.1f} s"
                        )
                    load_.stop()
                    await loading
                    report.sent = load_.sent
                    report.verdicts = await _settled(config, report.sent)
                    report.decided = await _decided(config)
                finally:
                    loading.cancel()
                    if report.problems or not report.verdicts:
                        _show_roles(Path(folder) / "roles.log", say)
    return report


def _settings(own: Servers, folder: Path) -> tuple[Config, Path]:
    reward = {
        "clip": [0.0, 10.0],
        "close_on": ["purchases"],
        "streams": {name: {"weight": weight} for name, weight in WEIGHTS.items()},
    }
    vw = {"kind": "vw", "arguments": "--cb_explore_adf --epsilon 0.2 -q uL", "publish_ms": 200, "publish_examples": 50}
    document = {
        "brokers": own.brokers,
        "redis_url": own.redis_url,
        "shards": 2,
        "session_timeout_s": 2.0,
        "early_s": 30.0,
        "request_ttl_ms": 60_000,
        **split(
            {
                "front": {**vw, "window_s": 2.0, "reward": reward},
                "side": {"window_s": 1.0, "reward": reward},
            }
        ),
    }
    file = folder / "bowerbird.toml"
    file.write_text(tomli_w.dumps(document))
    return load(file, {}), file


async def _settled(config: Config, sent: set[str]) -> dict[str, Verdict]:
    """Return the verdicts once every request is decided, closed and learned; the last ones after a deadline."""
    ends = time.monotonic() + SETTLE_S
    while True:
        verdicts: dict[str, Verdict] = {}
        try:
            verdicts = {name: await verify(config, name) for name in config.policies}
        except (KafkaError, StateRefused, OSError) as error:
            if time.monotonic() > ends or explain(error, config) is None:
                raise
        waits = sum(verdict.pending + verdict.waiting for verdict in verdicts.values())
        decisions = sum(verdict.decisions for verdict in verdicts.values())
        if time.monotonic() > ends or (verdicts and not waits and decisions >= len(sent)):
            return verdicts
        await asyncio.sleep(0.5)


async def _decided(config: Config) -> set[str]:
    """Return the event ids that have a decision, read without any code of the verification."""
    event_ids: set[str] = set()
    topic = config.topic("decisions")
    async with LogReader(config) as reader:
        for partition in await reader.partitions(topic):
            async for message in reader.read(topic, partition, 0):
                records = json.loads(message.value or b"[]")
                event_ids.update(each["event_id"] for each in (records if isinstance(records, list) else [records]))
    return event_ids


def _show_roles(log: Path, say: Say) -> None:
    """Say what the roles complained of."""
    for line in log.read_text("utf-8", "replace").splitlines()[-3000:]:
        with suppress(ValueError, KeyError, TypeError):
            record = json.loads(line)
            if record["level"] in ("ERROR", "CRITICAL"):
                say(line[:2000])


def main() -> int:
    """Run the torture as a command."""
    parser = argparse.ArgumentParser(prog="python -m tests.torture", description=__doc__)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=None)
    options = parser.parse_args()
    report = asyncio.run(torture(options.kills, secrets.randbelow(10_000) if options.seed is None else options.seed))
    for problem in report.problems:
        print(problem)
    kinds = ", ".join(
        f"{count} x {kind}" for kind, count in sorted(Counter(each.kind for each in report.kills).items())
    )
    print(f"{len(report.kills)} kills ({kinds}), {len(report.sent)} requests")
    for name, verdict in report.verdicts.items():
        print(
            f"{name}: {verdict.decisions} decisions, {verdict.outcomes} outcomes, {verdict.learned} learned,"
            f" closed {verdict.closed}, {verdict.missing} missing, {verdict.doubled} doubled, {verdict.wrong} wrong,"
            f" {verdict.repeats} harmless repeats, {verdict.versions} versions,"
            f" {'identical' if verdict.identical else 'NOT identical'} {verdict.live_digest[:8]}"
        )
    print("nothing lost, nothing doubled" if not report.problems else f"NOT right, seed {report.seed}")
    return 1 if report.problems else 0


if __name__ == "__main__":
    sys.exit(main())
