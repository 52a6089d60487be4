"""The frozen scores flag what docs/warnings.md says: a part of the study is done again, log by log."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from replay.evaluation.health.findings import findings
from replay.evaluation.health.state import State
from replay.evaluation.health.statistics import statistics
from replay.evaluation.health.verdict import score_of, verdict
from replay.evaluation.health.warning_statistics import FAMILIES
from studies.families import family_b
from studies.flag_fit import BAD, GOOD, kinds, kinds_as_shown
from studies.flag_record import FIRST
from studies.flag_runs import run, without_pmf
from studies.flagged import area, told

RECORD = json.loads(Path(__file__).with_name("flags.json").read_text())
WORLDS = range(0, 300, 20)


def test_the_documented_flags_come_out_again():
    same, every = 0, 0
    for number in WORLDS:
        world = family_b(number)
        tables = world.tables()
        for log in range(FIRST):
            rows, _ = world.simulate(np.random.default_rng([ord("B"), number, log]), tables)
            state = State.of(rows)
            for kind, each in (("whole", state), ("bare", without_pmf(state))):
                known, checked = statistics(each), findings(each)
                for family in FAMILIES:
                    flagged = verdict(known, checked, family).level != "reliable"
                    same += flagged == (RECORD[kind][family]["first"][number][log] == "1")
                    every += 1
    assert every == len(WORLDS) * FIRST * 6
    # Another processor may round a score that lies on the cut to its other side.
    assert same >= every - 2


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("kind", ["whole", "bare"])
def test_the_record_keeps_the_promise(family, kind):
    coverage, share = np.array(RECORD["coverage"][family]), np.array(RECORD[kind][family]["share"])
    assert len(coverage) == len(share) == 300
    assert share[coverage < BAD].mean() >= PROMISED[kind][family][0]
    assert share[coverage >= GOOD].mean() <= PROMISED[kind][family][1]


PROMISED = {
    "whole": {"ips": (0.95, 0.095), "snips": (0.95, 0.085), "dr": (0.96, 0.095)},
    "bare": {"ips": (0.94, 0.125), "snips": (0.93, 0.115), "dr": (0.95, 0.135)},
}
"""At least so many bad logs are flagged, at most so many good ones: three lie beyond 0.10, as the page says."""


def test_runs_are_stored_without_pickles_and_come_back(tmp_path):
    made = run("B", 2, 3)
    made.save(tmp_path / "runs.npz")
    again = type(made).load(tmp_path / "runs.npz")
    assert again.names == made.names
    assert again.describe == made.describe
    assert np.array_equal(again.known, made.known, equal_nan=True)
    found = told(again, "ips", "whole", score_of("ips", whole=True))
    assert found.flagged.shape == (2, 3)


def test_further_logs_tell_what_is_covered_and_nothing_else():
    few, more = run("B", 2, 3), run("B", 2, 3, 5)
    assert np.array_equal(few.known, more.known, equal_nan=True)
    assert np.array_equal(few.coverage, few.covers.mean(axis=1))
    # The first three logs are the same, so eight of them cover as often as those of a study of eight.
    assert np.array_equal(more.coverage, run("B", 2, 8).covers.mean(axis=1))


def test_a_world_that_only_the_shown_interval_covers_is_good_as_shown():
    made = run("B", 2, 4)
    shown = replace(made, coverage=np.array([[0.5] * 3, [0.95] * 3]), covers_shown=np.ones((2, 4, 3), dtype=bool))
    bad, good = kinds(shown, "dr")
    assert bad.tolist() == [True, False]
    assert good.tolist() == [False, True]
    bad, good = kinds_as_shown(shown, "dr")
    assert not bad.any()
    assert good.all()


def test_the_area_is_one_where_all_bad_ones_score_higher():
    found = told(run("B", 2, 2), "ips", "whole", score_of("ips", whole=True))
    apart = type(found)(
        np.array([[0.0, 1.0], [2.0, 3.0]]),
        found.flagged,
        found.refused,
        np.array([False, True]),
        np.array([True, False]),
    )
    assert area(apart) == 1.0
