"""The demo from the front door: what it proves, what it leaves behind, and that it stops what it started."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

WITHIN_S = 600.0


@pytest.fixture
def demo(tmp_path: Path) -> Iterator["Demo"]:
    """Give a short demo, running; what is left of it at the end is killed."""
    running = Demo(tmp_path)
    yield running
    running.close()


class Demo:
    """``bowerbird demo --quick`` as a process of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.json_file, self.plot_file = folder / "figures.json", folder / "plot.png"
        options = ["--json", str(self.json_file), "--plot", str(self.plot_file), "--folder", str(folder / "kept")]
        self.process = subprocess.Popen(
            [sys.executable, "-m", "bowerbird", "demo", "--quick", *options],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
            env={**os.environ, "COLUMNS": "120"},
        )
        self.family: dict[int, psutil.Process] = {}

    def started(self) -> list[psutil.Process]:
        """Return every process that it started so far and that still runs."""
        for child in psutil.Process(self.process.pid).children(recursive=True):
            self.family.setdefault(child.pid, child)
        return [child for child in self.family.values() if child.is_running()]

    def close(self) -> None:
        """Kill what is left."""
        if self.process.poll() is None:
            self.started()
            self.process.kill()
            self.process.wait()
        for child in self.family.values():
            if child.is_running():
                child.kill()
        if self.process.stdout is not None:
            self.process.stdout.close()


def gone(processes: list[psutil.Process]) -> bool:
    """Wait for processes to end."""
    _, alive = psutil.wait_procs(processes, timeout=120)
    return not alive


def test_a_short_demo_proves_what_it_did(demo: Demo) -> None:
    output, _ = demo.process.communicate(timeout=WITHIN_S)
    assert demo.process.returncode == 0, output
    figures: dict[str, Any] = json.loads(demo.json_file.read_bytes())
    assert figures["identical"] is True
    assert set(figures["digests"]) == {"men", "front"}
    for digests in figures["digests"].values():
        assert digests["live"] == digests["recomputed"]
        assert len(digests["live"]) == 64
    log, live, learner = figures["real_log"], figures["live"], figures["learner"]
    assert log["rows"] == log["learned"] == 2000
    assert log["uniform"]["ips"]["value"] == pytest.approx(log["clicks"] / log["rows"])
    assert log["value"]["snips"]["low"] <= log["value"]["snips"]["value"] <= log["value"]["snips"]["high"]
    assert live["decided"] == live["visits"]
    assert live["errors"] == {}
    assert min(live["repeated"], live["ahead"], live["late"]) > 0
    assert figures["dead_letters"]["late"] >= live["late"]
    last = live["rates"]["last quarter"]
    assert last["uniform"] < last["policy"] < last["best"]
    assert learner["back_pid"] not in (0, learner["killed_pid"])
    assert learner["learned_after_s"] > learner["back_after_s"]
    for proof in figures["proof"].values():
        assert proof["missing"] == proof["doubled"] == proof["wrong"] == 0
        assert proof["outcomes"] == proof["decisions"]
    assert figures["decision"]["ok"]
    archive, outcomes = figures["archive"], figures["proof"]["front"]["outcomes"]
    assert archive["ok"]
    assert archive["lacking"] == []
    assert archive["rows"] > log["rows"] + 2 * outcomes
    assert archive["files"] == len(list((demo.folder / "kept" / "archive").rglob("*.parquet"))) > 0
    uniform, front = archive["evaluations"]
    assert uniform["target"] == "uniform"
    assert uniform["learned"] == 0
    assert uniform["ips_interval"][0] < uniform["ips"] < uniform["ips_interval"][1]
    assert front["target"].startswith("front@")
    assert front["rows"] == front["learned"] == uniform["rows"] == figures["proof"]["front"]["learned"]
    assert front["rows"] + front["left_out"]["not_activated"] == outcomes
    assert demo.plot_file.read_bytes().startswith(b"\x89PNG")
    assert demo.plot_file.name in output
    assert "Try next" in output
    # Off a terminal, a part is a line when it begins, and one when it is done.
    for part in ("Servers", "1 A real log", "2 A live world", "3 The learner", "4 Proof", "5 The archive"):
        assert output.index(f"● {part}: ") < output.index(f"✓ {part}: ")


def test_ctrl_c_stops_everything_that_it_started(demo: Demo) -> None:
    give_up_s = time.monotonic() + WITHIN_S
    while not {"decide", "join", "learn", "archive"} <= {
        part for child in demo.started() for part in command_line(child)
    }:
        assert demo.process.poll() is None, demo.process.communicate()[0]
        assert time.monotonic() < give_up_s, "the roles did not start"
        time.sleep(0.1)
    started = demo.started()
    assert any("kafka.Kafka" in command_line(child) for child in started)
    demo.process.send_signal(signal.SIGINT)
    output, _ = demo.process.communicate(timeout=120)
    assert demo.process.returncode == 130, output
    assert "Traceback" not in output
    assert gone(started)


def command_line(process: psutil.Process) -> list[str]:
    """Return the command line of a process that may have ended."""
    try:
        return process.cmdline()
    except psutil.Error:
        return []


def test_a_folder_with_something_in_it_is_refused(tmp_path: Path) -> None:
    (tmp_path / "something").touch()
    command = [sys.executable, "-m", "bowerbird", "demo", "--folder", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 2
    assert str(tmp_path) in done.stderr.replace("\n", "")
