"""The newest version of every policy: what a snapshot of ``versions`` holds."""

import msgspec

from records.codec import UNREADABLE
from records.sequence import gap_too_large
from records.versions import versions_in
from records.versions_snapshot import LoggedVersion, VersionsSnapshot

_snapshot = msgspec.json.Decoder(VersionsSnapshot).decode


def snapshot_in(value: bytes | None, offset: int) -> VersionsSnapshot | None:
    """Return the snapshot that a message of ``versions`` is, None: it is none, or it says what it cannot know.

    Every number has a record of its own, so none is far ahead of its offset. A forged snapshot can do what a forged
    version can: stop a learner, until the policy is rebuilt. It can also hide versions, but only from a learner of
    which Redis holds nothing; that one learns from the start of ``rewards`` again, and stops where the start is gone.
    """
    if value is None or b'"end_offset"' not in value:
        return None
    try:
        snapshot = _snapshot(value)
    except UNREADABLE:
        return None
    known = snapshot.end_offset <= offset and all(
        each.offset < snapshot.end_offset and not gap_too_large(each.offset, each.version.number)
        for each in snapshot.versions
    )
    return snapshot if known else None


class NewestVersions:
    """Follows ``versions`` from its start, or from a snapshot; the result is the same.

    Attributes
    ----------
    by_policy
        The newest version of every policy: the first record of the highest number.

    Examples
    --------
    >>> NewestVersions().snapshot(7)
    VersionsSnapshot(v=1, end_offset=7, versions=[])
    """

    def __init__(self, snapshot: VersionsSnapshot | None = None) -> None:
        self.by_policy: dict[str, LoggedVersion] = {}
        self._highest: dict[str, int] = {}
        self._differing: dict[str, list[LoggedVersion]] = {}
        for logged in snapshot.versions if snapshot is not None else ():
            self._add(logged)

    def take(self, offset: int, value: bytes | None) -> None:
        """Take in the next message."""
        for version in versions_in(value, self._highest):
            self._add(LoggedVersion(offset=offset, version=version))

    def snapshot(self, end_offset: int) -> VersionsSnapshot:
        """Return the snapshot of what was taken, which is all that stands below an offset."""
        versions: list[LoggedVersion] = []
        for policy, newest in self.by_policy.items():
            differing = self._differing.get(policy, [])
            versions += differing if newest in differing else [*differing, newest]
        return VersionsSnapshot(end_offset=end_offset, versions=versions)

    def _add(self, logged: LoggedVersion) -> None:
        version = logged.version
        policy, number = version.policy, version.number
        newest = self.by_policy.get(policy)
        if newest is None or number > newest.version.number:
            self.by_policy[policy] = logged
            self._highest[policy] = number
            if version.rebuilt_to is not None:
                # It settles what contradicted itself before.
                self._differing.pop(policy, None)
        elif number == newest.version.number and version != newest.version:
            self._differing[policy] = [newest, logged]
