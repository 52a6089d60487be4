"""Environments with what one ``pip install`` of this checkout brings, and nothing else, made within a second.

The distributions are those of this environment, as links: what a package does not require is not there.
"""

import os
import subprocess
import sys
import tomllib
import venv
from collections.abc import Sequence
from importlib.metadata import distribution
from pathlib import Path
from typing import NamedTuple

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parent.parent
CLIENT = ROOT / "clients" / "python"


class Environment(NamedTuple):
    """A virtual environment."""

    folder: Path

    def run(self, command: str, *, cwd: Path, stdin: str = "", **variables: str) -> "subprocess.CompletedProcess[str]":
        """Run a line of a shell in it."""
        return subprocess.run(
            ["bash", "-c", command],
            cwd=cwd,
            env=self.variables(**variables),
            input=stdin,
            capture_output=True,
            text=True,
            check=False,
            timeout=600,
        )

    def variables(self, **variables: str) -> dict[str, str]:
        """Return the variables of a shell in which it is activated."""
        own = {name: value for name, value in os.environ.items() if not name.startswith(("BOWERBIRD_", "PYTHON"))}
        path = f"{self.folder / 'bin'}{os.pathsep}{own['PATH']}"
        return {**own, "PATH": path, "VIRTUAL_ENV": str(self.folder), "COLUMNS": "80", **variables}


def environment(folder: Path, *extras: str, client: bool = False) -> Environment:
    """Return what ``pip install '.[EXTRAS]'`` makes in this checkout, with ``client`` also ``./clients/python``."""
    made = _with(folder, [ROOT, CLIENT] if client else [ROOT], _required(ROOT, set(extras)))
    if client:
        _link(folder, _required(CLIENT, set()))
    program = folder / "bin" / "bowerbird"
    program.write_text(f"#!{folder / 'bin' / 'python'}\nfrom bowerbird.__main__ import main\n\nmain()\n")
    program.chmod(0o755)
    return made


def client_environment(folder: Path) -> Environment:
    """Return the environment that ``pip install ./clients/python`` makes in this checkout."""
    return _with(folder, [CLIENT], _required(CLIENT, set()))


def _with(folder: Path, sources: Sequence[Path], distributions: Sequence[str]) -> Environment:
    venv.create(folder, with_pip=False)
    site = _link(folder, distributions)
    (site / "checkout.pth").write_text("".join(f"{source}\n" for source in sources))
    return Environment(folder)


def _link(folder: Path, distributions: Sequence[str]) -> Path:
    """Link distributions of this environment into one, and return the folder where packages are."""
    site = folder / "lib" / f"python{sys.version_info[0]}.{sys.version_info[1]}" / "site-packages"
    for name in distributions:
        for file in distribution(name).files or ():
            top = file.parts[0]
            if top in ("..", "__pycache__") or (site / top).is_symlink():
                continue
            if not (site / top).exists():
                (site / top).symlink_to(Path(str(distribution(name).locate_file(top))))
    return site


def _required(source: Path, extras: set[str]) -> list[str]:
    """Return the distributions that a project with these extras needs, and those that they need."""
    with (source / "pyproject.toml").open("rb") as file:
        project = tomllib.load(file)["project"]
    left = [Requirement(each) for each in project["dependencies"]]
    for extra in extras:
        left += [Requirement(each) for each in project["optional-dependencies"][extra]]
    extras_of: dict[str, set[str]] = {}
    while left:
        needed = left.pop()
        name = canonicalize_name(needed.name)
        if needed.marker is not None and not needed.marker.evaluate({"extra": ""}):
            continue
        if name == "bowerbird":
            for extra in needed.extras:
                left += [Requirement(each) for each in project["optional-dependencies"][extra]]
        elif name not in extras_of or needed.extras - extras_of[name]:
            extras_of[name] = extras_of.get(name, set()) | needed.extras
            for text in distribution(name).requires or ():
                below = Requirement(text)
                if below.marker is None or any(below.marker.evaluate({"extra": e}) for e in ("", *needed.extras)):
                    below.marker = None
                    left.append(below)
    return sorted(extras_of)
