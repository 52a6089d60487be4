"""A small service in memory whose logs can be damaged: real core of the join, a learner of the test's own."""

import asyncio
import json
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple
from zlib import crc32

import msgspec

from policies.draw import draw
from policies.features import decode_action, decode_context
from policies.policy import digest, version_name
from policies.policy_store import PolicyIdentity
from policies.registry import make
from records.codec import encode
from records.limits import Limits
from records.log_identity import LogIdentity
from records.outcome import Outcome, outbox_name
from records.policy_version import PolicyVersion
from replay.proof.request import Live, VerificationRequest
from replay.proof.verdict import Verdict
from replay.proof.verify import Verification
from rewards.join_items import InputMessage, JoinSettings
from rewards.join_worker import Fetched, JoinState, JoinWorker, Work, carry_out
from rewards.memory_store import MemoryStore
from rewards.outcome import outcome_of
from rewards.store import DEAD_LETTERS, Unusable
from tests.policies.asking import learn_one

ARGUMENTS = "--cb_explore_adf --epsilon 0.1"
SHARDS = 2
TTL_S = 60.0
INPUTS = {"decisions": 3, "clicks": 2, "purchases": 2}
RULE: dict[str, Any] = {
    "window_s": 10.0,
    "early_s": 2.0,
    "activate_on": None,
    "reward": {
        "default": -0.1,
        "clip": [-5.0, 5.0],
        "close_on": ["purchases"],
        "streams": {"clicks": {"weight": 0.3, "aggregate": "sum"}, "purchases": {"value": True}},
    },
}


class Message(NamedTuple):
    """A message of a log."""

    topic: str
    partition: int
    offset: int
    time_ms: int
    value: bytes | None


def actions(number: int) -> list[dict[str, Any]]:
    """Return actions to choose from."""
    return [{"id": f"a{index}", "features": {"size": index + number % 3}} for index in range(3)]


def decision(event_id: str, number: int = 0, **fields: Any) -> dict[str, Any]:
    """Return a logged decision."""
    pmf = [0.25, 0.25, 0.5]
    drawn = draw("front", event_id, pmf)
    offered = actions(number)
    return {
        "v": 1,
        "event_id": event_id,
        "placement": "front",
        "policy": "front",
        "context": {"taste": f"t{number % 2}"},
        "actions": offered,
        "pmf": pmf,
        "chosen": offered[drawn.chosen]["id"],
        "ranking": [offered[index]["id"] for index in drawn.ranking],
        "propensity": pmf[drawn.chosen],
        "policy_version": "0-00000000",
        "rule": RULE,
    } | fields


