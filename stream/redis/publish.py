"""Publishing: a policy's next version goes to Redis as a compare-and-set, and its record to ``versions``.

A learner goes on only from a version whose record stands acknowledged in ``versions``; a learner in doubt writes it
again, byte by byte as Redis has it. So ``versions`` holds every version that anything was built on, and a Redis that
went back in time is found out: ``versions`` is ahead of it, or two records of one number differ.

Redis keys of a policy, all under one hash tag: ``{policy-NAME}:model`` (a hash of ``record`` and ``bytes``),
``{policy-NAME}:position`` (how far it has learned, also between two versions), ``{policy-NAME}:home`` (which log and
which partition of ``rewards``).
"""

import platform
from collections.abc import Awaitable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from hashlib import blake2b
from importlib.resources import files
from typing import Any, Literal, NamedTuple, Protocol, cast

import msgspec
from aiokafka import AIOKafkaProducer
from redis.asyncio import Redis
from redis.exceptions import ResponseError

from policies.learner import Learner, Position
from records.codec import UNREADABLE, encode
from records.errors import LossDetected, StateRefused
from records.policy_version import PolicyVersion
from records.versions import versions_in
from rewards.store import DISCARD
from stream.clients import is_other_type
from stream.config import Config
from stream.kafka.log import Follower

HASH_OR_NONE = (b"hash", b"none")
"""The types that a key of a policy may have, as Redis names them."""
KEPT_NUMBERS = 1000
"""Of so many of a policy's newest versions it is remembered what their records were."""


def policy_key(prefix: str, name: str, part: str) -> str:
    """Return the key of a part of a policy; a policy's keys share one hash tag.

    >>> policy_key("", "front", "model")
    '{policy-front}:model'
    """
    return f"{{{prefix}policy-{name}}}:{part}"


def model_key(config: Config, name: str) -> str:
    """Return the key of a policy's latest version: a hash of ``record`` and ``bytes``."""
    return policy_key(config.prefix, name, "model")


def channel(config: Config) -> str:
    """Return the channel on which the names of policies with a new version are published."""
    return f"{config.prefix}policy-versions"


class Published(NamedTuple):
    """The latest version of a policy: its record, and the saved policy."""

    record: PolicyVersion
    model: bytes


async def read_published(redis: "Redis", config: Config, name: str) -> Published | None:
    """Return the latest version of a policy, or None where none was published (version 0 is in use).

    Raises
    ------
    StateRefused
        What lies in Redis is no version.
    """
    found = await cast("Awaitable[list[bytes | None]]", redis.hmget(model_key(config, name), ["record", "bytes"]))
    record, model = found
    if record is None or model is None:
        return None
    return Published(version_of(name, record), model)


def version_of(name: str, record: bytes) -> PolicyVersion:
    """Decode a record of a version that lies in Redis."""
    try:
        return msgspec.json.decode(record, type=PolicyVersion)
    except UNREADABLE:
        raise StateRefused(
            f"policy {name} in Redis", "a record that can't be read", "a version", repair(name)
        ) from None


CHECK = "and see that `bowerbird check` agrees"


def repair(name: str) -> str:
    """Return what an operator does about a policy whose state may not be continued."""
    return f"run `bowerbird policy rebuild {name}`"


def forgotten(name: str) -> str:
    """Return why versions in the log and in Redis differ, and what to do."""
    return f"Redis has forgotten a version, or somebody else has written one: {repair(name)}"


@dataclass(frozen=True, slots=True)
class PolicyIdentity:
    """What a policy is, for ever: under one name nothing else is learned."""

    kind: str
    arguments: str
    salt: str


