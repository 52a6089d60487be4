"""Vowpal Wabbit's own cases of cb_explore_adf give the reference's average loss through our three crossings.

The data are not part of this repository; BOWERBIRD_TEST_DATA names their folder.
"""

import json
import os
import re
from pathlib import Path
from typing import Any

import pylibvw
import pytest

from policies.vw.policy import _finish, _learn, _parse

DATA = Path(os.environ.get("BOWERBIRD_TEST_DATA", Path(__file__).parents[4] / "shared" / "data"))
SUITE = DATA / "vw_suite"


def cases() -> list[Any]:
    if not DATA.is_dir():
        absent = pytest.mark.skip(reason=f"{DATA} is absent: BOWERBIRD_TEST_DATA names the folder with vw_suite")
        return [pytest.param({}, id="absent", marks=absent)]
    content = json.loads((SUITE / "cases.json").read_text())
    # cbify and warm_cb make their decisions out of other problems' single lines, which is another path; and of JSON
    # Vowpal Wabbit gets none from us.
    ours = [
        case
        for case in content
        if "--cb_explore_adf" in case["args"]
        and not re.search("--(cbify|warm_cb|ccb_|slates|json|dsjson)", case["args"])
    ]
    assert len(ours) > 40
    return [pytest.param(case, id=str(case["id"])) for case in ours]


def blocks(case: dict[str, Any]) -> list[str]:
    text = "".join((SUITE / name).read_text() for name in case["input_files"])
    return [block for block in re.split(r"\n[ \t]*\n", text.replace("\r", "")) if block.strip()]


def labelled(block: str) -> bool:
    return any(re.match(r"\s*\d+:[^|\s]+:[^|\s]+", row) for row in block.split("\n"))


@pytest.mark.parametrize("case", cases())
def test_the_average_loss_is_the_references(case: dict[str, Any]) -> None:
    arguments = case["args"].split()
    kept = []
    skip = False
    for argument in arguments:
        if skip:
            skip = False
        elif argument in ("-d", "-f", "-p", "-P", "--invert_hash", "--extra_metrics"):
            skip = True
        elif argument != "--audit":
            kept.append(argument)
    workspace = pylibvw.vw([*kept, "--quiet", "--no_stdin"])
    weight = 0.0
    try:
        for block in blocks(case):
            lines = _parse(workspace, block)
            _learn(workspace, lines)
            _finish(workspace, lines)
            weight += labelled(block)
        loss = "n.a." if weight == 0 else f"{workspace.get_sum_loss() / weight:.6f}"
    finally:
        workspace.finish()
    assert loss == case["average_loss"]
