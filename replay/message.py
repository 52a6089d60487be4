"""What replay reads of a log: any object with these fields is a message, so it knows no broker."""

from hashlib import blake2b
from typing import Protocol


class Message(Protocol):
    """A message as it lies in the log."""

    @property
    def topic(self) -> str:
        """The topic's full name."""

    @property
    def partition(self) -> int:
        """The number of the partition."""

    @property
    def offset(self) -> int:
        """Where it lies in the partition."""

    @property
    def time_ms(self) -> int:
        """Its log time."""

    @property
    def value(self) -> bytes | None:
        """Its bytes; None for a tombstone."""


def content_digest(record: bytes) -> bytes:
    """Return 16 bytes that stand for a record's bytes, whatever white space is around them."""
    return blake2b(record.strip(b" \t\r\n"), digest_size=16).digest()
