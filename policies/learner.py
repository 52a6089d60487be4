"""Learning as a function of the log: outcomes in, weights and a position out.

A position says how far a policy has learned: the last seq of each shard, and the cut, the offset of ``rewards`` below
which every message of the policy has been taken. Whoever takes the same messages between the same cuts gets
the same bytes, whether live, restarted, or years later. Nothing here knows of Kafka, Redis or a clock.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import msgspec
from msgspec import Raw

from policies.controls import holds
from policies.features import Action, ActionCache, Features, decode_context
from policies.policy import Policy, digest, version_name
from policies.registry import make
from records.codec import decode, far_ahead, items
from records.errors import BadInput, LossDetected
from records.fields import Natural, Ordinal
from records.limits import FARTHEST_JUMP, ITEMS_LIMIT, Limits

FEATURE_LIMITS = Limits(
    max_features=1_000_000,
    max_name_bytes=1_000_000,
    max_string_bytes=4_000_000,
    max_list=1_000_000,
    max_actions=1_000_000,
    max_request_bytes=16_000_000,
)
"""What decide let in is learned: whether an outcome is refused must not hang on the settings of today."""

CATALOGUE_BYTES = 64 * 2**20

KEPT_EVENT_IDS = 1000
"""Of so many of a shard's newest seqs it is remembered whose they were."""


class TrainingExample(msgspec.Struct, frozen=True, gc=False):
    """What learning reads of a decision."""

    actions: list[Raw]
    chosen: str
    propensity: float
    context: Raw = Raw(b"{}")


class LearnableOutcome(msgspec.Struct, frozen=True, gc=False):
    """What learning reads of a :class:`records.outcome.Outcome`; ``decision`` only where it is learned."""

    policy: str
    shard: Ordinal
    seq: Natural
    reward: float
    learn: bool
    decision: Raw
    revision: Ordinal = 0
    event_id: str = ""


class _Whole(msgspec.Struct, frozen=True, gc=False):
    """An outcome decoded in one go, since reading the decision's bytes twice would cost a tenth of the rate."""

    policy: str
    shard: Ordinal
    seq: Natural
    reward: float
    learn: bool
    decision: TrainingExample
    revision: Ordinal = 0
    event_id: str = ""


OutcomeToLearn = LearnableOutcome | _Whole

_wholes = msgspec.json.Decoder(list[_Whole]).decode
_outcome = msgspec.json.Decoder(LearnableOutcome)
_lesson = msgspec.json.Decoder(TrainingExample)


class Unreadable(NamedTuple):
    """A record of ``rewards`` that is no outcome: its index in the message, its bytes, what is wrong with it."""

    index: int  # type: ignore[assignment]
    value: bytes | None
    error: BadInput


def outcomes_in(value: bytes | None) -> tuple[Sequence[OutcomeToLearn], list[Unreadable]]:
    """Return the outcomes of a message of ``rewards``, and the records that are none.

    Examples
    --------
    >>> outcomes_in(b"[1]")[1][0].error.code
    'invalid_field'
    """
    try:
        if value is not None and len(wholes := _wholes(value)) <= ITEMS_LIMIT:
            return wholes, []
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        pass  # one of them is not as it should be: one by one, to find out which
    try:
        records = items(value)
    except BadInput as error:
        return [], [Unreadable(0, value, error)]
    outcomes: list[OutcomeToLearn] = []
    unreadable: list[Unreadable] = []
    for index, record in enumerate(records):
        try:
            outcomes.append(decode(_outcome, record))
        except BadInput as error:
            unreadable.append(Unreadable(index, record, error))
    return outcomes, unreadable


class Example(NamedTuple):
    """What a policy sees of an outcome; ``chosen`` is the index of the action that was shown."""

    context: Features
    actions: list[Action]
    chosen: int
    propensity: float


def example_of(outcome: OutcomeToLearn, catalogue: ActionCache) -> Example:
    """Return an outcome as a policy sees it.

    Raises
    ------
    BadInput
        It cannot be read, or its chosen action is none of its actions.
    """
    lesson = outcome.decision
    if not isinstance(lesson, TrainingExample):
        lesson = decode(_lesson, bytes(lesson))
    context = decode_context(lesson.context, FEATURE_LIMITS)
    actions = catalogue.actions(lesson.actions)
    chosen = lesson.chosen
    for index, shown in enumerate(actions):
        if shown.id == chosen:
            return Example(context, actions, index, lesson.propensity)
    raise BadInput("chosen_unknown", "chosen", repr(chosen), f"the id of one of {len(actions)} actions")


