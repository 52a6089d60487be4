"""Every command with odd options: no traceback, no text of a library, nothing that a terminal obeys."""

import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

from bowerbird.cli import app
from tests.bowerbird.test_cli import ALL, ARGUMENTS, SETTINGS
from tests.errors.law import invoked, obeys

ODD = ("", "x", "-1", "nan", "1e400", "\x1b[2J\x07", "\udcff", "a" * 600, "=", "a=b=c", "💥", "2020-01-01")
STARTERS = {("up",), ("demo",), ("worker",), ("role",)}
"""They start what runs on; so they get options that stop them."""
GIVEN: dict[tuple[str, ...], list[str]] = {
    **ARGUMENTS,
    ("dead-letters", "show"): ["0@1"],
    ("log", "describe"): ["missing.csv"],
    ("replay", "evaluate"): ["missing.csv"],
}


def group(path: tuple[str, ...]) -> Any:
    command: Any = typer.main.get_command(app)
    for name in path:
        command = command.commands[name]
    return command


COMMANDS = [path for path in ALL if not hasattr(group(path), "commands")]


@pytest.fixture(scope="module")
def away(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Give settings whose servers are away."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
        file = tmp_path_factory.mktemp("away") / "bowerbird.toml"
        file.write_text(f'brokers = "127.0.0.1:{port}"\nredis_url = "redis://127.0.0.1:{port}/0"\n{SETTINGS}')
        yield file


@pytest.mark.parametrize("path", COMMANDS, ids=" ".join)
def test_a_command_with_odd_options(
    path: tuple[str, ...], away: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if path == ("role",):
        return  # A part of ``worker``; its option takes over this process.
    monkeypatch.chdir(tmp_path)
    stop = ["--config", "missing.toml"]
    options = group(path).params
    configured = any(option.name == "config" for option in options)
    for option in options:
        if option.param_type_name != "option" or option.name in ("config", "help", "watch"):
            continue
        for odd in ODD:
            value = [] if option.is_flag else [odd] * option.nargs
            asked = [*path, *GIVEN.get(path, []), option.opts[0], *value]
            if path in STARTERS:
                asked += stop
            elif configured:
                asked += ["--config", str(away)]
            obeys(invoked(asked, "{}"), codes=(0, 1, 2))
            if option.is_flag or not _quick(path):
                break


def _quick(path: tuple[str, ...]) -> bool:
    """Tell whether a command ends without asking a server, and so can be run with every value."""
    return path in {("log", "describe"), ("replay", "evaluate"), ("asyncapi",)} | STARTERS


@pytest.mark.parametrize("path", COMMANDS, ids=" ".join)
def test_a_command_with_odd_arguments(
    path: tuple[str, ...], away: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    if path in STARTERS or not any(each.param_type_name == "argument" for each in group(path).params):
        return
    count = max(len(GIVEN.get(path, [""])), 1)
    config = ["--config", str(away)] if any(each.name == "config" for each in group(path).params) else []
    for odd in ODD[:2] + ODD[5:8]:
        obeys(invoked([*path, *[odd] * count, *config], "{}"), codes=(0, 1, 2))


@pytest.mark.parametrize(
    "path", [path for path in COMMANDS if any(o.name == "config" for o in group(path).params)], ids=" ".join
)
def test_settings_that_cannot_be_read(path: tuple[str, ...], tmp_path: Path) -> None:
    if path in (("log", "describe"), ("replay", "evaluate")):
        return
    (tmp_path / "binary.toml").write_bytes(bytes(range(256)))
    (tmp_path / "empty.toml").write_bytes(b"")
    (tmp_path / "loop.toml").symlink_to(tmp_path / "loop.toml")
    for name in ("", "binary.toml", "empty.toml", "loop.toml", "missing.toml", "x" * 300, "binary.toml/in"):
        obeys(invoked([*path, *GIVEN.get(path, []), "--config", str(tmp_path / name)]))
