"""No text of the product uses a phrase that readers have to guess at: comments, docstrings, messages and pages."""

import re
from pathlib import Path

import pytest

from tests.test_house import ROOMS
from tests.test_imports import ROOT, modules

AVOIDED = re.compile(
    r"\b(told|tells of|hangs? on|hang together|stands in|lies in|whoever|in the place of|so that nobody)\b",
    re.IGNORECASE,
)
PAGES = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]
FILES = [path for room in ROOMS for path in modules(room)] + PAGES


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_phrase_is_used_that_a_reader_has_to_guess_at(path: Path) -> None:
    lines = path.read_text(encoding="utf-8").splitlines()
    assert [f"{number}: {line.strip()}" for number, line in enumerate(lines, 1) if AVOIDED.search(line)] == []
