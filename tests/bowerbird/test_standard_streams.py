"""The command with standard streams that are closed, of another encoding, or full: a sentence, never a traceback."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
SETTINGS = '[policies.front]\nkind = "uniform"\n[placements.front]\nwindow_s = 1\n'
BOWERBIRD = f"{sys.executable} -m bowerbird"


def run(command: str, folder: Path, **variables: str) -> "subprocess.CompletedProcess[str]":
    (folder / "bowerbird.toml").write_text(SETTINGS, encoding="utf-8")
    own = {"PYTHONPATH": str(ROOT), "BOWERBIRD_BROKERS": "127.0.0.1:1", **variables}
    return subprocess.run(
        ["bash", "-c", command],
        cwd=folder,
        env={**os.environ, **own},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    ("command", "code", "says"),
    [
        (f"{BOWERBIRD} policy rebuild front <&-", 2, "rebuild: found no terminal to ask on, expected --yes"),
        (f"{BOWERBIRD} --version >&-", 0, ""),
        (
            f"{BOWERBIRD} --help >/dev/full",
            1,
            "standard output, or a file: found no space left, expected room for what",
        ),
        (f"ulimit -n 8; {BOWERBIRD} status", 1, "open files: found as many as this process may have"),
    ],
)
def test_a_stream_that_cannot_be_used_is_a_sentence(tmp_path: Path, command: str, code: int, says: str) -> None:
    done = run(command, tmp_path)
    assert (done.returncode, "Traceback" in done.stderr) == (code, False), done.stderr
    assert says in done.stderr


@pytest.mark.slow
def test_what_an_encoding_lacks_is_an_escape(tmp_path: Path) -> None:
    done = run(f"{BOWERBIRD} status --config \u00fc.toml", tmp_path, PYTHONIOENCODING="ascii")
    assert "Traceback" not in done.stderr
    assert "\\xfc.toml" in done.stderr
