"""docs/errors.md lists every code that an error or a dead letter may have."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_every_code_is_documented():
    page = (ROOT / "docs" / "errors.md").read_text()
    codes = set()
    for folder in ("archive", "policies", "records", "rewards", "stream"):
        for path in (ROOT / folder).rglob("*.py"):
            codes |= set(re.findall(r'(?:BadInput|Problem)\(\s*"([a-z_]+)"', path.read_text()))
    assert len(codes) >= 15
    assert sorted(code for code in codes if f"`{code}`" not in page) == []
