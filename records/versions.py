"""The one reading of a message of ``versions``: what a learner takes for a version, a rebuild takes for one too."""

from collections.abc import Iterator
from contextlib import suppress

import msgspec

from records.codec import UNREADABLE, items
from records.errors import BadInput
from records.policy_version import PolicyVersion
from records.sequence import gap_too_large

_version = msgspec.json.Decoder(PolicyVersion).decode


def versions_in(value: bytes | None, highest: dict[str, int]) -> Iterator[PolicyVersion]:
    """Yield the versions of a message.

    What is not a version (the identity of the log, or a foreign record) is left out: nothing was built on it. So is a
    version whose number is far ahead, since no number would be left for the versions after it.

    Parameters
    ----------
    highest
        By policy the highest number of a version so far; it is brought up to date.

    >>> list(versions_in(b'{"policy": "front", "number": 7}', {}))
    []
    """
    try:
        bodies = items(value)
    except BadInput:
        return
    for body in bodies:
        with suppress(*UNREADABLE):
            version = _version(body)
            last = highest.get(version.policy, 0)
            if not gap_too_large(last, version.number):
                highest[version.policy] = max(last, version.number)
                yield version
