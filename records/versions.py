"""The one reading of a message of ``versions``: what a learner takes for a version, a rebuild takes for one too."""

from collections.abc import Iterator
from contextlib import suppress

import msgspec

from records.codec import UNREADABLE, items
from records.errors import BadInput
from records.policy_version import PolicyVersion

_version = msgspec.json.Decoder(PolicyVersion).decode


def versions_in(value: bytes | None) -> Iterator[PolicyVersion]:
    """Yield the versions of a message.

    What is not a version (the identity of the log, or a foreign record) is left out: nothing was built on it.

    >>> list(versions_in(b'{"policy": "front", "number": 7}'))
    []
    """
    try:
        bodies = items(value)
    except BadInput:
        return
    for body in bodies:
        with suppress(*UNREADABLE):
            yield _version(body)
