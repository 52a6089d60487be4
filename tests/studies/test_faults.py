"""The page's table of planted faults, and where studies write into a page."""

import pytest

from studies.faults import FAULTS, found, table_of
from studies.page import written


def test_the_table_has_a_row_for_each_fault():
    lines = table_of(found(2, seed=1), 2).splitlines()
    assert [line.split(" | ")[0].removeprefix("| ") for line in lines[4:]] == list(FAULTS)
    assert {line.count("|") for line in lines[2:]} == {8}


def test_a_study_writes_between_its_marks_and_nowhere_else(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("before\n<!-- flags -->\nold\n<!-- end of flags -->\nafter\n")
    written(page, "flags", "new")
    assert page.read_text() == "before\n<!-- flags -->\nnew\n<!-- end of flags -->\nafter\n"
    with pytest.raises(ValueError, match="expected the marks"):
        written(page, "faults", "new")
