"""What is to be verified, and what the logs alone do not say."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from policies.policy_store import PolicyIdentity
from records.limits import Limits
from records.policy_version import PolicyVersion

DECISIONS = "decisions"
"""The name of the log of decisions, as feedback streams have names of theirs."""


class Live(NamedTuple):
    """What Redis holds of a policy.

    Attributes
    ----------
    record, model
        The published version and its bytes; both None where nothing was published.
    cut, last_seqs
        The policy's position: it moves beyond the version's cut when there was nothing to learn. None if
        the policy has no position yet.
    """

    record: PolicyVersion | None
    model: bytes | None
    cut: int | None = None
    last_seqs: Mapping[str, int] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class VerificationRequest:
    """What is to be verified, and what the logs alone do not say.

    A running service goes on while it is verified. The order in which these are taken makes the verdict right
    all the same: the watermark, the end of ``versions``, ``live``, the end of ``rewards``, the ends of the inputs.

    Attributes
    ----------
    policy, identity
        As configured.
    live
        What Redis holds.
    watermark_ms
        The smallest the watermark of the join's shards.
    dedup_horizon_ms, shards
        Settings of the join.
    limits
        Of contexts, actions and feedback.
    versions_end
        The records of ``versions`` below this offset were there before ``live`` was taken. None: all.
    starts
        Where logs start that do not start at 0, by (``"decisions"``, ``"rewards"``, ``"versions"`` or a stream;
        partition).
    rewards_end
        The end offset of the policy's partition of ``rewards``.
    unsent
        Above 0 where the join still holds what had to close before the watermark.
    lost
        Why the join's state may not be continued, a sentence each.
    own_feedback
        Whether feedback that retention has removed may be taken from the outcome that counted it. Then a reward is
        proved from what the outcome says of its feedback, and not that no other feedback was there.
    """

    policy: str
    identity: PolicyIdentity
    live: Live
    watermark_ms: int
    rewards_end: int
    dedup_horizon_ms: int
    unsent: int = 0
    lost: Sequence[str] = ()
    own_feedback: bool = False
    shards: int = 1
    limits: Limits = field(default_factory=Limits)
    versions_end: int | None = None
    starts: Mapping[tuple[str, int], int] = field(default_factory=dict)

    @property
    def rewards_start(self) -> int:
        """Where the policy's partition of ``rewards`` starts."""
        return max((start for (name, _), start in self.starts.items() if name == "rewards"), default=0)

    @property
    def versions_start(self) -> int:
        """Where ``versions`` starts."""
        return self.starts.get(("versions", 0), 0)
