"""The command's surface: help with examples, exit codes, errors in words."""

import logging
import re
import socket
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from bowerbird.__main__ import main
from bowerbird.cli import app

RUNNER = CliRunner()
SETTINGS = '[policies.front]\nkind = "uniform"\n[placements.front]\nreward.close_on = ["clicks"]\n'


@pytest.fixture(autouse=True)
def _logs() -> Iterator[None]:
    """Undo what a command does to the process's logging."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)


def commands(group: object, path: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    """Return the path of every command and group."""
    below = getattr(group, "commands", {})
    return [path, *(each for name, command in below.items() for each in commands(command, (*path, name)))]


ALL = commands(typer.main.get_command(app))
MACHINE_READABLE = {("topics", "create"), ("topics", "check"), ("policy", "list"), ("policy", "show"), ("verify",)}
MACHINE_READABLE |= {("up",), ("recover",), ("request",), ("send",), ("trace",)}
MACHINE_READABLE |= {("dead-letters", "list"), ("dead-letters", "show"), ("dead-letters", "resend")}
MACHINE_READABLE |= {("status",), *(("policy", name) for name in ("freeze", "unfreeze", "uniform", "rebuild"))}
ARGUMENTS: dict[tuple[str, ...], list[str]] = {
    **{("policy", name): ["front"] for name in ("freeze", "unfreeze", "uniform", "rebuild")},
    ("policy", "show"): ["front"],
    ("verify",): ["front"],
    ("role",): ["join"],
    ("request",): ["-"],
    ("send",): ["clicks", "-"],
    ("trace",): ["visit-1"],
    ("dead-letters", "resend"): ["--all"],
}
"""What a command cannot do without."""


def test_the_commands() -> None:
    expected = {
        ("asyncapi",),
        ("demo",),
        ("worker",),
        ("topics",),
        ("policy",),
        ("verify",),
        ("check",),
        ("role",),
        ("dead-letters",),
        ("replay",),
        ("replay", "evaluate"),
        ("replay", "learn"),
        ("log",),
        ("log", "describe"),
        (),
    }
    assert set(ALL) == expected | MACHINE_READABLE


@pytest.mark.parametrize("path", ALL, ids=" ".join)
def test_every_help_shows_an_example(path: tuple[str, ...]) -> None:
    result = RUNNER.invoke(app, [*path, "--help"])
    assert result.exit_code == 0
    assert re.search(r"Example: bowerbird \w+", result.output)


@pytest.mark.parametrize("path", sorted(MACHINE_READABLE | {("check",), ("demo",)}), ids=" ".join)
def test_a_machine_may_read(path: tuple[str, ...]) -> None:
    assert "--json" in re.sub(r"\x1b\[[0-9;]*m", "", RUNNER.invoke(app, [*path, "--help"]).output)


WRONG = [
    ["nonsense"],
    ["worker", "--nonsense"],
    ["worker", "--roles", "decide,paint"],
    ["worker", "--roles", "join,join"],
    ["worker", "--roles", ""],
    ["role", "paint"],
    ["verify"],
    ["verify", "front", "--decision", "a"],
    ["policy", "show"],
    ["status", "--minutes", "1", "--minutes", "2"],
    ["log", "describe", "x.csv", "--format", "table", "--format=table"],
]


SWALLOWING = """
import os, signal, sys, time
from contextlib import suppress

class Swallows:
    def find_spec(self, name, *_):
        if name == {module!r}:
            with suppress(KeyboardInterrupt):
                os.kill(os.getpid(), signal.SIGINT)
                time.sleep(0.1)
            sys.meta_path.remove(self)
            {then}

sys.meta_path.insert(0, Swallows())
from bowerbird.__main__ import main
main()
"""
"""Runs the command, and swallows the interrupt where it imports a module."""


INTERRUPTING = """
import os, signal, sys

class Interrupts:
    def find_spec(self, name, *_):
        if name == {module!r}:
            os.kill(os.getpid(), signal.SIGINT)

def interrupt():
    os.kill(os.getpid(), signal.SIGINT)

sys.meta_path.insert(0, Interrupts())
if not {module!r}:
    import atexit
    atexit.register(interrupt)
