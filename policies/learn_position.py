"""How far a policy has learned."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from policies.policy import version_name
from records.shape import UNSHAPED, Shape


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
        Last seq taken, per outbox (:func:`records.outcome.outbox_name`).
    examples
        How many outcomes were learned in all.
    control
        By which control an operator made the version (:mod:`policies.controls`).
    shape
        How the policy is used from the version on.
    """

    number: int
    digest: str
    cut: int = 0
    last_seqs: Mapping[str, int] = field(default_factory=dict)
    examples: int = 0
    control: str | None = None
    shape: Shape = UNSHAPED

    @property
    def held(self) -> bool:
        """Whether nothing is learned of what comes next: its seqs are passed over."""
        return not self.shape.learn

    @property
    def version(self) -> str:
        """The name under which decisions cite the version."""
        return version_name(self.number, self.digest)

    def covers(self, seqs: Mapping[str, int]) -> bool:
        """Tell whether outcomes with these seqs (the highest per outbox) have been taken."""
        return all(seq <= self.last_seqs.get(outbox, 0) for outbox, seq in seqs.items())
