"""A learner's log with drift, from the log to the answer: its headline is the average over the log's period."""

from typing import Any

import numpy as np
import pytest

import bowerbird
from replay.evaluation.answer import Answer
from replay.evaluation.result import Estimated, Finding
from studies.drift import TARGET, WORLDS, Log, simulate

ROWS = 20_000
BY_NAME = {world.name: world for world in WORLDS}


def evaluated(log: Log, **options: Any) -> Answer:
    rows = log.judged
    result = bowerbird.evaluate(
        {
            "reward": rows.reward,
            "propensity": rows.propensity,
            "action": rows.action,
            "pmf": list(log.pmf),
            "target_pmf": list(np.tile(TARGET, (len(log.pmf), 1))),
            "version": rows.version,
        },
        **options,
    )
    assert isinstance(result, Answer)
    return result


def by_name(result: Answer, name: str) -> Estimated:
    return next(each for each in result.estimates if each.estimator == name)


def profile_of(result: Answer) -> Finding:
    return next(each for each in result.health if each.name == "time_profile")


@pytest.fixture(scope="module", params=["falling", "one action"])
def drifting(request: pytest.FixtureRequest) -> list[tuple[Log, Answer]]:
    logs = [simulate(BY_NAME[request.param], np.random.default_rng([7, seed]), ROWS) for seed in range(12)]
    return [(log, evaluated(log)) for log in logs]


def test_the_headline_covers_the_average_over_the_period(drifting: list[tuple[Log, Answer]]) -> None:
    held = 0
    for log, result in drifting:
        assert result.headline == "snips"
        headline = by_name(result, result.headline)
        assert headline.low is not None
        assert headline.high is not None
        held += headline.low <= log.truth <= headline.high
    # Binomial(12, .95): fewer than 9 has a probability of 0.002. Adaptive weights cover 0 to 17 %.
    assert held >= 9


def test_the_difference_is_that_of_the_period(drifting: list[tuple[Log, Answer]]) -> None:
    held = 0
    for log, result in drifting:
        difference = result.difference
        assert difference is not None
        assert difference.low is not None
        assert difference.high is not None
        held += difference.low <= log.truth - log.logged <= difference.high
    assert held >= 9


def test_adaptive_weights_stand_next_to_it_with_their_bias(drifting: list[tuple[Log, Answer]]) -> None:
    for _, result in drifting:
        adaptive, plain = by_name(result, "adaptive-ips"), by_name(result, "ips")
        assert adaptive.interval.endswith("with the bias")
        assert adaptive.low is not None
        assert adaptive.high is not None
        assert plain.low is not None
        assert plain.high is not None
        assert adaptive.low <= plain.low <= plain.high <= adaptive.high


def test_the_drift_is_found(drifting: list[tuple[Log, Answer]]) -> None:
    for _, result in drifting:
        assert "rewards do drift" in profile_of(result).says
        assert not profile_of(result).wrong


def test_without_drift_only_the_profile_is_reported() -> None:
    says = profile_of(evaluated(simulate(BY_NAME["none"], np.random.default_rng(1), ROWS))).says
    assert "first tenth" in says
    assert "do drift" not in says


def test_fixed_loggers_have_no_profile() -> None:
    result = evaluated(simulate(BY_NAME["none"], np.random.default_rng(1), 2_000), fixed_loggers=True)
    assert all(each.name != "time_profile" for each in result.health)
