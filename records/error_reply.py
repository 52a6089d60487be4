"""The reply to a request that got no decision."""

import msgspec

from records.fields import Version


class Problem(msgspec.Struct, frozen=True):
    """What was wrong with a request.

    Attributes
    ----------
    code
        For a machine; one of the codes of the contract.
    field
        Where it stands.
    message
        A sentence for people: the field, what was found, what was expected.
    """

    code: str
    field: str
    message: str


class ErrorReply(msgspec.Struct, frozen=True, kw_only=True):
    """The reply to a request that got no decision.

    Attributes
    ----------
    v
        The version of the record.
    event_id
        That of the request, as far as it could be read.
    error
        What was wrong.
    """

    v: Version = 1
    event_id: str | None = None
    error: Problem
