"""CONTRIBUTING.md shows how each kind of thing is added, in few steps, and names what exists."""

import re
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parent.parent
TEXT = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
ADD = TEXT.partition("## Add a ...")[2].partition("\n## ")[0]
RECIPES = dict(re.findall(r"^\*\*([a-z ]+):\*\*\n\n(.+?)\n(?=\n\*\*|\Z)", ADD, re.MULTILINE | re.DOTALL))
ROOMS = ("bowerbird", "embedded", "stream", "replay", "archive", "rewards", "policies", "records")


def exists(name: str) -> bool:
    """Return whether a path, with * for any text, or the dotted name of an object exists."""
    if "/" in name or name.endswith((".py", ".md", ".yml")):
        return any(True for _ in ROOT.glob(name.rstrip("/")))
    parts = name.split(".")
    for cut in range(len(parts), 0, -1):
        try:
            found: Any = import_module(".".join(parts[:cut]))
        except ImportError:
            continue
        for part in parts[cut:]:
            found = getattr(found, part, None)
        return found is not None
    return False


def test_every_kind_has_a_recipe() -> None:
    kinds = {"policy", "estimator", "reward model", "interval", "log format", "setting", "role", "command"}
    assert kinds <= set(RECIPES)
    assert len(RECIPES) == ADD.count("**") // 2


@pytest.mark.parametrize("kind", RECIPES)
def test_a_recipe_has_fewer_than_ten_steps(kind: str) -> None:
    steps = re.findall(r"^(\d+)\. ", RECIPES[kind], re.MULTILINE)
    assert steps == [str(number) for number in range(1, len(steps) + 1)]
    assert 2 <= len(steps) < 10


def test_what_is_named_exists() -> None:
    named = [name for name in re.findall(r"`([\w./*-]+)`", TEXT) if "/" in name or name.partition(".")[0] in ROOMS]
    assert len(named) > 20
    assert [name for name in named if not exists(name)] == []
    assert not exists("policies.policy.Nothing")
    assert not exists("policies/nothing.py")
