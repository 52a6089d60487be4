"""Publishing: a policy's next version is a compare-and-set on the one before, and its record goes to ``versions``.

A learner goes on only from a version whose record stands acknowledged in ``versions``; a learner in doubt writes it
again, byte by byte as the store has it. So ``versions`` holds every version that anything was built on, and a store
that went back in time is found out: ``versions`` is ahead of it, or two records of one number differ.
"""

import platform
from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import blake2b
from types import MappingProxyType
from typing import Literal, Protocol

import msgspec

from policies.learn_position import Position
from policies.learner import Learner
from policies.policy_store import CHECK, PolicyIdentity, PolicyStore, Saved, forgotten, repair, version_of
from policies.registry import build_of
from records.codec import encode
from records.errors import StateRefused
from records.policy_version import PolicyVersion

NOTHING_SAVED: Mapping[str, int] = MappingProxyType({})
KEPT_NUMBERS = 1000
"""Of so many of a policy's newest versions it is remembered what their records were."""


@dataclass(slots=True)
class Seen:
    """What was read of a policy in ``versions``.

    Attributes
    ----------
    newest
        The highest number, 0: none.
    fingerprints
        Of the newest versions, what their records were.
    differing
        A number of which there are two records that differ.
    """

    newest: int = 0
    fingerprints: dict[int, bytes] = field(default_factory=dict)
    differing: int | None = None

    def add(self, version: PolicyVersion) -> None:
        """Take in a record; a version that was computed again from the log settles what contradicted itself before."""
        number = version.number
        if version.rebuilt_to is not None and number > self.newest:
            self.fingerprints.clear()
            self.differing = None
        fingerprint = fingerprint_of(version)
        if self.fingerprints.setdefault(number, fingerprint) != fingerprint:
            self.differing = number
        self.newest = max(self.newest, number)
        if len(self.fingerprints) > KEPT_NUMBERS:
            del self.fingerprints[min(self.fingerprints)]


def fingerprint_of(version: PolicyVersion) -> bytes:
    """Return what stands for a record's content, however its JSON is written."""
    return blake2b(encode(version), digest_size=16).digest()


class VersionsLog(Protocol):
    """The topic ``versions``, as the learner reads and writes it."""

    @property
    def position(self) -> int:
        """Everything below this offset has been read."""

    async def append(self, policy: str, record: bytes) -> None:
        """Append a record; return when it is acknowledged."""

    async def read(self, start: int, saved: Mapping[str, int] = NOTHING_SAVED) -> None:
        """Read up to the end of now, beginning at ``start`` or before.

        ``saved``: the number of the version that is saved of a policy; what is far ahead of it is no version.
        """

    async def refuse_hidden(self) -> None:
        """Refuse to append again while another program's open transaction hides what was appended."""

    def seen(self, policy: str) -> Seen:
        """Return what was read of a policy."""


SaveResult = Literal["published", "moved", "lost", "nothing"]


