"""A thing that a person did after a decision."""

from typing import Annotated

import msgspec
from msgspec import Meta

from records.codec import decode, encode
from records.errors import BadInput
from records.event_id import check_event_id
from records.fields import Integer, Natural, Ordinal, RawFeedback, Version
from records.limits import ACTION_BYTES, EVENT_ID_BYTES, REWARD_LIMIT


class Feedback(msgspec.Struct, frozen=True, kw_only=True):
    """A thing that a person did after a decision; its identity is (event id, stream, id).

    Attributes
    ----------
    v
        The version of the record.
    id
        The producer's name of this event, at most 128 bytes: sent twice, it counts once. Absent: its place in the
        log is its name, and sent twice it counts twice.
    event_id
        The decision that it belongs to.
    action
        The id of the action that it is about; absent: the first one that was shown. About one that was not shown it is
        worth nothing.
    value
        What it is worth, where the placement says ``value = true`` of its stream.
    activate
        True: what was decided was seen, and may be learned.
    """

    v: Version = 1
    id: str | None = None
    event_id: str
    action: Annotated[str, Meta(max_length=ACTION_BYTES)] | None = None
    value: Annotated[float, Meta(ge=-REWARD_LIMIT, le=REWARD_LIMIT)] | None = None
    activate: bool | None = None


class CountedFeedback(msgspec.Struct, frozen=True, kw_only=True):
    """A feedback that counted, with its place.

    Attributes
    ----------
    stream
        The name of its stream.
    time_ms, partition, offset, index
        Its log time, and its position in the topic of its stream.
    event
        The feedback itself.
    """

    stream: str
    time_ms: Integer
    partition: Ordinal
    offset: Natural
    index: Ordinal
    event: RawFeedback


_feedback = msgspec.json.Decoder(Feedback)


def feedback(value: bytes) -> Feedback:
    """Decode a feedback record."""
    record = decode(_feedback, value)
    check_event_id(record.event_id)
    if record.id is not None and len(record.id.encode()) > EVENT_ID_BYTES:
        raise BadInput("bad_id", "id", f"{len(record.id.encode())} bytes", f"at most {EVENT_ID_BYTES} bytes")
    if record.action is not None and (size := len(encode(record.action))) > ACTION_BYTES:
        raise BadInput("invalid_field", "action", f"{size} bytes of JSON", f"at most {ACTION_BYTES} bytes")
    return record
