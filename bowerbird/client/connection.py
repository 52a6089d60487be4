"""What a client speaks through."""

from typing import TYPE_CHECKING, Protocol, Self

if TYPE_CHECKING:
    from types import TracebackType

    from stream.kafka.log import LogRecord


class SpeaksKafka(Protocol):
    """What a client speaks through: :class:`stream.kafka.connection.Connection`, or a fake of it."""

    async def __aenter__(self) -> Self:
        """Connect."""
        ...

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: "TracebackType | None"
    ) -> None:
        """Close."""
        ...

    async def check_stream(self, stream: str) -> None:
        """Refuse what is no stream of the service."""
        ...

    async def append(self, topic: str, value: bytes, *, key: bytes | None = None) -> None:
        """Append a message, acknowledged."""
        ...

    async def ask(
        self, value: bytes, correlation_id: str, *, key: bytes | None = None, expires_ms: int | None = None
    ) -> None:
        """Send a request."""
        ...

    async def replies(self, wait_ms: int) -> "list[LogRecord]":
        """Return what was answered since the last call."""
        ...
