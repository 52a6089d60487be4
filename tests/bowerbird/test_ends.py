"""The ends of every interval that is shown lie within what a mean reward can be, and include an estimator's bias."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import bowerbird
from replay.evaluation.answer import Answer
from tests.replay.archived import archive_of
from tests.replay.arms import arms_world
from tests.replay.evaluation.report.test_table import lines

SHRUNK = ("switch-dr", "dr-os", "sg-dr", "clipped-dr", "clipped-ips", "clipped-snips", "sg-ips")


def few_rows(rewards: tuple[float, float] = (0.0, 1.0), seed: int = 3, **columns: Any) -> dict[str, Any]:
    """Return a log in which few rows carry the value, so that intervals by their width alone would leave the range."""
    chance = np.random.default_rng(seed)
    rows, pmf, target = 300, np.array([0.9, 0.06, 0.04]), np.array([0.1, 0.5, 0.4])
    action = chance.choice(3, rows, p=pmf)
    return {
        "reward": np.where(chance.random(rows) < 0.9, rewards[1], rewards[0]),
        "action": action,
        "propensity": pmf[action],
        "pmf": [list(pmf)] * rows,
        "target_pmf": [list(target)] * rows,
        "part": np.where(action > 0, "rare", "frequent"),
    } | columns


def ends_of(result: Answer) -> Iterator[float]:
    """Yield every known end of an interval of a value."""
    every: list[float | None] = [*result.value_logged_interval, *result.ips_interval, *result.snips_interval]
    for each in result.estimates:
        every += [each.low, each.high, each.resampled_low, each.resampled_high]
    for look in result.over_time:
        every += [look.low, look.high]
    for part in result.segments:
        every += [part.low, part.high]
    yield from (each for each in every if each is not None)


def evaluated(log: Any, *arguments: Any, **options: Any) -> Answer:
    result = bowerbird.evaluate(log, *arguments, resamples=50, **options)
    assert isinstance(result, Answer)
    return result


@pytest.mark.parametrize("more", ["nothing", "versions", "units"])
def test_clicks_have_ends_from_0_to_1(more: str) -> None:
    columns: dict[str, dict[str, Any]] = {
        "nothing": {},
        "versions": {"version": np.arange(300) // 100},
        "units": {"unit": [f"user-{number % 40}" for number in range(300)]},
    }
    result = evaluated(few_rows(**columns[more]), segments=["part"])
    ends = [*ends_of(result)]
    assert min(ends) >= 0
    assert max(ends) == 1
    assert result.difference is not None
    assert result.difference.low is not None
    assert result.difference.high is not None
    assert -1 <= result.difference.low <= result.difference.high <= 1


def test_ends_do_not_cross_where_propensities_are_wrong() -> None:
    """Both bounds of the sequence exclude every possible value: nothing is known."""
    heavy = {"reward": [1.0, 0.0, 0.0, 0.0] * 500, "propensity": [0.5] * 2000, "weight": [2.0] * 2000}
    result = evaluated(heavy)
    assert (result.over_time[-1].low, result.over_time[-1].high) == (0.0, 1.0)
    assert all(look.low <= look.high for look in result.over_time if look.low is not None and look.high is not None)


def test_a_given_range_bounds_the_ends() -> None:
    result = evaluated(few_rows((2.0, 2.5)), reward_range=(2.0, 2.5), segments=["part"])
    assert min(ends_of(result)) >= 2.0
    assert max(ends_of(result)) <= 2.5
    assert result.difference is not None
    assert result.difference.low is not None
    assert result.difference.low >= -0.5


def test_a_reward_beyond_the_given_range_refutes_it() -> None:
    result = evaluated(few_rows((2.0, 2.5)), reward_range=(2.0, 2.25))
    assert max(each.high or 0.0 for each in result.estimates) > 2.25


def test_without_a_range_nothing_is_cut() -> None:
    assert max(ends_of(evaluated(few_rows((0.0, 3.0), seed=7)))) > 3.0


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("ends")
    archive_of(arms_world()[0], folder, files=1)
    return folder


def test_tuned_estimators_include_the_interval_of_the_plain_one(archive: Path) -> None:
    result = evaluated(archive, "uniform", placement="front", estimators=["dr", *SHRUNK])
    plain = {each.estimator: each for each in result.estimates}
    shown = 0
    for each in result.estimates:
        name, tuned, _ = each.estimator.partition("=")
        if not tuned:
            continue
        unbiased = plain["snips" if name == "clipped-snips" else "ips" if name.endswith("-ips") else "dr"]
        assert each.interval.endswith("with the bias")
        for low, high, least, most in (
            (each.low, each.high, unbiased.low, unbiased.high),
            (each.resampled_low, each.resampled_high, unbiased.resampled_low, unbiased.resampled_high),
        ):
            assert low is not None
            assert high is not None
            assert least is not None
            assert most is not None
            assert low <= least < most <= high
        shown += 1
    assert shown == len(SHRUNK)
    assert sum("(with its bias)" in line for line in lines(result)) >= len(SHRUNK)
