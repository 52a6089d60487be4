"""The learn worker: messages of ``rewards`` teach the policies, and what is saved says what may be acknowledged.

It is pure: no Kafka, Redis or clock. Its driver offers a message, carries out the work that follows from it, and
acknowledges what :meth:`LearnWorker.acknowledgements` returns. The role, the loop in one process and the laws all drive
this object.
"""

from collections import deque
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Generic, NamedTuple

from policies.learner import Learner, LearnResult
from policies.publish_schedule import PublishSchedule
from policies.training import OutcomeToLearn, Unreadable, outcomes_in
from policies.unacknowledged import Message, Unacknowledged, highest_seqs

MOVE_EVERY_MS = 5000.0
"""So often the position is saved when only seqs have moved."""
KEPT_OUTCOMES = 50_000
"""So many outcomes wait for a publish at most, however much of the time publishing takes."""


class Load(NamedTuple):
    """A policy is to be loaded from what is saved of it, by :meth:`LearnWorker.load`."""

    name: str


class Take(NamedTuple, Generic[Message]):
    """A policy is to take its outcomes of a message, by :meth:`LearnWorker.take`."""

    name: str
    offset: int
    message: Message
    outcomes: Sequence[OutcomeToLearn]


class Save(NamedTuple):
    """A policy is to be saved, and then :meth:`LearnWorker.saved`; ``move``: also where its bytes have not changed."""

    name: str
    move: bool


class Offered(NamedTuple):
    """What of a message nobody learns here: how many outcomes, and the records that are none."""

    others: int
    unreadable: Sequence[Unreadable]


@dataclass(slots=True)
class _Partition(Generic[Message]):
    unacknowledged: Unacknowledged[Message] = field(default_factory=Unacknowledged)
    next_offset: int | None = None
    offered: tuple[int, Message] | None = None
    untaken: deque[Take[Message]] = field(default_factory=deque)
    seqs: dict[str, Mapping[str, int]] = field(default_factory=dict)


@dataclass(slots=True)
class _Loaded:
    learner: Learner
    schedule: PublishSchedule
    saved_ms: float


class LearnWorker(Generic[Message]):
    """The policies that one worker learns, and the messages that it has taken and not acknowledged.

    Parameters
    ----------
    partition_of
        The partition of ``rewards`` of each policy.
    placements_of
        Whose outcomes each policy learns.
    """

    def __init__(self, partition_of: Mapping[str, int], placements_of: Mapping[str, Collection[str]]) -> None:
        self._partition_of = dict(partition_of)
        self._learned_by: dict[str, list[str]] = {}
        for name, placements in sorted(placements_of.items()):
            for placement in placements:
                self._learned_by.setdefault(placement, []).append(name)
        self._loaded: dict[str, _Loaded] = {}
        self._partitions: dict[int, _Partition[Message]] = {}

    @property
    def learners(self) -> dict[str, Learner]:
        """The learners of the policies that are loaded."""
        return {name: loaded.learner for name, loaded in self._loaded.items()}

    def forget(self) -> None:
        """Forget everything, as at a new assignment: what is not acknowledged is read again."""
        for loaded in self._loaded.values():
            loaded.learner.policy.close()
        self._loaded.clear()
        self._partitions.clear()

    def missing(self, partitions: Collection[int]) -> list[str]:
        """Return the policies of these partitions that are not loaded."""
        return [
            name for name, number in self._partition_of.items() if number in partitions and name not in self._loaded
        ]

    def load(self, learner: Learner, schedule: PublishSchedule, now_ms: float) -> None:
        """Begin to learn a policy from what is saved of it."""
        self._loaded[learner.name] = _Loaded(learner, schedule, now_ms)

    @property
    def partitions(self) -> set[int]:
        """The partitions of which something was read."""
        return set(self._partitions)

    def offer(self, partition: int, offset: int, value: bytes | None, message: Message) -> Offered:
        """Take in the next message of a partition; :meth:`work` yields what is to be done with it."""
        state = self._of(partition)
        if state.next_offset is None:
            state.next_offset = offset
        outcomes, unreadable = outcomes_in(value)
        own: dict[str, list[OutcomeToLearn]] = {}
        others = 0
        for outcome in outcomes:
            names = [n for n in self._learned_by.get(outcome.placement, ()) if self._partition_of[n] == partition]
            for name in names:
                own.setdefault(name, []).append(outcome)
            others += not names
        state.offered, state.seqs = (offset, message), {}
        state.untaken = deque(Take(name, offset, message, each) for name, each in own.items())
        return Offered(others, unreadable)

    def work(self, partition: int, now_ms: float) -> "Iterator[Load | Take[Message] | Save]":
        """Yield what is to be done for a partition now; each is carried out before the next is asked for."""
        yield from map(Load, self.missing([partition]))
        state = self._of(partition)
        while state.untaken:
            yield state.untaken[0]
        if state.offered is not None:
            (offset, message), state.offered = state.offered, None
            state.next_offset = offset + 1
            state.unacknowledged.add(offset, message, state.seqs)
        for name in list(self._loaded):
            if self._partition_of[name] == partition and (save := self.save_due(name, now_ms)) is not None:
                yield save

    def take(self, work: "Take[Message]") -> LearnResult:
        """Let a policy that is loaded take its outcomes of a message.

        Raises
        ------
        LossDetected
            A seq is missing; nothing was taken.
        """
        learner, state = self._loaded[work.name].learner, self._of(self._partition_of[work.name])
        before = dict(learner.last_seqs)
        taken = learner.take(work.offset, work.outcomes)
        state.seqs[work.name] = highest_seqs(work.outcomes, before)
        state.untaken.popleft()
        return taken

    def next_offset(self, partition: int) -> int | None:
        """Return the offset after the last message taken, or else that of the first one read; None: none was."""
        state = self._partitions.get(partition)
        return None if state is None else state.next_offset

    def save_due(self, name: str, now_ms: float) -> Save | None:
        """Return how to save a policy, if enough is learned, or waits long enough, or too much is kept."""
        loaded = self._loaded[name]
        learned = loaded.learner.learned
        full = loaded.learner.kept_outcomes >= KEPT_OUTCOMES
        moves = loaded.learner.moved and now_ms - loaded.saved_ms >= MOVE_EVERY_MS
        if loaded.schedule.due(now_ms, learned) or full or (moves and not learned):
            return Save(name, move=full or moves)
        return None

    def saved(self, name: str, began_ms: float, ended_ms: float, *, anything: bool) -> None:
        """Note a save: the attempt that succeeded, and whether it saved anything."""
        loaded = self._loaded[name]
        loaded.schedule.published(began_ms, ended_ms)
        if anything:
            loaded.saved_ms = ended_ms

    def acknowledgements(self, partition: int) -> list[Message]:
        """Take out and return the messages below the first with an outcome that no saved position covers."""
        saved = {name: loaded.learner.saved for name, loaded in self._loaded.items()}
        return self._of(partition).unacknowledged.covered(saved)

    def hold(self, partition: int) -> None:
        """Let a partition stand still: none of its messages may be acknowledged any more."""
        state = self._of(partition)
        state.unacknowledged, state.offered = Unacknowledged(), None
        state.untaken.clear()

    def _of(self, partition: int) -> "_Partition[Message]":
        return self._partitions.setdefault(partition, _Partition())
