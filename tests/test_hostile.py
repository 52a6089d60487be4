"""docs/hostile.md names tests that exist and codes that are documented, and leaves no topic out."""

import re
from pathlib import Path

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs" / "hostile.md").read_text(encoding="utf-8")
KINDS = re.findall(r"^\| (\d+) \| (.+) \| (.+) \| (`tests/.+`) \|$", PAGE, re.MULTILINE)
NO_CODES = {"verify", "nan"}


def test_there_are_enough_kinds_and_their_numbers_rise() -> None:
    assert len(KINDS) >= 40
    assert [int(number) for number, *_ in KINDS] == list(range(1, len(KINDS) + 1))


def test_every_test_that_is_named_exists() -> None:
    for *_, tests in KINDS:
        assert re.fullmatch(r"`[^`]+`(, `[^`]+`)*", tests)
        assert all((ROOT / test).is_file() for test in re.findall("`(.+?)`", tests)), tests


def test_every_code_is_documented() -> None:
    documented = (ROOT / "docs" / "errors.md").read_text(encoding="utf-8")
    codes = {code for _, _, gives, _ in KINDS for code in re.findall(r"`([a-z_0-9]+)`", gives)} - NO_CODES
    assert len(codes) > 30
    assert sorted(code for code in codes if f"`{code}`" not in documented) == []
