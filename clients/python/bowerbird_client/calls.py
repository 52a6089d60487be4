"""What the methods of a client are given, each keyword defined once."""

from collections.abc import Mapping, Sequence
from dataclasses import KW_ONLY, dataclass
from typing import Any

from bowerbird_client.connection import Connection


@dataclass(frozen=True, slots=True)
class ClientOptions:
    """See :class:`bowerbird_client.Client`."""

    brokers: str = "127.0.0.1:9092"
    _: KW_ONLY
    reply_topic: str = "replies.client"
    prefix: str = ""
    timeout_s: float | None = None
    batch_ms: int = 20
    most_waiting: int = 100_000
    flush_within_s: float = 10.0
    properties: Mapping[str, str | int | float | bool] | None = None
    connection: Connection | None = None


@dataclass(frozen=True, slots=True)
class DecideCall:
    """See :meth:`bowerbird_client.Client.decide`."""

    placement: str
    actions: Sequence[str | int | Mapping[str, Any]]
    context: Mapping[str, Any] | None = None
    _: KW_ONLY
    top: int | None = None
    default: str | int | Sequence[str | int] | None = None
    event_id: str | int | None = None
    user_id: str | int | None = None
    activate: bool = True
    timeout_s: float | None = None


@dataclass(frozen=True, slots=True)
class RewardCall:
    """See :meth:`bowerbird_client.Client.reward`."""

    event_id: str | int
    stream: str
    _: KW_ONLY
    action: str | int | None = None
    value: float | None = None
    id: str | int | None = None
    activate: bool | None = None
