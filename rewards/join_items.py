"""What a message of an input holds for the join: decisions and feedback, and what cannot be used."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from records.codec import items
from records.decision import decision_head, fingerprint
from records.errors import BadInput
from records.feedback import feedback
from records.limits import DAY_S, RECORD_DEPTH
from records.nesting import check_depth
from records.position import LogPosition
from records.rule import rule_of
from rewards.rules import deadline_ms, milliseconds, opens_ms
from rewards.store import DecisionItem, FeedbackItem

LEAST_BYTES = len('{"event_id":"."}')
FEW_ITEMS = 20
"""In a longer array, items shorter than any record are refused without being decoded, which would cost many times
their bytes."""
NO_RECORD = BadInput("invalid_field", "value", f"less than {LEAST_BYTES} bytes", "a record with an event_id")


Input = tuple[str, int]
"""A topic and a partition of it."""


class InputMessage(NamedTuple):
    """A message of an input: ``time_ms`` is its log time, ``value`` None for a tombstone."""

    topic: str
    partition: int
    offset: int
    time_ms: int
    value: bytes | None
    key: bytes | None = None


class Rejected(NamedTuple):
    """What cannot be used: it becomes a dead letter with its reason and its bytes."""

    message: InputMessage
    item: int
    error: BadInput
    value: bytes | None


@dataclass(frozen=True, slots=True)
class JoinSettings:
    """What the core must know.

    ``decisions`` is the topic of decisions, ``shard_of`` places an event id. ``portion_items``: how many items are
    applied together, ``close_limit``: how many windows one call closes at most. ``hold`` and ``passes_over`` are a
    recovery's: its hold on the shards, and which feedback it leaves out.
    """

    decisions: str
    prefix: str
    shards: int
    shard_of: Callable[[str], int]
    early_s: float = 120.0
    close_grace_ms: int = 250
    dedup_horizon_s: float = DAY_S
    feedback_limit: int = 1000
    feedback_bytes: int = 16 * 1024
    decision_bytes: int = 1024 * 1024
    portion_items: int = 200
    close_limit: int = 500
    hold: str = ""
    passes_over: Callable[[DecisionItem | FeedbackItem], bool] | None = None


def decode_items(
    settings: JoinSettings, message: InputMessage, decoded: list[DecisionItem | FeedbackItem], rejected: list[Rejected]
) -> None:
    """Append what a message holds to ``decoded``, and what cannot be used to ``rejected``."""
    try:
        bodies = items(message.value)
    except BadInput as error:
        rejected.append(Rejected(message, -1, error, message.value))
        return
    for index, body in enumerate(bodies):
        if len(body) < LEAST_BYTES and len(bodies) > FEW_ITEMS:
            rejected.append(Rejected(message, index, NO_RECORD, body))
            continue
        position = LogPosition(message.time_ms, message.topic, message.partition, message.offset, index)
        try:
            item = _item(settings, position, body)
            if settings.passes_over is None or not settings.passes_over(item):
                decoded.append(item)
        except BadInput as error:
            rejected.append(Rejected(message, index, error, body))


def _item(settings: JoinSettings, position: LogPosition, body: bytes) -> DecisionItem | FeedbackItem:
    limit = settings.decision_bytes if position.topic == settings.decisions else settings.feedback_bytes
    if len(body) > limit:
        raise BadInput("too_large", "value", f"{len(body)} bytes", f"at most {limit} bytes")
    check_depth(body, RECORD_DEPTH)
    if position.topic != settings.decisions:
        event_id = feedback(body).event_id
        return FeedbackItem(position, event_id, position.time_ms + milliseconds(settings.early_s), body)
    head = decision_head(body)
    rule = rule_of(head.rule)
    dedup_horizon_ms = milliseconds(settings.dedup_horizon_s)
    if 2 * milliseconds(rule.window_s) > dedup_horizon_ms:
        raise BadInput(
            "window_too_long",
            "rule.window_s",
            f"{rule.window_s} s",
            f"at most half of dedup_horizon_s ({dedup_horizon_ms} ms)",
        )
    return DecisionItem(
        position,
        head.event_id,
        head.placement,
        fingerprint(head),
        max(0, opens_ms(rule, position.time_ms)),
        deadline_ms(rule, position.time_ms),
        position.time_ms + dedup_horizon_ms,
        tuple(settings.prefix + stream for stream in rule.reward.close_on),
        body,
    )
