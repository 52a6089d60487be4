"""`bowerbird up` starts a server again that has ended, also one that ends while it starts."""

from pathlib import Path
from typing import Any, cast

import pytest

from bowerbird.up import MOST_ENDS, _Running
from records.errors import BowerbirdError


class EmbeddedServer:
    """A server whose first starts fail."""

    def __init__(self, failing: int = 0, *, running: bool = True) -> None:
        self.failing, self.running, self.folder = failing, running, Path("folder")

    def start(self) -> None:
        self.failing -= 1
        self.running = self.failing < 0
        if not self.running:
            raise BowerbirdError("ended while it was waited for")


class Servers:
    def __init__(self, failing: int) -> None:
        self.kafka, self.redis = EmbeddedServer(failing, running=False), EmbeddedServer()


def keeping(failing: int, said: list[str]) -> _Running:
    return _Running(cast(Any, Servers(failing)), cast(Any, None), cast(Any, None), said.append)


async def test_a_server_that_ends_while_it_starts_is_started_once_more() -> None:
    said: list[str] = []
    up = keeping(MOST_ENDS - 1, said)
    for _ in range(MOST_ENDS):
        await up._keep_servers()
    assert said[-1] == "Server runs again."
    await up._keep_servers()
    assert len(said) == MOST_ENDS + 1


async def test_a_server_that_never_starts_ends_the_command() -> None:
    up = keeping(99, [])
    for _ in range(MOST_ENDS - 1):
        await up._keep_servers()
    with pytest.raises(BowerbirdError, match="does not start again: ended while it was waited for"):
        await up._keep_servers()
