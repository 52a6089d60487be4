"""A world for learners, made by hand: a log of rewards, `versions`, a store, workers that stop at every step.

Nothing here waits for anything: a worker's coroutine is sent on step by step, so that any two of them interleave
and one may die between any two steps.
"""

import json
from collections.abc import Awaitable, Callable, Coroutine, Generator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeVar

import msgspec

from policies.controls import Control
from policies.learn_position import Position
from policies.learn_worker import LearnWorker, Load, Take
from policies.learner import Learner
from policies.policy import digest
from policies.policy_store import PolicyIdentity, PolicyStore, Saved
from policies.publish_schedule import PublishSchedule
from policies.publisher import NOTHING_SAVED, Publisher, SaveResult, Seen
from policies.question import Pick, Pmf, Question
from policies.training import outcomes_of
from records.errors import BadInput
from records.policy_version import PolicyVersion
from records.shape import UNSHAPED
from records.versions import versions_in
from stream.controls import Controlled, control

POISON = -999.0
"""A reward that the ledger refuses."""
NAMES = ("left", "right")
PARTITION = 0
Learns = Mapping[str, tuple[str, ...]]
"""Whose outcomes each policy learns."""
OWN: Learns = {name: (name,) for name in NAMES}
SHARED: Learns = {"left": ("left",), "right": ("left", "right")}
"""A policy that decides for a placement, and one that learns from both."""

Result = TypeVar("Result")


class Ledger:
    """A policy that writes down what it learned; each load begins a new page, as a workspace with unsaved state."""

    kind, arguments = "ledger", ""

    def __init__(self, kind: str = "ledger", arguments: str = "", model: bytes | None = None) -> None:
        self.pages: list[list[str]] = json.loads(model) if model is not None else []
        self.pages.append([])

    def predict(self, question: Question, taken: Sequence[Pick] = ()) -> Pmf:
        return [1.0]

    def learn(self, question: Question, picks: Sequence[Pick], rewards: Sequence[float]) -> None:
        if POISON in rewards:
            raise BadInput("poison", "reward", str(rewards), "another")
        self.pages[-1] += [question.actions[pick.action].id for pick in picks]

    def dump(self) -> bytes:
        return json.dumps(self.pages if self.pages[-1] else self.pages[:-1]).encode()

    def close(self) -> None:
        pass


LEDGER = partial(Ledger, "ledger", "")


@dataclass(frozen=True)
class Told:
    """An outcome as the log has it."""

    placement: str
    shard: int
    outcome_seq: int
    learn: bool
    reward: float = 1.0

    @property
    def name(self) -> str:
        return f"{self.placement}-{self.shard}-{self.outcome_seq}"

    def wire(self) -> dict[str, Any]:
        decision = {"context": {}, "actions": [{"id": self.name}], "chosen": self.name, "propensity": 0.5}
        return {
            "v": 1,
            "event_id": self.name,
            "placement": self.placement,
            "policy": self.placement,
            "shard": self.shard,
            "outcome_seq": self.outcome_seq,
            "revision": 0,
            "reward": self.reward,
            "learn": self.learn,
            "why": "window",
            "closed_ms": 0,
            "feedback": [],
            "decision": decision,
        }


@dataclass
class RewardsLog:
    """One partition of `rewards`: messages by offset, with holes."""

    messages: dict[int, list[Told]] = field(default_factory=dict)
    end: int = 0
    seqs: dict[tuple[str, int], int] = field(default_factory=dict)

    def append(self, outcomes: list[Told], hole: int = 0) -> None:
        self.end += hole
        self.messages[self.end] = outcomes
        self.end += 1

    def new(self, placement: str, shard: int, learn: bool, reward: float = 1.0) -> Told:
        seq = self.seqs.get((placement, shard), 0) + 1
        self.seqs[placement, shard] = seq
        return Told(placement, shard, seq, learn, reward)

    def value(self, offset: int) -> bytes:
        return json.dumps([outcome.wire() for outcome in self.messages[offset]]).encode()

    def ledger(
        self, placements: Sequence[str], versions: Sequence[PolicyVersion], end: int = 0
    ) -> tuple[list[list[str]], dict[str, int]]:
        """Return what a ledger of some placements must hold after these versions, and the seqs, from the log alone.

        ``end``: and after what comes then, up to this offset.
        """
        seqs: dict[str, int] = {}
        pages: list[list[str]] = []
        begin, held = 0, False
        for cut, shape in [*((version.cut, version.shape) for version in versions), (end, UNSHAPED)]:
            page: list[str] = []
            for offset in sorted(self.messages):
                if begin <= offset < cut:
                    for outcome in self.messages[offset]:
                        outbox = f"{outcome.placement}/{outcome.shard}"
                        if outcome.placement not in placements or outcome.outcome_seq <= seqs.get(outbox, 0):
                            continue
                        assert outcome.outcome_seq == seqs.get(outbox, 0) + 1
                        seqs[outbox] = outcome.outcome_seq
                        if outcome.learn and outcome.reward != POISON and not held:
                            page.append(outcome.name)
            if page:
                pages.append(page)
            begin, held = max(begin, cut), not shape.learn
        return pages, seqs


