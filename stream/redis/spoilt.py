"""The join's keys in Redis that somebody else has written: keys of another type, and unreadable values."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import msgspec
from redis.asyncio import Redis
from redis.exceptions import ResponseError

from records.errors import RECOVER, BadInput, LossDetected
from records.limits import LARGEST_INTEGER
from stream.clients import is_other_type, is_unreadable


class Unreadable(LossDetected):
    """A part of the join's state holds what the join has not written."""


@contextmanager
def reading(key: str) -> Iterator[None]:
    """Refuse a key whose value cannot be read, or that is of another type."""
    try:
        yield
    except ResponseError as error:
        if is_other_type(error):
            raise Unreadable(f"{key} in Redis", "a key of another type", "the join's own", RECOVER) from None
        if is_unreadable(error):
            raise unreadable(key) from None
        raise
    except (ValueError, TypeError, LookupError, OverflowError, msgspec.DecodeError, BadInput):
        raise unreadable(key) from None


def unreadable(key: str) -> Unreadable:
    """Return the refusal of a key whose value cannot be read."""
    return Unreadable(f"{key} in Redis", "what cannot be read", "what the join has written", RECOVER)


def counts(key: str, stored: Mapping[bytes, bytes]) -> dict[str, int]:
    """Return a hash of whole numbers.

    >>> counts("{join-0}:seq", {b"front": b"7"})
    {'front': 7}
    """
    with reading(key):
        return {name.decode(): whole(value) for name, value in stored.items()}


def whole(value: bytes) -> int:
    """Return a whole number that the join can have written; raises ValueError."""
    number = int(value)
    if abs(number) > LARGEST_INTEGER:
        raise ValueError("beyond the largest integer")
    return number


def _numbers(stored: Mapping[bytes, bytes]) -> None:
    for name, value in stored.items():
        name.decode()
        whole(value)


def _texts(stored: Mapping[bytes, bytes]) -> None:
    for name, value in stored.items():
        name.decode()
        value.decode()


def _pairs(stored: Mapping[bytes, bytes]) -> None:
    for name, value in stored.items():
        name.decode()
        first, second = value.split()
        whole(first)
        whole(second)


Reader = Callable[[Any], Any]
TYPES = {
    **dict.fromkeys(["log", "hold", "lease"], b"string"),
    **dict.fromkeys(["offsets", "watermarks", "entries", "bodies", "seq", "pending", "counted"], b"hash"),
    **dict.fromkeys(["due", "feedback", "waiting", "closed"], b"zset"),
}
"""What each key of a shard is, as Redis names it."""
SERVICE_TYPES = {"count": b"string", **dict.fromkeys(["topics", "void", "marks", "partitions"], b"hash")}
SMALL: dict[str, Reader] = dict.fromkeys(["offsets", "watermarks", "seq", "pending"], _numbers)
SMALL |= {"topics": _texts, "marks": _pairs, "void": _pairs, "count": whole, "partitions": _numbers}
"""The keys that are read as a whole, each with what raises where it cannot be read."""


async def spoilt(redis: "Redis", keys: Mapping[str, str]) -> dict[str, str]:
    """Return the keys that somebody else has written, each with a sentence on what is wrong.

    ``keys``: the name of each key's part of the state, by the key.
    """
    kinds = TYPES | SERVICE_TYPES
    pipeline: Any = redis.pipeline(transaction=False)
    for key in keys:
        pipeline.type(key)
    types = dict(zip(keys, await pipeline.execute(), strict=True))
    sentences = {
        key: f"{key} in Redis is a key of another type"
        for key, name in keys.items()
        if types[key] not in (kinds[name], b"none")
    }
    small = [key for key, name in keys.items() if key not in sentences and types[key] != b"none" and name in SMALL]
    for key in small:
        (pipeline.get if types[key] == b"string" else pipeline.hgetall)(key)
    for key, stored in zip(small, await pipeline.execute(), strict=True):
        try:
            with reading(key):
                if stored:
                    SMALL[keys[key]](stored)
        except Unreadable:
            sentences[key] = f"{key} in Redis holds what cannot be read"
    return sentences