from bowerbird.__main__ import main
main()
"""
"""Runs the command, which is interrupted where it imports a module; without a name: when the interpreter ends."""


@pytest.mark.parametrize(
    ("module", "arguments"),
    [
        ("typer", ["status"]),
        ("bowerbird.settings", ["status"]),
        ("bowerbird.settings", ["verify", "front"]),
        ("bowerbird.up", ["up"]),
        ("rich.console", ["demo", "--quick"]),
        ("", ["--version"]),
    ],
)
def test_an_interrupt_at_the_start_or_the_end_shows_no_traceback(module: str, arguments: list[str]) -> None:
    program = INTERRUPTING.format(module=module)
    done = subprocess.run([sys.executable, "-c", program, *arguments], capture_output=True, text=True, cwd=Path.cwd())
    assert (done.returncode, done.stderr) == (130, "")


@pytest.mark.parametrize(
    ("module", "then"),
    [
        ("bowerbird.log_formats.log_format", 'raise AttributeError("half an import")'),
        ("replay.evaluation.run", "time.sleep(60)"),
    ],
)
def test_an_interrupt_that_a_library_swallows_ends_the_command(module: str, then: str, tmp_path: Path) -> None:
    """An import that it breaks fails in another way; and a compiler may go on as if nothing had been."""
    (tmp_path / "log.csv").write_text("reward,propensity,target\n1,0.5,0.5\n")
    program = SWALLOWING.format(module=module, then=then)
    arguments = ["replay", "evaluate", str(tmp_path / "log.csv")]
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments], capture_output=True, text=True, cwd=Path.cwd(), timeout=50
    )
    assert (done.returncode, done.stderr) == (130, "")


def test_the_command_that_is_installed_heeds_interrupts() -> None:
    scripts = tomllib.loads(Path("pyproject.toml").read_text())["project"]["scripts"]
    assert scripts == {"bowerbird": f"{main.__module__}:{main.__name__}"}


def test_an_option_that_is_given_twice_is_named() -> None:
    result = RUNNER.invoke(app, ["request", "-", "--timeout", "1", "--timeout", "2"])
    assert "--timeout: found 2 times, expected once" in result.output


@pytest.mark.parametrize("arguments", WRONG, ids=" ".join)
def test_wrong_use_ends_with_2(arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "bowerbird.toml").write_text(SETTINGS)
    result = RUNNER.invoke(app, arguments)
    assert result.exit_code == 2, result.output


@pytest.mark.parametrize("path", sorted(MACHINE_READABLE | {("check",), ("worker",), ("role",)}), ids=" ".join)
def test_a_wrong_configuration_ends_with_2_and_tells_all(path: tuple[str, ...], tmp_path: Path) -> None:
    file = tmp_path / "wrong.toml"
    file.write_text("shards = 0\npartitions = 0\n" + SETTINGS)
    result = RUNNER.invoke(app, [*path, *ARGUMENTS.get(path, []), "--config", str(file)])
    assert result.exit_code == 2
    assert "line 1: shards" in result.output
    assert "line 2: partitions" in result.output


@pytest.mark.parametrize(
    "arguments",
    [
        ["topics", "create"],
        ["topics", "check"],
        ["policy", "list"],
        ["verify", "front"],
        ["recover"],
        ["check"],
        ["request", "-"],
        ["send", "clicks", "-"],
        ["trace", "visit-1"],
        ["dead-letters", "list"],
        ["dead-letters", "resend", "--all"],
    ],
    ids=" ".join,
)
def test_servers_that_are_away_end_with_1_and_a_sentence(arguments: list[str], tmp_path: Path) -> None:
    with socket.socket() as free:
        # Bound and not listening: nobody answers there.
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
        file = tmp_path / "bowerbird.toml"
        url = f"redis://u:s3cret@127.0.0.1:{port}/0"
        file.write_text(f'brokers = "127.0.0.1:{port}"\nredis_url = "{url}"\n{SETTINGS}')
        result = RUNNER.invoke(app, [*arguments, "--config", str(file)], '{"event_id": "visit-1"}')
    assert result.exit_code == 1, result.output
    assert re.search(
        rf"127\.0\.0\.1:{port} did not answer \(\w+\)(:| ->) start it, or correct (brokers|redis_url)", result.output
    )
    assert "s3cret" not in result.output
    assert "Traceback" not in result.output


@pytest.mark.parametrize(("name", "group"), [("evaluate", "replay"), ("describe", "log"), ("freeze", "policy")])
def test_a_command_of_a_group_is_named_with_its_group(name: str, group: str) -> None:
    result = RUNNER.invoke(app, [name, "archive"])
    assert result.exit_code == 2
    assert f"{group} {name}'?" in re.sub(r"[\s│]+", " ", result.output)


def test_what_is_slow_to_import_is_imported_late() -> None:
    slow = ["aiohttp", "aiokafka", "faust", "matplotlib", "numpy", "pydantic", "redis", "vowpalwabbit"]
    program = f"import sys, bowerbird.cli; print([name for name in {slow!r} if name in sys.modules])"
    output = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    assert output.strip() == "[]"


def test_the_module_is_the_command() -> None:
    done = subprocess.run([sys.executable, "-m", "bowerbird", "--version"], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("bowerbird ")
