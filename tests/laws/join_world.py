"""A world for the join: logs that grow, workers, emitters and everything that may happen to them.

The broker, the consumers and the emitters are simulated, a step at a time; the worker (:mod:`rewards.join_worker`),
what is emitted (:mod:`rewards.outcome`) and the store are the real ones. Whatever is done, in whatever order,
:meth:`World.finish` lets everything come to rest and compares what was emitted with what the oracle makes of the logs.

An action is a tuple of a name and whole numbers, which choose by their remainder. So every list of
actions is a schedule, and a failing one can be cut down.
"""

import json
import random
from collections import defaultdict, deque
from collections.abc import Callable, Coroutine, Generator, Sequence
from dataclasses import dataclass, field
from typing import Any, cast
from zlib import crc32

from records.codec import items
from rewards.join_items import InputMessage, JoinSettings
from rewards.join_worker import Fetched, JoinState, JoinWorker, Work, carry_out
from rewards.outcome import MESSAGE_BYTES, messages_of
from rewards.store import DEAD_LETTERS, ClosedWindow, JoinStore, Transaction, TransactionResult, Unusable
from tests.laws import oracle

Action = tuple[str, *tuple[int, ...]]
Input = tuple[str, int]
Call = Coroutine[Any, Any, Any]
Run = Callable[[Call], Any]
Steps = Coroutine[Call | None, Any, None]
"""What a worker does: at every :class:`_Stop` the world may go on without it; a call waited for is done first."""

STREAMS = ("decisions", "clicks", "views")
PARTITIONS = 3
MOST_PARTITIONS = 5
NEVER_WRITTEN = 2
START_MS = 1_700_000_000_000
GRACE_MS = 50
DEDUP_HORIZON_MS = 2_000
EARLY_S = 0.2
FEEDBACK_LIMIT = 3
EVENT_IDS = ("a", "B", "é", "a-b", "a b", "10", "9")
LOG = "log-1"
WORKERS = 2
EMITTERS = 2


def run_without_waiting(call: Call) -> Any:
    """Run a call that never waits, as those of a store in memory."""
    try:
        call.send(None)
    except StopIteration as done:
        return done.value
    raise AssertionError("the store in memory has waited")


@dataclass(slots=True)
class _Log:
    messages: list[InputMessage] = field(default_factory=list)
    end: int = 0


@dataclass(frozen=True)
class _Stop:
    """Where the world may go on without a task, and what is done first."""

    call: Call | None = None

    def __await__(self) -> Generator[Call | None, Any, Any]:
        return (yield self.call)


class _SteppedStore:
    """The store under test as a worker reaches it: each call is a stop, and its answer may be lost."""

    def __init__(self, world: "World") -> None:
        self._world = world

    async def apply(self, shard: int, log: str, transaction: Transaction) -> TransactionResult:
        answer = cast(TransactionResult, await _Stop(self._world.store.apply(shard, log, transaction)))
        if self._world.lost_answers:
            self._world.lost_answers -= 1
            answer = cast(TransactionResult, await _Stop(self._world.store.apply(shard, log, transaction)))
        return answer


class _Task:
    """Steps, and the answer to the call that the last one made. To crash it, forget it."""

    def __init__(self, run: Run, steps: Steps) -> None:
        self._run, self._steps = run, steps
        self._answer: Any = None

    def step(self) -> bool:
        """Go on to the next step; False after the last one."""
        try:
            call = self._steps.send(self._answer)
        except StopIteration:
            return False
        self._answer = None if call is None else self._run(call)
        return True

    def finish(self) -> None:
        """Take all steps that are left."""
        while self.step():
            pass


class _Worker:
    """What dies with the process. ``work`` and ``tick`` stand between two steps of the worker's two tasks.

    ``positions`` are the consumer's in the partitions that it knows to be assigned, ``handed`` the offsets after
    the last record that it handed out, ever; that record may still be in flight to the worker.
    """

    def __init__(self, settings: JoinSettings) -> None:
        self.join = JoinWorker(settings)
        self.positions: dict[Input, int] = {}
        self.handed: dict[Input, int] = {}
        self.in_flight: deque[InputMessage] = deque()
        self.work: _Task | None = None
        self.tick: _Task | None = None

    @property
    def waiting(self) -> int:
        return sum(self.join.waiting_of(*name) for name in self.join.inputs)


