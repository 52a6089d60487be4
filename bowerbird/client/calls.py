"""What the methods of a client are given, each keyword defined once.

A method of a record (:func:`takes`) has the fields of the record as its parameters, for people, for type checkers and
for help.
"""

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass
from functools import wraps
from typing import Any, Concatenate, ParamSpec, TypeVar, cast

from bowerbird.client.connection import SpeaksKafka

Keywords = ParamSpec("Keywords")
Owner = TypeVar("Owner")
Record = TypeVar("Record")
Returned = TypeVar("Returned")


def takes(
    record: Callable[Keywords, Record],
) -> Callable[[Callable[[Owner, Record], Returned]], Callable[Concatenate[Owner, Keywords], Returned]]:
    """Let a method of a record take the record's fields."""
    fields = inspect.signature(record)

    def decorate(method: Callable[[Owner, Record], Returned]) -> Callable[Concatenate[Owner, Keywords], Returned]:
        def made(*args: Keywords.args, **kwargs: Keywords.kwargs) -> Record:
            try:
                fields.bind(*args, **kwargs)
            except TypeError as error:
                raise TypeError(f"{method.__name__}() {error}") from None
            return record(*args, **kwargs)

        @wraps(method)
        def call(self: Owner, /, *args: Keywords.args, **kwargs: Keywords.kwargs) -> Returned:
            return method(self, made(*args, **kwargs))

        @wraps(method)
        async def call_async(self: Owner, /, *args: Keywords.args, **kwargs: Keywords.kwargs) -> Any:
            return await cast(Any, method(self, made(*args, **kwargs)))

        # What calls a method later, such as a web framework, asks whether it is a coroutine function.
        taking = cast(Any, call_async if inspect.iscoroutinefunction(method) else call)
        own = inspect.signature(method)
        owner = next(iter(own.parameters.values()))
        taking.__signature__ = own.replace(parameters=[owner, *fields.parameters.values()])
        return cast("Callable[Concatenate[Owner, Keywords], Returned]", taking)

    return decorate


@dataclass(frozen=True, slots=True)
class ClientOptions:
    """See :class:`bowerbird.client.Client`."""

    brokers: str = "127.0.0.1:9092"
    _: KW_ONLY
    reply_topic: str = "replies.client"
    prefix: str = ""
    timeout_s: float = 0.5
    batch_ms: int = 20
    most_waiting: int = 100_000
    flush_within_s: float = 10.0
    connection: SpeaksKafka | None = None


@dataclass(frozen=True, slots=True)
class DecideCall:
    """See :meth:`bowerbird.client.Client.decide`."""

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
    """See :meth:`bowerbird.client.Client.reward`."""

    event_id: str | int
    stream: str
    _: KW_ONLY
    action: str | int | None = None
    value: float | None = None
    id: str | int | None = None
    activate: bool | None = None
