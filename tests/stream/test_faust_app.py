"""A role's Faust app without servers."""

import asyncio
import contextlib
from typing import Any, cast

import pytest
from faust.tables.recovery import ServiceStopped
from faust.transport.drivers.aiokafka import Consumer

from stream.config import Config
from stream.kafka import faust_app
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


async def test_a_commit_at_the_end_is_not_waited_for_for_long(monkeypatch: pytest.MonkeyPatch) -> None:
    """The broker may never answer; what it does not acknowledge soon is read again."""
    cancelled = asyncio.Event()

    async def committing(self: Consumer) -> None:
        try:
            await asyncio.sleep(3600)
        finally:
            cancelled.set()

    monkeypatch.setattr(Consumer, "on_stop", committing)
    stopping = asyncio.create_task(faust_app._Consumer.on_stop(faust_app._Consumer.__new__(faust_app._Consumer)))
    done, _ = await asyncio.wait({stopping}, timeout=60)
    assert done
    assert cancelled.is_set()