def learn(policy: Policy, outcome: OutcomeToLearn, catalogue: ActionCache) -> None:
    """Let a policy learn an outcome.

    Raises
    ------
    BadInput
        The policy cannot learn it, and is as it was before.
    """
    policy.learn(*example_of(outcome, catalogue), outcome.reward)


def catalogue() -> ActionCache:
    """Return a catalogue for learning: what was logged is never too large."""
    return ActionCache(FEATURE_LIMITS, max_bytes=CATALOGUE_BYTES)


@dataclass(frozen=True, slots=True)
class Position:
    """How far a policy has learned.

    Attributes
    ----------
    number, digest
        The version that holds what was learned, and the sha256 of its bytes in hex; number 0: computed from the
        arguments, never published.
    cut
        Every message of the policy below this offset has been taken.
    last_seqs
        Last seq taken, per shard.
    examples
        How many outcomes were learned in all.
    control
        What an operator put in force with the version (:mod:`policies.controls`).
    """

    number: int
    digest: str
    cut: int = 0
    last_seqs: Mapping[int, int] = field(default_factory=dict)
    examples: int = 0
    control: str | None = None

    @property
    def held(self) -> bool:
        """Whether nothing is learned of what comes next: its seqs are passed over."""
        return holds(self.control)

    @property
    def version(self) -> str:
        """The name under which decisions cite the version."""
        return version_name(self.number, self.digest)

    def covers(self, seqs: Mapping[int, int]) -> bool:
        """Tell whether outcomes with these seqs (the highest per shard) have been taken."""
        return all(seq <= self.last_seqs.get(shard, 0) for shard, seq in seqs.items())


class Refused(NamedTuple):
    """An outcome that the policy cannot learn: it is skipped, here and whenever the log is replayed."""

    shard: int
    seq: int
    event_id: str
    error: BadInput


@dataclass(slots=True)
class LearnResult:
    """What became of the outcomes of one message.

    ``contradicting``: those of the repeats whose seq was that of another event id.
    """

    learned: int = 0
    not_learned: int = 0
    repeats: int = 0
    refused: list[Refused] = field(default_factory=list)
    contradicting: list[Refused] = field(default_factory=list)


MakePolicy = Callable[[str, str, bytes | None], Policy]


class _Kept(NamedTuple):
    offset: int
    outcomes: Sequence[OutcomeToLearn]


