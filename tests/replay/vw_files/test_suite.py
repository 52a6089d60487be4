"""Vowpal Wabbit's own tests of contextual bandits: the average loss and the predictions are those of its reference.

The data are not part of this repository; BOWERBIRD_TEST_DATA names their folder.
"""

import json
import os
import re
from pathlib import Path
from typing import Any

import pytest

from replay.vw_files.arguments import parsed
from replay.vw_files.child import Sent, Summary, learn
from replay.vw_files.learned import VwOptions, learned, requested

DATA = Path(os.environ.get("BOWERBIRD_TEST_DATA", Path(__file__).parents[4] / "shared" / "data"))
SUITE = DATA / "vw_suite"
IN_A_PROCESS = 8
"""Every eighth test runs as the command does; the others in this process, by the same function."""


def cases() -> list[Any]:
    if not DATA.is_dir():
        absent = pytest.mark.skip(reason=f"{DATA} is absent: BOWERBIRD_TEST_DATA names the folder with vw_suite")
        return [pytest.param(0, {}, id="absent", marks=absent)]
    content = json.loads((SUITE / "cases.json").read_text())
    assert len(content) == 111
    return [pytest.param(number, case, id=str(case["id"])) for number, case in enumerate(content)]


@pytest.fixture(autouse=True)
def suite(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Work in a folder in which the tests find their files and may write."""
    for name in ("train-sets", "pred-sets"):
        (tmp_path / name).symlink_to(SUITE / name)
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(("number", "case"), cases())
def test_the_average_loss_and_the_predictions_are_the_references(number: int, case: dict[str, Any]) -> None:
    options = VwOptions(case["args"])
    if number % IN_A_PROCESS == 0:
        assert learned([], options).average_loss == case["average_loss"]
    else:
        sent: list[Sent] = []
        learn(requested([], options)[0], sent.append)
        assert isinstance(sent[-1], Summary)
        assert re.findall(r"^average loss = (\S+)", sent[-1].text, re.MULTILINE) == [case["average_loss"]]
    for written in parsed(case["args"]).written:
        reference = next((Path(name) for name in case["pred"] if Path(name).name == Path(written).name), None)
        if reference is not None and reference.suffix == ".predict":
            assert_alike(Path(written).read_text(), reference.read_text())


def assert_alike(written: str, reference: str) -> None:
    """Compare predictions: texts to the letter, numbers within the digits that are written."""
    ours, theirs = (re.split(r"([\s:,]+)", text.strip()) for text in (written, reference))
    assert len(ours) == len(theirs)
    for one, other in zip(ours, theirs, strict=True):
        assert one == other or float(one) == pytest.approx(float(other), abs=1e-5, rel=1e-4)
