"""From the outcomes in the log and the published cuts to every version of a policy, bit for bit.

A replay does what the learner did, by the same function (:func:`policies.training.learn`): it learns the outcomes
of one policy in the order of the log, skips repeats and what is not to be learned, and at each cut throws the
workspace away and loads the bytes that it just saved. So it needs no more memory than the learner, and the digest
of every version must be the published one.

It goes through an operator's controls as the learner did. From the cut of a version that holds the weights to the cut
of the next that does not, nothing is learned. A version that was itself computed again takes the weights back to what
this replay gave at an earlier offset; they are kept when that offset is passed.
"""

from collections import deque
from collections.abc import Sequence
from typing import NamedTuple

from policies.policy import Policy, digest, version_name
from policies.policy_store import PolicyIdentity
from policies.training import OutcomeToLearn, action_cache, learn, outcomes_of
from records.errors import BadInput
from records.message import Message
from records.policy_version import PolicyVersion
from records.sequence import gap_too_large


class Rebuilt(NamedTuple):
    """A version that was computed again.

    Attributes
    ----------
    published
        What ``versions`` says of it.
    digest
        sha256 of the bytes computed here, in hex.
    last_seqs, examples
        The last seq per outbox, and how many outcomes were learned, up to the version's cut.
    """

    published: PolicyVersion
    digest: str
    last_seqs: dict[str, int]
    examples: int

    @property
    def name(self) -> str:
        """The version's name, from the bytes computed here."""
        return version_name(self.published.number, self.digest)


class Jump(NamedTuple):
    """Outcomes that are not there: after ``last`` of an outbox came ``seq``, in the message at ``offset``."""

    outbox: str
    last: int
    outcome_seq: int
    offset: int


class SavedWeights(NamedTuple):
    """A saved policy, and how many outcomes it has learned."""

    model: bytes
    examples: int


class Rebuild:
    """Learns a policy again from its partition of ``rewards``.

    Parameters
    ----------
    name, identity
        The policy; version 0 is computed from its identity.
    versions
        The published versions, their numbers and cuts rising.

    Attributes
    ----------
    policy
        The policy as it is now: the last version whose cut was passed, and what was learned since.
    last_seqs
        The last seq of each outbox; ``first_seqs``: the first one in the log.
    examples, refused
        How many outcomes were learned, and how many the policy could not learn: the learner skipped them too.
    held, taken_back
        How many outcomes to be learned were passed over under a control, and how many an operator took back.
    jumps
        Where outcomes are missing.
    """

    def __init__(self, name: str, identity: PolicyIdentity, versions: Sequence[PolicyVersion] = ()) -> None:
        self.name, self.identity = name, identity
        self.policy: Policy = self.identity.make(None)
        self.first_seqs: dict[str, int] = {}
        self.last_seqs: dict[str, int] = {}
        self.examples = self.refused = self.held = self.taken_back = 0
        self.jumps: list[Jump] = []
        self._catalogue = action_cache()
        self._holding = False
        self._due: deque[PolicyVersion] = deque()
        self._marks: list[int] = []
        self._kept: dict[int, SavedWeights] = {}
        self.follow(versions)

    def follow(self, versions: Sequence[PolicyVersion]) -> None:
        """Take in further versions, whose cuts lie above all that was learned yet."""
        self._due += versions
        back_to = {version.rebuilt_to for version in self._due if (version.rebuilt_to or 0) < version.cut}
        self._marks = sorted((mark for mark in back_to - set(self._kept) if mark is not None), reverse=True)

    def until(self, offset: int) -> list[Rebuilt]:
        """Publish the versions whose cut is not above ``offset``; ``policy`` is the last of them."""
        rebuilt: list[Rebuilt] = []
        while True:
            cut = self._due[0].cut if self._due else offset + 1
            if self._marks and self._marks[-1] < cut and self._marks[-1] <= offset:
                self._kept[self._marks.pop()] = self.weights()
            elif cut <= offset:
                rebuilt.append(self._publish(self._due.popleft()))
            else:
                return rebuilt

    def learn(self, message: Message, *, pass_over: bool = False) -> None:
        """Learn what a message holds of the policy; :meth:`until` its offset comes first.

        ``pass_over``: only its seqs are noted.
        """
        for outcome in outcomes_of(self.identity.placements, message.value):
            if not outcome.revision:
                self._learn(message.offset, outcome, pass_over)

    def weights(self) -> SavedWeights:
        """Return the policy as it is now."""
        return SavedWeights(self.policy.dump(), self.examples)

    def digest(self) -> str:
        """Return the digest of the policy as it is now."""
        return digest(self.policy.dump())

    def seqs(self) -> dict[str, int]:
        """Return the last seq per outbox as ``versions`` writes it."""
        return dict(sorted(self.last_seqs.items()))

    @property
    def unreached(self) -> Sequence[PolicyVersion]:
        """The versions whose cut has not been reached."""
        return tuple(self._due)

    def close(self) -> None:
        """Give back the memory of the policy."""
        self.policy.close()

    def _publish(self, version: PolicyVersion) -> Rebuilt:
        model, examples = self.weights()
        if version.rebuilt_to is not None and version.rebuilt_to in self._kept:
            model, examples = self._kept[version.rebuilt_to]
            self.taken_back += self.examples - examples
            self.examples = examples
        self.policy.close()
        self.policy = self.identity.make(model)
        self._holding = not version.shape.learn
        return Rebuilt(version, digest(model), self.seqs(), self.examples)

    def _learn(self, offset: int, outcome: OutcomeToLearn, pass_over: bool) -> None:
        last = self.last_seqs.get(outcome.outbox, 0)
        if outcome.outcome_seq <= last or gap_too_large(last, outcome.outcome_seq):
            return
        self.first_seqs.setdefault(outcome.outbox, outcome.outcome_seq)
        if outcome.outcome_seq != last + 1:
            self.jumps.append(Jump(outcome.outbox, last, outcome.outcome_seq, offset))
        self.last_seqs[outcome.outbox] = outcome.outcome_seq
        if not outcome.learn or pass_over:
            return
        if self._holding:
            self.held += 1
            return
        try:
            learn(self.policy, outcome, self._catalogue)
        except BadInput:
            self.refused += 1
        else:
            self.examples += 1