class Publisher:
    """Saves what one policy learns, and says when somebody else has.

    ``identity``: what the policy is. ``published_ms``: when the version that was loaded last was published, 0: never.

    Any call may raise what its store and its log raise when they are away. Then it is not known what was done, and the
    next call of :meth:`save` begins with :meth:`recover`.
    """

    def __init__(
        self,
        name: str,
        identity: PolicyIdentity,
        store: PolicyStore,
        versions: VersionsLog,
        partition: int = 0,
    ) -> None:
        self.name = name
        self.identity = identity
        self._store = store
        self._versions = versions
        self._partition = partition
        self._in_doubt = False
        self.published_ms = 0

    async def load(self, *, model: bool = True, repair: bool = True) -> Saved | None:
        """Return what is saved; with ``repair`` after its version's record stands acknowledged in ``versions``.

        Raises
        ------
        StateRefused
            Redis has forgotten a version, the policy was another one, or a transaction hides what ``versions`` holds.
        """
        hint = await self._store.read(self.name, model=False)
        while True:
            # Before Redis is asked: Redis must know what `versions` holds by then.
            if hint is None:
                await self._versions.read(0)
            else:
                await self._versions.read(hint.versions_read, {self.name: hint.position.number})
            saved = await self._store.read(self.name, model=model)
            self._compare(saved)
            if saved is None or saved.record is None:
                return saved
            self.published_ms = version_of(self.name, saved.record).published_ms
            if not repair or saved.position.number in self._versions.seen(self.name).fingerprints:
                return saved
            await self._versions.refuse_hidden()
            await self._versions.append(self.name, saved.record)

    async def recover(self, learner: Learner) -> None:
        """Load what is saved into the learner, which takes again what it has taken since its last save.

        Raises
        ------
        StateRefused
            As :meth:`load`; or what is saved is not what the learner goes on from.
        """
        self._in_doubt = True
        saved = await self.load()
        self._refuse_older(learner, saved)
        if saved is None:
            learner.resume(learner.saved, None)
        else:
            learner.resume(saved.position, saved.model)
        self._in_doubt = False

    async def compare_saved(self, learner: Learner) -> None:
        """Compare what is saved with what a learner goes on from, which may have nothing to save for long.

        Raises
        ------
        StateRefused
            Redis has forgotten it.
        """
        self._refuse_older(learner, await self._store.read(self.name, model=False))

    def _refuse_older(self, learner: Learner, saved: Saved | None) -> None:
        number = saved.position.number if saved is not None else 0
        if number < learner.saved.number or (saved is None and learner.saved.last_seqs):
            raise StateRefused(
                f"policy {self.name} in Redis",
                f"version {number}" if saved is not None else "nothing",
                f"version {learner.saved.version}",
                f"Redis has forgotten it: {repair(self.name)}",
            )

    async def compare_identity(self) -> None:
        """Compare what was learned under the policy's name with what the configuration says it is.

        Raises
        ------
        StateRefused
            It was another policy.
        """
        if (saved := await self._store.read(self.name, model=False)) is not None:
            self._compare_identity(saved.identity)

    async def save(self, learner: Learner, now_ms: int, *, move: bool = True) -> SaveResult:
        """Save what was learned: as a new version where the bytes have changed, else as a position.

        Parameters
        ----------
        now_ms
            Goes into the record, for people.
        move
            Whether to save the position where the bytes have not changed.

        Returns
        -------
        str
            What was saved; ``lost``: somebody else had saved, the learner has gone on from that.
        """
        if self._in_doubt:
            await self.recover(learner)
        if not learner.moved:
            return "nothing"
        position, model = learner.next()
        published = position.number > learner.saved.number
        if not published and not move:
            return "nothing"
        record = encode(self._record(position, now_ms)) if published else None
        seen = self._versions.seen(self.name)
        if seen.newest > learner.saved.number or seen.differing is not None:
            await self.recover(learner)
            return "lost"
        self._in_doubt = True
        saved = Saved(position, self.identity, record, model if published else None, self._versions.position)
        if not await self._put(learner.saved, saved):
            await self.recover(learner)
            return "lost"
        if record is None:
            learner.move(position)
            self._in_doubt = False
            return "moved"
        learner.publish(position, model)
        await self._after_own_record()
        self._in_doubt = False
        return "published"

    async def publish(
        self,
        saved: Saved | None,
        state: tuple[Position, bytes],
        now_ms: int,
        *,
        rebuilt_to: int | None = None,
        made_by: PolicyVersion | None = None,
    ) -> PolicyVersion | None:
        """Publish a version that no learner made, on top of what was read of the store.

        Parameters
        ----------
        saved
            What the store holds; ``versions`` holds its version's record.
        state
            The position of the new version, and its bytes.
        rebuilt_to
            See :class:`records.policy_version.PolicyVersion`.
        made_by
            The version whose bytes these are; None: they were computed here.

        Returns
        -------
        PolicyVersion or None
            None: somebody else has saved meanwhile, and nothing was done.
        """
        position, model = state
        version = msgspec.structs.replace(self._record(position, now_ms), rebuilt_to=rebuilt_to)
        if made_by is not None:
            version = msgspec.structs.replace(version, vw_build=made_by.vw_build, processor=made_by.processor)
        whole = Saved(position, self.identity, encode(version), model, self._versions.position)
        return version if await self._put(None if saved is None else saved.position, whole) else None

    async def _put(self, before: Position | None, saved: Saved) -> bool:
        """Save if the position still is the one before, then append the version's record; False: it is another one."""
        expected = None if before is None or _untouched(before) else before
        if not await self._store.save(self.name, expected, saved):
            return False
        if saved.record is not None:
            await self._versions.append(self.name, saved.record)
        return True

    async def _after_own_record(self) -> None:
        await self._versions.read(self._versions.position)
        self._compare(await self._store.read(self.name, model=False))

    def _record(self, position: Position, now_ms: int) -> PolicyVersion:
        identity = self.identity
        return PolicyVersion(
            policy=self.name,
            number=position.number,
            version=position.version,
            kind=identity.kind,
            arguments=identity.arguments,
            salt=identity.salt,
            placements=identity.placements,
            cut=position.cut,
            last_seqs=dict(sorted(position.last_seqs.items())),
            digest=position.digest,
            examples=position.examples,
            partition=self._partition,
            published_ms=now_ms,
            vw_build=build_of(identity.kind),
            processor=platform.processor() or platform.machine(),
            control=position.control,
            shape=position.shape,
        )

    def _compare(self, saved: Saved | None) -> None:
        """Refuse a state that contradicts ``versions`` or the configuration."""
        _refuse_contradicting(self.name, saved, self._versions.seen(self.name))
        if saved is not None:
            self._compare_identity(saved.identity)

    def _compare_identity(self, saved: PolicyIdentity) -> None:
        for field_name, expected, stored in self.identity.differing(saved):
            raise StateRefused(
                f"{field_name} of policy {self.name} in the configuration",
                repr(expected),
                f"{stored!r}, by which it has learned so far",
                f"set it back, or give the changed policy another name; {CHECK}",
            )


def _refuse_contradicting(name: str, saved: Saved | None, seen: Seen) -> None:
    """Refuse a state that contradicts what ``versions`` holds of the policy."""
    number = saved.position.number if saved is not None else 0
    what = f"policy {name} in Redis"
    if seen.newest > number:
        raise StateRefused(what, f"version {number}", f"version {seen.newest} in versions", forgotten(name))
    if seen.differing is not None:
        raise StateRefused(
            f"policy {name} in versions",
            f"two records of version {seen.differing} that differ",
            "one",
            forgotten(name),
        )
    fingerprint = seen.fingerprints.get(number)
    if (
        fingerprint is not None
        and saved is not None
        and saved.record is not None
        and fingerprint != fingerprint_of(version_of(name, saved.record))
    ):
        raise StateRefused(what, f"version {number}", "another one of this number in versions", forgotten(name))


def _untouched(position: Position) -> bool:
    """Tell whether nothing of a policy was ever saved: a saved position has taken something."""
    return not position.number and not position.last_seqs
