"""docs/tutorial.md as it stands: its files are written, its commands run, and they print what the page shows."""

import re
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.environments import ROOT, Environment, environment
from tests.real.loop import until

pytestmark = pytest.mark.real

PAGE = (ROOT / "docs" / "tutorial.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w*)\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)
LIKES = {"hiker": "boots", "swimmer": "goggles"}
VISITS = 40


def block(language: str) -> str:
    (content,) = (text for kind, text in BLOCKS if kind == language)
    return str(content)


def shown() -> dict[str, list[str]]:
    """Return what the page shows below each command; the last lines of a command are those up to the next one."""
    transcripts: dict[str, list[str]] = {}
    command = ""
    for kind, text in BLOCKS:
        for line in text.splitlines() if kind == "console" else ():
            if line.startswith("$ "):
                command = line.removeprefix("$ ")
                transcripts[command] = []
            else:
                transcripts[command].append(line)
    return transcripts


def shape(line: str) -> str:
    """Return a line without what differs from run to run: numbers, ids, articles, places of a picture, spaces."""
    line = re.sub(r"\b(boots|goggles)\b", "ARTICLE", line.replace(" > ", " "))
    line = re.sub(r"\b[0-9a-f]{8,}\b|\d+", "#", line)
    return " ".join(re.sub(r"[█━●┊]+", " ", line).split())


def agrees(printed: str, expected: list[str]) -> None:
    """Fail unless every line that the page shows was printed, in this order."""
    lines = iter([shape(line) for line in printed.splitlines()])
    for line in expected:
        assert line == "…" or any(shape(line) == found for found in lines), f"{line!r} is not in\n{printed}"


@contextmanager
def running(program: Environment, command: str, cwd: Path) -> Iterator[list[str]]:
    """Run a command until the block ends, and return the lines up to the one that says it is ready."""
    with subprocess.Popen(
        ["bash", "-c", f"exec {command}"],
        cwd=cwd,
        env=program.variables(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        assert process.stdout is not None
        try:
            lines: list[str] = []
            while not lines or not lines[-1].startswith("Ready"):
                line = process.stdout.readline()
                assert line, lines
                lines.append(line)
            yield lines
        finally:
            process.send_signal(signal.SIGINT)
            process.communicate(timeout=180)
    assert process.returncode == 0


def played(program: Environment, cwd: Path, named: dict[str, str]) -> list[str]:
    """Answer every question of the shop as the page says; return the questions."""
    questions, question = [], ""
    with subprocess.Popen(
        ["bash", "-c", "exec python -u shop.py"],
        cwd=cwd,
        env=program.variables(**named),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        while character := process.stdout.read(1):
            question += character
            if question.endswith("[y/n] "):
                asked = re.fullmatch(r"visit-(\d+): (\w+) for a (\w+)\? \[y/n\] ", question)
                assert asked is not None, question
                said = "" if int(asked[1]) == VISITS else "y" if LIKES[asked[3]] == asked[2] else "n"
                process.stdin.write(f"{said}\n")
                process.stdin.flush()
                questions.append(question + said)
                question = ""
    assert process.returncode == 0
    return questions


@pytest.mark.slow
async def test_the_tutorial(tmp_path: Path) -> None:
    made = environment(tmp_path / "environment", "embedded", "report", client=True)
    folder = tmp_path / "shop"
    folder.mkdir()
    (folder / "bowerbird.toml").write_text(block("toml"))
    (folder / "shop.py").write_text(block("python"))
    up, shop, request, listed, first, last, verify, evaluate = page = shown()
    named = {"BOWERBIRD_CONFIG": "loop/bowerbird.toml", "COLUMNS": "100"}

    def run(command: str) -> Any:
        return made.run(command, cwd=folder, **named)

    with running(made, up, folder) as ready:
        agrees("".join(ready), page[up])
        agrees("\n".join(played(made, folder, named)), page[shop])

        async def learned() -> bool:
            return "learned by version" in run(last).stdout

        async def all_learned() -> bool:
            """Tell whether also those have been learned whose window has closed later than the last one's."""
            return re.search(rf"^ front .* {VISITS} +[0-9a-f]{{8}} ", run(listed).stdout, re.MULTILINE) is not None

        await until(learned)
        for command in (request, listed, first, last, verify):
            done = run(command)
            assert done.returncode == 0, done.stderr
            agrees(done.stdout, page[command])
        await until(all_learned)

        async def archived() -> bool:
            return f"estimated from {VISITS} decisions" in run(evaluate).stdout

        await until(archived)
        done = run(evaluate)
        assert done.returncode == 0, done.stderr
        # What 40 visits are good for is chance.
        assert done.stdout.startswith(("not reliable", "use with care", "reliable"))
        # The reasons of the verdict, its first two lines, differ.
        agrees(done.stdout, page[evaluate][2:])
        assert (folder / "report.html").stat().st_size > 10_000
