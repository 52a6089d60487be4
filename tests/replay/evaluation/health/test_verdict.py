"""The verdict: in plain words, never reliable where a rule forbids it, and by coefficients that are frozen."""

import dataclasses

import numpy as np
import pytest

from replay.evaluation.health.findings import LogFacts, findings
from replay.evaluation.health.state import State
from replay.evaluation.health.statistics import statistics
from replay.evaluation.health.verdict import LEVELS, family_of, score_of, verdict
from replay.evaluation.health.warning_statistics import BARE, FAMILIES, WHOLE, badness, count, percent
from replay.evaluation.result import Finding
from replay.evaluation.rows import EvaluationRows
from studies.faults import read, right_log


def good_log(rows: int = 5_000, **columns) -> EvaluationRows:
    chance = np.random.default_rng(1)
    return dataclasses.replace(read(right_log(chance, rows), chance), **columns)


def of(rows: EvaluationRows, family: str = "snips", **arguments):
    state = State.of(rows)
    return verdict(statistics(state), findings(state, LogFacts(**arguments)), family)


@pytest.mark.parametrize("family", ["ips", "snips"])
def test_a_good_log_is_reliable(family):
    found = of(good_log(), family)
    assert found.level == "reliable"
    assert found.reasons == []
    assert found.sentence.startswith("reliable: effective sample size ")


def test_one_row_that_carries_most_is_told():
    propensity = np.full(10_000, 0.9)
    propensity[17] = 1e-5
    target = np.full(10_000, 0.0006)
    target[17] = 1.0
    found = of(EvaluationRows(reward=np.tile([0.0, 1.0], 5_000), propensity=propensity, target=target))
    assert found.level == "not reliable"
    assert found.sentence.startswith("not reliable: ")
    assert any("one row carries 100 % of the weight" in reason for reason in found.reasons)
    assert any("effective sample size 1 of 10,000" in reason for reason in found.reasons)


@pytest.mark.parametrize("family", FAMILIES)
def test_what_is_never_reliable(family):
    ones = np.ones(5_000)
    certain = EvaluationRows(reward=ones, propensity=ones, target=ones)
    assert of(certain, family).level == "not reliable"
    assert "probability 1" in of(certain, family).sentence
    log = good_log(model_logged=ones * 0.1, model_target=ones * 0.1)
    assert of(log, family, learned=1).level == "not reliable"
    assert "learned from 1 of 5,000 rows" in of(log, family, learned=1).sentence
    assert of(log, family, left_out={"missing": 3}).level == "not reliable"
    assert of(dataclasses.replace(log, weight=0.8 * log.weight), family).level == "not reliable"
    never = dataclasses.replace(log, target=0 * log.target, weight=0 * log.weight, squared_weight=None, unseen=None)
    assert "the target never takes what was logged" in of(never, family).reasons


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("whole", [True, False], ids=["whole", "bare"])
def test_an_effective_sample_size_of_twelve_is_never_reliable(family, whole):
    rows = good_log(10_000)
    state = State.of(rows if whole else dataclasses.replace(rows, squared_weight=None, unseen=None))
    few = {**statistics(state), "ess": 12.0}
    if not whole:
        few["ess_of_pmf"] = None
    judgement = verdict(few, findings(state), family)
    assert judgement.level != "reliable"
    assert "effective sample size 12 of 10,000" in judgement.reasons
    assert "effective sample size 12 of 10,000" not in verdict({**few, "ess": 500.0}, findings(state), family).reasons


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("seed", [0, 2, 3])
def test_a_width_that_rests_on_two_rows_is_never_reliable(family, seed):
    chance = np.random.default_rng(seed)
    propensity, ones = chance.choice([0.2, 0.5, 0.3], 8_000), np.ones(8_000)
    small = np.where(chance.random(8_000) < 0.3, 2.0, 1.0)
    great = np.where(np.isin(np.arange(8_000), [17, 50]), 9_000.0, small)
    target = propensity * chance.choice([0.8, 1.2], 8_000)
    log = EvaluationRows(reward=small, propensity=propensity, target=target, model_logged=ones, model_target=ones)
    assert of(log, family).level == "reliable"
    log = dataclasses.replace(log, reward=great)
    rests_on = statistics(State.of(log))[f"variance_ess_{family}"] or 0.0
    assert 1 < rests_on < 2.1
    found = of(log, family)
    assert found.level != "reliable"
    assert found.reasons.count(f"how wide the interval is rests on {count(rests_on)} of 8,000 rows") == 1


