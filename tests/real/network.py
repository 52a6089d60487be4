"""A network between a client and a server, for tests: it cuts connections, swallows data, and forgets one side."""

import asyncio
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Any, NamedTuple, Self

from embedded.server import HOST, free_port
from embedded.servers import EmbeddedKafka

CHUNK_BYTES = 64 * 1024


class Seen(NamedTuple):
    """A second address of a broker: clients see ``port``, the broker listens on ``behind``."""

    behind: int
    port: int


def seen_through_a_network(own_kafka: Callable[..., EmbeddedKafka]) -> tuple[EmbeddedKafka, Seen]:
    """Start a broker with a second address, to be put behind a network."""
    seen = Seen(free_port(), free_port())
    listeners = {"listeners": seen.behind, "advertised.listeners": seen.port}

    def addresses(port: int) -> str:
        return f"PLAINTEXT://{HOST}:{own},PROXIED://{HOST}:{port},CONTROLLER://{HOST}:{controller}"

    own, controller = free_port(), free_port()
    properties = {name: addresses(port) for name, port in listeners.items()}
    properties["listener.security.protocol.map"] = "PLAINTEXT:PLAINTEXT,PROXIED:PLAINTEXT,CONTROLLER:PLAINTEXT"
    properties["controller.quorum.bootstrap.servers"] = f"{HOST}:{controller}"
    return own_kafka(properties=properties, preferred_port=own), seen


class Network:
    """Passes connections on to a server, in a thread of its own; a context manager.

    Attributes
    ----------
    port
        Where clients connect.
    """

    def __init__(self, server_port: int, port: int | None = None) -> None:
        self.port = port or free_port()
        self._server_port = server_port
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._open = asyncio.Event()
        self._pairs: set[tuple[asyncio.StreamWriter, asyncio.StreamWriter]] = set()
        self._closing = False
        self._forgotten: list[asyncio.StreamWriter] = []
        self._tasks: set[asyncio.Task[Any]] = set()

    def __enter__(self) -> Self:
        self._thread.start()
        self._do(self._listen)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._do(self._close)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def cut(self) -> None:
        """Reset all connections."""
        self._do(self._cut)

    def swallow(self) -> None:
        """Pass nothing on, in both directions, until :meth:`restore`; what is sent meanwhile arrives then."""
        self._do(self._open.clear)

    def restore(self) -> None:
        """Pass on again."""
        self._do(self._open.set)

    def refuse(self) -> None:
        """Reset all connections, and accept no more: as where the server has gone."""
        self._do(self._refuse)

    def forget(self) -> None:
        """Close the server's side of all connections, and never tell the client; new connections work."""
        self._do(self._forget)

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_forever()
        self._loop.run_until_complete(self._close_late())

    async def _close_late(self) -> None:
        """Close what a client opened while this network ended: on a busy machine that comes whenever it likes."""
        own = asyncio.current_task()
        late = [task for task in asyncio.all_tasks() if task is not own]
        for task in late:
            task.cancel()
        await asyncio.gather(*late, return_exceptions=True)
        transports: Any = getattr(self._loop, "_transports")  # noqa: B009
        for transport in list(transports.values()):
            transport.abort()
        # Transports close at the next turn.
        await asyncio.sleep(0)
        await asyncio.sleep(0)

    def _do(self, act: Callable[[], Any]) -> None:
        async def call() -> None:
            done = act()
            if asyncio.iscoroutine(done):
                await done

        asyncio.run_coroutine_threadsafe(call(), self._loop).result(10)

    async def _listen(self) -> None:
        self._open.set()
        self._server = await asyncio.start_server(self._connected, HOST, self.port)

    async def _stop_listening(self) -> None:
        """Close the server when nothing is half accepted: asyncio forgets a connection whose server closes then."""
        self._closing = True
        for listening in self._server.sockets:
            self._loop.remove_reader(listening.fileno())
        await asyncio.sleep(0)
        self._server.close()

    async def _close(self) -> None:
        await self._stop_listening()
        self._open.set()
        self._cut()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        # Those that waited for the network to come back see that it is gone; transports close at the next turn.
        for _ in range(10):
            await asyncio.sleep(0.01)

    def _cut(self) -> None:
        for writer in (*self._forgotten, *(writer for pair in self._pairs for writer in pair)):
            writer.transport.abort()
        self._forgotten.clear()
        self._pairs.clear()

    async def _refuse(self) -> None:
        await self._stop_listening()
        self._cut()

    def _forget(self) -> None:
        for client, server in self._pairs:
            self._forgotten.append(client)
            server.transport.abort()
        self._pairs.clear()

    def _over(self) -> bool:
        return self._closing

    async def _connected(self, reader: asyncio.StreamReader, client: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        try:
            await self._connect(reader, client)
        except (OSError, asyncio.CancelledError):
            # The task ends quietly: what asyncio says of one that was cancelled helps nobody.
            client.transport.abort()

    async def _connect(self, reader: asyncio.StreamReader, client: asyncio.StreamWriter) -> None:
        await self._open.wait()
        if self._over():
            client.transport.abort()
            return
        answers, server = await asyncio.open_connection(HOST, self._server_port)
        if self._over():
            client.transport.abort()
            server.transport.abort()
            return
        pair = client, server
        self._pairs.add(pair)
        for source, target in ((reader, server), (answers, client)):
            task = self._loop.create_task(self._pass_on(source, target, pair))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _pass_on(
        self,
        source: asyncio.StreamReader,
        target: asyncio.StreamWriter,
        pair: tuple[asyncio.StreamWriter, asyncio.StreamWriter],
    ) -> None:
        try:
            while data := await source.read(CHUNK_BYTES):
                await self._open.wait()
                target.write(data)
                await target.drain()
        except OSError:
            pass
        if pair in self._pairs:
            self._pairs.discard(pair)
            for writer in pair:
                writer.transport.abort()