class AwayError(Exception):
    """A server does not answer; whether it has done what it was asked for is not known."""


class _Pause:
    def __await__(self) -> Generator[None, None, None]:
        yield


class SteppedStore:
    """A store whose every call stops before and after it is done."""

    def __init__(self, inner: PolicyStore, run: Callable[[Coroutine[Any, Any, Any]], Any]) -> None:
        self.inner, self.run = inner, run

    async def read(self, name: str, *, model: bool = True) -> Saved | None:
        await _Pause()
        saved: Saved | None = self.run(self.inner.read(name, model=model))
        await _Pause()
        return saved

    async def save(self, name: str, expected: Position | None, saved: Saved) -> bool:
        await _Pause()
        done: bool = self.run(self.inner.save(name, expected, saved))
        await _Pause()
        return done


class SteppedVersions:
    """`versions` as one worker sees it: the records are everybody's, how far it has read is its own."""

    def __init__(self, records: list[tuple[str, bytes]]) -> None:
        self.records = records
        self.position = 0
        self._start: int | None = None
        self._seen: dict[str, Seen] = {}
        self._highest: dict[str, int] = {}

    async def append(self, policy: str, record: bytes) -> None:
        await _Pause()
        self.records.append((policy, record))
        await _Pause()

    async def read(self, start: int, saved: Mapping[str, int] = NOTHING_SAVED) -> None:
        await _Pause()
        self._highest |= saved
        if self._start is None or start < self._start:
            self._start = self.position = start
            self._seen = {}
        for policy, record in self.records[self.position :]:
            for version in versions_in(record, self._highest):
                self._seen.setdefault(policy, Seen()).add(version)
        self.position = len(self.records)
        await _Pause()

    async def refuse_hidden(self) -> None:
        pass

    def seen(self, policy: str) -> Seen:
        return self._seen.get(policy, Seen())


class Stepped:
    """A process that does one thing at a time.

    ``doing``: what it does now; it may be sent on, fail, or die with the process.
    """

    def __init__(self, world: "World") -> None:
        self.world = world
        self.versions = SteppedVersions(world.versions)
        self.doing: Coroutine[Any, Any, Any] | None = None

    def begin(self, work: Coroutine[Any, Any, Any]) -> None:
        assert self.doing is None
        self.doing = work

    def step(self) -> None:
        """Send on what it does to its next stop."""
        if self.doing is not None:
            try:
                self.doing.send(None)
            except StopIteration:
                self.doing = None
            except BaseException:
                self.doing = None
                raise

    def finish(self) -> None:
        while self.doing is not None:
            self.step()

    def fail(self) -> None:
        """Let the call that it waits for fail."""
        if self.doing is not None:
            try:
                self.doing.throw(AwayError())
            except (AwayError, StopIteration):
                pass
            else:
                raise AssertionError("a failed call was taken for granted")
            self.doing = None

    def die(self) -> None:
        if self.doing is not None:
            self.doing.close()
            self.doing = None


class Operator(Stepped):
    """A person's command that controls a policy."""

    def __init__(self, world: "World") -> None:
        super().__init__(world)
        self.results: list[Controlled] = []

    async def control(self, name: str, wanted: Control) -> None:
        """Put a control in force."""
        publisher = Publisher(name, self.world.identity(name), self.world.stepped, self.versions)

        async def pass_over(learner: Learner) -> None:
            await _Pause()
            for offset in sorted(self.world.log.messages):
                if offset >= learner.cut:
                    learner.take(offset, outcomes_of(self.world.learns[name], self.world.log.value(offset)))
            await _Pause()

        self.results.append(await control(publisher, wanted, 0, pass_over, LEDGER))


class Worker(Stepped):
    """A learner's process: it reads on from where it began."""

    def __init__(self, world: "World", start: int) -> None:
        super().__init__(world)
        self.next_offset = start
        self.worker: LearnWorker[int] = LearnWorker(dict.fromkeys(NAMES, PARTITION), world.learns)
        self.publishers: dict[str, Publisher] = {}
        self.acknowledged = start
        self.results: list[SaveResult] = []

    async def take(self) -> None:
        """Take the next message, if there is one."""
        log = self.world.log
        offsets = [offset for offset in log.messages if offset >= self.next_offset]
        if not offsets:
            return
        offset = min(offsets)
        assert not self.worker.offer(PARTITION, offset, log.value(offset), offset).unreadable
        # The machine saves when it likes.
        for work in self.worker.work(PARTITION, 0):
            if isinstance(work, Load):
                await self._loaded(work.name)
            elif isinstance(work, Take):
                self.worker.take(work)
        self.next_offset = offset + 1

    async def save(self, name: str, *, move: bool = True) -> None:
        """Save what was learned of a policy."""
        await self._loaded(name)
        self.results.append(await self.publishers[name].save(self.worker.learners[name], 0, move=move))

    async def _loaded(self, name: str) -> None:
        if name not in self.publishers:
            publisher = Publisher(name, self.world.identity(name), self.world.stepped, self.versions)
            saved = await publisher.load()
            position, model = (saved.position, saved.model) if saved is not None else (None, None)
            self.worker.load(Learner(name, LEDGER, position, model), PublishSchedule(1, 0), 0)
            self.publishers[name] = publisher

    def acknowledge(self) -> None:
        """Note what may be acknowledged; the broker learns of it later, if at all."""
        for offset in self.worker.acknowledgements(PARTITION):
            self.acknowledged = offset + 1


