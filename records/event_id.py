"""What is fit to be an event id: the one rule of everybody who takes one."""

import re

from records.errors import BadInput
from records.limits import EVENT_ID_BYTES

_CONTROL = re.compile(r"[\x00-\x1f\x7f]").search


def check_event_id(event_id: str) -> str:
    """Return an event id that is fit to be one: 1 to 128 bytes of UTF-8 without control characters."""
    if not 0 < len(event_id.encode()) <= EVENT_ID_BYTES or _CONTROL(event_id):
        found = event_id if len(event_id) <= 40 else event_id[:40] + "…"
        raise BadInput("bad_event_id", "event_id", repr(found), "1 to 128 bytes without control characters")
    return event_id
