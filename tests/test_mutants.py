"""The mutants of ``make mutate`` fit the tree as it is, and docs/laws.md names every one."""

import re
from pathlib import Path

import pytest

from tests.mutants import ISSUED, MUTANTS, Mutant

ROOT = Path(__file__).parent.parent
LAWS = ROOT / "docs" / "laws.md"


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_the_patch_applies_and_its_tests_are_there(mutant: Mutant) -> None:
    text = (ROOT / mutant.file).read_text(encoding="utf-8")
    assert mutant.apply(text) != text
    assert mutant.tests
    for test in mutant.tests:
        path, *names = test.split("::")
        own = (ROOT / path).read_text(encoding="utf-8")
        for name in names:
            assert re.search(rf"(class|def) {name}\b", own) or "import *" in own or "(StoreLaws)" in own, test


def test_no_mechanism_is_left_out() -> None:
    names = [mutant.mechanism for mutant in MUTANTS]
    assert [mechanism for mechanism in ISSUED if not any(name.startswith(mechanism) for name in names)] == []
    assert len({mutant.name for mutant in MUTANTS}) == len(MUTANTS)


def test_the_page_of_laws_names_every_mechanism_and_only_tests_that_are_there() -> None:
    page = LAWS.read_text(encoding="utf-8")
    assert [mutant.name for mutant in MUTANTS if mutant.mechanism not in page] == []
    rows = {row[0]: row[1] for line in page.splitlines() if len(row := line.strip("| ").split(" | ")) >= 3}
    for mechanism in {mutant.mechanism for mutant in MUTANTS} & rows.keys():
        patched = {mutant.file for mutant in MUTANTS if mutant.mechanism == mechanism}
        assert set(re.findall(r"`([^`]+)`", rows[mechanism])) == patched, mechanism
    paths = set(re.findall(r"`(tests/[\w/]+\.py)", page))
    assert sorted(path for path in paths if not (ROOT / path).exists()) == []
    own = "".join((ROOT / path).read_text(encoding="utf-8") for path in paths)
    assert [name for name in re.findall(r"`(test_\w+)`", page) if f"def {name}(" not in own] == []
