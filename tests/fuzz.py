"""Records that any client of Kafka may write, into every topic that a role reads, while good ones are checked.

``python -m tests.fuzz --minutes 30 --seed 7``: each step writes odd records, and then asks for a decision, clicks, and
waits for its outcome. Exit code 1 where a good record was not served in time, a process died, a command broke, or
`verify` was not right at the end.
"""

import argparse
import asyncio
import gzip
import json
import random
import secrets
import struct
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import tomli_w
from aiokafka import AIOKafkaProducer
from aiokafka.structs import TopicPartition
from confluent_kafka import Producer
from redis.asyncio import Redis

from bowerbird.settings import load
from bowerbird.supervisor import Supervisor
from embedded.servers import Servers, servers
from stream.config import Config
from stream.kafka import topics
from stream.kafka.consumer import reading
from stream.redis.policy_store import read_published
from stream.role import ROLES
from stream.shutdown import closed, ended, started
from tests.real.loop import decision
from tests.real.test_foreign_records import Foreign, _Name, append_batch
from tests.real.test_learn import outcome
from tests.serving import split

TOPICS = ("decision-requests", "decisions", "clicks", "purchases", "rewards", "versions", "dead-letters")
CODECS = ("none", "gzip", "snappy", "lz4", "zstd")
LEVELS = {"gzip": 9, "lz4": 12, "zstd": 12}
SERVED_S = 30.0
"""A good record is served so long after odd ones; an open transaction holds it for longer."""
OPEN_S = 40.0
TRANSACTION_MS = 2_000
LEARNED_EVERY = 5
COMMANDS_EVERY = 12
ACTIONS = [{"id": "boots"}, {"id": "hat"}]
DAY_MS = 86_400_000

Value = bytes | None
Say = Callable[[str], None]


class Broken(Exception):  # noqa: N818
    """Something that a record may not do has happened."""


def odd_text(rng: random.Random) -> str:
    """Return the text of a JSON value that few programs write."""
    depth = rng.choice([3, 100, 1_000, 20_000])
    return rng.choice(
        [
            "null", "true", "-0.0", "1e308", "-1e400", "1E-400", "0.1e1", "NaN", "-Infinity", "9" * 40, "1" + "0" * 400,
            "18446744073709551616", "-9223372036854775809", '""', '"\\u0000"', '"\\ud800"', '"\\ud83d\\ude00"',
            '"' + "ä" * rng.choice([64, 65, 128, 5_000]) + '"', "[" * depth + "]" * depth,
            '{"a":' * depth + "1" + "}" * depth,
            "[]", "{}", "[[]]", "[null]", '{"":""}', '{"a":1,"a":2}', "[" + "0," * rng.choice([10, 50_000]) + "0]",
            '{"id":"x"}', '[{"id":"x"},{"id":"x"}]', '"2026-01-01T00:00:00Z"', "01", "+1", "'x'", '"\t"', "1 2",
        ]
    )  # fmt: skip


def good(topic: str, rng: random.Random) -> dict[str, Any]:
    """Return a record as the loop has it, of an event that nothing else names."""
    name = f"odd-{rng.getrandbits(48):x}"
    if topic == "decision-requests":
        return {"placement": "front", "event_id": name, "actions": ACTIONS, "context": {"user": {"age": 3}}}
    if topic == "decisions":
        return decision(name)
    if topic in ("clicks", "purchases"):
        return {"event_id": name, "id": "1", "value": 1.0, "activate": True}
    if topic == "rewards":
        return dict(outcome(rng.randint(1, 9), policy="nobodys"))
    if topic == "versions":
        return {"v": 1, "policy": "nobodys", "number": rng.choice([0, 1, 2**63]), "cut": 5, "last_seqs": {"0": 9}}
    return {"any": "letter"}


def changed(record: dict[str, Any], rng: random.Random) -> str:
    """Return a good record as text, in which some fields are odd, missing, new, or there twice."""
    fields = {name: json.dumps(value) for name, value in record.items()}
    for name in rng.sample(sorted(fields), min(len(fields), rng.randint(1, 2))):
        fields[name] = odd_text(rng)
        if rng.random() < 0.2:
            del fields[name]
    pairs = [f"{json.dumps(name)}:{text}" for name, text in fields.items()]
    if rng.random() < 0.3:
        pairs.append(rng.choice(pairs) if pairs else '"x":1')
    if rng.random() < 0.3:
        pairs.append(f'"{rng.choice(["v", "expires_at_ms", "user_id", "rule", "x"])}":{odd_text(rng)}')
    return "{" + ",".join(pairs) + "}"