class Learner:
    """Learns one policy from its outcomes, between one saved position and the next.

    Parameters
    ----------
    name, kind, arguments
        The policy.
    position, model
        What is saved; ``model`` None: version 0, computed from the arguments.
    log_start
        Where the log starts: above 0, the first seq of a shard may be above 1, since what came before is gone.
    make_policy
        Makes the policy of kind, arguments and bytes.

    Attributes
    ----------
    saved
        The position that stands in the store.
    policy
        ``saved`` and everything taken since. It never predicts.
    last_seqs, cut, examples
        As in :class:`Position`, of everything taken.
    learned
        How many outcomes were learned since ``saved``.
    kept_outcomes
        How many outcomes are kept, for the case that somebody else's version wins.
    model_bytes
        Size of the last version that was saved here.
    """

    def __init__(
        self,
        name: str,
        kind: str,
        arguments: str,
        position: Position | None = None,
        model: bytes | None = None,
        log_start: int = 0,
        make_policy: MakePolicy = make,
    ) -> None:
        self.name, self.kind, self.arguments = name, kind, arguments
        self._make = make_policy
        self.log_start = log_start
        self.model_bytes = 0
        self._catalogue = catalogue()
        self._kept: list[_Kept] = []
        self._event_ids: dict[tuple[int, int], tuple[int, str]] = {}
        self.policy = self._make(kind, arguments, model)
        self._begin(position or Position(0, digest(self.policy.dump())))

    def _begin(self, saved: Position) -> None:
        self.saved = saved
        self.last_seqs = dict(saved.last_seqs)
        self.cut = saved.cut
        self.examples = saved.examples
        self.learned = 0
        self.kept_outcomes = 0

    def take(self, offset: int, outcomes: Sequence[OutcomeToLearn]) -> LearnResult:
        """Take the policy's outcomes in the message at an offset of ``rewards``.

        Parameters
        ----------
        outcomes
            Those of this policy; of seqs that were taken before nothing is learned.

        Raises
        ------
        LossDetected
            A seq is missing; nothing of the message was taken.
        """
        if self._follow(offset, outcomes):
            self._kept.append(_Kept(offset, outcomes))
            self.kept_outcomes += len(outcomes)
        taken = LearnResult()
        last = self.last_seqs
        for outcome in outcomes:
            if outcome.revision:
                continue
            if far_ahead(last.get(outcome.shard, 0), outcome.seq):
                highest = last.get(outcome.shard, 0) + FARTHEST_JUMP
                too_high = BadInput("seq_too_high", "seq", str(outcome.seq), f"at most {highest}")
                taken.contradicting.append(Refused(outcome.shard, outcome.seq, outcome.event_id, too_high))
                continue
            if outcome.seq <= last.get(outcome.shard, 0):
                taken.repeats += 1
                if (error := self._contradiction(outcome)) is not None:
                    taken.contradicting.append(Refused(outcome.shard, outcome.seq, outcome.event_id, error))
                continue
            last[outcome.shard] = outcome.seq
            self._event_ids[outcome.shard, outcome.seq % KEPT_EVENT_IDS] = outcome.seq, outcome.event_id
            if not outcome.learn or self.saved.held:
                taken.not_learned += 1
                continue
            try:
                learn(self.policy, outcome, self._catalogue)
            except BadInput as error:
                taken.refused.append(Refused(outcome.shard, outcome.seq, outcome.event_id, error))
            else:
                taken.learned += 1
        self.cut = max(self.cut, offset + 1)
        self.examples += taken.learned
        self.learned += taken.learned
        return taken

    def _contradiction(self, repeat: OutcomeToLearn) -> BadInput | None:
        """Say whose seq this is, where it is known to be that of another event id."""
        seq, event_id = self._event_ids.get((repeat.shard, repeat.seq % KEPT_EVENT_IDS), (0, ""))
        if seq != repeat.seq or event_id == repeat.event_id:
            return None
        return BadInput("seq_taken", "seq", f"{seq}, which was learned for {event_id!r}", "a seq of its own")

    def _follow(self, offset: int, outcomes: Sequence[OutcomeToLearn]) -> bool:
        """Tell whether any is new; a message is looked through before any of it is taken."""
        seqs = dict(self.last_seqs)
        for outcome in outcomes:
            last = seqs.get(outcome.shard, 0)
            if outcome.revision or outcome.seq <= last or far_ahead(last, outcome.seq):
                continue
            if outcome.seq != last + 1 and not (self.log_start > 0 and outcome.shard not in seqs):
                raise LossDetected(
                    f"policy {self.name}, shard {outcome.shard}, rewards offset {offset}",
                    f"seq {outcome.seq}",
                    f"seq {last + 1}",
                    f"outcomes are missing: run `bowerbird policy rebuild {self.name}`",
                )
            seqs[outcome.shard] = outcome.seq
        return seqs != self.last_seqs

    @property
    def moved(self) -> bool:
        """Whether something was taken that the saved position does not cover."""
        return self.last_seqs != self.saved.last_seqs

    def next(self) -> tuple[Position, bytes]:
        """Return what a save would write now: the position, and the policy's bytes.

        The position has the next number where the bytes have changed, else the saved one's.
        """
        model = self.policy.dump() if self.learned else None
        if model is None or (told := digest(model)) == self.saved.digest:
            number, told, control = self.saved.number, self.saved.digest, self.saved.control
        else:
            number, control = self.saved.number + 1, None
        return Position(number, told, self.cut, dict(self.last_seqs), self.examples, control), model or b""

    def publish(self, position: Position, model: bytes) -> None:
        """Go on from what was saved as a new version: the workspace is thrown away and its bytes are loaded.

        Some explorers keep state that is not saved; this way a live, a restarted and a recomputed run go on from
        the same.
        """
        self.policy.close()
        self.policy = self._make(self.kind, self.arguments, model)
        self.model_bytes = len(model)
        self._kept.clear()
        self._begin(position)

    def move(self, position: Position) -> None:
        """Go on after the position was saved without a new version."""
        self._kept.clear()
        self._begin(position)

    def resume(self, position: Position, model: bytes | None) -> None:
        """Go on from a version that somebody else saved: what was taken since the last save is taken again.

        Raises
        ------
        LossDetected
            What was taken does not follow what is saved.
        """
        kept = self._kept.copy()
        self.policy.close()
        self.policy = self._make(self.kind, self.arguments, model)
        self._kept.clear()
        self._begin(position)
        for offset, outcomes in kept:
            self.take(offset, outcomes)
