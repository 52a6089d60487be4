"""What is saved of a policy, and the protocol of its store; the store in memory."""

from collections.abc import Iterator
from dataclasses import dataclass, fields
from typing import NamedTuple, Protocol

import msgspec

from policies.learn_position import Position
from policies.policy import MakePolicy, Policy, digest
from policies.registry import make
from records.codec import UNREADABLE
from records.errors import LossDetected
from records.policy_version import PolicyVersion

CHECK = "and see that `bowerbird check` agrees"


def repair(name: str) -> str:
    """Return what an operator does about a policy whose state may not be continued."""
    return f"run `bowerbird policy rebuild {name}`"


def forgotten(name: str) -> str:
    """Return why versions in the log and in Redis differ, and what to do."""
    return f"Redis has forgotten a version, or somebody else has written one: {repair(name)}"


def version_of(name: str, record: bytes) -> PolicyVersion:
    """Decode a record of a version from Redis."""
    try:
        return msgspec.json.decode(record, type=PolicyVersion)
    except UNREADABLE:
        raise LossDetected(
            f"policy {name} in Redis", "a record that can't be read", "a version", repair(name)
        ) from None


@dataclass(frozen=True, slots=True)
class PolicyIdentity:
    """What a policy is, for ever: under one name nothing else is learned."""

    kind: str
    arguments: str
    salt: str
    placements: tuple[str, ...]

    def make(self, model: bytes | None = None) -> Policy:
        """Return the policy that was saved; None: version 0. See :func:`policies.registry.make`."""
        return make(self.kind, self.arguments, model)

    def __str__(self) -> str:
        return f"{self.kind} {self.arguments!r} with the salt {self.salt!r}, learning of {', '.join(self.placements)}"

    def differing(self, other: "PolicyIdentity") -> Iterator[tuple[str, object, object]]:
        """Yield what differs: its name, what it is here, and in the other one."""
        for each in fields(self):
            own, others = getattr(self, each.name), getattr(other, each.name)
            if own != others:
                yield each.name, own, others


def version_0(make_policy: MakePolicy) -> tuple[Position, bytes]:
    """Return the position and the bytes of a policy that has learned nothing."""
    policy = make_policy(None)
    try:
        model = policy.dump()
    finally:
        policy.close()
    return Position(0, digest(model)), model


def identity_of(version: PolicyVersion) -> PolicyIdentity:
    """Return what the policy of a version is."""
    return PolicyIdentity(version.kind, version.arguments, version.salt, version.placements)


class Saved(NamedTuple):
    """What a store holds of a policy.

    Attributes
    ----------
    position
        How far it has learned.
    identity
        What it is.
    record, model
        The record and the bytes of its latest version; None where none was published. ``model`` is None, too, where it
        was not asked for.
    versions_read
        Below this offset of ``versions`` everything was compared with this state.
    """

    position: Position
    identity: PolicyIdentity
    record: bytes | None = None
    model: bytes | None = None
    versions_read: int = 0


class PolicyStore(Protocol):
    """Holds the latest version and the position of every policy. Each call is one atomic step."""

    async def read(self, name: str, *, model: bool = True) -> Saved | None:
        """Return what is saved of a policy; None: nothing ever was."""

    async def save(self, name: str, expected: Position | None, saved: Saved) -> bool:
        """Save, if the saved position still is the expected one; else return False and change nothing.

        ``saved.record`` None: the version stays, only the position moves.
        """


class MemoryPolicyStore:
    """See :class:`PolicyStore`: in memory, for the loop in one process and for tests."""

    def __init__(self) -> None:
        self.saved: dict[str, Saved] = {}

    async def read(self, name: str, *, model: bool = True) -> Saved | None:
        """See :meth:`PolicyStore.read`."""
        saved = self.saved.get(name)
        return saved if saved is None or model else saved._replace(model=None)

    async def save(self, name: str, expected: Position | None, saved: Saved) -> bool:
        """See :meth:`PolicyStore.save`."""
        before = self.saved.get(name)
        if (before.position if before is not None else None) != expected:
            return False
        if saved.record is None and before is not None:
            saved = saved._replace(record=before.record, model=before.model)
        self.saved[name] = saved
        return True