class World:
    """Logs, two workers and two emitters around one store.

    Parameters
    ----------
    store
        The store under test, empty.
    shards
        Parts of the join's state.
    prefix
        Stands before the topics' names.
    close_limit
        How many windows one call closes at most.
    portion_items
        How many items one call applies at most, so that arrays need several.
    run
        Runs a call of the store to its end.
    """

    def __init__(
        self,
        store: JoinStore,
        shards: int = 2,
        prefix: str = "t-",
        close_limit: int = 500,
        portion_items: int = 3,
        run: Run = run_without_waiting,
    ) -> None:
        self.store = store
        self._stepped = _SteppedStore(self)
        self.prefix = prefix
        self.settings = JoinSettings(
            decisions=prefix + "decisions",
            prefix=prefix,
            shards=shards,
            shard_of=lambda event_id: crc32(event_id.encode()) % shards,
            early_s=EARLY_S,
            close_grace_ms=GRACE_MS,
            dedup_horizon_s=DEDUP_HORIZON_MS / 1000,
            feedback_limit=FEEDBACK_LIMIT,
            portion_items=portion_items,
            close_limit=close_limit,
        )
        self._run = run
        self.now_ms = START_MS
        self.logs: dict[Input, _Log] = {
            (prefix + stream, partition): _Log() for stream in STREAMS for partition in range(PARTITIONS)
        }
        self.committed: dict[Input, int] = {}
        self.owner: dict[Input, int] = {}
        self.workers = [_Worker(self.settings) for _ in range(WORKERS)]
        self.emitting: list[_Task | None] = [None] * EMITTERS
        self.rewards: dict[tuple[int, str], list[bytes]] = defaultdict(list)
        self.dead_letters: set[oracle.Position] = set()
        self.refused: set[oracle.Position] = set()
        self.junk: set[oracle.Position] = set()
        self.lost_answers = 0
        for number, name in enumerate(self.logs):
            self.owner[name] = number % WORKERS
        for worker in range(WORKERS):
            self.notice(worker)

    # What is done to the world. Every argument is a whole number that chooses by its remainder.

    def do(self, action: Action) -> None:
        """Carry out one action."""
        name, *arguments = action
        ACTIONS[name][0](self, *arguments)

    def advance(self, ms: int) -> None:
        """Let time pass."""
        self.now_ms += ms

    def decide(self, event: int, partition: int, skew: int, policy: int, shape: int, variant: int) -> None:
        """Append a decision, or a copy of one."""
        self._append("decisions", partition, skew, [decision(event, policy, shape, variant, self.now_ms)])

    def happen(self, stream: int, event: int, partition: int, skew: int, identity: int, shape: int) -> None:
        """Append a feedback."""
        self._append(STREAMS[1 + stream % 2], partition, skew, [feedback(event, identity, shape)])

    def decide_many(self, event: int, count: int, partition: int, skew: int, policy: int, shape: int) -> None:
        """Append an array of decisions, with something useless among them."""
        bodies = [
            decision(event + number, policy + number, shape + number, number // 3, self.now_ms)
            for number in range(2 + count % 4)
        ]
        bodies.insert(count % 3, {"v": 1, "junk": count})
        self._append("decisions", partition, skew, bodies)

    def happen_many(self, stream: int, event: int, count: int, partition: int, skew: int, shape: int) -> None:
        """Append an array of feedback, mostly to one event."""
        bodies = [feedback(event + number // 5, shape + number, shape + number) for number in range(2 + count % 8)]
        bodies.insert(count % 4, {"v": 1, "junk": count})
        self._append(STREAMS[1 + stream % 2], partition, skew, bodies)

    def leave_gap(self, stream: int, partition: int, length: int) -> None:
        """Let offsets pass that hold no record, as markers of transactions and compaction do."""
        self.logs[self._written(STREAMS[stream % 3], partition)].end += 1 + length % 3

    def add_partition(self, stream: int, worker: int) -> None:
        """Give a topic one more partition, which a worker will learn of."""
        topic = self.prefix + STREAMS[stream % 3]
        number = sum(name == topic for name, _ in self.logs)
        if number < MOST_PARTITIONS:
            self.logs[topic, number] = _Log()
            self.owner[topic, number] = worker % WORKERS

    def rebalance(self, name: int, worker: int) -> None:
        """Give a partition to a worker; neither it nor the former owner knows before it notices."""
        names = list(self.owner)
        self.owner[names[name % len(names)]] = worker % WORKERS

    def notice(self, number: int) -> None:
        """Tell a worker's consumer what it owns now; it begins everywhere at what is acknowledged."""
        number %= WORKERS
        self.workers[number].positions = {
            name: self.committed.get(name, 0) for name, owner in self.owner.items() if owner == number
        }

    def poll(self, number: int, name: int, count: int) -> None:
        """Let a consumer hand out what it fetched of a partition."""
        worker = self.workers[number % WORKERS]
        names = sorted(worker.positions)
        if names:
            self._fetch(worker, names[name % len(names)], 1 + count % 4)

    def offer(self, number: int, count: int) -> None:
        """Let some of what is in flight reach a worker."""
        worker = self.workers[number % WORKERS]
        for _ in range(min(len(worker.in_flight), 1 + count)):
            self._receive(worker, worker.in_flight.popleft())

    def work(self, number: int, steps: int) -> None:
        """Let a worker go on applying, some steps."""
        worker = self.workers[number % WORKERS]
        for _ in range(1 + steps):
            worker.work = worker.work or _Task(self._run, self._work(number % WORKERS))
            if not worker.work.step():
                worker.work = None

    def tick(self, number: int, steps: int) -> None:
        """Let a worker go on with its tick, some steps."""
        worker = self.workers[number % WORKERS]
        for _ in range(1 + steps):
            worker.tick = worker.tick or _Task(self._run, self._tick(worker))
            if not worker.tick.step():
                worker.tick = None

    def crash(self, number: int, heir: int) -> None:
        """Kill a worker; its partitions go to the heir, who has yet to notice, and it starts again."""
        number %= WORKERS
        self.workers[number] = _Worker(self.settings)
        for name, owner in self.owner.items():
            if owner == number:
                self.owner[name] = heir % WORKERS

    def lose_answer(self, count: int) -> None:
        """Let the next answers of the store be lost on their way: the calls were done, and are done again."""
        self.lost_answers = 1 + count % 2

    def emit(self, number: int, steps: int) -> None:
        """Let an emitter go on, some steps."""
        number %= EMITTERS
        for _ in range(1 + steps):
            emitting = self.emitting[number] or _Task(self._run, self._emit())
            self.emitting[number] = emitting if emitting.step() else None

    def crash_emitter(self, number: int) -> None:
        """Kill an emitter between any two of its steps."""
        self.emitting[number % EMITTERS] = None

    def round(self, number: int) -> None:
        """Let a worker do all that it can do now, and an emitter too."""
        number %= WORKERS
        self.notice(number)
        worker = self.workers[number]
        for _ in range(50):
            for name in list(worker.positions):
                self._fetch(worker, name, 1000)
            self.offer(number, 1000)
            before = worker.waiting
            for task in (worker.work, worker.tick):
                if task is not None:
                    task.finish()
            worker.work = worker.tick = None
            _Task(self._run, self._work(number)).finish()
            _Task(self._run, self._tick(worker)).finish()
            if worker.waiting in (0, before):
                break
        self.emit_all(number)

    def emit_all(self, number: int) -> None:
        """Let an emitter finish what it does, then empty every outbox."""
        if (emitting := self.emitting[number % EMITTERS]) is not None:
            emitting.finish()
            self.emitting[number % EMITTERS] = None
        _Task(self._run, self._emit()).finish()

    # What must hold at the end.

    def finish(self) -> oracle.Verdict:
        """Let everything come to rest, then compare with the oracle; return what it said."""
        self.lost_answers = 0
        for _ in range(400):
            self.now_ms += 700
            for number in range(WORKERS):
                self.round(number)
            if self._at_rest():
                break
        else:
            raise AssertionError("the world does not come to rest")
        return self._compare()

    def finished_logs(self) -> list[oracle.Message]:
        """Return all that was ever appended."""
        return [
            oracle.Message(
                message.topic.removeprefix(self.prefix),
                message.partition,
                message.offset,
                message.time_ms,
                message.value or b"",
            )
            for log in self.logs.values()
            for message in log.messages
        ]

    def _at_rest(self) -> bool:
        last_ms = max((log.messages[-1].time_ms for log in self.logs.values() if log.messages), default=0)
        return all(worker.waiting == 0 for worker in self.workers) and all(
            min(worker.join.watermark_ms.values()) > last_ms + 2 * DEDUP_HORIZON_MS + GRACE_MS
            for worker in self.workers
        )

    def _compare(self) -> oracle.Verdict:
        expected = oracle.judge(
            self.finished_logs(),
            shards=self.settings.shards,
            dedup_horizon_ms=DEDUP_HORIZON_MS,
            feedback_limit=FEEDBACK_LIMIT,
        )
        outcomes = {where: [self._closed(value) for value in values] for where, values in self.rewards.items()}
        assert outcomes == expected.outcomes
        assert self.dead_letters == expected.dead_letters
        assert self.refused == self.junk, (self.refused ^ self.junk, len(self.junk))
        for shard in range(self.settings.shards):
            assert self._run(self.store.pending(shard)) == {}
            for outbox in self._run(self.store.outboxes(shard)):
                assert self._run(self.store.head(shard, outbox, 10)) == []
        return expected

    def _closed(self, value: bytes) -> oracle.Closed:
        body = json.loads(value)
        assert body["revision"] == 0
        assert json.loads(json.dumps(body["decision"]))["event_id"] == body["event_id"]
        position = body["decision_position"]
        return oracle.Closed(
            body["outcome_seq"],
            body["event_id"],
            body["why"],
            body["learn"],
            body["reward"],
            tuple(body["rewards"]),
            body["closed_ms"],
            (
                position["time_ms"],
                position["topic"].removeprefix(self.prefix),
                position["partition"],
                position["offset"],
                position["index"],
            ),
            tuple(
                (each["time_ms"], each["stream"], each["partition"], each["offset"], each["index"])
                for each in body["feedback"]
            ),
        )

    # The broker.

    def _written(self, stream: str, partition: int) -> Input:
        topic = self.prefix + stream
        written = [name for name in self.logs if name[0] == topic and name[1] != NEVER_WRITTEN]
        return written[partition % len(written)]

    def _log_time(self, skew: int) -> int:
        """The clocks of brokers differ, by no more than the grace."""
        return self.now_ms - skew % (GRACE_MS + 1)

    def _append(self, stream: str, partition: int, skew: int, bodies: list[dict[str, Any]]) -> None:
        name = self._written(stream, partition)
        log = self.logs[name]
        value = json.dumps(bodies[0] if len(bodies) == 1 else bodies).encode()
        time_ms = self._log_time(skew)
        log.messages.append(InputMessage(*name, log.end, time_ms, value))
        for index, body in enumerate(bodies):
            if "event_id" not in body:
                self.junk.add((time_ms, stream, name[1], log.end, index))
        log.end += 1

    def _fetch(self, worker: _Worker, name: Input, count: int) -> None:
        log = self.logs[name]
        ready = [message for message in log.messages if message.offset >= worker.positions[name]]
        for message in ready[:count]:
            worker.in_flight.append(message)
            worker.positions[name] = worker.handed[name] = message.offset + 1
        if len(ready) < count:
            worker.positions[name] = max(worker.positions[name], log.end)

    # What a worker does with what it reads, as ``stream.roles.join`` does it.

    def _synchronise(self, worker: _Worker) -> None:
        for name in set(worker.join.inputs) - worker.positions.keys():
            worker.join.revoke(*name)
        for name in worker.positions:
            if worker.join.expected(*name) is None:
                worker.join.assign(*name, start=self.committed.get(name, 0), fresh=name not in self.committed)

    def _receive(self, worker: _Worker, message: InputMessage) -> None:
        name = message.topic, message.partition
        if worker.join.expected(*name) is None:
            self._synchronise(worker)
        expected = worker.join.expected(*name)
        if expected is None:
            return
        for record in self.logs[name].messages:
            if expected <= record.offset <= message.offset:
                worker.join.offer(record)

    # The tasks of a worker and of an emitter.

    async def _carry_out(self, worker: _Worker, work: Work) -> None:
        for part in work.parts:
            for shard, transaction in part.items():
                await carry_out(worker.join, JoinState(cast(JoinStore, self._stepped), LOG), shard, transaction)

    async def _work(self, number: int) -> None:
        worker = self.workers[number]
        work = worker.join.next()
        if work is None:
            return
        await _Stop()
        for rejected in work.rejected:
            message = rejected.message
            stream = message.topic.removeprefix(self.prefix)
            self.refused.add((message.time_ms, stream, message.partition, message.offset, rejected.item))
        await self._carry_out(worker, work)
        done = worker.join.done(work)
        await _Stop()
        for message in done:
            name = message.topic, message.partition
            if self.owner[name] == number and name in worker.positions:
                self.committed[name] = message.offset + 1

    async def _tick(self, worker: _Worker) -> None:
        tick_ms = self._log_time(self.now_ms)
        await _Stop()
        inputs = list(self.logs)
        await _Stop()
        self._synchronise(worker)
        ends = {name: self.logs[name].end for name in worker.join.inputs}
        await _Stop()
        fetched = {
            name: Fetched(worker.positions[name], worker.handed.get(name, -1))
            for name in worker.join.inputs
            if name in worker.positions
        }
        await _Stop()
        self._synchronise(worker)
        work = worker.join.tick(tick_ms, ends, fetched, inputs)
        await _Stop()
        await self._carry_out(worker, work)
        worker.join.done(work)

    async def _emit(self) -> None:
        for shard in range(self.settings.shards):
            for outbox in sorted(await _Stop(self.store.outboxes(shard))):
                while head := (await _Stop(self.store.head(shard, outbox, 2))):
                    for entry in head:
                        if isinstance(entry, Unusable):
                            position = entry.position
                            stream = position.topic.removeprefix(self.prefix)
                            self.dead_letters.add(
                                (position.time_ms, stream, position.partition, position.offset, position.index)
                            )
                            await _Stop()
                    windows = [each for each in head if isinstance(each, ClosedWindow)]
                    # In one shard each outcome is a message of its own, so that half of a head may have been sent.
                    limit = (1, MESSAGE_BYTES)[shard % 2]
                    for message in messages_of(shard, self.prefix, windows, limit):
                        for body in items(message.value):
                            self._append_outcome(shard, outbox, body)
                        await _Stop()
                        await _Stop(self.store.trim(shard, outbox, message.outcomes[-1].outcome_seq))
                    if outbox == DEAD_LETTERS:
                        await _Stop(self.store.trim(shard, outbox, head[-1].seq))

    def _append_outcome(self, shard: int, outbox: str, value: bytes) -> None:
        """Append to ``rewards`` as its readers see it: what was seen already must be the same again."""
        assert outbox != DEAD_LETTERS
        seen, seq = self.rewards[shard, outbox], int(json.loads(value)["outcome_seq"])
        assert seq <= len(seen) + 1, f"seq jumps from {len(seen)} to {seq} in {shard, outbox}"
        if seq == len(seen) + 1:
            seen.append(value)
        assert seen[seq - 1] == value, "two outcomes under one seq"


def decision(event: int, policy: int, shape: int, variant: int, now_ms: int) -> dict[str, Any]:
    """Return a decision; ``variant`` chooses how a copy differs from the first, mostly not at all."""
    reward: dict[str, Any] = {
        "default": (0.0, -0.5)[shape % 2],
        "clip": [-10.0, 10.0],
        "close_on": ([], ["clicks"], ["clicks", "views"], [])[shape // 2 % 4],
        "streams": {
            "clicks": {"weight": 1.0, "aggregate": ("max", "sum", "mean")[shape % 3]},
            "views": {"value": True, "aggregate": ("sum", "last", "first", "min")[shape % 4]},
        },
    }
    chosen, propensity = ("x", "y")[variant % 8 == 6], 0.25 if variant % 8 == 7 else 0.5
    other = {"action": "y" if chosen == "x" else "x", "propensity": 1.0}
    ranked = {"top": 2, "picks": [{"action": chosen, "propensity": propensity}, other]}
    return {
        **(ranked if shape % 4 == 3 else {}),
        "v": 1,
        "event_id": EVENT_IDS[event % len(EVENT_IDS)],
        "placement": ("front", "side")[policy % 8 == 7],
        "policy": "any",
        "context": {"shape": shape},
        "actions": [{"id": "x"}, {"id": "y"}],
        "pmf": ([0.5, 0.5], [0.25, 0.75])[variant % 8 == 7],
        "chosen": chosen,
        "propensity": propensity,
        "policy_version": ("1-00000000", "2-00000000", "external")[(variant % 8 == 5) + 2 * (shape % 11 == 10)]
        if shape % 11 != 10 or variant % 8 != 5
        else "3-00000000",
        "activate": shape % 5 != 4,
        "expires_at_ms": (None, now_ms + 10, now_ms - GRACE_MS, now_ms - 1)[shape // 3 % 4],
        "rule": {
            "window_s": (0.5, 0.1, 1.0, 0.3, 0.0)[shape // 5 % 5],
            # Copies share it: which feedback is beyond the limit is known while an earlier copy may still come.
            "early_s": (EARLY_S, EARLY_S / 2)[event % len(EVENT_IDS) % 2],
            "activate_on": (None, None, None, "views")[shape // 2 % 4],
            "reward": reward,
        },
    }


def feedback(event: int, identity: int, shape: int) -> dict[str, Any]:
    """Return a feedback; some have no id, no value, or activate."""
    body: dict[str, Any] = {"v": 1, "event_id": EVENT_IDS[event % len(EVENT_IDS)]}
    if identity % 6:
        body["id"] = str(identity % 6)
    if shape % 3:
        body["value"] = (0.1, 0.2, -3.5, 7)[shape % 4]
    if shape % 4 > 1:
        body["action"] = ("x", "y", "z")[shape % 3]
    if shape % 5 == 0:
        body["activate"] = shape % 2 == 0
    return body


ACTIONS: dict[str, tuple[Callable[..., None], tuple[int, ...], int]] = {
    # What it does, the sizes of its arguments, how often a random schedule does it.
    "advance": (World.advance, (700,), 16),
    "sleep": (World.advance, (2600,), 2),
    "decide": (World.decide, (7, 5, 51, 8, 1000, 16), 12),
    "happen": (World.happen, (2, 7, 5, 51, 6, 60), 20),
    "decide_many": (World.decide_many, (7, 4, 5, 51, 8, 1000), 3),
    "happen_many": (World.happen_many, (2, 7, 8, 5, 51, 60), 4),
    "leave_gap": (World.leave_gap, (3, 5, 3), 2),
    "add_partition": (World.add_partition, (3, WORKERS), 1),
    "rebalance": (World.rebalance, (15, WORKERS), 4),
    "notice": (World.notice, (WORKERS,), 5),
    "poll": (World.poll, (WORKERS, 15, 4), 20),
    "offer": (World.offer, (WORKERS, 5), 12),
    "work": (World.work, (WORKERS, 6), 20),
    "tick": (World.tick, (WORKERS, 6), 20),
    "crash": (World.crash, (WORKERS, WORKERS), 2),
    "lose_answer": (World.lose_answer, (2,), 2),
    "emit": (World.emit, (EMITTERS, 6), 8),
    "crash_emitter": (World.crash_emitter, (EMITTERS,), 1),
    "round": (World.round, (WORKERS,), 5),
}


def random_schedule(seed: int, length: int) -> list[Action]:
    """Return a random list of actions."""
    chance = random.Random(seed)
    names = list(ACTIONS)
    weights = [often for _, _, often in ACTIONS.values()]
    events = chance.randint(1, len(EVENT_IDS))  # few event ids: more of each
    schedule: list[Action] = []
    for name in chance.choices(names, weights, k=length):
        sizes = ACTIONS[name][1]
        arguments = [chance.choice((0, size - 1, chance.randrange(size))) for size in sizes]
        if name in ("decide", "decide_many"):
            arguments[0] %= events
        elif name in ("happen", "happen_many"):
            arguments[1] %= events
        schedule.append((name, *arguments))
    return schedule


def run_schedule(world: World, schedule: Sequence[Action]) -> oracle.Verdict:
    """Carry out a schedule and compare with the oracle at its end."""
    for action in schedule:
        world.do(action)
    return world.finish()


def cut_down(schedule: Sequence[Action], fails: Callable[[Sequence[Action]], bool]) -> list[Action]:
    """Return a part of a failing schedule from which nothing can be left out.

    The delta debugging of Zeller and Hildebrandt (2002), "Simplifying and Isolating Failure-Inducing Input", in
    its greedy form.
    """
    left = list(schedule)
    size = max(1, len(left) // 2)
    while True:
        at = 0
        shorter = False
        while at < len(left):
            without = left[:at] + left[at + size :]
            if fails(without):
                left, shorter = without, True
            else:
                at += size
        if size == 1 and not shorter:
            return left
        size = max(1, size // 2)
