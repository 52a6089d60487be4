"""A snapshot of the topic ``versions``."""

import msgspec

from records.fields import Natural, Version
from records.policy_version import PolicyVersion


class LoggedVersion(msgspec.Struct, frozen=True, kw_only=True):
    """A version and its offset in ``versions``.

    Attributes
    ----------
    offset
        The offset of its record; of two records of one version the first counts.
    version
        The record.
    """

    offset: Natural
    version: PolicyVersion


class VersionsSnapshot(msgspec.Struct, frozen=True, kw_only=True):
    """The newest version of every policy, written every 1,000 records, so that no start reads all of `versions`.

    Attributes
    ----------
    v
        The version of the record.
    end_offset
        It holds what `versions` says below this offset.
    versions
        Of every policy the newest version; before it the two records of one version that differ, where there are such.
    """

    v: Version = 1
    end_offset: Natural
    versions: list[LoggedVersion]

    def newest(self, policy: str) -> LoggedVersion | None:
        """Return the newest version of a policy, None: there is none below ``end_offset``."""
        own = [each for each in self.versions if each.version.policy == policy]
        return max(own, key=lambda each: each.version.number, default=None)
