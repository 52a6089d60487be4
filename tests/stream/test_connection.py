"""A caller's connection without servers: a client that is made anew is closed, whatever happens meanwhile."""

import asyncio
from typing import Any

import pytest

from records.errors import BrokerAway
from stream.config import Config
from stream.kafka import connection
from stream.kafka.connection import REPLIES, Connection
from stream.shutdown import ended


class Client:
    """What a connection needs of a client of Kafka."""

    def __init__(self) -> None:
        self.closed = False

    async def start(self) -> None:
        await asyncio.sleep(0)

    async def stop(self) -> None:
        self.closed = True

    def assignment(self) -> list[Any]:
        return []


async def renewed(monkeypatch: pytest.MonkeyPatch, meanwhile: str) -> tuple[BaseException | None, Client]:
    """Let a client be made anew and something happen before it is in use; return how that ended, and the client."""
    made, follows = Client(), asyncio.Event()
    opened = Connection(Config(), "replies")
    opened._open = True
    opened._clients = {REPLIES: Client()}
    opened._makers[REPLIES] = lambda: made

    async def follow(*_: Any) -> None:
        follows.set()
        await (asyncio.Event().wait() if meanwhile == "cancelled" else asyncio.sleep(0.01))

    monkeypatch.setattr(connection, "_follow", follow)
    monkeypatch.setattr(connection, "dead_client", lambda *_: "its task has died")
    renewing = asyncio.create_task(opened._client(REPLIES))
    await follows.wait()
    if meanwhile == "cancelled":
        await ended(renewing)
        return None, made
    await opened.__aexit__(None, None, None)
    await asyncio.wait({renewing})
    return renewing.exception(), made


async def test_a_client_whose_renewal_is_cancelled_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    _, made = await renewed(monkeypatch, "cancelled")
    assert made.closed


async def test_a_client_that_is_renewed_while_the_connection_is_closed_is_closed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    error, made = await renewed(monkeypatch, "closed")
    assert isinstance(error, BrokerAway)
    assert made.closed
