"""`bowerbird up`: a click changes a decision, all is there again at the next start, and nothing is left running."""

import json
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest
from typer.testing import CliRunner

from bowerbird.cli import app
from bowerbird.settings.built_in import MARK
from embedded.server import free_port

WITHIN_S = 120.0


PORTS = {"KAFKA_PORT": free_port(), "REDIS_PORT": free_port()}
"""What the usual ports are here: another program may use the real ones."""


@contextmanager
def up(
    folder: Path | None, *arguments: str, cwd: Path, answer: Callable[[str], None] = lambda line: None
) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Run ``bowerbird up`` as long as the block lasts; gives its process and what it said when it was ready.

    ``answer`` is called with each line that it says until then.
    """
    place = [] if folder is None else ["--dir", str(folder)]
    program = f"""
import sys
sys.path.insert(0, {str(Path.cwd())!r})
import embedded.servers
vars(embedded.servers).update({PORTS})
from bowerbird.__main__ import main
main()
"""
    process = subprocess.Popen(
        [sys.executable, "-c", program, "up", *place, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=cwd,
    )
    try:
        assert process.stdout is not None
        said, began_s = "", 0.0
        while line := process.stdout.readline():
            began_s = began_s or time.monotonic()
            said += line
            answer(line)
            if line.startswith("Ready after"):
                # Each line comes when it is true, not all at the end: a Java does not start in less.
                assert time.monotonic() - began_s > 0.2
            if line.startswith(("}", "Ctrl-C")):
                break
        yield process, said
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGINT)
            process.communicate(timeout=WITHIN_S)


def bowerbird(*arguments: str, stdin: str = "") -> Any:
    """Run a command that answers in JSON."""
    done = CliRunner().invoke(app, [*arguments, "--json"], stdin)
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)


def until_gone(processes: list[psutil.Process]) -> None:
    _, alive = psutil.wait_procs(processes, timeout=WITHIN_S)
    assert alive == []


@pytest.mark.kill
def test_a_click_changes_a_decision_and_all_is_there_again(tmp_path: Path) -> None:
    folder = tmp_path / "lüüp 1"  # No folder is too odd for Java.
    with up(Path("lüüp 1"), cwd=tmp_path) as (process, said):
        children = psutil.Process(process.pid).children(recursive=True)
        # What is printed to be copied is what is run here, but for the name of the program.
        ask, click, ask_again = [shlex.split(line) for line in said.splitlines() if line.startswith("  echo ")]
        config = ask[-2:]
        assert config == ["--config", str(folder / "bowerbird.toml")]
        assert f"  export BOWERBIRD_CONFIG={shlex.quote(str(folder / 'bowerbird.toml'))}\n" in said
        assert f"  logs      {folder / 'roles.log'}\n" in said
        assert f"  Kafka     127.0.0.1:{PORTS['KAFKA_PORT']}\n" in said
        assert f"  Redis     127.0.0.1:{PORTS['REDIS_PORT']}\n" in said
        assert [line[line.index("|") + 1 :][-4:] for line in (ask, ask_again)] == [["request", "-", *config]] * 2
        assert click[-5:] == ["send", "clicks", "-", *config]
        before = bowerbird(*ask[-4:], stdin=ask[1])
        bowerbird(*click[-5:], stdin=click[1])
        give_up = time.monotonic() + WITHIN_S
        while (after := bowerbird(*ask_again[-4:], stdin=ask_again[1]))["policy_version"] == before["policy_version"]:
            assert time.monotonic() < give_up
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=WITHIN_S)
    assert (process.returncode, err.strip()) == (0, "")
    assert out.endswith("Stopped; Kafka, Redis and the roles have ended.\n")
    until_gone(children)
    chosen = [action["id"] for action in before["actions"]].index(before["chosen"])
    assert before["pmf"] == pytest.approx([1 / 3] * 3)
    assert after["pmf"][chosen] > 0.8

    # A line of the user's own in the settings stays; a port that somebody else has taken by now is replaced.
    file = folder / "bowerbird.toml"
    file.write_text(file.read_text() + "[policies.side]\n[placements.side]\n")
    port = PORTS["REDIS_PORT"]
    with socket.socket() as taken:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        taken.bind(("127.0.0.1", port))
        taken.listen()
        with up(folder, "--json", cwd=tmp_path) as (process, said):
            printed = json.loads(said)
            assert printed["policies"] == ["front", "side"]
            assert f":{port}/" not in printed["redis_url"]
            moved = printed["redis_url"].removesuffix("/0").rpartition(":")[2]
            assert printed["elsewhere"] == [
                f"Port {port} was taken by another program, so Redis listens on port {moved}."
            ]
            assert printed["brokers"] == f"127.0.0.1:{PORTS['KAFKA_PORT']}"
            life = bowerbird("trace", before["event_id"], *config)
            assert life["decisions"][0]["outcome"]["version"] == "1-" + after["policy_version"].partition("-")[2]
            assert bowerbird("verify", "front", *config)["ok"]
            second = subprocess.run(
                [sys.executable, "-m", "bowerbird", "up", "--dir", str(folder)],
                capture_output=True,
                text=True,
                check=False,
                timeout=WITHIN_S,
            )
            assert second.returncode == 2
            assert "in use by another" in second.stderr
            # Servers that are killed are started again on their data, and the roles go on.
            for name in ("valkey-server", "java"):
                (killed,) = [
                    child for child in psutil.Process(process.pid).children(recursive=True) if name in child.name()
                ]
                killed.kill()
                killed.wait(WITHIN_S)
                until_answered(config, f"after {name}")
            assert bowerbird("verify", "front", *config)["ok"]
            children = psutil.Process(process.pid).children(recursive=True)
    assert process.returncode == 0
    until_gone(children)
    emptied_redis_is_recovered(folder, config, tmp_path)


def until_answered(config: list[str], event_id: str) -> None:
    """Ask until a decision is made."""
    give_up = time.monotonic() + WITHIN_S
    request = json.dumps({"event_id": event_id, "placement": "front", "actions": [{"id": "a"}, {"id": "b"}]})
    while CliRunner().invoke(app, ["request", "-", *config], request).exit_code:
        assert time.monotonic() < give_up


def emptied_redis_is_recovered(folder: Path, config: list[str], cwd: Path) -> None:
    """``up`` says what stands still and the command that ends it, which then ends it."""
    shutil.rmtree(folder / "redis" / "appendonlydir")
    commands: list[str] = []

    def answer(line: str) -> None:
        if not commands and (match := re.search("run `bowerbird ([a-z ]+)`", line)):
            # A person on call sees the same in `status`.
            shown = until_shown(config)
            assert f"`bowerbird {match[1]}`" in shown
            commands.append(match[1])
            done = CliRunner().invoke(app, [*match[1].split(), *config])
            assert done.exit_code == 0, done.output

    with up(folder, cwd=cwd, answer=answer) as (_, said):
        assert commands == ["recover"]
        assert "The roles go on.\n" in said
        assert bowerbird("verify", "front", *config)["ok"]


def until_shown(config: list[str]) -> str:
    """Return the alarms of ``bowerbird status``, once it has some of a part that stands still."""
    give_up = time.monotonic() + WITHIN_S
    while True:
        done = CliRunner().invoke(app, ["status", "--json", *config])
        shown = "\n".join(json.loads(done.stdout)["alarms"])
        if "stands still" in shown:
            assert done.exit_code == 1
            return shown
        assert time.monotonic() < give_up


def test_the_users_settings_are_used_and_mistakes_are_told_before_anything_starts(tmp_path: Path) -> None:
    (tmp_path / "bowerbird.toml").write_text('prefix = "a-"\nshards = 0\n')
    with up(None, cwd=tmp_path) as (process, _):
        _, err = process.communicate(timeout=WITHIN_S)
    assert process.returncode == 2
    assert "line 2: shards" in err


def test_a_folder_of_somebody_else_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "bowerbird.toml"
    file.write_text("[policies.front]\n[placements.front]\n")
    with up(tmp_path, cwd=tmp_path) as (process, _):
        _, err = process.communicate(timeout=WITHIN_S)
    assert process.returncode == 2
    assert "has not written" in err
    assert MARK not in file.read_text()
