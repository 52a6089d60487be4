"""The join role without servers: how it ends."""

import asyncio
from types import SimpleNamespace
from typing import Any, cast

import pytest

from records.errors import LossDetected
from rewards.join_worker import JoinWorker
from stream import metrics
from stream.config import Config
from stream.kafka.faust_app import Progress
from stream.roles.join import JoinRole
from stream.roles.join_display import JoinDisplay
from stream.roles.join_inputs import JoinInputs
from stream.roles.join_settings import join_settings
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


@pytest.mark.parametrize("acknowledged", [None, 3, 11])
async def test_what_was_removed_unread_is_a_loss_also_where_nothing_was_acknowledged(acknowledged: int | None) -> None:
    """A join that is stopped at once may have stored what the group has not as read."""
    where = ("clicks", 2)

    class Guard:
        def __init__(self) -> None:
            self.reader = self.store = self

        async def committed(self, *_: Any) -> dict[Any, int]:
            return {} if acknowledged is None else {where: acknowledged}

        async def beginning(self, _: Any) -> dict[Any, int]:
            return {where: 17}

        async def voided(self) -> dict[str, Any]:
            return {}

        async def offsets(self, shard: int) -> dict[str, int]:
            return {"clicks 2": 12 + shard}

        async def refuse_replaced(self, _: Any) -> None:
            pass

        async def removed_unread(self, name: Any, next_offset: int, begins: int) -> LossDetected:
            return LossDetected(f"{name}", f"{begins}", f"{next_offset}", "recover")

    app = SimpleNamespace(assigned={where})
    config = Config(shards=2, **tables({"front": served()}))
    inputs = JoinInputs(config, app, JoinWorker(join_settings(config)), cast(Any, Guard()))
    with pytest.raises(LossDetected, match="found 17, expected 12"):
        await inputs.synchronise()


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
