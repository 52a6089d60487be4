"""The learn worker: messages of ``rewards`` teach the policies, and what is saved says what may be acknowledged.

It is pure: no Kafka, Redis or clock. Its driver reads a message (:meth:`LearnWorker.read`), loads the policies that it
names, lets each of them take its outcomes, and says that the message was taken; it saves a policy when that is due, and
acknowledges what :meth:`LearnWorker.acknowledgements` returns. The role, the loop in one process and the laws all drive
this object.
"""

from collections.abc import Collection, Mapping, Sequence
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


class Read(NamedTuple):
    """A message of ``rewards`` as it was read.

    Attributes
    ----------
    outcomes
        The outcomes that each policy learns from; a message should hold those of one placement.
    others
        How many nobody learns here.
    unreadable
        Records that are no outcomes.
    """

    outcomes: Mapping[str, Sequence[OutcomeToLearn]]
    others: int
    unreadable: Sequence[Unreadable]


@dataclass(slots=True)
class _Partition(Generic[Message]):
    unacknowledged: Unacknowledged[Message] = field(default_factory=Unacknowledged)
    next_offset: int | None = None
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

    def read(self, partition: int, offset: int, value: bytes | None) -> Read:
        """Return what a message of a partition holds; :meth:`taken` ends what begins here."""
        state = self._of(partition)
        state.seqs = {}
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
        return Read(own, others, unreadable)

    def take(self, name: str, offset: int, outcomes: Sequence[OutcomeToLearn]) -> LearnResult:
        """Let a policy that is loaded take its outcomes of a message.

        Raises
        ------
        LossDetected
            A seq is missing; nothing was taken.
        """
        learner = self._loaded[name].learner
        before = dict(learner.last_seqs)
        taken = learner.take(offset, outcomes)
        self._of(self._partition_of[name]).seqs[name] = highest_seqs(outcomes, before)
        return taken

    def taken(self, partition: int, offset: int, message: Message) -> list[str]:
        """Note that all policies of a message have taken it; return their names."""
        state = self._of(partition)
        state.next_offset = offset + 1
        seqs, state.seqs = state.seqs, {}
        state.unacknowledged.add(offset, message, seqs)
        return list(seqs)

    def next_offset(self, partition: int) -> int | None:
        """Return the offset after the last message taken, or else that of the first one read; None: none was."""
        state = self._partitions.get(partition)
        return None if state is None else state.next_offset

    def due(self, name: str, now_ms: float) -> bool:
        """Tell whether a policy is to be saved now: enough is learned, or waits long enough, or too much is kept."""
        loaded = self._loaded[name]
        learned = loaded.learner.learned
        return (
            loaded.schedule.due(now_ms, learned) or self._full(loaded) or (not learned and self._moves(loaded, now_ms))
        )

    def moves(self, name: str, now_ms: float) -> bool:
        """Tell whether a save that is due also saves the position where the bytes have not changed."""
        loaded = self._loaded[name]
        return self._full(loaded) or self._moves(loaded, now_ms)

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
        self._of(partition).unacknowledged = Unacknowledged()

    def _of(self, partition: int) -> "_Partition[Message]":
        return self._partitions.setdefault(partition, _Partition())

    @staticmethod
    def _full(loaded: _Loaded) -> bool:
        return loaded.learner.kept_outcomes >= KEPT_OUTCOMES

    @staticmethod
    def _moves(loaded: _Loaded, now_ms: float) -> bool:
        return loaded.learner.moved and now_ms - loaded.saved_ms >= MOVE_EVERY_MS
