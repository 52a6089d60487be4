"""Methods whose parameters are the fields of a record."""

import inspect
from collections.abc import Callable
from functools import wraps
from typing import Any, Concatenate, ParamSpec, TypeVar, cast

Keywords = ParamSpec("Keywords")
Owner = TypeVar("Owner")
Record = TypeVar("Record")
Returned = TypeVar("Returned")


def method_takes(
    record: Callable[Keywords, Record],
) -> Callable[[Callable[[Owner, Record], Returned]], Callable[Concatenate[Owner, Keywords], Returned]]:
    """Let a method of a record take the record's fields."""
    fields = inspect.signature(record)

    def decorate(method: Callable[[Owner, Record], Returned]) -> Callable[Concatenate[Owner, Keywords], Returned]:
        def made(*args: Keywords.args, **kwargs: Keywords.kwargs) -> Record:
            # Says which keyword is unknown, or missing.
            fields.bind(*args, **kwargs)
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
        owner, _ = own.parameters.values()
        taking.__signature__ = own.replace(parameters=[owner, *fields.parameters.values()])
        return cast("Callable[Concatenate[Owner, Keywords], Returned]", taking)

    return decorate
