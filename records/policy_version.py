"""A published version of a policy."""

import msgspec

from records.fields import Integer, Name, Natural, Ordinal, OutboxName, Version
from records.shape import UNSHAPED, Shape


class PolicyVersion(msgspec.Struct, frozen=True, kw_only=True):
    """A published version of a policy: enough to compute it again from ``rewards``.

    Attributes
    ----------
    v
        The version of the record.
    policy, kind, arguments, salt
        The policy as it is configured; other arguments under the same name are refused.
    number
        1, 2, 3, ...
    version
        The number and the first 8 hex digits of the digest: what decisions cite.
    cut
        The offset of the policy's partition of ``rewards`` up to which (exclusive) this version has learned.
    placements
        Whose outcomes it learns.
    last_seqs
        Last learned or skipped seq per outbox (keys are a placement and a shard: ``front/0``).
    digest
        sha256 of the saved bytes, in hex. Version 0 is computed from the arguments and has no record.
    examples
        How many outcomes were learned in all, this version included.
    partition
        The policy's partition of ``rewards``.
    published_ms
        When it was published, by the broker's clock.
    vw_build, processor
        Where it was computed: the bytes are the same on the same build and kind of processor.
    control
        By which control an operator made it: ``freeze``, ``uniform`` or ``unfreeze``; null: it was learned.
    shape
        How the policy is used from this version on; a control changes it.
    rebuilt_to
        An operator had it computed again from the log: it holds nothing of the outcomes at or above this offset (and
        below ``cut``); null: it was not.
    """

    v: Version = 1
    policy: Name
    number: Natural
    version: str
    kind: str
    arguments: str
    salt: str
    placements: tuple[Name, ...]
    cut: Natural
    last_seqs: dict[OutboxName, Natural]
    digest: str
    examples: Natural
    partition: Ordinal = 0
    published_ms: Integer = 0
    vw_build: str = ""
    processor: str = ""
    control: str | None = None
    shape: Shape = UNSHAPED
    rebuilt_to: Natural | None = None