def identity_of(version: PolicyVersion) -> PolicyIdentity:
    """Return what the policy of a version is."""
    return PolicyIdentity(version.kind, version.arguments, version.salt)


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

    async def read(self, start: int) -> None:
        """Read up to the end of now, beginning at ``start`` or before."""

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

    async def load(self, *, model: bool = True) -> Saved | None:
        """Return what is saved, after its version's record stands acknowledged in ``versions``.

        Raises
        ------
        StateRefused
            Redis has forgotten a version, or the policy was another one.
        """
        hint = await self._store.read(self.name, model=False)
        while True:
            # Before Redis is asked: what stands in `versions` by then must be known to Redis.
            await self._versions.read(hint.versions_read if hint is not None else 0)
            saved = await self._store.read(self.name, model=model)
            self._compare(saved)
            if saved is None or saved.record is None:
                return saved
            self.published_ms = version_of(self.name, saved.record).published_ms
            if saved.position.number in self._versions.seen(self.name).fingerprints:
                return saved
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
        if saved is None:
            if learner.saved.number or learner.saved.last_seqs:
                raise StateRefused(
                    f"policy {self.name} in Redis",
                    "nothing",
                    f"version {learner.saved.version}",
                    f"Redis has forgotten it: {repair(self.name)}",
                )
            learner.resume(learner.saved, None)
        else:
            learner.resume(saved.position, saved.model)
        self._in_doubt = False

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
        expected = None if _untouched(learner.saved) else learner.saved
        saved = Saved(position, self.identity, record, model if published else None, self._versions.position)
        if not await self._store.save(self.name, expected, saved):
            await self.recover(learner)
            return "lost"
        if record is None:
            learner.move(position)
            self._in_doubt = False
            return "moved"
        await self._versions.append(self.name, record)
        learner.publish(position, model)
        await self._after_own_record()
        self._in_doubt = False
        return "published"

    async def publish(
        self,
        saved: Saved | None,
        position: Position,
        model: bytes,
        now_ms: int,
        *,
        rebuilt_to: int | None = None,
        made_by: PolicyVersion | None = None,
    ) -> PolicyVersion | None:
        """Publish a version that no learner made, on top of what was read of the store.

        Parameters
        ----------
        saved
            What the store holds; its version's record stands in ``versions``.
        rebuilt_to
            See :class:`records.policy_version.PolicyVersion`.
        made_by
            The version whose bytes these are; None: they were computed here.

        Returns
        -------
        PolicyVersion or None
            None: somebody else has saved meanwhile, and nothing was done.
        """
        version = self._record(position, now_ms)
        version = msgspec.structs.replace(version, rebuilt_to=rebuilt_to)
        if made_by is not None:
            version = msgspec.structs.replace(version, vw_build=made_by.vw_build, processor=made_by.processor)
        record = encode(version)
        expected = None if saved is None or _untouched(saved.position) else saved.position
        whole = Saved(position, self.identity, record, model, self._versions.position)
        if not await self._store.save(self.name, expected, whole):
            return None
        await self._versions.append(self.name, record)
        return version

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
            cut=position.cut,
            last_seqs={str(shard): seq for shard, seq in sorted(position.last_seqs.items())},
            digest=position.digest,
            examples=position.examples,
            partition=self._partition,
            published_ms=now_ms,
            vw_build=_vw_build(identity.kind),
            processor=platform.processor() or platform.machine(),
            control=position.control,
        )

    def _compare(self, saved: Saved | None) -> None:
        """Refuse a state that contradicts ``versions`` or the configuration."""
        seen = self._versions.seen(self.name)
        number = saved.position.number if saved is not None else 0
        what = f"policy {self.name} in Redis"
        if seen.newest > number:
            raise StateRefused(
                what,
                f"version {number}",
                f"version {seen.newest}, which stands in versions",
                forgotten(self.name),
            )
        if seen.differing is not None:
            raise StateRefused(
                f"policy {self.name} in versions",
                f"two records of version {seen.differing} that differ",
                "one",
                forgotten(self.name),
            )
        if saved is None:
            return
        fingerprint = seen.fingerprints.get(number)
        if (
            fingerprint is not None
            and saved.record is not None
            and fingerprint != fingerprint_of(version_of(self.name, saved.record))
        ):
            raise StateRefused(
                what,
                f"version {number}",
                "another one of this number, which stands in versions",
                forgotten(self.name),
            )
        self._compare_identity(saved.identity)

    def _compare_identity(self, saved: PolicyIdentity) -> None:
        for field_name in ("kind", "arguments", "salt"):
            found, expected = getattr(saved, field_name), getattr(self.identity, field_name)
            if found != expected:
                raise StateRefused(
                    f"{field_name} of policy {self.name} in the configuration",
                    repr(expected),
                    f"{found!r}, by which it has learned so far",
                    f"set it back, or give the changed policy another name; {CHECK}",
                )


def _untouched(position: Position) -> bool:
    """Tell whether nothing of a policy was ever saved: a saved position has taken something."""
    return not position.number and not position.last_seqs


def _vw_build(kind: str) -> str:
    if kind != "vw":
        return ""
    from policies.vw.policy import BUILD

    return BUILD


@contextmanager
def of_its_type(name: str) -> Iterator[None]:
    """Refuse a policy of which somebody has replaced a key by one of another type."""
    try:
        yield
    except ResponseError as error:
        if not is_other_type(error):
            raise
        raise _other_type(name) from error


def _other_type(name: str) -> StateRefused:
    return StateRefused(f"policy {name} in Redis", "a key of another type", "a hash", repair(name))


