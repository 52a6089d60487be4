"""Every estimator of plain rows has a name that people can write, and a wrong one is refused by name."""

from dataclasses import replace

import numpy as np
import pytest

from records.errors import WrongConfiguration
from replay.evaluation.estimators.catalogue import ESTIMATORS, SHRUNK, requested, usable
from replay.evaluation.estimators.importance import SelfNormalised
from replay.evaluation.estimators.loggers import WeightedInversePropensity
from replay.evaluation.estimators.shrinkage import OptimisticDoublyRobust
from replay.evaluation.estimators.tuning import slope
from replay.evaluation.rows import EvaluationRows

ROWS = EvaluationRows(reward=np.ones(4), propensity=np.full(4, 0.5), target=np.full(4, 0.5))


@pytest.mark.parametrize("name", ESTIMATORS)
def test_a_name_gives_its_estimator(name: str) -> None:
    assert ESTIMATORS[name].name == name
    assert ESTIMATORS[name].reference
    text = f"{name}=2" if name.startswith("weighted") else name
    candidates = requested(text)
    assert {type(each) for each in candidates} == {ESTIMATORS[name]}
    assert (len(candidates) > 1) == (name in SHRUNK)


def test_a_number_fixes_lambda() -> None:
    assert requested("dr-os=100") == (OptimisticDoublyRobust(100.0),)
    assert requested("dr-os=inf") == (OptimisticDoublyRobust(np.inf),)
    assert requested("snips") == (SelfNormalised(),)
    assert requested("weighted-ips=1") == (WeightedInversePropensity(1),)
    assert slope(requested("clipped-ips"), ROWS).estimator.estimate(ROWS) == 1


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("best", "expected one of ips, snips"),
        ("", "expected one of ips, snips"),
        ("dr-os=many", "expected a number after the ="),
        ("dr-os=", "expected a number after the ="),
        ("dr-os=-1", "lambda_ of dr-os"),
        ("ips=3", "which has no number"),
        ("weighted-ips", "how many loggers"),
        ("weighted-dr=0", "how many loggers"),
    ],
)
def test_what_is_none_is_refused(text: str, expected: str) -> None:
    with pytest.raises(WrongConfiguration, match=expected):
        requested(text)


def test_what_can_be_used_goes_by_the_columns() -> None:
    without = {"ips", "snips", "replay", "clipped-ips", "clipped-snips", "sg-ips"}
    assert set(usable(ROWS)) == without
    assert set(usable(replace(ROWS, model_target=np.ones(4)))) == without | {"dm"}
    everything = replace(
        ROWS,
        mean_propensity=np.ones(4),
        model_target=np.ones(4),
        model_logged=np.ones(4),
        version=np.zeros(4, np.int32),
    )
    assert set(usable(everything)) == set(ESTIMATORS)
