"""What a verification found, in figures and in sentences."""

from collections import Counter
from typing import Literal

import msgspec

FindingKind = Literal[
    "missing",
    "doubled",
    "gap",
    "contradiction",
    "order",
    "unfounded",
    "decision",
    "feedback",
    "reward",
    "learn",
    "why",
    "deadline",
    "shard",
    "unreadable",
    "versions",
    "arguments",
    "digest",
    "last_seqs",
    "examples",
    "cut",
    "live",
    "position",
    "state",
    "not_verifiable",
]
SHOWN_PER_KIND = 10


class Finding(msgspec.Struct, frozen=True):
    """Something that is not as it has to be.

    Attributes
    ----------
    kind
        ``missing``: a window that has closed has no outcome. ``doubled``: one decision has two outcomes.
        ``gap``: a seq is missing. ``contradiction``: one seq, two different outcomes. ``order``: closed in
        another order than that of (deadline, event id). ``unfounded``: an outcome without a decision.
        ``decision``, ``feedback``, ``reward``, ``learn``, ``why``, ``deadline``, ``shard``: that part of an
        outcome is wrong. ``unreadable``: a record of ``rewards`` cannot be read. ``versions``: a
        version is missing, or stands there twice and differs. ``arguments``: they changed under one name.
        ``digest``, ``last_seqs``, ``examples``, ``cut``: that part of a version is not what the log gives.
        ``live``, ``position``: Redis holds something else than the log gives. ``state``: the join's
        state in Redis is not the log's. ``not_verifiable``: retention has
        removed what would be needed, or its topic was deleted and made anew.
    where
        An event id, a version or a place in a topic.
    message
        A sentence: what was found, and what was expected.
    """

    kind: FindingKind
    where: str
    message: str


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """The result of a verification; :attr:`ok` only when every figure and every digest is right.

    Attributes
    ----------
    policy
        Its name.
    watermark_ms
        Watermark of the join: windows that end before it must have an outcome.
    decisions
        Decisions of the policy in the log, repeats not counted; ``external`` of them another system took.
    copies
        Further records of ``decisions`` under an event id that has a decision.
    outcomes
        Outcomes in ``rewards``, repeats not counted; ``closed`` by why their window closed.
    learned, waiting, refused
        Of the outcomes to be learned: those that the live version holds, those that no version holds
        yet, and those that the policy could not learn.
    held, taken_back
        Of the outcomes to be learned: those that came while an operator held the weights, and those that an operator
        took out of them by a rebuild; neither is learned.
    pending
        Decisions whose window has not closed.
    missing, doubled, wrong
        Decisions without the outcome that they must have, or with two; outcomes of which a part is wrong.
    repeats
        Outcomes that the log holds again under the same seq: a repeat is harmless.
    own_feedback
        Outcomes right by the feedback that they carry, since retention has removed what the streams held at their
        time: decision, reward, deadline, order and weights are proved, not that no other feedback had to count.
    not_verifiable
        Outcomes and windows of which a part is in no topic any more: retention has removed it, or its topic was made
        anew.
    unusable
        Records of the inputs that are no decision or feedback; the join put them into the dead letters.
    versions
        How many published versions were compared.
    live_version, live_digest, recomputed_digest
        The version that Redis holds, the digest of its bytes, and the digest of the same version computed from
        the log. ``identical``: these two are one, and every published digest was met.
    findings
        The first ten of each kind; ``found`` counts all of them.
    """

    policy: str
    ok: bool
    watermark_ms: int
    decisions: int
    external: int
    copies: int
    outcomes: int
    closed: dict[str, int]
    learned: int
    waiting: int
    refused: int
    held: int
    taken_back: int
    pending: int
    missing: int
    doubled: int
    wrong: int
    repeats: int
    own_feedback: int = 0
    not_verifiable: int
    unusable: int
    versions: int
    live_version: str
    live_digest: str
    recomputed_digest: str
    identical: bool
    found: dict[str, int]
    findings: list[Finding]


class Findings:
    """Collects findings: all are counted, the first of each kind are kept."""

    def __init__(self) -> None:
        self.counts: Counter[FindingKind] = Counter()
        self.shown: list[Finding] = []

    def add(self, kind: FindingKind, where: str, message: str) -> None:
        """Note a finding."""
        self.counts[kind] += 1
        if self.counts[kind] <= SHOWN_PER_KIND:
            self.shown.append(Finding(kind, where, message))
