"""Sample weights: a row that counts as n decisions is n rows of one unit; thinned logs cover the truth."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

import bowerbird
from records.errors import BadInput, WrongConfiguration
from replay.evaluation.answer import Answer
from replay.evaluation.blocks import BLOCK_ROWS
from replay.evaluation.estimators.importance import InversePropensity, SelfNormalised
from replay.evaluation.intervals.clustered import BucketSums
from replay.evaluation.intervals.delta import delta_of_rows
from replay.evaluation.intervals.difference import Difference, LoggedMean, paired_bound
from replay.evaluation.intervals.influence_bound import InfluenceBound
from replay.evaluation.intervals.sums import Sums, a_decision
from replay.evaluation.logs.columns import as_log
from replay.evaluation.logs.description import describe
from replay.evaluation.moments import Moments
from replay.evaluation.rows import EvaluationRows
from replay.evaluation.sample_weights import sized

ESTIMATORS = ("ips", "snips", "clipped-ips=1.5", "clipped-snips=1.5")
PMF, TARGET, RATE = np.array([0.5, 0.3, 0.2]), np.array([0.2, 0.3, 0.5]), np.array([0.2, 0.3, 0.5])
TRUTH = float(TARGET @ RATE)


def counted(rows: int = 400, seed: int = 1) -> dict[str, Any]:
    """Return a log whose rows count as 1 to 5 decisions, more often if they have a reward."""
    chance = np.random.default_rng(seed)
    action = chance.choice(3, rows, p=PMF)
    reward = (chance.random(rows) < RATE[action]).astype(float)
    return {
        "reward": reward,
        "propensity": PMF[action],
        "target": TARGET[action],
        "action": action,
        "pmf": np.tile(PMF, (rows, 1)),
        "target_pmf": np.tile(TARGET, (rows, 1)),
        "time": 1_700_000_000_000 + 60_000 * np.arange(rows),
        "country": np.where(chance.random(rows) < 0.4, "fr", "de"),
        "count": 1 + chance.binomial(3, 0.3, rows) + reward.astype(int),
        "unit": np.arange(rows),
    }


def repeated(log: Mapping[str, Any]) -> dict[str, Any]:
    return {name: np.repeat(column, log["count"], axis=0) for name, column in log.items() if name != "count"}


def evaluation_rows(log: Mapping[str, Any]) -> EvaluationRows:
    return EvaluationRows(
        reward=log["reward"],
        propensity=log["propensity"],
        target=log["target"],
        unit_hash=log["unit"].astype(np.uint64),
        sample_weight=log["count"].astype(float) if "count" in log else None,
    )


def value_of(found: Answer) -> dict[str, float | None]:
    return {each.estimator: each.value for each in found.estimates}


# ----- a row that counts as n decisions is n rows of one unit


def test_each_value_is_that_of_a_log_in_which_rows_are_repeated() -> None:
    log = counted()
    options: dict[str, Any] = {"segments": ["country"], "estimators": ESTIMATORS}
    result = bowerbird.evaluate(log, columns={"sample_weight": "count"}, **options)
    oracle = bowerbird.evaluate(repeated(log), **options)
    assert value_of(result) == pytest.approx(value_of(oracle), rel=1e-12)
    assert result.value_logged == pytest.approx(oracle.value_logged, rel=1e-12)
    assert result.mean_weight == pytest.approx(oracle.mean_weight, rel=1e-12)
    assert result.difference.value == pytest.approx(oracle.difference.value, rel=1e-9)
    assert result.difference.base == pytest.approx(oracle.difference.base, rel=1e-12)
    segments, expected = ({each.name: each.value for each in one.segments} for one in (result, oracle))
    assert segments == pytest.approx(expected, rel=1e-12)
    shares, logged = ({each.action: (each.logged, each.target) for each in one.overlap} for one in (result, oracle))
    assert {name: share for name, (share, _) in shares.items()} == pytest.approx({k: v[0] for k, v in logged.items()})
    plain = bowerbird.evaluate(log)
    assert abs(plain.ips - result.ips) > 0.02, "the weights do not matter in this log"


@pytest.mark.parametrize("estimator", [InversePropensity(), SelfNormalised(), LoggedMean()])
def test_the_variance_by_unit_is_that_of_a_log_in_which_rows_are_repeated(estimator: Any) -> None:
    log = counted()
    variances = []
    for rows in (evaluation_rows(log), evaluation_rows(repeated(log))):
        terms = sized(estimator.terms(rows), rows)
        assert rows.unit_hash is not None
        sums = Sums(Moments.of(terms), InfluenceBound.of([estimator], rows), BucketSums.exact(terms, rows.unit_hash))
        buckets = a_decision(sums).buckets
        assert buckets is not None
        variances.append((buckets.variance(estimator), buckets.effective(), buckets.largest_share()))
    assert variances[0] == pytest.approx(variances[1], rel=1e-9)


def test_intervals_of_rows_and_of_their_own_units_agree() -> None:
    """The delta method on weighted rows is the variance by unit of the repeated log, up to the jackknife."""
    rows, pair = evaluation_rows(counted(5_000)), Difference(SelfNormalised(), LoggedMean())
    terms = sized(pair.terms(rows), rows)
    sums = a_decision(Sums.of(terms, paired_bound(pair, rows, rows), rows.unit_hash))
    delta, by_unit = (sums.interval(pair, by_unit=each) for each in (False, True))
    assert delta.high - delta.low == pytest.approx(by_unit.high - by_unit.low, rel=0.02)  # type: ignore[operator]


def test_effective_sizes_are_by_hand() -> None:
    log = counted()
    result = bowerbird.evaluate(log, columns={"sample_weight": "count"})
    weight = log["count"] * log["target"] / log["propensity"]
    worth = weight * log["reward"]
    assert result.ess == pytest.approx(weight.sum() ** 2 / (weight**2).sum())
    assert result.effective_positives == pytest.approx(worth.sum() ** 2 / (worth**2).sum())
    assert result.max_weight == pytest.approx(weight.max() / log["count"].mean())
    moved = weight * (log["reward"] - worth.sum() / weight.sum())
    assert result.statistics["variance_ess_snips"] == pytest.approx((moved**2).sum() ** 2 / (moved**4).sum())
    moved = log["count"] * (log["target"] / log["propensity"] * log["reward"] - worth.sum() / log["count"].sum())
    assert result.statistics["variance_ess_ips"] == pytest.approx((moved**2).sum() ** 2 / (moved**4).sum())
    assert sum(each.rows for each in result.weights) == result.rows == 400


def test_weights_that_are_all_alike_change_nothing() -> None:
    log = counted() | {"count": np.full(400, 4)}
    result = bowerbird.evaluate(log, columns={"sample_weight": "count"}, resamples=200)
    plain = bowerbird.evaluate(log, columns={"pmf": "-", "target_pmf": "-"}, resamples=200)
    assert result.verdict.level == plain.verdict.level
    for one, other in zip(result.estimates, plain.estimates, strict=True):
        assert (one.value, one.low, one.high) == pytest.approx((other.value, other.low, other.high), rel=1e-3)
        ends = (other.resampled_low, other.resampled_high)
        assert (one.resampled_low, one.resampled_high) == pytest.approx(ends, rel=1e-9)


def test_what_cannot_use_the_weights_is_left_out_and_says_so() -> None:
    result = bowerbird.evaluate(counted(), columns={"sample_weight": "count"})
    assert result.over_time == []
    names = {each.name for each in result.health}
    assert not names & {"draws", "inverse_propensity", "drift_of_reward", "copies", "late_rewards"}
    (finding,) = (each for each in result.health if each.name == "sample_weights")
    assert finding.says.startswith("400 rows count as ")
    assert "left out" in finding.says
    with pytest.raises(BadInput, match="sample_weight"):
        delta_of_rows(SelfNormalised(), evaluation_rows(counted()))
    log = counted() | {"version": np.where(np.arange(400) % 2, "a", "b")}
    with pytest.raises(WrongConfiguration, match="sample weights"):
        bowerbird.evaluate(log, columns={"sample_weight": "count"}, expected_shares={"a": 0.5, "b": 0.5})


# ----- logs that were thinned


def thinned(rows: int, seed: int) -> dict[str, Any]:
    """Return a log that kept all rows with a reward and a fifth of the others."""
    chance = np.random.default_rng(seed)
    action = chance.choice(3, rows, p=PMF)
    reward = (chance.random(rows) < RATE[action]).astype(float)
    pdrop = np.where(reward > 0, 0.0, 0.8)
    kept = chance.random(rows) >= pdrop
    log = {"reward": reward, "propensity": PMF[action], "target": TARGET[action], "pdrop": pdrop}
    return {name: column[kept] for name, column in log.items()}


def test_a_thinned_log_covers_the_truth() -> None:
    held, accused, plain = 0, 0, 0
    for seed in range(200):
        log = thinned(1_500, seed)
        result = bowerbird.evaluate(log)
        (low, high), (base_low, base_high) = result.snips_interval, result.value_logged_interval
        held += int(low <= TRUTH <= high) + int(base_low <= PMF @ RATE <= base_high)
        accused += any(each.wrong for each in result.health)
        low, high = bowerbird.evaluate(log, columns={"pdrop": "-"}).snips_interval
        plain += int(low <= TRUTH <= high)
    assert 0.93 <= held / 400 <= 0.985
    assert accused <= 20
    assert plain == 0, "the drops do not matter in this world"


@pytest.mark.parametrize("suffix", [".csv", ".parquet", ".arrow"])
def test_weights_in_files(tmp_path: Path, suffix: str) -> None:
    log = {name: column for name, column in counted().items() if column.ndim == 1}
    file = tmp_path / f"log{suffix}"
    frame = pl.DataFrame(log)
    write: dict[str, Any] = {".csv": frame.write_csv, ".parquet": frame.write_parquet, ".arrow": frame.write_ipc}
    write[suffix](file)
    result = bowerbird.evaluate(str(file), columns={"sample_weight": "count"})
    assert result.snips == pytest.approx(bowerbird.evaluate(log, columns={"sample_weight": "count"}).snips, rel=1e-12)


# ----- rows that all count as one


@pytest.mark.parametrize("column", [{"pdrop": np.zeros(400)}, {"sample_weight": np.ones(400)}], ids=["pdrop", "weight"])
@pytest.mark.parametrize("model", ["auto", "none"])
def test_a_log_in_which_nothing_was_dropped_has_no_sample_weights(column: Mapping[str, Any], model: str) -> None:
    log = {name: values for name, values in counted().items() if name != "count"}
    found, plain = bowerbird.evaluate({**log, **column}, model=model), bowerbird.evaluate(log, model=model)
    assert {each.name for each in plain.health} >= {"draws", "inverse_propensity", "drift_of_reward"}
    assert found.health == plain.health
    assert found.verdict == plain.verdict
    assert found.estimates == plain.estimates
    assert found.overlap == plain.overlap
    described, itself = (describe(each, "it", "table") for each in (as_log({**log, **column}), as_log(log)))
    assert described == itself


def test_one_row_of_another_block_that_was_dropped_makes_all_count() -> None:
    rows = BLOCK_ROWS + 10
    log = {"reward": np.arange(rows) % 2, "propensity": np.full(rows, 0.5), "target": np.full(rows, 0.5)}
    result = bowerbird.evaluate({**log, "pdrop": np.where(np.arange(rows) == rows - 1, 0.5, 0.0)})
    (says,) = [each.says for each in result.health if each.name == "sample_weights"]
    assert says.startswith(f"{rows:,} rows count as {rows + 1:,} decisions")
    mixed = as_log({**log, "pdrop": np.where(np.arange(rows) == rows - 1, 0.5, 0.0)})
    described = describe(mixed, "it", "table")
    assert any(each.name == "sample_weights" for each in described.health)


# ----- a feedback of obp


def feedback_of(log: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "n_actions": 3,
        "action": log["action"],
        "reward": log["reward"],
        "pscore": log["propensity"],
        "pi_b": log["pmf"][:, :, None],
        "action_dist": log["target_pmf"][:, :, None],
    }


@pytest.mark.parametrize("name", ["sample_weight", "pdrop"])
def test_a_feedback_of_obp_may_have_sample_weights(name: str) -> None:
    log = counted()
    many = log["count"] if name == "sample_weight" else 1 - 1 / log["count"]
    result = bowerbird.evaluate({**feedback_of(log), name: many})
    table = {**{each: log[each] for each in ("reward", "propensity", "action", "pmf", "target_pmf")}, name: many}
    assert value_of(result) == pytest.approx(value_of(bowerbird.evaluate(table)), rel=1e-12)
    assert abs(bowerbird.evaluate(feedback_of(log)).ips - result.ips) > 0.02


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (
            {"sample_weight": np.zeros(400)},
            "bandit_feedback, row 0: sample_weight: found 0.0, expected a number from 1e-09",
        ),
        ({"pdrop": np.ones(400)}, "bandit_feedback, row 0: pdrop: found 1.0, expected a number from 0 to 1"),
        ({"pdrop": np.zeros(4)}, "bandit_feedback, pdrop: found the shape (4,), expected (400,)"),
        (
            {"pdrop": np.zeros(400), "sample_weight": np.ones(400)},
            "found sample_weight and pdrop, expected one of them",
        ),
    ],
)
def test_wrong_weights_of_a_feedback(change: Mapping[str, Any], says: str) -> None:
    with pytest.raises((BadInput, WrongConfiguration)) as error:
        bowerbird.evaluate({**feedback_of(counted()), **change})
    assert says in str(error.value)


# ----- what is refused


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"sample_weight": np.zeros(400)}, "row 0: sample_weight: found 0.0, expected a finite number from 1e-09"),
        ({"pdrop": np.ones(400)}, "row 0: pdrop: found 1.0, expected a finite number from 0 to 1"),
        ({"pdrop": np.zeros(400), "sample_weight": np.ones(400)}, "sample_weight and pdrop: found both"),
        ({"sample_weight": ["two"] * 400}, "sample_weight: found column sample_weight of string, expected numbers"),
    ],
)
def test_wrong_weights(change: Mapping[str, Any], says: str) -> None:
    with pytest.raises((BadInput, WrongConfiguration)) as error:
        bowerbird.evaluate({**counted(), **change})
    assert says in str(error.value)


def test_a_description_counts_rows_and_names_the_weights() -> None:
    log = as_log({**counted(), "sample_weight": counted()["count"]})
    description = describe(log, "it", "table")
    assert description.rows == 400
    assert any(each.name == "sample_weights" for each in description.health)