class RedisPolicyStore:
    """See :class:`PolicyStore`."""

    def __init__(self, redis: "Redis", config: Config) -> None:
        self._redis, self._config = redis, config
        self._script = redis.register_script(files("stream.redis").joinpath("publish.lua").read_text())

    def _key(self, name: str, part: str) -> str:
        return policy_key(self._config.prefix, name, part)

    async def read(self, name: str, *, model: bool = True) -> Saved | None:
        """See :meth:`PolicyStore.read`."""
        pipeline: Any = self._redis.pipeline(transaction=True)
        pipeline.hgetall(self._key(name, "position"))
        pipeline.hmget(self._key(name, "model"), ["record", "bytes"] if model else ["record"])
        pipeline.type(self._key(name, "home"))
        with of_its_type(name):
            found, (record, *rest), home = await pipeline.execute()
        if home not in HASH_OR_NONE:
            raise _other_type(name)
        if not found:
            return None
        try:
            fields = {key.decode(): value.decode() for key, value in found.items()}
            position = Position(
                int(fields["number"]),
                fields["digest"],
                int(fields["cut"]),
                msgspec.json.decode(fields["last_seqs"], type=dict[int, int]),
                int(fields["examples"]),
                fields.get("control") or None,
            )
            identity = PolicyIdentity(fields["kind"], fields["arguments"], fields["salt"])
            read = int(fields["versions_read"])
        except (KeyError, ValueError, msgspec.DecodeError):
            raise StateRefused(
                f"policy {name} in Redis", "a position that can't be read", "one", repair(name)
            ) from None
        return Saved(position, identity, record, rest[0] if rest else None, read)

    async def save(self, name: str, expected: Position | None, saved: Saved) -> bool:
        """See :meth:`PolicyStore.save`."""
        position, identity = saved.position, saved.identity
        fields: dict[str, str | int] = {
            "number": position.number,
            "digest": position.digest,
            "cut": position.cut,
            "last_seqs": encode({str(shard): seq for shard, seq in position.last_seqs.items()}).decode(),
            "examples": position.examples,
            "control": position.control or "",
            "kind": identity.kind,
            "arguments": identity.arguments,
            "salt": identity.salt,
            "versions_read": saved.versions_read,
        }
        arguments = [
            _token(expected),
            _token(position),
            channel(self._config),
            name,
            saved.record or b"",
            saved.model or b"",
            *(part for pair in fields.items() for part in pair),
        ]
        with of_its_type(name):
            answer = await self._script(keys=[self._key(name, "position"), self._key(name, "model")], args=arguments)
        return bool(answer)

    async def discard_other(self, name: str, log: str) -> bool:
        """Throw away what is saved of a policy where it was learned from another log, and tell whether it was."""
        # A home that cannot be read says nothing of the log that the policy was learned from.
        if not await self.discard_spoilt_home(name):
            home = await cast("Awaitable[bytes | None]", self._redis.hget(self._key(name, "home"), "log"))
            if home is None or home.decode() == log:
                return False
        await self.forget(name)
        await self._redis.delete(self._key(name, "home"))
        return True

    async def forget(self, name: str) -> None:
        """Throw away what is saved of a policy, for a state that cannot even be read."""
        pipeline: Any = self._redis.pipeline(transaction=True)
        pipeline.delete(self._key(name, "position"), self._key(name, "model"))
        await pipeline.execute()

    async def discard_spoilt_home(self, name: str) -> bool:
        """Throw away a home of another type, and tell whether it was; the learner's next start writes it again."""
        key = self._key(name, "home")
        if await self._redis.type(key) in HASH_OR_NONE:
            return False
        await self._redis.delete(key)
        return True

    async def remember_home(self, name: str, home: Mapping[str, str]) -> None:
        """Keep where a policy's outcomes are at its first start, and compare at every other.

        Raises
        ------
        StateRefused
            They were elsewhere.
        """
        pipeline: Any = self._redis.pipeline(transaction=True)
        key = self._key(name, "home")
        for what, value in home.items():
            pipeline.hsetnx(key, what, value)
        pipeline.hgetall(key)
        with of_its_type(name):
            answers = await pipeline.execute()
        found = {key.decode(): value.decode() for key, value in answers[-1].items()}
        for what, value in home.items():
            if found.get(what) != value:
                differs = f"{what} of policy {name}", value, f"{found.get(what)}, as at its first start"
                if what == "log":
                    raise LossDetected(*differs, f"point this service at the Redis of its own log, {DISCARD}")
                raise StateRefused(*differs, f"set it back, or give the policy another name; {CHECK}")


def _token(position: Position | None) -> str:
    """Return what a compare-and-set compares: it changes with every save, and never comes back."""
    return f"{position.version} {position.cut}" if position is not None else ""


class KafkaVersions:
    """See :class:`VersionsLog`."""

    def __init__(self, config: Config, producer: AIOKafkaProducer) -> None:
        self._producer = producer
        self._topic = config.topic("versions")
        self._seen: dict[str, Seen] = {}
        self._start: int | None = None
        self._follower = Follower(config, self._topic, 0)

    @property
    def position(self) -> int:
        """Everything below this offset has been read."""
        return self._follower.position

    async def append(self, policy: str, record: bytes) -> None:
        """See :meth:`VersionsLog.append`."""
        await self._producer.send_and_wait(self._topic, record, key=policy.encode(), partition=0)

    async def read(self, start: int) -> None:
        """See :meth:`VersionsLog.read`."""
        if self._start is None or start < self._start:
            self._start = start
            self._seen.clear()
            self._follower.position = start
        for record in await self._follower.to_end():
            for version in versions_in(record.value):
                self._seen.setdefault(version.policy, Seen()).add(version)

    def seen(self, policy: str) -> Seen:
        """See :meth:`VersionsLog.seen`."""
        return self._seen.get(policy, Seen())

    async def stop(self) -> None:
        """Close the connection."""
        await self._follower.stop()
