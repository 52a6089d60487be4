"""Cancellations that must not get lost."""

import asyncio
import gc
import struct
from typing import Any, ClassVar

import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError

from embedded.server import HOST
from stream.shutdown import closed, ended, started, within


async def _cancel_as_the_wait_ends() -> bool:
    woken = asyncio.Event()

    async def loop() -> None:
        while True:
            woken.clear()
            await within(woken.wait(), 60.0)

    task = asyncio.create_task(loop())
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    woken.set()
    await asyncio.sleep(0)
    # The wait has ended, and the loop has not gone on yet.
    task.cancel()
    for _ in range(10):
        await asyncio.sleep(0)
    cancelled = task.done()
    await ended(task)
    return cancelled


def test_a_cancellation_gets_through_at_the_moment_at_which_a_wait_ends() -> None:
    assert asyncio.run(_cancel_as_the_wait_ends())


def test_a_wait_is_given_up_after_its_time() -> None:
    async def never() -> None:
        await within(asyncio.Event().wait(), 0.01)

    asyncio.run(never())


def test_a_loop_ends_whose_task_group_fails_as_it_is_cancelled() -> None:
    async def scenario() -> bool:
        closed = asyncio.Event()

        async def use() -> None:
            await closed.wait()
            raise ConnectionError

        async def loop() -> None:
            while True:
                try:
                    async with asyncio.TaskGroup() as group:
                        group.create_task(use())
                except* ConnectionError:
                    await asyncio.sleep(0.01)

        task = asyncio.create_task(loop())
        await asyncio.sleep(0.01)
        closed.set()
        await asyncio.sleep(0)
        await asyncio.wait_for(ended(task), 20)
        return task.cancelled()

    assert asyncio.run(scenario())


@pytest.mark.filterwarnings("error::ResourceWarning")
def test_a_start_that_is_cancelled_leaves_no_connection_open() -> None:
    """A broker answers slowly: the cancellation comes while it is asked for its metadata."""
    # By the key of a request: what a broker can do, and the metadata of a cluster without brokers and topics.
    answers = {18: struct.pack(">hihhhhhh", 0, 2, 3, 0, 0, 18, 0, 0), 3: struct.pack(">ii", 0, 0)}

    async def scenario() -> list[int]:
        asked: list[int] = []
        metadata = asyncio.Event()

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            while size := await reader.read(4):
                request = await reader.readexactly(*struct.unpack(">i", size))
                key, _, correlation = struct.unpack(">hhi", request[:8])
                asked.append(key)
                if key == 3:
                    metadata.set()
                    await asyncio.sleep(0.05)
                writer.write(struct.pack(">ii", 4 + len(answers[key]), correlation) + answers[key])
            writer.close()

        async with await asyncio.start_server(serve, HOST, 0) as server:
            port = server.sockets[0].getsockname()[1]
            starting = asyncio.create_task(started(AIOKafkaProducer(bootstrap_servers=f"{HOST}:{port}")))
            await metadata.wait()
            starting.cancel()
            await asyncio.wait({starting})
            assert starting.cancelled()
            del starting
            gc.collect()
            # A connection that is closed at last lets the server end, too.
            await asyncio.sleep(0)
        return asked

    assert asyncio.run(scenario())[:2] == [18, 3]


async def test_a_client_whose_start_is_cancelled_again_and_again_is_closed() -> None:
    """A task is cancelled every 0.2 s until it ends, and closing the client takes longer than that."""

    class Client:
        closed = False
        _conns: ClassVar[dict[str, Any]] = {}

        async def start(self) -> None:
            await asyncio.Event().wait()

        async def stop(self) -> None:
            await asyncio.sleep(0.1)
            self.closed = True

    client = Client()
    starting = asyncio.create_task(started(client))
    await asyncio.sleep(0.01)
    await ended(starting)
    assert starting.cancelled()
    assert client.closed


async def test_a_client_that_fails_as_it_is_closed_has_its_connections_closed() -> None:
    """aiokafka closes them last: an error before leaves them open."""
    done: list[str] = []

    class Connections:
        _conns: ClassVar[dict[str, Any]] = {}

        async def close(self) -> None:
            done.append("connections")

    class Client:
        client = Connections()

        async def stop(self) -> None:
            raise KafkaError("the broker does not answer")

    await closed(Client())
    assert done == ["connections"]
