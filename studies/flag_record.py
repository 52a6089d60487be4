"""What the study found on family B, world by world, so that a test can do a part of it again."""

import json
from pathlib import Path
from typing import Any

import numpy as np

from replay.evaluation.health.verdict import score_of
from replay.evaluation.rows import Floats
from studies.flag_runs import FAMILIES, Runs
from studies.flagged import SETS, told

FIRST = 6
"""Of so many logs of each world the flags are written down one by one."""


def coverage_in(path: Path) -> Floats:
    """Return what was written down of how often the normal interval holds the truth: shape (worlds, 3)."""
    stored = json.loads(path.read_text())["coverage"]
    return np.stack([np.array(stored[family], dtype=np.float64) for family in FAMILIES], axis=1)


def record(runs: Runs, path: Path) -> None:
    """Write coverage and flags of every world."""
    found: dict[str, Any] = {
        "made_by": f"python -m studies.flags: family B, {runs.covers.shape[1]} logs of each world",
        "coverage": {
            family: [round(float(share), 4) for share in runs.coverage[:, place]]
            for place, family in enumerate(FAMILIES)
        },
    }
    for kind in SETS:
        found[kind] = {}
        for family in FAMILIES:
            flagged = told(runs, family, kind, score_of(family, whole=kind == "whole")).flagged
            found[kind][family] = {
                "share": [round(float(share), 4) for share in flagged.mean(axis=1)],
                "first": ["".join(str(int(flag)) for flag in flags) for flags in flagged[:, :FIRST]],
            }
    path.write_text(json.dumps(found) + "\n")
