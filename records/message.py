"""What is read of a log: any object with these fields is a message, so that its readers know no broker."""

from collections.abc import Sequence
from typing import Protocol

Headers = Sequence[tuple[str, bytes]]


class Message(Protocol):
    """A message of the log."""

    @property
    def topic(self) -> str:
        """The topic's full name."""

    @property
    def partition(self) -> int:
        """The number of the partition."""

    @property
    def offset(self) -> int:
        """Its position in the partition."""

    @property
    def time_ms(self) -> int:
        """Its log time."""

    @property
    def value(self) -> bytes | None:
        """Its bytes; None for a tombstone."""


class WholeMessage(Message, Protocol):
    """A message with its key, headers and all else besides its value."""

    @property
    def key(self) -> bytes | None:
        """Its key."""

    @property
    def headers(self) -> Headers:
        """Its headers."""
