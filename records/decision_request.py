"""A caller asks what to show now."""

import msgspec
from msgspec import Raw

from records.fields import Name, Places, RawAction, RawFeatures, Version


class DecisionRequest(msgspec.Struct, frozen=True, kw_only=True):
    """A caller asks what to show now.

    Attributes
    ----------
    v
        The version of the record.
    event_id
        The name of the decision, 1 to 128 bytes without control characters; made by decide where it is absent.
    placement
        Where something is to be shown: the front page, a newsletter. Its settings say which policy decides.
    context
        What is known of the person and the moment.
    actions
        What can be chosen, each with an id of its own.
    top
        So many places of a ranked list are filled, each with another action; absent: one action is chosen.
    user_id
        Passed on, and not used.
    activate
        False: nothing is learned of the decision unless a feedback says ``activate: true``.
    """

    v: Version = 1
    event_id: str | None = None
    placement: Name
    context: RawFeatures = msgspec.field(default_factory=lambda: Raw(b"{}"))
    actions: list[RawAction]
    top: Places | None = None
    user_id: str | None = None
    activate: bool = True
