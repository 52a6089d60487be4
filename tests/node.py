"""Packages of npm for tests, where Node is there: pinned in tests/javascript, and kept in the cache folder."""

import fcntl
import hashlib
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from embedded.jars import cache_folder

JAVASCRIPT = Path(__file__).with_name("javascript")
PINNED = ("package.json", "package-lock.json")


def node(script: Path, *arguments: str, seconds: float = 120.0) -> str:
    """Run a script with those packages, and return what it writes; the test is skipped where Node is missing."""
    if shutil.which("node") is None or shutil.which("npm") is None:
        pytest.skip("Node is not installed")
    environment = {**os.environ, "NODE_PATH": str(_installed() / "node_modules"), "KAFKAJS_NO_PARTITIONER_WARNING": "1"}
    done = subprocess.run(
        ["node", str(script), *arguments], env=environment, capture_output=True, text=True, timeout=seconds
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def _installed() -> Path:
    pinned = hashlib.sha256(b"".join((JAVASCRIPT / name).read_bytes() for name in PINNED)).hexdigest()
    folder = cache_folder() / f"node-{pinned[:16]}"
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "complete").exists():
            for name in PINNED:
                shutil.copy(JAVASCRIPT / name, folder)
            # `ci` compares every package with the sum in the lock file.
            options = ["--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"]
            subprocess.run(["npm", "ci", *options], cwd=folder, check=True, timeout=300)
            (folder / "complete").touch()
    return folder
