"""A role's Faust app without servers."""

import asyncio
import contextlib
from typing import Any, cast

from faust.tables.recovery import ServiceStopped

from stream.config import Config
from stream.kafka.faust_app import make_app


async def test_an_assignment_is_waited_for_longer_than_a_request_may_take() -> None:
    """Redis may be away when partitions are assigned; Faust would give up after a while, and never read again."""
    recovery = cast(Any, make_app(Config(), "join").tables).recovery
    done = asyncio.Event()

    async def seek() -> None:
        await asyncio.sleep(0.05)
        done.set()

    with contextlib.suppress(ServiceStopped):
        await recovery._wait(seek(), timeout=0.01)
    assert done.is_set()
