"""What docker-compose.yml and the Dockerfile say, read so that it can be done outside of containers."""

import json
import re
from pathlib import Path
from typing import Any, NamedTuple

from ruamel.yaml import YAML

ROOT = Path(__file__).parents[1]
DEPLOY = ROOT / "deploy"
COMPOSE_FILE = ROOT / "docker-compose.yml"
DOCKERFILE = ROOT / "Dockerfile"
ROLE_SERVICES = ("decide", "join", "learn", "archive")


class Service(NamedTuple):
    """One service: its image, its command, its environment, and the command that tells whether it is healthy."""

    image: str
    command: list[str]
    environment: dict[str, str]
    health: list[str]


class Image(NamedTuple):
    """What the Dockerfile makes, in its last stage.

    Attributes
    ----------
    copied
        What is copied from the checkout, in any stage.
    installs
        The command, without the Python, that installs it.
    """

    environment: dict[str, str]
    user: str
    entrypoint: list[str]
    health: list[str]
    copied: list[str]
    installs: str


def read_yaml(file: Path) -> Any:
    """Return what a YAML file says, anchors and merges resolved."""
    return YAML(typ="safe", pure=True).load(file.read_text(encoding="utf-8"))


def services() -> dict[str, Service]:
    """Return the services of docker-compose.yml."""
    return {
        name: Service(
            service["image"],
            list(service.get("command", [])),
            {key: str(value) for key, value in service.get("environment", {}).items()},
            list(service.get("healthcheck", {}).get("test", []))[1:],
        )
        for name, service in read_yaml(COMPOSE_FILE)["services"].items()
    }


def image() -> Image:
    """Return what the Dockerfile says."""
    text = re.sub(r"\\\n\s*", " ", DOCKERFILE.read_text(encoding="utf-8"))
    last = text[text.rindex("\nFROM ") :]
    copies = re.findall(r"^COPY (?!--from)(.+) \S+$", text, re.MULTILINE)
    (installs,) = re.findall(r"^RUN \S+/python (-m pip install .+)$", text, re.MULTILINE)
    return Image(
        dict(re.findall(r"^ENV (\w+)=(.*)$", last, re.MULTILINE)),
        re.findall(r"^USER (\S+)$", last, re.MULTILINE)[-1],
        json.loads(re.findall(r"^ENTRYPOINT (.+)$", last, re.MULTILINE)[-1]),
        json.loads(re.findall(r"^HEALTHCHECK .*?CMD (.+)$", last, re.MULTILINE)[-1]),
        [name for copied in copies for name in copied.split()],
        installs.replace('"', ""),
    )
