"""The services of docker-compose.yml outside of containers: their very commands and environments, other places.

What a container has for itself is replaced: host names and ports by free ports of the loopback address, folders by
temporary ones. Nothing else is changed.
"""

import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

from bowerbird.settings import load
from embedded.server import HOST, PORTS, free_port
from embedded.servers import EmbeddedKafka, EmbeddedRedis
from embedded.watched import WatchedProcess
from stream.config import Config
from tests.compose import DEPLOY, ROLE_SERVICES, ROOT, Image, Service, image, services

READY_WITHIN_S = 240.0
SUPERVISOR = len(ROLE_SERVICES)
"""How many ports the supervisor's lies behind the first role's."""

Program = Sequence[str]
"""What ``bowerbird`` is outside of the image."""


def outside(text: str, places: Mapping[str, str]) -> str:
    """Return a text of docker-compose.yml with places of this machine."""
    for inside, here in places.items():
        text = text.replace(inside, here)
    return text


class ComposedKafka(EmbeddedKafka):
    """The broker of docker-compose.yml, with the properties that its image makes of the environment.

    The image formats its folder as it is done here, without ``--standalone``: its properties name the voters.
    """

    def __init__(self, environment: Mapping[str, str]) -> None:
        super().__init__()
        self.cluster_id = environment["CLUSTER_ID"]
        inside = f"{HOST}:{self.port}"
        places = {
            "/var/lib/kafka/data": str(self.folder / "data"),
            "kafka:19092": inside,
            "//:19092": f"//{inside}",
            "//:9092": f"//{HOST}:{(host := free_port())}",
            f"{HOST}:9092": f"{HOST}:{host}",
            "kafka:29093": f"{HOST}:{self._controller_port}",
            "//:29093": f"//{HOST}:{self._controller_port}",
        }
        self.host_address = f"{HOST}:{host}"
        """What programs outside of the composed network connect to."""
        self.properties: dict[str, str | int] = {
            name.removeprefix("KAFKA_").lower().replace("_", "."): outside(value, places)
            for name, value in environment.items()
            if name.startswith("KAFKA_")
        }

    def _settings(self, data: Path) -> dict[str, str | int]:
        return self.properties

    def _format(self, configuration: Path) -> None:
        arguments = ("format", f"--cluster-id={self.cluster_id}", "-c", str(configuration))
        command = self.command("kafka.tools.StorageTool", *arguments)
        subprocess.run(command, env=self.environment(), check=True, capture_output=True)


class ComposedRedis(EmbeddedRedis):
    """The Redis of docker-compose.yml, with its very arguments."""

    def __init__(self, command: Sequence[str]) -> None:
        super().__init__()
        self.arguments = [*command[1:], "--bind", HOST, "--port", str(self.port), "--dir", str(self.folder)]

    def _launch(self) -> WatchedProcess:
        return self._watched([self.executable, *self.arguments])