def odd_value(topic: str, rng: random.Random) -> Value:
    """Return what a message may hold instead of a record."""
    record = changed(good(topic, rng), rng) if rng.random() < 0.8 else json.dumps(good(topic, rng))
    text = record if rng.random() < 0.6 else odd_text(rng)
    if rng.random() < 0.25:
        text = "[" + ",".join(rng.choice([text, record, odd_text(rng)]) for _ in range(rng.randint(0, 30))) + "]"
    content = text.encode("utf-8", "surrogatepass")
    how = rng.randrange(16)
    if how == 0:
        return rng.choice([None, b"", b"\x00", b"\xef\xbb\xbf" + content])
    if how == 1:
        return text.encode("utf-16", "surrogatepass")
    if how == 2:
        return rng.choice([gzip.compress(content), b"\x00" + struct.pack(">i", 7) + content, b"Obj\x01" + content])
    if how == 3:
        return content[: rng.randint(0, len(content))]
    if how == 4:
        return rng.randbytes(rng.choice([1, 10, 1_000, 200_000]))
    if how == 5:
        return b'{"event_id":"' + b"x" * 900_000 + b'"}'
    if how == 6:
        return b"\x08\x96\x01\x12\x07" + content
    return content


def odd_headers(rng: random.Random, config: Config) -> list[tuple[str, bytes | None]]:
    """Return headers: mostly few, some that name replies, some very many."""
    if rng.random() < 0.05:
        return [(f"h{number % 7}", b"x") for number in range(3_000)]
    reply = rng.choice(
        ["nowhere", "__consumer_offsets", config.topic("rewards"), config.topic("replies.x"), "", "ä" * 300]
    )
    candidates: list[tuple[str, bytes | None]] = [
        ("reply-topic", rng.choice([None, b"\xff", reply.encode()])),
        ("correlation-id", rng.choice([None, b"", b"\xff" * 2_000])),
        ("expires-ms", rng.choice([None, b"-1", b"9" * 30, b"x"])),
        ("twice", b"1"),
        ("twice", None),
        ("", b""),
    ]
    return rng.sample(candidates, rng.randint(0, len(candidates)))


class Writer:
    """Writes odd records in the ways that clients have."""

    def __init__(self, config: Config, producer: AIOKafkaProducer, rng: random.Random) -> None:
        self._config, self._producer, self._rng = config, producer, rng
        self._open: list[Producer] = []

    async def step(self) -> tuple[str, bool]:
        """Write some; return what, in words, and whether a transaction stays open for a while."""
        rng, topic = self._rng, self._rng.choice(TOPICS)
        how = rng.choice(["plain", "plain", "plain", "headers", "transaction", "many"])
        count = rng.choice([1, 3, 20]) if how != "many" else 10_000
        name = self._config.topic(topic)
        if how == "headers":
            names: list[tuple[str, bytes | None]] = [(_Name("a"), b"\xff"), *odd_headers(rng, self._config)]
            cases: list[Foreign] = [(self._key(), odd_value(topic, rng), names) for _ in range(min(count, 3))]
            # A batch must fit into the largest request that the topic takes.
            small = [case for case in cases if len(case[1] or b"") < 150_000]
            await append_batch(self._producer, name, small or [(None, None, names)])
            return f"{len(small)} with odd names of headers into {topic}", False
        end = rng.choice(["commit", "abort", "open"]) if how == "transaction" else ""
        codec = rng.choice(CODECS)
        await asyncio.to_thread(self._write, name, topic, codec, count, end)
        return f"{count} by {codec} {end} into {topic}", end == "open"

    def _key(self) -> bytes | None:
        return self._rng.choice([None, b"", b"front", b"\xff\x00", b"k" * 50_000])

    def _write(self, name: str, topic: str, codec: str, count: int, end: str) -> None:
        rng = self._rng
        options: dict[str, Any] = {
            "bootstrap.servers": self._config.brokers,
            "compression.type": codec,
            "linger.ms": rng.choice([0, 20]),
            "message.max.bytes": 900_000_000,
            "enable.idempotence": rng.random() < 0.5,
        }
        if codec in LEVELS:
            options["compression.level"] = rng.randint(1, LEVELS[codec])
        if end:
            options |= {"transactional.id": secrets.token_hex(4), "transaction.timeout.ms": TRANSACTION_MS}
            options["enable.idempotence"] = True
        producer = Producer(options)
        if end:
            producer.init_transactions(60)
            producer.begin_transaction()
        now_ms = round(time.time() * 1000)
        many = odd_value(topic, rng) if count > 100 else None
        for number in range(count):
            value = (many or b"{}")[:300] if count > 100 else odd_value(topic, rng)
            producer.produce(
                name,
                value,
                self._key() if count <= 100 else None,
                timestamp=rng.choice([0, 1, now_ms, now_ms + 3_650 * DAY_MS, now_ms - 20_000 * DAY_MS]),
                headers=cast(Any, odd_headers(rng, self._config) if number < 20 else None),
            )
            producer.poll(0)
        producer.flush(60)
        if end == "commit":
            producer.commit_transaction(60)
        elif end == "abort":
            producer.abort_transaction(60)
        elif end == "open":
            # Kept, so that nothing ends it but the broker.
            self._open = [*self._open[-3:], producer]