class World:
    """The logs, the store, the group's acknowledged offset, and two workers, of which one owns the partition."""

    def __init__(
        self, store: PolicyStore, run: Callable[[Coroutine[Any, Any, Any]], Any], learns: Learns = OWN
    ) -> None:
        self.log = RewardsLog()
        self.learns = learns
        self.versions: list[tuple[str, bytes]] = []
        self.store, self.run = store, run
        self.stepped = SteppedStore(store, run)
        self.committed = 0
        self._checked: object = None
        self.owner = 0
        self.workers = [Worker(self, 0), Worker(self, 0)]
        self.operators = [Operator(self), Operator(self)]

    def identity(self, name: str) -> PolicyIdentity:
        """Return what a policy is."""
        return PolicyIdentity("ledger", "", "salt", self.learns[name])

    def restart(self, number: int) -> None:
        """Kill a worker and start it again."""
        self.workers[number].die()
        self.workers[number] = Worker(self, self.committed)

    def commit(self, number: int) -> None:
        """Tell the broker what a worker has acknowledged; it hears only the owner."""
        if number == self.owner:
            self.committed = max(self.committed, self.workers[number].acknowledged)

    def saved(self, name: str) -> Saved | None:
        saved: Saved | None = self.run(self.store.read(name))
        return saved

    def held(self, name: str) -> set[str]:
        """Return the outcomes that came first while an operator held a policy, by the versions' cuts."""
        by_number = {
            version.number: version
            for version in (msgspec.json.decode(record, type=PolicyVersion) for _, record in self.versions)
            if version.policy == name
        }
        held: set[str] = set()
        passed: set[str] = set()
        for offset, outcomes in sorted(self.log.messages.items()):
            before = [version for _, version in sorted(by_number.items()) if version.cut <= offset]
            own = {outcome.name for outcome in outcomes if outcome.placement in self.learns[name]}
            if before and not before[-1].shape.learn:
                held |= own - passed
            passed |= own
        return held

    def check(self) -> None:
        """Assert the laws of learning in what is saved now."""
        state = ([self.saved(name) for name in NAMES], len(self.versions), self.committed)
        if state != self._checked:
            self._checked = state
            self._check()

    def _check(self) -> None:
        for name in NAMES:
            records: dict[int, bytes] = {}
            for policy, record in self.versions:
                if policy == name:
                    number = msgspec.json.decode(record, type=PolicyVersion).number
                    assert records.setdefault(number, record) == record, f"two records of version {number}"
            saved = self.saved(name)
            if saved is None:
                assert not records
                covered = Position(0, "")
            else:
                covered = saved.position
                self._check_policy(name, saved, records)
            for offset, outcomes in self.log.messages.items():
                if offset < self.committed:
                    own = [outcome for outcome in outcomes if outcome.placement in self.learns[name]]
                    assert all(
                        outcome.outcome_seq <= covered.last_seqs.get(f"{outcome.placement}/{outcome.shard}", 0)
                        for outcome in own
                    ), f"{name}: offset {offset} is acknowledged and nowhere saved"

    def _check_policy(self, name: str, saved: Saved, records: dict[int, bytes]) -> None:
        number = saved.position.number
        assert set(records) | {number} == set(range(1, number + 1)) | {number}, "versions has a hole"
        assert not records or max(records) <= number
        if saved.record is not None:
            assert records.setdefault(number, saved.record) == saved.record
        versions = [msgspec.json.decode(records[n], type=PolicyVersion) for n in sorted(records)]
        for count, version in enumerate(versions, 1):
            pages, seqs = self.log.ledger(self.learns[name], versions[:count])
            assert version.digest == digest(json.dumps(pages).encode()), f"version {version.version} is no replay"
            assert version.last_seqs == seqs
            assert version.examples == sum(map(len, pages))
        if saved.model is not None:
            assert json.loads(saved.model) == pages
        later, seqs = self.log.ledger(self.learns[name], versions, saved.position.cut)
        assert dict(saved.position.last_seqs) == seqs
        assert not versions or later == pages, "the position has passed what no version has learned"
        assert saved.position.control == (versions[-1].control if versions else None)
        assert saved.position.shape == (versions[-1].shape if versions else UNSHAPED)


def run_now(work: Awaitable[Result]) -> Result:
    """Return what a coroutine that waits for nothing returns."""
    try:
        cast_work: Any = work
        cast_work.send(None)
    except StopIteration as done:
        result: Result = done.value
        return result
    raise AssertionError("it waits")
