"""The join role without servers: how it ends."""

import asyncio
from types import SimpleNamespace
from typing import Any, cast

from stream import metrics
from stream.config import Config
from stream.kafka.faust_app import Progress
from stream.roles.join import JoinRole
from stream.roles.join_display import JoinDisplay
from tests.serving import served, tables


def test_the_loops_end_before_their_connections_are_closed() -> None:
    async def stopped() -> list[bool]:
        role = JoinRole(Config(**tables({"front": served()})), cast(Any, SimpleNamespace()))
        loop = asyncio.ensure_future(asyncio.Event().wait())
        role._loops = [loop]
        ended: list[bool] = []

        async def close() -> None:
            ended.append(loop.done())

        role._opened.add(close)
        await role.on_stop()
        return ended

    assert asyncio.run(stopped()) == [True]


async def test_a_partition_that_an_open_transaction_holds_is_shown() -> None:
    asked: list[Any] = []

    class Reader:
        async def open_transactions(self, partitions: Any) -> Any:
            asked.append(partitions)
            return {("test-clicks", 1): (7, 3)}

    display = JoinDisplay(Config(prefix="test-"), cast(Any, Reader()), cast(Any, None))
    ends = {("test-clicks", 0): 5, ("test-clicks", 1): 10}
    await display.show_transactions(ends, {name: Progress(5, 5) for name in ends})
    assert asked == [[("test-clicks", 1)]]
    shown = [metrics.OPEN_TRANSACTION.labels("clicks", number)._value.get() for number in "01"]
    assert shown == [0, 3]