class Heard:
    """Follows decisions and outcomes; the ids of those that are there."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self.decided: set[str] = set()
        self.rewards: dict[str, float] = {}

    async def run(self) -> None:
        """Read for ever."""
        consumer = await started(
            reading(bootstrap_servers=self._config.brokers, group_id=None, enable_auto_commit=False)
        )
        try:
            names = {self._config.topic(name): name for name in ("decisions", "rewards")}
            counts = {"decisions": self._config.partitions, "rewards": self._config.rewards_partitions}
            where = [TopicPartition(full, part) for full, name in names.items() for part in range(counts[name])]
            consumer.assign(where)
            await consumer.seek_to_beginning(*where)
            while True:
                for records in (await consumer.getmany(timeout_ms=200)).values():
                    for record in records:
                        self._take(names[record.topic], record.value)
        finally:
            await closed(consumer)

    def _take(self, name: str, value: Value) -> None:
        try:
            content = json.loads(value or b"null")
        except (ValueError, RecursionError):
            return
        for each in content if isinstance(content, list) else [content]:
            if (
                isinstance(each, dict)
                and isinstance(each.get("event_id"), str)
                and each["event_id"].startswith("good-")
            ):
                if name == "decisions":
                    self.decided.add(each["event_id"])
                else:
                    self.rewards[each["event_id"]] = each["reward"]


class Campaign:
    """Steps, and what each must leave as it was."""

    def __init__(
        self, config: Config, file: Path, supervisor: Supervisor, producer: AIOKafkaProducer, redis: Redis, say: Say
    ) -> None:
        self._config, self._file, self._supervisor = config, file, supervisor
        self._producer, self._redis, self._say = producer, redis, say
        self._heard = Heard(config)
        self.steps = 0
        self.slowest_s = 0.0
        self.problems: list[str] = []

    async def run(self, minutes: float, rng: random.Random) -> None:
        """Go on until the time is over."""
        hearing = asyncio.create_task(self._heard.run())
        writer, ends, examples = Writer(self._config, self._producer, rng), time.monotonic() + 60 * minutes, 0
        try:
            while time.monotonic() < ends:
                self.steps += 1
                what, held = await writer.step()
                took_s = await self._served(what, OPEN_S if held else SERVED_S)
                self._say(f"{self.steps}: {what}: served after {took_s:.1f} s")
                self._look_at_restarts(what)
                if self.steps % LEARNED_EVERY == 0:
                    examples = await self._learned(what, examples)
                if self.steps % COMMANDS_EVERY == 0:
                    await self._commands()
            await self._commands()
            await self._verified()
        finally:
            await ended(hearing)

    async def _served(self, what: str, within_s: float) -> float:
        name, began = f"good-{self.steps}", time.monotonic()
        request = {"placement": "front", "event_id": name, "actions": ACTIONS}
        await self._producer.send_and_wait(self._config.topic("decision-requests"), json.dumps(request).encode())
        await self._until(lambda: name in self._heard.decided, within_s, f"no decision after {what}")
        click = json.dumps({"event_id": name, "id": "1"}).encode()
        await self._producer.send_and_wait(self._config.topic("clicks"), click)
        await self._until(lambda: name in self._heard.rewards, within_s, f"no outcome after {what}")
        took_s = time.monotonic() - began
        self.slowest_s = max(self.slowest_s, took_s)
        if (reward := self._heard.rewards.get(name)) not in (1.0, None):
            self._problem(f"reward {reward} after {what}")
        return took_s

    async def _until(self, condition: Callable[[], bool], within_s: float, problem: str) -> None:
        ends = time.monotonic() + within_s
        while not condition():
            if time.monotonic() > ends:
                self._problem(f"{problem} within {within_s:g} s")
                # Whether it comes at all.
                within_s, ends = 120.0, time.monotonic() + 120
                if "ever" in problem:
                    raise Broken(problem)
                problem += ", nor ever"
            await asyncio.sleep(0.05)

    def _look_at_restarts(self, what: str) -> None:
        restarts = {role: count for role, count in self._supervisor.restarts.items() if count}
        if restarts != getattr(self, "_restarts", {}):
            self._restarts = restarts
            self._problem(f"a role died: {restarts} after {what}")

    async def _learned(self, what: str, before: int) -> int:
        ends = time.monotonic() + SERVED_S
        while time.monotonic() < ends:
            published = await read_published(self._redis, self._config, "front")
            if published is not None and published.record.examples > before:
                return int(published.record.examples)
            await asyncio.sleep(0.2)
        self._problem(f"nothing was learned after {what}")
        return before

    async def _commands(self) -> None:
        await self._command("status", "--json", codes=(0, 1))
        await self._command("dead-letters", "list", "--json", codes=(0, 1))
        await self._command("dead-letters", "show", "--limit", "20", codes=(0, 1))
        await self._command("trace", f"good-{self.steps}", codes=(0,))

    async def _verified(self) -> None:
        """Look at what `verify` says: it may report foreign records in ``rewards``, and nothing else."""
        verdict = json.loads(await self._command("verify", "front", "--json", codes=(0, 1), within_s=300) or "{}")
        wrong = {name: verdict.get(name) for name in ("missing", "doubled", "wrong") if verdict.get(name) != 0}
        if wrong or not verdict.get("identical") or set(verdict.get("found", {})) - {"unreadable"}:
            self._problem(f"verify: {wrong}, {verdict}")

    async def _command(self, *arguments: str, codes: tuple[int, ...], within_s: float = 60) -> str:
        """Run a command, and return what it wrote."""
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "bowerbird", *arguments, "--config", str(self._file)),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        try:
            async with asyncio.timeout(within_s):
                output, _ = await process.communicate()
        except TimeoutError:
            process.kill()
            await process.wait()
            self._problem(f"{arguments[0]} did not end within {within_s:g} s")
            return ""
        if process.returncode not in codes or b"Traceback" in output:
            self._problem(f"{' '.join(arguments)} ended with {process.returncode}: {output[-3000:].decode()}")
        return str(output.decode())

    def _problem(self, problem: str) -> None:
        self.problems.append(problem)
        self._say(f"PROBLEM {problem}")


def settings(own: Servers, folder: Path) -> tuple[Config, Path]:
    """Return a service with all roles, and the file of its settings."""
    streams = {"clicks": {"weight": 1.0}, "purchases": {"weight": 0.0, "aggregate": "sum"}}
    policy = {
        "kind": "vw",
        "arguments": "--cb_explore_adf --epsilon 0.2 -q UA",
        "window_s": 60.0,
        "publish_ms": 100,
        "reward": {"close_on": ["clicks"], "streams": streams},
    }
    document = {
        "brokers": own.brokers,
        "redis_url": own.redis_url,
        "prefix": f"z-{secrets.token_hex(4)}-",
        "session_timeout_s": 6.0,
        "request_ttl_ms": 60_000,
        "early_s": 0.5,
        "metrics_port": 0,
        "archive": {"url": str(folder / "archive"), "max_s": 2.0},
        **split({"front": policy}),
    }
    file = folder / "bowerbird.toml"
    file.write_text(tomli_w.dumps(document))
    return load(file), file


async def fuzz(minutes: float, seed: int, log: Path, say: Say = print) -> Campaign:
    """Run a campaign on servers of its own."""
    rng = random.Random(seed)
    with tempfile.TemporaryDirectory() as folder, servers() as own, log.open("wb") as errors:
        config, file = settings(own, Path(folder))
        await topics.create(config)
        producer = await started(AIOKafkaProducer(bootstrap_servers=config.brokers, acks="all"))
        try:
            async with (
                Supervisor(config, ROLES, file, stderr=errors) as supervisor,
                Redis.from_url(own.redis_url) as redis,
            ):
                await supervisor.until_ready()
                campaign = Campaign(config, file, supervisor, producer, redis, say)
                try:
                    await campaign.run(minutes, rng)
                except Broken:
                    say("given up")
                return campaign
        finally:
            await closed(producer)


def main() -> int:
    """Run as a script."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--seed", type=int, default=secrets.randbelow(10_000))
    parser.add_argument("--log", type=Path, default=Path(tempfile.gettempdir()) / "bowerbird-fuzz.log")
    options = parser.parse_args()
    done = asyncio.run(fuzz(options.minutes, options.seed, options.log, lambda line: print(line, flush=True)))
    print(f"seed {options.seed}: {done.steps} steps, slowest {done.slowest_s:.1f} s, {len(done.problems)} problems")
    for problem in done.problems:
        print(f"- {problem}")
    return 1 if done.problems else 0


if __name__ == "__main__":
    sys.exit(main())
