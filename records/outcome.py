"""A decision with the feedback that counted and its reward."""

from typing import Literal

import msgspec

from records.feedback import CountedFeedback
from records.fields import Integer, Name, Ordinal, Positive, RawDecision, Version
from records.position import LogPosition

Why = Literal["window", "early", "conflicting", "not_activated", "expired"]


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """A decision with the feedback that counted and its reward: one training example.

    Attributes
    ----------
    v
        The version of the record.
    event_id, placement, policy, policy_version
        As in the decision.
    shard
        The part of the join's state in which it closed.
    outcome_seq
        The running number of the outcomes of one placement in one shard, without gaps, from 1.
    revision
        0. A reader drops what has another, and a seq that it has had.
    reward
        What the feedback that counted is worth by the decision's rule; of a ranked list the sum over its places.
    rewards
        Of a ranked list the reward of each place; absent of other decisions.
    places
        How many actions were shown.
    learn
        False: counted, never learned; ``why`` tells the reason.
    why
        Why it closed: ``window`` and ``early`` are learned; ``conflicting`` (two decisions under one event id),
        ``not_activated`` and ``expired`` (decided when nobody waited any more) are not.
    closed_ms
        The final deadline in log time.
    decision_position
        Topic, partition, offset, index and log time of the decision.
    feedback
        What counted, in the order of their positions.
    decision
        The decision itself.
    """

    v: Version = 1
    event_id: str
    placement: Name
    policy: Name
    policy_version: str
    shard: Ordinal
    outcome_seq: Positive
    revision: Ordinal = 0
    reward: float
    rewards: list[float] = []
    places: Ordinal = 1
    learn: bool
    why: Why
    closed_ms: Integer
    decision_position: LogPosition
    feedback: list[CountedFeedback]
    decision: RawDecision


def outbox_name(placement: str, shard: int) -> str:
    """Return the name of the outbox of a placement in a shard, in which outcomes are numbered.

    >>> outbox_name("front", 0)
    'front/0'
    """
    return f"{placement}/{shard}"


def parse_outbox(name: str) -> tuple[str, int]:
    """Return the placement and the shard of an outbox.

    >>> parse_outbox("front/0")
    ('front', 0)
    """
    placement, _, shard = name.partition("/")
    return placement, int(shard)