@dataclass
class Composed:
    """What runs.

    Attributes
    ----------
    ports
        The first port of each role's service; a role's own and its supervisor's follow it as in the image.
    """

    kafka: ComposedKafka
    redis: ComposedRedis
    folder: Path
    program: Program
    image: Image
    services: dict[str, Service]
    overrides: Mapping[str, str]
    ports: dict[str, int] = field(default_factory=dict)
    running: dict[str, WatchedProcess] = field(default_factory=dict)

    def port(self, role: str) -> int:
        """Return the port on which a role answers."""
        return self.ports[role] + ROLE_SERVICES.index(role)

    def supervisor_port(self, role: str) -> int:
        """Return the port on which a role's supervisor answers."""
        return self.ports[role] + SUPERVISOR

    def environment(self, name: str) -> dict[str, str]:
        """Return the environment of a service: that of the image and its own, and nothing of this process."""
        first = self.ports.setdefault(name, _free_range(SUPERVISOR + 1))
        places = {
            "kafka:19092": self.kafka.address,
            "redis:6379": self.redis.url.removeprefix("redis://").removesuffix("/0"),
            "/etc/bowerbird": str(DEPLOY),
            "/var/lib/bowerbird": str(self.folder),
            "0.0.0.0": HOST,
            self.image.environment["BOWERBIRD_METRICS_PORT"]: str(first),
        }
        environment = {**self.image.environment, **self.services[name].environment}
        environment = {key: outside(value, places) for key, value in environment.items()}
        return {**environment, **self.overrides, "PATH": os.environ["PATH"]}

    def config(self) -> Config:
        """Return the settings that the services have."""
        environment = self.environment("topics")
        return load(Path(environment["BOWERBIRD_CONFIG"]), environment)

    def run(self, *command: str) -> subprocess.CompletedProcess[str]:
        """Run ``docker compose run topics COMMAND`` to its end."""
        full_command = [*self.program, *command]
        environment = self.environment("topics")
        return subprocess.run(
            full_command, env=environment, cwd=self.folder, capture_output=True, text=True, timeout=180
        )

    def start(self, role: str) -> None:
        """Start a role's service."""
        arguments = self.services[role].command
        log = self.folder / f"{role}.log"
        # The image's folder to work in holds no package that would stand before the installed ones.
        command = ["/bin/sh", "-c", 'cd "$0" && exec "$@"', str(self.folder), *self.program, *arguments]
        self.running[role] = WatchedProcess(command, log, self.environment(role))

    def health(self, role: str) -> int:
        """Run the image's health check for a role's service, and return its exit code."""
        first = self.image.environment["BOWERBIRD_METRICS_PORT"]
        inside = f":{int(first) + SUPERVISOR}/"
        command = [outside(part, {inside: f":{self.supervisor_port(role)}/"}) for part in self.image.health]
        assert command != self.image.health
        return subprocess.run([sys.executable, *command[1:]], capture_output=True).returncode

    def until_ready(self) -> None:
        """Return when every role that was started does its work."""
        give_up = time.monotonic() + READY_WITHIN_S
        for role, process in self.running.items():
            while not _answers(f"http://{HOST}:{self.port(role)}/ready"):
                if not process.running or time.monotonic() > give_up:
                    raise AssertionError(f"{role} is not ready; its log:\n{process.log_tail()}")
                time.sleep(0.05)

    def stop(self) -> None:
        """End the roles as ``docker compose stop`` does."""
        with ThreadPoolExecutor() as pool:
            list(pool.map(lambda process: process.stop(10.0), self.running.values()))


@contextmanager
def composed(program: Program | None = None, overrides: Mapping[str, str] | None = None) -> Iterator[Composed]:
    """Give the servers of docker-compose.yml, running, and the services to start.

    Parameters
    ----------
    program
        What to run as ``bowerbird``; that of this checkout unless given.
    overrides
        Variables for every service, on top of its own.
    """
    services_by_name = services()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bowerbird-composed-")))
        kafka = stack.enter_context(ComposedKafka(services_by_name["kafka"].environment))
        redis = stack.enter_context(ComposedRedis(services_by_name["redis"].command))
        overrides = dict(overrides or {})
        if program is None:
            program = [sys.executable, "-m", "bowerbird"]
            overrides["PYTHONPATH"] = str(ROOT)
        service = Composed(kafka, redis, folder, program, image(), services_by_name, overrides)
        stack.callback(service.stop)
        yield service


def _answers(url: str) -> bool:
    try:
        with urlopen(url, timeout=2) as answer:
            return bool(answer.status == 200)
    except (URLError, OSError):
        return False


def _free_range(count: int) -> int:
    """Return the first of so many free ports in a row."""
    while True:
        first = free_port()
        if first + count > PORTS.stop:
            continue
        taken = False
        for port in range(first, first + count):
            with socket.socket() as candidate:
                taken = taken or candidate.connect_ex((HOST, port)) == 0
        if not taken:
            return first
