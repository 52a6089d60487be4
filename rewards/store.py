"""What the join asks of its store, and the records that both hand to each other.

A store knows no rule of rewards: it keeps decisions and feedback by their position, lowers a deadline, and pops what is
due, in the order of (deadline, event id), into a running number and an outbox. One call is one atomic transaction, and
holds the offsets of the inputs together with the state that they made.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from records.errors import RECOVER, LossDetected, StateRefused
from records.position import LogPosition

DISCARD = "or, if its log is gone for good, run `bowerbird recover --discard-other-log`"
"""What an operator does about a join state that may not be continued."""
DEAD_LETTERS = ".dead-letters"
"""The outbox of what the join could not use; no placement can have this name."""
PORTION_BYTES = 8 * 1024 * 1024
"""One call moves about so many bytes into outboxes, or reads so many from one; a single larger window goes alone."""


class Claim(NamedTuple):
    """The position of a worker in one input partition.

    ``start`` is the offset at which it stood after its last call, ``end`` where it stands now; ``watermark_ms``:
    everything appended to the partition before this log time lies below ``end`` (the grace is taken off
    already), None: nothing is claimed. ``fresh``: the worker began at the log's start because the group has no
    acknowledged offset, and no store has answered for this partition before.
    """

    topic: str
    partition: int
    start: int
    end: int
    watermark_ms: int | None = None
    fresh: bool = False


class DecisionItem(NamedTuple):
    """A logged decision, as the store keeps it: times are log times in ms, ``close_on`` topics."""

    position: LogPosition
    event_id: str
    placement: str
    fingerprint: str
    opens_ms: int
    deadline_ms: int
    dedup_until_ms: int
    close_on: tuple[str, ...]
    body: bytes


class FeedbackItem(NamedTuple):
    """A feedback; while its decision is unknown it waits until the watermark lies beyond ``waits_until_ms``."""

    position: LogPosition
    event_id: str
    waits_until_ms: int
    body: bytes


class Closing(NamedTuple):
    """An outcome in ``rewards``: until when its event id is remembered, and what it has counted."""

    event_id: str
    dedup_until_ms: int
    deadline_ms: int


NEEDED = "needed"
"""The hold of a shard that has forgotten something: it waits for a recovery."""


class Inputs(NamedTuple):
    """The list of all partitions of all inputs, asked after a tick of this log time (grace taken off)."""

    partitions: tuple[tuple[str, int], ...]
    watermark_ms: int


@dataclass(frozen=True, slots=True)
class Transaction:
    """One call: what was read, and from where to where. A tick's call holds no items.

    ``close_limit``: how many windows one call closes at most; ``feedback_limit``: how many of one decision's
    feedback, the first by position, are kept. ``hold``: the hold that the caller has on the shard. ``close_bytes``:
    a call closes no further window, and gives up no further feedback, once those have so many bytes.
    """

    claims: Sequence[Claim] = ()
    items: Sequence[DecisionItem | FeedbackItem] = ()
    inputs: Inputs | None = None
    close_limit: int = 500
    feedback_limit: int = 1000
    hold: str = ""
    close_bytes: int = PORTION_BYTES


@dataclass(frozen=True, slots=True)
class TransactionResult:
    """What a call did.

    ``held_by``: the input ("topic partition", or "*" for the list of inputs) that holds the watermark back.
    ``watermark_ms`` lies not beyond a window that is due and still open. ``more``: something due is left, call again.
    ``closed``: outcomes per placement (and dead letters under :data:`DEAD_LETTERS`).
    """

    watermark_ms: int
    held_by: str
    closed: dict[str, int] = field(default_factory=dict)
    repeats: int = 0
    late: int = 0
    behind_watermark: int = 0
    more: bool = False


class WindowFeedback(NamedTuple):
    """A feedback of a closed window."""

    position: LogPosition
    body: bytes


class ClosedWindow(NamedTuple):
    """A closed window, as it left the store, with its seq.

    ``rival_ms``: the log time of the first copy of the decision that differs from it, or None.
    ``feedback`` lies within [opens, deadline], in the order of positions.
    """

    seq: int
    event_id: str
    deadline_ms: int
    position: LogPosition
    rival_ms: int | None
    body: bytes
    feedback: tuple[WindowFeedback, ...]


class Unusable(NamedTuple):
    """A feedback that no window took, as it left the store, with its seq and the reason."""

    seq: int
    event_id: str
    position: LogPosition
    reason: str
    body: bytes


class JoinStore(Protocol):
    """The join's state: one shard a call, every call atomic. Any worker may call for any shard."""

    async def apply(self, shard: int, log: str, transaction: Transaction) -> TransactionResult:
        """Apply a transaction to a shard of the log named ``log``.

        Raises
        ------
        records.errors.StateRefused
            The state belongs to another log, or something between the state and the transaction was lost, or the shard
            is held by another; nothing was applied. A shard that has lost something is held from then on.
        """
        ...

    async def outboxes(self, shard: int) -> dict[str, int]:
        """Return the last seq given, per placement (and :data:`DEAD_LETTERS`)."""
        ...

    async def head(
        self, shard: int, outbox: str, limit: int, limit_bytes: int = PORTION_BYTES
    ) -> list[ClosedWindow] | list[Unusable]:
        """Return the first entries of an outbox, in the order of seq, up to the one that reaches ``limit_bytes``."""
        ...

    async def trim(self, shard: int, outbox: str, seq: int) -> None:
        """Forget the entries of an outbox up to and with ``seq``, because Kafka has acknowledged them."""
        ...

    async def pending(self, shard: int) -> dict[str, int]:
        """Return how many decisions wait for their deadline, per placement."""
        ...

    async def held(self, shard: int) -> str:
        """Return the hold on a shard; empty if nobody holds it: then everyone may write it."""
        ...

    async def hold(self, shard: int, hold: str) -> None:
        """Hold a shard, even if another holds it; an empty hold lets it go, with what only a recovery needs."""
        ...

    async def reset(self, shard: int, log: str, hold: str, seqs: Mapping[str, int]) -> None:
        """Forget all of a shard but its last seqs, which are set, and hold it."""
        ...

    async def remember(self, shard: int, closings: Sequence[Closing]) -> None:
        """Remember event ids that are closed, while a shard is held: what they have counted is no late feedback."""
        ...


def other_log(shard: int, found: str, expected: str) -> StateRefused:
    """Return the refusal of a state that belongs to another log."""
    return StateRefused(
        f"join state of shard {shard}",
        f"log {found}",
        f"log {expected}",
        f"point this service at the Redis of its own log, use another prefix, {DISCARD}",
    )


def not_free(shard: int, hold: str) -> StateRefused:
    """Return the refusal of a transaction on a shard that is held by another."""
    what = f"join state of shard {shard}"
    if hold == NEEDED:
        return LossDetected(what, "a part that Redis has forgotten", "the whole state", RECOVER)
    if not hold:
        return StateRefused(what, "no recovery", "the one that was begun", RECOVER)
    return StateRefused(
        what, "a recovery that has not finished", "none", "wait for it, or run `bowerbird recover` if it has stopped"
    )


def behind(shard: int, claim: Claim, stored: int | None) -> LossDetected:
    """Return the refusal of a state that has not seen all that was acknowledged."""
    return LossDetected(
        f"join state of shard {shard}, {claim.topic} partition {claim.partition}",
        "no offset" if stored is None else f"offset {stored}",
        f"offset {claim.start} or above, which Kafka has as read",
        f"Redis has forgotten a part: {RECOVER}",
    )
