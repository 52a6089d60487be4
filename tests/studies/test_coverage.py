"""The coverage study counts what it says, and its page tells it; tests/real repeats its findings."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from replay.evaluation.intervals.interval import Analyses, Interval
from replay.evaluation.rows import EvaluationRows
from studies import coverage_page
from studies.coverage import Cell, main, study
from studies.coverage_methods import ANALYSES, METHODS, Method
from studies.coverage_page import fails, page
from studies.worlds import WORLDS, World, world

EASY = world("easy")
PAGE = Path(coverage_page.DOCS) / "coverage.md"


def fixed(low: float | None, high: float | None) -> Method:
    return Method("made up", "ips", "fixed", lambda there, rows: Interval(0.5, low, high, "made up"), {})


def count(method: Method, there: World = EASY) -> Cell:
    (cell,) = study(20, worlds=[there], methods=[method], rows=100)
    return cell


def test_it_counts_what_holds_the_truth() -> None:
    assert count(fixed(0.54, 0.56)).coverage == 1.0
    assert count(fixed(0.56, 0.57)).coverage == 0.0
    assert count(fixed(0.09, 0.11)).coverage == 0.0
    assert count(replace(fixed(0.09, 0.11), against_logged=True)).coverage == 1.0, "of the difference, which is .1"
    unknown = count(fixed(None, 0.6))
    assert (unknown.coverage, unknown.bounded) == (1.0, 0.0)

    def by_chance(there: World, rows: EvaluationRows) -> Interval:
        assert rows.rank is not None
        return Interval(0.5, 0.0, 0.5 + float(rows.rank[0]) / 5, "made up")

    assert 0.2 < count(replace(unknown.method, run=by_chance)).coverage < 0.98


def test_a_sequence_has_to_hold_the_running_truth_at_all_looks() -> None:
    drifting = world("drifting")

    def around(there: World, rows: EvaluationRows, wrong_at: int = -1) -> Analyses:
        analyses = np.arange(1, ANALYSES + 1)
        truth = there.expected(len(rows)).cumsum()[analyses - 1] / analyses
        off = np.where(np.arange(ANALYSES) == wrong_at, 0.1, 0.0)
        return Analyses(analyses, truth, truth - 0.01 + off, truth + 0.01 + off, "")

    right = count(Method("right", "ips", "sequence", around, {}), drifting)
    assert (right.coverage, right.missed_by.max()) == (1.0, 0.0)
    once = count(Method("once", "ips", "sequence", lambda there, rows: around(there, rows, 40), {}), drifting)
    assert once.coverage == 0.0
    assert once.missed_by.tolist() == [0.0] * 40 + [1.0] * 20


def test_all_processes_give_the_same() -> None:
    one, two = study(4, worlds=WORLDS[:1], rows=500), study(4, worlds=WORLDS[:1], rows=500, processes=2)
    for mine, theirs in zip(one, two, strict=True):
        assert (mine.coverage, mine.relative) == (theirs.coverage, theirs.relative), mine.method.name


@pytest.mark.slow
def test_the_page_marks_what_fails_and_says_why(tmp_path: Path) -> None:
    cells = study(2, rows=300)
    failing = replace(cells[0], coverage=0.5, error=0.01, repetitions=3)
    assert fails(failing)
    assert not fails(replace(failing, coverage=0.92))
    assert fails(replace(failing, coverage=0.92, method=replace(failing.method, kind="finite")))
    told = page([failing, *cells[1:]])
    assert "**50.0 ± 1.0**" in told
    assert "this is not explained" in told, "textbook normal in the easy world has no excuse"
    excused = replace(failing, method=METHODS[1], world=WORLDS[5])
    assert "rows of one user are correlated" in page([excused])
    coverage_page.write(cells, tmp_path)
    assert {file.name for file in tmp_path.iterdir()} == {
        "coverage.md",
        "coverage-fixed.png",
        "coverage-sequences.png",
    }


def test_the_written_page_has_every_method_and_world() -> None:
    told = PAGE.read_text(encoding="utf-8")
    for method in METHODS:
        assert f"| {method.name} | {method.estimator} |" in told
    for there in WORLDS:
        assert f"| {there.name} | {there.describe} | {there.truth:.4g} |" in told
    assert "this is not explained" not in told
    for picture in ("coverage-fixed.png", "coverage-sequences.png"):
        assert picture in told
        assert (PAGE.parent / picture).stat().st_size > 10_000


def test_the_command_prints_the_page(capsys: pytest.CaptureFixture[str]) -> None:
    main(["--repetitions", "1"])
    assert capsys.readouterr().out.startswith("# Coverage of the intervals")
