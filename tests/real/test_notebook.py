"""The notebook of the examples runs from its first cell to its last, and finds what is true."""

import re
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient

NOTEBOOK = Path(__file__).parents[2] / "examples" / "evaluate.ipynb"


@pytest.fixture(scope="module")
def cells(tmp_path_factory: pytest.TempPathFactory) -> list[Any]:
    """Give the cells of code with what came out of them; one that fails ends the test with its traceback."""
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    nbformat.validate(notebook)
    folder = tmp_path_factory.mktemp("notebook")
    NotebookClient(notebook, timeout=120, resources={"metadata": {"path": str(folder)}}).execute()
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def shown(cell: Any, kind: str) -> list[str]:
    return [output["data"][kind] for output in cell.outputs if kind in output.get("data", {})]


def test_it_runs_without_a_complaint(cells: list[Any]) -> None:
    assert len(cells) >= 7
    errors = [output.get("text", "") for cell in cells for output in cell.outputs if output.get("name") == "stderr"]
    assert errors == []


def test_the_answer_is_shown_as_a_report(cells: list[Any]) -> None:
    enough, too_little = (page for cell in cells for page in shown(cell, "text/html") if "bowerbird fragment" in page)
    assert "Better than the logged policy" in enough
    assert "<h2>Reliable</h2>" in enough
    assert "<h2>Reliable</h2>" not in too_little
    assert "Better than" not in too_little


def test_the_truth_lies_in_the_interval(cells: list[Any]) -> None:
    (said,) = (text for cell in cells for text in shown(cell, "text/plain") if "truth" in text)
    truth, value, low, high = map(float, re.findall(r"\d\.\d+", said))
    assert low < truth < high
    assert low < value < high


def test_the_picture_and_the_frame_are_shown(cells: list[Any]) -> None:
    assert len([cell for cell in cells if shown(cell, "image/png")]) == 1
    frames = [
        text for cell in cells for text in shown(cell, "text/html") if "<table" in text and "resampled_low" in text
    ]
    assert len(frames) == 1
