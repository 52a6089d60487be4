"""Learning as a function of the log: outcomes in, weights and a position out.

A position says how far a policy has learned: the last seq of each outbox, and the cut, the offset of ``rewards`` below
which every message of the policy has been taken. The same messages between the same cuts give
the same bytes, whether live, restarted, or years later. Nothing here knows of Kafka, Redis or a clock.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from policies.learn_position import Position
from policies.policy import MakePolicy, Policy, digest
from policies.training import OutcomeToLearn, action_cache, learn
from records.errors import BadInput, LossDetected, StateRefused
from records.sequence import MAX_GAP, gap_too_large

KEPT_EVENT_IDS = 1000
"""For this many of the newest seqs of an outbox, the event id is remembered."""


class Refused(NamedTuple):
    """An outcome that the policy cannot learn: it is skipped, here and whenever the log is replayed."""

    outbox: str
    outcome_seq: int
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


class _Kept(NamedTuple):
    offset: int
    outcomes: Sequence[OutcomeToLearn]


class Learner:
    """Learns one policy from its outcomes, between one saved position and the next.

    Parameters
    ----------
    name, make_policy
        The policy, and what makes it of saved bytes; None: version 0.
    position, model
        What is saved; ``model`` None: version 0, computed from the arguments.
    log_start
        Where the log starts: above 0, the first seq of an outbox may be above 1, since what came before is gone.

    Attributes
    ----------
    saved
        The position that the store holds.
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
        make_policy: MakePolicy,
        position: Position | None = None,
        model: bytes | None = None,
        log_start: int = 0,
    ) -> None:
        self.name, self._make = name, make_policy
        self.log_start = log_start
        self.model_bytes = 0
        self._catalogue = action_cache()
        self._kept: list[_Kept] = []
        self._event_ids: dict[tuple[str, int], tuple[int, str]] = {}
        self.policy = self._loaded(model)
        self._begin(position or Position(0, digest(self.policy.dump())))

    def _loaded(self, model: bytes | None) -> Policy:
        try:
            return self._make(model)
        except StateRefused as refused:
            raise refused.of_policy(self.name) from refused

    def _begin(self, saved: Position) -> None:
        self.saved = saved
        self.last_seqs = dict(saved.last_seqs)
        self.cut = saved.cut
        self.examples = saved.examples
        self.learned = 0
        self.kept_outcomes = 0

    def take(self, offset: int, outcomes: Sequence[OutcomeToLearn]) -> LearnResult:
        """Take the policy's outcomes in the message at an offset of ``rewards``.

        Nothing is learned of a correction (a revision above 0), of a seq that is far ahead (``contradicting``), of one
        that was taken before (``repeats``), of an outcome that is not to be learned, of any while the policy is held
        by a control (``not_learned``), and of one that the policy refuses (``refused``).

        Parameters
        ----------
        outcomes
            Those of this policy.

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
            outbox = outcome.outbox
            if gap_too_large(last.get(outbox, 0), outcome.outcome_seq):
                highest = last.get(outbox, 0) + MAX_GAP
                too_high = BadInput("seq_too_high", "outcome_seq", str(outcome.outcome_seq), f"at most {highest}")
                taken.contradicting.append(Refused(outbox, outcome.outcome_seq, outcome.event_id, too_high))
                continue
            if outcome.outcome_seq <= last.get(outbox, 0):
                taken.repeats += 1
                if (error := self._contradiction(outcome)) is not None:
                    taken.contradicting.append(Refused(outbox, outcome.outcome_seq, outcome.event_id, error))
                continue
            last[outbox] = outcome.outcome_seq
            self._event_ids[outbox, outcome.outcome_seq % KEPT_EVENT_IDS] = outcome.outcome_seq, outcome.event_id
            if not outcome.learn or self.saved.held:
                taken.not_learned += 1
                continue
            try:
                learn(self.policy, outcome, self._catalogue)
            except BadInput as error:
                taken.refused.append(Refused(outbox, outcome.outcome_seq, outcome.event_id, error))
            else:
                taken.learned += 1
        self.cut = max(self.cut, offset + 1)
        self.examples += taken.learned
        self.learned += taken.learned
        return taken

    def _contradiction(self, repeat: OutcomeToLearn) -> BadInput | None:
        """Say whose seq this is, where it is known to be that of another event id."""
        seq, event_id = self._event_ids.get((repeat.outbox, repeat.outcome_seq % KEPT_EVENT_IDS), (0, ""))
        if seq != repeat.outcome_seq or event_id == repeat.event_id:
            return None
        return BadInput("seq_taken", "outcome_seq", f"{seq}, which was learned for {event_id!r}", "a seq of its own")

    def _follow(self, offset: int, outcomes: Sequence[OutcomeToLearn]) -> bool:
        """Tell whether any is new; a message is looked through before any of it is taken."""
        seqs = dict(self.last_seqs)
        for outcome in outcomes:
            outbox = outcome.outbox
            last = seqs.get(outbox, 0)
            if outcome.revision or outcome.outcome_seq <= last or gap_too_large(last, outcome.outcome_seq):
                continue
            if outcome.outcome_seq != last + 1 and not (self.log_start > 0 and outbox not in seqs):
                raise LossDetected(
                    f"policy {self.name}, outcomes {outbox}, rewards offset {offset}",
                    f"seq {outcome.outcome_seq}",
                    f"seq {last + 1}",
                    f"outcomes are missing: run `bowerbird policy rebuild {self.name}`",
                )
            seqs[outbox] = outcome.outcome_seq
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
        if model is None or (model_digest := digest(model)) == self.saved.digest:
            number, model_digest, control = self.saved.number, self.saved.digest, self.saved.control
        else:
            number, control = self.saved.number + 1, None
        seqs, shape = dict(self.last_seqs), self.saved.shape
        return Position(number, model_digest, self.cut, seqs, self.examples, control, shape), model or b""

    def publish(self, position: Position, model: bytes) -> None:
        """Go on from what was saved as a new version: the workspace is thrown away and its bytes are loaded.

        Some explorers keep state that is not saved; this way a live, a restarted and a recomputed run go on from
        the same.
        """
        self.policy.close()
        self.policy = self._loaded(model)
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
        self.policy = self._loaded(model)
        self._kept.clear()
        self._begin(position)
        for offset, outcomes in kept:
            self.take(offset, outcomes)