def test_a_mean_weight_that_nobody_checked_is_never_reliable():
    state = State.of(good_log())
    others = [each for each in findings(state) if each.name != "mean_weight"]
    judgement = verdict(statistics(state), others)
    assert judgement.level == "use with care"
    assert judgement.reasons == ["whether the propensities are right could not be checked"]


def test_repeated_rows_need_care():
    events = np.arange(5_000, dtype=np.uint64) // np.uint64(2)
    assert of(good_log(event_hash=events)).level == "use with care"


@pytest.mark.parametrize("rows", [0, 1, 2, 10])
def test_hardly_any_row_is_not_reliable(rows):
    half = np.full(rows, 0.5)
    found = of(EvaluationRows(reward=half, propensity=half, target=half))
    assert found.level == "not reliable"
    assert found.reasons


def test_no_reward_at_all_is_not_reliable():
    found = of(good_log(reward=np.zeros(5_000)))
    assert found.level == "not reliable"
    # Nothing else is wrong with this log, so nothing else is told.
    assert found.reasons == [
        "no row with a reward counts",
        "how wide the interval is rests on less than 1 of 5,000 rows",
    ]


def test_rows_that_hang_together_count_as_fewer():
    state = State.of(good_log())
    known, found = statistics(state), findings(state)
    alone, *fewer = (verdict(known, found, effect_of_units=effect) for effect in (1.0, 4.0, 1_000.0, 5_000.0))
    assert alone == verdict(known, found)
    levels = [LEVELS.index(each.level) for each in (alone, *fewer)]
    assert levels == sorted(levels)
    assert (alone.level, fewer[-1].level) == ("reliable", "not reliable")
    assert alone.sentence.startswith(f"reliable: effective sample size {known['ess']:,.0f} of 5,000")
    assert fewer[0].sentence.startswith(f"reliable: effective sample size {(known['ess'] or 0) / 4:,.0f} of 5,000")
    assert fewer[0].sentence.endswith("; 4 rows of a unit count as one")


def test_reasons_stand_by_weight_faults_first():
    fault = Finding(name="draws", value=None, expected=None, p_value=0.0, wrong=True, says="draws do not follow")
    care = Finding(name="repeated", value=0.5, expected=0.0, p_value=None, wrong=True, says="rows are repeated")
    state = State.of(good_log(10))
    judgement = verdict(statistics(state), [care, fault, *findings(state)])
    assert judgement.reasons[:2] == ["draws do not follow", "rows are repeated"]
    known, score = statistics(state), score_of("snips", whole=True)
    parts = score.parts(known, "snips")
    heaviest = score.features[int(np.argmax(parts))]
    assert judgement.reasons[2] == heaviest.says(known, heaviest.of(known, "snips") or 0.0)
    assert judgement.sentence == "not reliable: " + ", ".join(judgement.reasons[:3])


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("features", [WHOLE, BARE], ids=["whole", "bare"])
def test_no_statistic_makes_a_log_better_by_being_worse(family, features):
    score = score_of(family, whole=features is WHOLE)
    assert (score.weights >= 0).all()
    assert score.care <= score.refuse
    assert score.scale.min() > 0
    nothing = badness({}, family, features)
    assert np.isfinite(nothing).all()
    assert [score.level(each) for each in (-99.0, (score.care + score.refuse) / 2, 99.0)] == list(LEVELS)


def test_an_unknown_family_is_named():
    with pytest.raises(ValueError, match="family: found mips, expected one of ips, snips, dr"):
        verdict(statistics(State.of(good_log(10))), [], "mips")


@pytest.mark.parametrize(
    ("estimator", "family"),
    [
        ("dr", "dr"),
        ("sndr", "dr"),
        ("dr-os", "dr"),
        ("switch-dr", "dr"),
        ("dm", "dr"),
        ("snips", "snips"),
        ("ips", "ips"),
    ],
)
def test_each_estimator_has_a_family(estimator, family):
    assert family_of(estimator) == family


@pytest.mark.parametrize(
    ("value", "expected"), [(0.31, "less than 1"), (3.14, "3.1"), (12.4, "12"), (10_000.0, "10,000")]
)
def test_counts_for_people(value, expected):
    assert count(value) == expected


@pytest.mark.parametrize(
    ("value", "expected"), [(0.0, "0 %"), (1e-5, "less than 0.1 %"), (0.0123, "1.2 %"), (0.714, "71 %")]
)
def test_shares_for_people(value, expected):
    assert percent(value) == expected
