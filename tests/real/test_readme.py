"""README's snippets run as they stand there, each in an environment that the ``pip install`` above it makes."""

import json
import re
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from aiokafka import AIOKafkaProducer

from bowerbird.settings import load
from tests.environments import ROOT, Environment, client_environment, environment
from tests.real.loop import until
from tests.replay.archived import archive_of
from tests.replay.world import busy_world

README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w*)\n(.*?)^```", README, re.DOTALL | re.MULTILINE)
COVERED = (
    "make demo",
    " producers",
    'brokers = "127.0.0.1:9092"',
    "pip install .",
    "pip install '.[embedded]'",
    "from bowerbird_client",
    "echo '{",
    "bowerbird status --watch",
    "import polars",
    "pip install '.[report]'",
)
"""How each block begins: ``make demo`` is tests/real/test_demo.py, the picture has no block."""


def block(begin: str) -> str:
    (text_of_block,) = (text for _, text in BLOCKS if text.startswith(begin))
    return str(text_of_block)


def commands(text: str) -> list[str]:
    """Return the commands of a block without their comments, whole where a line ends with a pipe."""
    joined = re.sub(r"\|\n\s*", "| ", text)
    return [line.split("  #")[0].strip() for line in joined.splitlines() if line.strip()]


def fine(done: "subprocess.CompletedProcess[str]", codes: tuple[int, ...] = (0,)) -> str:
    assert done.returncode in codes, (done.args, done.stdout, done.stderr)
    assert "Traceback" not in done.stderr, done.stderr
    return done.stdout


@contextmanager
def running(program: Environment, command: str, cwd: Path, **variables: str) -> Iterator["subprocess.Popen[str]"]:
    """Run a command until the block ends; it must still run then, and end well on Ctrl-C."""
    process = subprocess.Popen(
        ["bash", "-c", f"exec {command}"],
        cwd=cwd,
        env=program.variables(**variables),
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    try:
        yield process
        assert process.poll() is None, f"{command} has ended by itself"
    finally:
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=180)
    assert process.returncode == 0, command


def test_every_block_has_its_test() -> None:
    assert [next((begin for begin in COVERED if text.startswith(begin)), text) for _, text in BLOCKS] == [*COVERED]


@pytest.mark.slow
async def test_the_loop_and_what_asks_it(tmp_path: Path) -> None:
    embedded, base = environment(tmp_path / "embedded", "embedded"), environment(tmp_path / "base")
    assert "`pip install ./clients/python`" in README
    shop = client_environment(tmp_path / "shop")
    assert "No module named 'bowerbird'" in shop.run("python -c 'import bowerbird'", cwd=tmp_path).stderr
    assert "No module named 'polars'" in base.run("python -c 'import polars'", cwd=tmp_path).stderr
    install, start = commands(block("pip install '.[embedded]'"))
    assert install == "pip install '.[embedded]'"
    with running(embedded, f"{start} --json", tmp_path) as up:
        assert up.stdout is not None
        lines: list[str] = []
        while not lines or lines[-1] != "}\n":
            lines.append(up.stdout.readline())
        started = json.loads("".join(lines))
        assert not any("python" in line for line in lines)
        named = {"BOWERBIRD_CONFIG": started["config"]}
        brokers = started["brokers"]

        install, create, check, worker = commands(block("pip install ."))
        assert install == "pip install ."
        for command in (create, check):
            fine(base.run(command, cwd=tmp_path, **named))
        with running(base, worker, tmp_path, **named):
            snippet = block("from bowerbird_client").replace("127.0.0.1:9092", brokers)
            (tmp_path / "ask.py").write_text(snippet + "assert answer.decided, answer\n")

            async def asked() -> bool:
                return bool(shop.run("python ask.py", cwd=tmp_path).returncode == 0)

            # No reply comes in time while another worker of decide joins the group.
            await until(asked)
            await _console(brokers)
            await _commands(base, tmp_path, named)


async def _console(brokers: str) -> None:
    """Send what README sends by Kafka's own producer on the console, which sends each line as it is."""
    lines = commands(block("echo '{"))
    pattern = r"echo '(.*)' \| kafka-console-producer\.sh --bootstrap-server 127\.0\.0\.1:9092 --topic (\S+)"
    sent = [re.fullmatch(pattern, line) for line in lines]
    assert len(sent) == 2
    async with AIOKafkaProducer(bootstrap_servers=brokers) as producer:
        for each in sent:
            assert each is not None
            await producer.send_and_wait(each[2], each[1].encode())


async def _commands(base: Environment, cwd: Path, named: dict[str, str]) -> None:
    watch, trace, listed, letters, verify, one, recover = commands(block("bowerbird status --watch"))

    async def closed() -> bool:
        return '"reward"' in base.run(f"{trace} --json", cwd=cwd, **named).stdout

    await until(closed)
    assert "learned by version" in fine(base.run(trace, cwd=cwd, **named))
    looked = fine(base.run(f"{watch} | head -n 1", cwd=cwd, **named))
    assert "front: " in looked
    assert "front" in fine(base.run(listed, cwd=cwd, **named))
    for command in (letters, verify, one, f"{recover} --dry-run"):
        fine(base.run(command, cwd=cwd, **named))


def test_the_settings(tmp_path: Path) -> None:
    file = tmp_path / "bowerbird.toml"
    file.write_text(block('brokers = "127.0.0.1:9092"'))
    assert load(file, {}).placements["front"].window_s == 600
    assert load(file, {"BOWERBIRD_PLACEMENTS__FRONT__WINDOW_S": "60"}).placements["front"].window_s == 60


@pytest.mark.slow
def test_the_log(tmp_path: Path) -> None:
    archive_of(busy_world(200), tmp_path / "data" / "archive")
    frames = environment(tmp_path / "frames", "archive", "polars")
    (tmp_path / "rate.py").write_text(block("import polars"))
    assert "join_rate" in fine(frames.run("python rate.py", cwd=tmp_path))
    columns: dict[str, Any] = {"click": [1, 0, 0, 1] * 50, "propensity": [0.5] * 200, "target": [0.6, 0.4] * 100}
    pq.write_table(pa.table(columns), tmp_path / "shown.parquet")
    report = environment(tmp_path / "report-env", "report")
    install, *judged = commands(block("pip install '.[report]'"))
    assert install == "pip install '.[report]'"
    for command in judged:
        assert fine(report.run(command, cwd=tmp_path))
    assert (tmp_path / "report.html").stat().st_size > 10_000
    assert "`pip install '.[archive,polars]'`" in README