@dataclass
class World:
    """Logs that grow; :meth:`run` lets the loop work on them."""

    logs: dict[tuple[str, int], list[Message]] = field(default_factory=lambda: defaultdict(list))
    versions: list[PolicyVersion] = field(default_factory=list)
    models: list[bytes] = field(default_factory=list)
    live: Live = field(default_factory=lambda: Live(None, None))
    watermark_ms: int = 0
    kind: str = "vw"
    arguments: str = ARGUMENTS
    versions_end: int | None = None
    starts: dict[tuple[str, int], int] = field(default_factory=dict)
    limits: Limits = field(default_factory=lambda: Limits(max_feedback=4))

    def append(self, topic: str, partition: int, time_ms: int, *records: Any) -> None:
        """Append a message; several records make an array."""
        log = self.logs[topic, partition]
        value = json.dumps(records[0] if len(records) == 1 else records).encode()
        log.append(Message(topic, partition, len(log) * 2, time_ms, value))

    def run(self, until_ms: int, cut_each: int = 5) -> "World":
        """Join all inputs up to a log time, write ``rewards``, learn and publish."""
        outcomes = asyncio.run(self._join(until_ms))
        for number, outcome in enumerate(outcomes):
            self.append_outcomes(until_ms + number, [outcome])
        self.publish(cut_each)
        return self

    def append_outcomes(self, time_ms: int, outcomes: Sequence[Outcome]) -> None:
        """Append a message to ``rewards``."""
        log = self.logs["rewards", 0]
        log.append(Message("rewards", 0, len(log) * 2, time_ms, encode(list(outcomes))))

    async def _join(self, until_ms: int) -> list[Outcome]:
        settings = JoinSettings(
            decisions="decisions",
            prefix="",
            shards=SHARDS,
            shard_of=lambda event_id: crc32(event_id.encode()) % SHARDS,
            early_s=2.0,
            close_grace_ms=0,
            dedup_horizon_s=TTL_S,
            feedback_limit=self.limits.max_feedback,
        )
        store, worker = MemoryStore(), JoinWorker(settings)
        inputs = [(topic, partition) for topic, count in INPUTS.items() for partition in range(count)]
        for topic, partition in inputs:
            worker.assign(topic, partition, start=0, fresh=True)
        incoming = sorted(
            (message for name in inputs for message in self.logs[name]), key=lambda message: message.time_ms
        )
        times = sorted({message.time_ms for message in incoming if message.time_ms < until_ms} | {until_ms})
        outcomes: list[Outcome] = []
        for time_ms in times:
            # A tick before what was appended at this time.
            tells = dict.fromkeys(inputs, 0)
            fetched = dict.fromkeys(inputs, Fetched(0, 0))
            await _done(worker, store, worker.tick(time_ms, tells, fetched, inputs))
            outcomes += await self._emit(store)
            for message in incoming:
                if message.time_ms == time_ms and time_ms < until_ms:
                    assert worker.offer(InputMessage(*message))
            while (work := worker.next()) is not None:
                await _done(worker, store, work)
        self.watermark_ms = until_ms
        return outcomes

    async def _emit(self, store: MemoryStore) -> list[Outcome]:
        outcomes: list[Outcome] = []
        for shard in range(SHARDS):
            for outbox, seq in (await store.outboxes(shard)).items():
                entries = await store.head(shard, outbox, 10_000)
                if outbox != DEAD_LETTERS:
                    outcomes += [outcome_of(shard, "", entry) for entry in entries if not isinstance(entry, Unusable)]
                await store.trim(shard, outbox, seq)
        return outcomes

    def publish(self, cut_each: int) -> None:
        """Learn the policy ``front`` from ``rewards`` and publish after each so many messages."""
        self.versions, self.models = [], []
        policy, seqs, examples = make(self.kind, self.arguments), dict[str, int](), 0
        since = 0
        for message in self.logs["rewards", 0]:
            for outcome in msgspec.json.decode(message.value or b"", type=list[Outcome]):
                if outcome.placement != "front" or outcome.outcome_seq <= seqs.get(
                    outbox_name("front", outcome.shard), 0
                ):
                    continue
                seqs[outbox_name("front", outcome.shard)] = outcome.outcome_seq
                if not outcome.learn:
                    continue
                logged = json.loads(bytes(outcome.decision))
                offered = [decode_action(json.dumps(each).encode(), Limits()) for each in logged["actions"]]
                learn_one(
                    policy,
                    decode_context(json.dumps(logged["context"]).encode(), Limits()),
                    offered,
                    [each.id for each in offered].index(logged["chosen"]),
                    logged["propensity"],
                    outcome.reward,
                )
                examples += 1
                since += 1
            if since >= cut_each:
                since = 0
                model = policy.dump()
                policy = make(self.kind, self.arguments, model)
                number = len(self.versions) + 1
                self.models.append(model)
                record = PolicyVersion(
                    placements=("front",),
                    policy="front",
                    number=number,
                    version=version_name(number, digest(model)),
                    kind=self.kind,
                    arguments=self.arguments,
                    salt="front",
                    cut=message.offset + 1,
                    last_seqs=dict(sorted(seqs.items())),
                    digest=digest(model),
                    examples=examples,
                )
                self.versions.append(record)
        if self.versions:
            last = self.versions[-1]
            self.live = Live(last, self.models[-1], last.cut, last.last_seqs)

    def outcomes(self) -> list[tuple[int, Outcome]]:
        """Return all outcomes with the index of their message."""
        return [
            (index, outcome)
            for index, message in enumerate(self.logs["rewards", 0])
            for outcome in msgspec.json.decode(message.value or b"", type=list[Outcome])
        ]

    def rewrite(self, index: int, outcomes: Sequence[Outcome]) -> None:
        """Replace a message of ``rewards``."""
        log = self.logs["rewards", 0]
        log[index] = log[index]._replace(value=encode(list(outcomes)))

    def identity(self, policy: str = "front") -> PolicyIdentity:
        """Return what a policy of this world is."""
        return PolicyIdentity(self.kind, self.arguments, policy, (policy,))

    def verify(self, policy: str = "front", **options: Any) -> Verdict:
        """Verify it as ``bowerbird verify`` does."""
        rewards = self.logs["rewards", 0]
        request = VerificationRequest(
            policy=policy,
            identity=self.identity(policy),
            live=self.live,
            watermark_ms=self.watermark_ms,
            rewards_end=rewards[-1].offset + 1 if rewards else 0,
            dedup_horizon_ms=round(TTL_S * 1000),
            shards=SHARDS,
            limits=self.limits,
            versions_end=self.versions_end,
            starts=self.starts,
        )
        with Verification(replace(request, **options)) as verification:
            for offset, value in enumerate([encode(LogIdentity(log_id="x")), *map(encode, self.versions)]):
                if offset >= self.starts.get(("versions", 0), 0):
                    verification.versions(Message("versions", 0, offset, 0, value))
            for message in self.of("decisions"):
                verification.decisions(message)
            for stream in sorted(verification.streams | {"clicks", "purchases"}):
                for message in self.of(stream):
                    verification.feedback(stream, message)
            for message in self.of("rewards"):
                verification.rewards(message)
            return verification.verdict()

    def of(self, topic: str) -> Iterable[Message]:
        """Return the messages of a topic, partition after partition, as far as retention has left them."""
        for (name, partition), log in sorted(self.logs.items()):
            if name == topic:
                start = self.starts.get((topic, partition), 0)
                yield from (message for message in log if message.offset >= start)


