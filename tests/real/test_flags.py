"""A third of the study of the warning again: bad worlds are flagged, good ones are not, as docs/warnings.md says."""

import json
from pathlib import Path

import numpy as np
import pytest

from replay.evaluation.health.verdict import score_of
from studies.flag_fit import BAD, GOOD
from studies.flag_runs import FAMILIES, Runs, run
from studies.flagged import SETS, told

RECORD = json.loads((Path(__file__).parents[1] / "studies" / "flags.json").read_text())
WORLDS, LOGS = 60, 30


@pytest.fixture(scope="module")
def runs() -> Runs:
    return run("B", WORLDS, LOGS)


@pytest.mark.parametrize("kind", list(SETS))
@pytest.mark.parametrize("family", FAMILIES)
def test_what_is_flagged_is_what_the_study_found(runs, family, kind):
    flagged = told(runs, family, kind, score_of(family, whole=kind == "whole")).flagged
    found, expected = flagged.mean(axis=1), np.array(RECORD[kind][family]["share"][:WORLDS])
    # Four standard deviations of 30 draws, and one log more for those that are hardly ever flagged.
    allowed = 4 * np.sqrt(expected * (1 - expected) / LOGS) + 1 / LOGS
    assert (np.abs(found - expected) <= allowed + 1e-9).mean() > 0.95
    coverage = np.array(RECORD["coverage"][family][:WORLDS])
    assert found[coverage < BAD].mean() == pytest.approx(expected[coverage < BAD].mean(), abs=0.04)
    assert found[coverage >= GOOD].mean() == pytest.approx(expected[coverage >= GOOD].mean(), abs=0.04)
