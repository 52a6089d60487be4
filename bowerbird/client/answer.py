"""What a client makes of a reply."""

from dataclasses import dataclass

import msgspec

from records.decision import PickedAction


@dataclass(frozen=True, slots=True)
class Answer:
    """What to show.

    Attributes
    ----------
    event_id
        The name of the decision: what feedback must name.
    chosen
        The id of the action to show.
    ranking
        The ids of all actions, the first is the chosen one; of a ranked list those of its places.
    propensity
        The probability of the chosen action; None: nobody drew it.
    propensities
        Of a ranked list the probability of each place, given the places before it.
    policy_version
        The version that decided; None: nobody did.
    reason
        None: decided. Else why this is the caller's own default: ``timeout``, ``broker_away``, or the code of an
        error reply (docs/contract.md).
    warnings
        Fields of the request that nothing reads, a sentence each.
    """

    event_id: str
    chosen: str
    ranking: tuple[str, ...]
    propensity: float | None = None
    policy_version: str | None = None
    reason: str | None = None
    warnings: tuple[str, ...] = ()
    propensities: tuple[float, ...] = ()

    @property
    def decided(self) -> bool:
        """Whether a policy decided."""
        return self.reason is None


class Reply(msgspec.Struct, frozen=True):
    """What is read of a reply: a decision, or an error."""

    chosen: str = ""
    ranking: tuple[str, ...] = ()
    propensity: float = 0.0
    policy_version: str = ""
    warnings: tuple[str, ...] = ()
    picks: tuple[PickedAction, ...] = ()
    rule: msgspec.Raw = msgspec.Raw(b"")
    error: dict[str, str] | None = None
