"""The latest version and the position of every policy in Redis.

The keys of a policy share one hash tag: ``{policy-NAME}:model`` (a hash of ``record`` and ``bytes``),
``{policy-NAME}:position`` (how far it has learned, also between two versions), ``{policy-NAME}:home`` (which log and
which partition of ``rewards``).
"""

from collections.abc import Awaitable, Iterator, Mapping
from contextlib import contextmanager
from importlib.resources import files
from typing import Any, NamedTuple, cast

import msgspec
from redis.asyncio import Redis
from redis.exceptions import ResponseError

from policies.learn_position import Position
from policies.policy_store import CHECK, PolicyIdentity, Saved, repair, version_of
from records.codec import encode
from records.errors import LossDetected, StateRefused
from records.policy_version import PolicyVersion
from records.shape import Shape
from rewards.store import DISCARD
from stream.clients import is_other_type
from stream.config import Config

HASH_OR_NONE = (b"hash", b"none")
"""The types that a key of a policy may have, as Redis names them."""


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
    LossDetected
        Redis holds something that is not a version.
    """
    with of_its_type(name):
        fields = await cast("Awaitable[list[bytes | None]]", redis.hmget(model_key(config, name), ["record", "bytes"]))
    record, model = fields
    if record is None or model is None:
        return None
    return Published(version_of(name, record), model)


@contextmanager
def of_its_type(name: str) -> Iterator[None]:
    """Refuse a policy of which somebody has replaced a key by one of another type."""
    try:
        yield
    except ResponseError as error:
        if not is_other_type(error):
            raise
        raise _other_type(name) from error


def _other_type(name: str) -> LossDetected:
    return LossDetected(f"policy {name} in Redis", "a key of another type", "a hash", repair(name))


class RedisPolicyStore:
    """See :class:`policies.policy_store.PolicyStore`."""

    def __init__(self, redis: "Redis", config: Config) -> None:
        self._redis, self._config = redis, config
        self._script = redis.register_script(files("stream.redis").joinpath("publish.lua").read_text())

    def _key(self, name: str, part: str) -> str:
        return policy_key(self._config.prefix, name, part)

    async def read(self, name: str, *, model: bool = True) -> Saved | None:
        """See :meth:`policies.policy_store.PolicyStore.read`."""
        pipeline: Any = self._redis.pipeline(transaction=True)
        pipeline.hgetall(self._key(name, "position"))
        pipeline.hmget(self._key(name, "model"), ["record", "bytes"] if model else ["record"])
        pipeline.type(self._key(name, "home"))
        with of_its_type(name):
            exists, (record, *rest), home = await pipeline.execute()
        if home not in HASH_OR_NONE:
            raise _other_type(name)
        if not exists:
            return None
        try:
            fields = {key.decode(): value.decode() for key, value in exists.items()}
            position = Position(
                int(fields["number"]),
                fields["digest"],
                int(fields["cut"]),
                msgspec.json.decode(fields["last_seqs"], type=dict[str, int]),
                int(fields["examples"]),
                fields["control"] or None,
                msgspec.json.decode(fields["shape"], type=Shape),
            )
            identity = PolicyIdentity(
                fields["kind"], fields["arguments"], fields["salt"], tuple(fields["placements"].split())
            )
            read = int(fields["versions_read"])
        except (KeyError, ValueError, msgspec.DecodeError):
            raise LossDetected(
                f"policy {name} in Redis", "a position that can't be read", "one", repair(name)
            ) from None
        return Saved(position, identity, record, rest[0] if rest else None, read)

    async def save(self, name: str, expected: Position | None, saved: Saved) -> bool:
        """See :meth:`policies.policy_store.PolicyStore.save`."""
        position, identity = saved.position, saved.identity
        fields: dict[str, str | int] = {
            "number": position.number,
            "digest": position.digest,
            "cut": position.cut,
            "last_seqs": encode(position.last_seqs).decode(),
            "examples": position.examples,
            "control": position.control or "",
            "shape": encode(position.shape).decode(),
            "kind": identity.kind,
            "arguments": identity.arguments,
            "salt": identity.salt,
            "placements": " ".join(identity.placements),
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
            if home is None or home == log.encode():
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
        stored = {
            key.decode("utf-8", "replace"): value.decode("utf-8", "replace") for key, value in answers[-1].items()
        }
        for what, value in home.items():
            if stored.get(what) != value:
                differs = f"{what} of policy {name}", value, f"{stored.get(what)}, as at its first start"
                if what == "log":
                    raise LossDetected(*differs, f"point this service at the Redis of its own log, {DISCARD}")
                raise StateRefused(*differs, f"set it back, or give the policy another name; {CHECK}")


def _token(position: Position | None) -> str:
    """Return what a compare-and-set compares: it changes with every save, and never comes back."""
    return f"{position.version} {position.cut}" if position is not None else ""
