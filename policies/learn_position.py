"""How far a policy has learned."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from policies.controls import holds
from policies.policy import version_name


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
        What an operator put in force with the version (:mod:`policies.controls`).
    """

    number: int
    digest: str
    cut: int = 0
    last_seqs: Mapping[str, int] = field(default_factory=dict)
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

    def covers(self, seqs: Mapping[str, int]) -> bool:
        """Tell whether outcomes with these seqs (the highest per outbox) have been taken."""
        return all(seq <= self.last_seqs.get(outbox, 0) for outbox, seq in seqs.items())
