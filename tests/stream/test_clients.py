"""The limits of calls, and connections that may be half open."""

import asyncio
import contextlib
import time
from typing import Any

import pytest
from aiokafka.client import AIOKafkaClient
from aiokafka.errors import RequestTimedOutError
from aiokafka.protocol.group import HeartbeatRequest, JoinGroupRequest

from stream import clients
from stream.clients import CALL_MS, producer, redis_client
from stream.config import Config
from stream.kafka.consumer import reading


class _Open:
    def at_eof(self) -> bool:
        return False


class _Writer:
    def write(self, data: bytes) -> None:
        """Send nothing."""

    def close(self) -> None:
        """Close nothing."""


def _connected(limit_ms: int) -> Any:
    connection = clients._Connection("broker", 9092, request_timeout_ms=limit_ms)
    connection._reader, connection._writer = _Open(), _Writer()
    connection._read_task = asyncio.create_task(asyncio.sleep(0))
    connection._versions = {HeartbeatRequest.API_KEY: (0, 1), JoinGroupRequest.API_KEY: (0, 5)}
    return connection


@pytest.fixture(autouse=True)
def no_doubts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clients._Connection, "silent_since", {})
    monkeypatch.setattr(clients, "DOUBT_S", 0.01)


@pytest.mark.parametrize("cancelled", [False, True])
async def test_a_request_without_an_answer_casts_doubt_on_silent_connections(cancelled: bool) -> None:
    silent, asked = _connected(50), _connected(50)
    assert silent.connected()
    answer = asyncio.ensure_future(asked.send(HeartbeatRequest("group", 1, "member")))
    await asyncio.sleep(0.02)
    answers = _connected(50)
    if cancelled:
        answer.cancel()
    with contextlib.suppress(RequestTimedOutError, asyncio.CancelledError):
        await answer
    assert not silent.connected()
    assert answers.connected()
    for connection in (asked, answers):
        connection.close()


async def test_a_connection_that_the_broker_has_closed_is_closed_before_it_is_dropped() -> None:
    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    async with await asyncio.start_server(accept, "127.0.0.1") as server:
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        connection = _connected(50)
        connection._reader, connection._writer = reader, writer
        assert await reader.read() == b""
        assert not writer.is_closing()
        assert not connection.connected()
        assert writer.is_closing()


async def test_joining_a_group_waits_for_the_other_members() -> None:
    connection = _connected(20)
    joining = JoinGroupRequest("group", 100, 300, "member", "", "consumer", [("roundrobin", b"")])
    since = time.monotonic()
    with pytest.raises(RequestTimedOutError):
        await connection.send(joining)
    assert time.monotonic() - since >= 0.3
    assert connection._request_timeout == 0.02


async def test_a_request_that_times_out_closes_its_own_connection() -> None:
    """The client may have another one to the broker by then, or none."""
    client, connection = AIOKafkaClient(), _connected(20)
    client._conns[1, 0] = connection
    asking = asyncio.ensure_future(client.send(1, HeartbeatRequest("group", 1, "member"), group=0))
    await asyncio.sleep(0.01)
    client._conns.clear()
    await asyncio.wait({asking})
    assert repr(asking.exception()) == repr(RequestTimedOutError())
    assert connection._reader is None


async def test_the_limit_of_a_call_is_shorter_than_what_its_caller_waits() -> None:
    """Else the caller gives up first, and the connection that does not answer is used again."""
    consumer, sends = reading(bootstrap_servers="127.0.0.1:1"), producer(Config(), "test", request_timeout_ms=40_000)
    try:
        assert consumer._client._request_timeout_ms == CALL_MS < consumer._request_timeout_ms
        assert sends.client._request_timeout_ms == CALL_MS
    finally:
        consumer._closed = sends._closed = True


async def test_a_client_of_redis_tries_once_and_not_for_long() -> None:
    redis = redis_client(Config())
    options = redis.connection_pool.connection_kwargs
    assert (options["socket_timeout"], options["socket_connect_timeout"]) == (5.0, 5.0)
    assert options["retry"].get_retries() == 0
    await redis.aclose()


async def test_metadata_is_asked_for_ten_times_a_second_at_most() -> None:
    """As aiokafka's producer does of a topic that is gone: again, as soon as there is an answer."""

    class Client:
        asked = 0

        async def force_metadata_update(self) -> bool:
            self.asked += 1
            return True

    client: Any = Client()
    clients.pace(client)
    until_s = time.monotonic() + 0.35
    while time.monotonic() < until_s:
        assert await client.force_metadata_update()
    assert client.asked <= 6