async def _done(worker: JoinWorker, store: MemoryStore, work: Work) -> None:
    for part in work.parts:
        for shard, step in part.items():
            await carry_out(worker, JoinState(store, "log"), shard, step)
    worker.done(work)


def busy_world(count: int = 40, limits: Limits | None = None) -> World:
    """Return a world with feedback of every sort, all of it closed and learned."""
    world = World() if limits is None else World(limits=limits)
    now = 1_000_000
    for number in range(count):
        event_id = f"visit-{number}"
        now += 700
        if number % 7 == 0:
            world.append("clicks", number % 2, now - 300, {"event_id": event_id, "id": "before"})
        fields: dict[str, Any] = {"placement": "side", "policy": "side"} if number % 9 == 4 else {}
        if number % 10 == 3:
            fields |= {"policy_version": "external"}
        if number % 11 == 5:
            fields |= {"expires_at_ms": now - 1}
        if number % 8 == 6:
            fields |= {"activate": False}
        world.append("decisions", number % 3, now, decision(event_id, number, **fields))
        if number % 13 == 2:
            world.append("decisions", (number + 1) % 3, now + 50, decision(event_id, number, **fields))
        if number % 13 == 7:
            other = decision(event_id, number, **fields) | {"policy_version": "9-99999999"}
            world.append("decisions", (number + 1) % 3, now + 60, other)
        if number % 3 == 0:
            world.append(
                "clicks",
                number % 2,
                now + 100,
                {"event_id": event_id, "id": "c1"},
                {"event_id": event_id, "id": "c2", "activate": True},
            )
            world.append("clicks", (number + 1) % 2, now + 200, {"event_id": event_id, "id": "c1"})
        if number % 5 == 0:
            world.append("purchases", number % 2, now + 300, {"event_id": event_id, "value": 1.7})
            world.append("clicks", number % 2, now + 400, {"event_id": event_id})
    # Two that are still pending at the end.
    world.append("decisions", 0, now + 15_000, decision("late-1"))
    world.append("decisions", 1, now + 15_100, decision("late-2"))
    return world.run(now + 20_000)
