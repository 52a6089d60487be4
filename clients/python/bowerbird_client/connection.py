"""What a client speaks through."""

from collections.abc import Collection, Sequence
from types import TracebackType
from typing import Protocol, Self


class Connection(Protocol):
    """What a client speaks through: :class:`bowerbird_client.kafka.KafkaConnection`, or a fake of it in tests.

    Its methods raise :class:`bowerbird_client.errors.BrokerAway` where Kafka does not acknowledge.

    Attributes
    ----------
    timeout_s
        How long a decision is waited for by default.
    """

    timeout_s: float

    async def __aenter__(self) -> Self:
        """Connect."""
        ...

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Close."""
        ...

    async def streams(self) -> Collection[str]:
        """Return the names of the streams that are there now."""
        ...

    async def append(self, stream: str, value: bytes) -> None:
        """Append feedback to a stream; return when it is acknowledged."""
        ...

    async def ask(self, value: bytes, event_id: str, correlation_id: str, expires_ms: int) -> None:
        """Send a request, which is decided within ``expires_ms`` or not at all; its reply has the correlation id."""
        ...

    async def replies(self) -> Sequence[tuple[str, bytes]]:
        """Wait for replies; return the correlation id and the value of each that came since the last call."""
        ...
