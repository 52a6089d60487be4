"""What a status says."""

import msgspec

from policies.learnability import Symptom
from stream.stopped import StoppedPart


class Backlog(msgspec.Struct, frozen=True, kw_only=True):
    """What a role has before it.

    Attributes
    ----------
    workers
        Processes that take part now.
    strangers
        Client ids of consumers that are members of the role's group but do not belong to this service.
    late
        Whether requests have waited for decide for longer than they should.
    messages
        Messages that are not acknowledged, of ``topic`` the most. Offsets behind the last message that can be read do
        not count: what stands there was aborted, or marks the end of a transaction.
    done_per_s, growth_per_s
        Messages acknowledged, and by how many the backlog grows (below 0: it shrinks), each second; None: not known.
    """

    role: str
    workers: int
    messages: int
    topic: str = ""
    done_per_s: float | None = None
    growth_per_s: float | None = None
    strangers: tuple[str, ...] = ()
    late: bool = False

    @property
    def gone_in_s(self) -> float | None:
        """In how many seconds it will be gone, as it goes now; None: not at all, or not known."""
        if not self.messages:
            return 0.0
        if self.growth_per_s is None or self.growth_per_s >= 0:
            return None
        return self.messages / -self.growth_per_s


WAITED_MS = 20_000
"""Requests that have waited for longer are late."""
OPEN_S = 2.0
"""A transaction that is open for longer is shown."""
LATE_MS = 10_000
"""A shard that lies further behind is asked what holds it."""


class ShardWatermark(msgspec.Struct, frozen=True, kw_only=True):
    """How far a shard of the join has read everything.

    Attributes
    ----------
    held_by
        The partition that holds it there.
    open_transaction
        The offset at which a transaction begins that holds this partition; None: none does, or the shard is not late.
    """

    shard: int
    watermark_ms: int
    held_by: str
    open_transaction: int | None = None


class OpenWindows(msgspec.Struct, frozen=True, kw_only=True):
    """The open windows of a placement, and how many it may have (``max_pending``)."""

    placement: str
    pending: int
    max_pending: int


class PolicyStatus(msgspec.Struct, frozen=True, kw_only=True):
    """One policy, in the version that Redis holds and over the time that was looked at.

    Attributes
    ----------
    by
        What made the version: ``learning``, ``freeze``, ``uniform``, ``unfreeze``, ``rebuild``, ``arguments``.
    control
        What an operator has put in force: ``freeze`` or ``uniform``.
    waiting_since_ms
        Log time of the oldest outcome (of those looked at) that was to be learned and that no version holds.
    decisions
        ``by_version``: of these, by the version that decided.
    outcomes, joined, learnable, reward
        Windows that closed; those with feedback; those to be learned; their mean reward (None without any).
    pending
        Windows that are open, of all placements for which it decides.
    fullest
        Of these placements the one with the largest share of the open windows that it may have; None: there is none.
    closes_ms
        Log time at which the next of the open windows closes, if nothing closes it earlier.
    problem
        Why its state cannot be read.
    symptoms
        Why it does not learn what it could, as far as decisions and outcomes show.
    """

    name: str
    version: str
    number: int
    by: str
    control: str | None
    published_ms: int | None
    examples: int
    waiting_since_ms: int | None
    decisions: int
    by_version: dict[str, int]
    outcomes: int
    joined: int
    learnable: int
    reward: float | None
    why: dict[str, int]
    pending: int
    fullest: OpenWindows | None = None
    closes_ms: int | None = None
    problem: str = ""
    symptoms: list[Symptom] = []


class OpenTransaction(msgspec.Struct, frozen=True, kw_only=True):
    """A transaction that holds back what a role reads.

    Attributes
    ----------
    offset
        Where it begins.
    """

    role: str
    topic: str
    partition: int
    offset: int


class RedisMemory(msgspec.Struct, frozen=True, kw_only=True):
    """How much memory Redis uses, and how much it may use."""

    used_bytes: int
    most_bytes: int


class Status(msgspec.Struct, frozen=True, kw_only=True):
    """A service at one moment.

    Attributes
    ----------
    now_ms
        By this machine's clock, or by the newest record where that is later.
    looked_at_s
        Decisions, outcomes and dead letters are those of so many seconds.
    dead_letters
        How many, by reason and the stream that they came from (``late of clicks``).
    stopped
        What stands still now, as its role says.
    transactions
        Those that are open for some seconds in what decide and learn read.
    missing_topics
        What the service needs and Kafka does not have.
    redis_memory
        None: Redis has no limit of its own, or does not say.
    """

    now_ms: int
    looked_at_s: float
    backlogs: list[Backlog]
    watermarks: list[ShardWatermark]
    policies: list[PolicyStatus]
    dead_letters: dict[str, int]
    stopped: list[StoppedPart] = []
    transactions: list[OpenTransaction] = []
    missing_topics: list[str] = []
    redis_memory: RedisMemory | None = None
