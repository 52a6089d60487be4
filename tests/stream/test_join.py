"""The join role without servers: how it ends."""

import asyncio
from types import SimpleNamespace
from typing import Any, cast

from stream.config import Config, PolicyConfig
from stream.join import JoinRole


def test_the_loops_end_before_their_connections_are_closed() -> None:
    async def stopped() -> list[bool]:
        role = JoinRole(Config(policies={"front": PolicyConfig()}), cast(Any, SimpleNamespace()))
        loop = asyncio.ensure_future(asyncio.Event().wait())
        role._loops = [loop]
        ended: list[bool] = []
        role._stop_clients.callback(lambda: ended.append(loop.done()))
        await role.on_stop()
        return ended

    assert asyncio.run(stopped()) == [True]
