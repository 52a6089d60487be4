"""An evaluation from a log to its answer: what it says, that nothing depends on who adds up, and its many inputs."""

import dataclasses
import datetime as dt
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

import bowerbird
from bowerbird.evaluating import evaluated
from bowerbird.evaluation_request import EvaluationRequest
from bowerbird.log_formats.log_format import format_for
from records.errors import BadInput, WrongConfiguration
from replay.evaluation.answer import Answer
from replay.evaluation.evaluate import Parts, evaluate
from replay.evaluation.logs.chunk import silent
from replay.evaluation.options import Options
from replay.evaluation.result import How
from replay.evaluation.scan import PolicyLogs
from tests.replay.archived import archive_of
from tests.replay.world import busy_world, decision

ACTIONS = 4
HOW = How(command="", bowerbird="", log="", format="", estimand="", model=None, resamples=0, digest="")


def columns(rows: int, seed: int = 1, users: int = 0) -> dict[str, Any]:
    """Return a log of a policy that was fixed, with whole pmfs; the target mostly takes what is best."""
    chance = np.random.default_rng(seed)
    pmf = chance.dirichlet(np.full(ACTIONS, 5.0), size=rows)
    target = np.full((rows, ACTIONS), 0.1)
    target[np.arange(rows), chance.integers(0, ACTIONS, rows)] += 0.6
    action = (chance.random((rows, 1)) > pmf.cumsum(axis=1)).sum(axis=1).clip(0, ACTIONS - 1)
    reward = (chance.random(rows) < 0.1 + 0.1 * action).astype(float)
    table = {
        "reward": reward,
        "propensity": pmf[np.arange(rows), action],
        "action": action,
        "pmf": list(pmf),
        "target_pmf": list(target),
        "time": 1_700_000_000_000 + 1000 * np.arange(rows),
        "event": [f"event-{number}" for number in range(rows)],
        "country": np.where(chance.random(rows) < 0.3, "fr", "de"),
    }
    return table | ({"unit": [f"user-{number}" for number in chance.integers(0, users, rows)]} if users else {})


def by_name(found: Answer) -> dict[str, Any]:
    return {each.estimator: each for each in found.estimates}


# ----- what the answer says


@pytest.fixture(scope="module")
def answer() -> Any:
    found = bowerbird.evaluate(columns(20_000), segments="country", resamples=200, seed=3)
    return found


def test_the_values_are_those_of_numpy(answer: Any) -> None:
    log = columns(20_000)
    pmf, target = np.array(log["pmf"]), np.array(log["target_pmf"])
    at = np.arange(20_000), log["action"]
    weights = target[at] / pmf[at]
    assert answer.ips == pytest.approx((weights * log["reward"]).mean(), rel=1e-12)
    assert answer.snips == pytest.approx((weights * log["reward"]).sum() / weights.sum(), rel=1e-12)
    assert answer.value_logged == pytest.approx(log["reward"].mean(), rel=1e-12)
    assert answer.statistics["ess_of_pmf"] == pytest.approx(20_000 / (target**2 / pmf).sum(axis=1).mean(), rel=1e-9)
    assert answer.headline == "snips"


def test_every_interval_holds_its_value(answer: Any) -> None:
    for each in answer.estimates:
        assert each.low is not None
        assert each.low <= each.value <= each.high
        assert each.resampled_low < each.value < each.resampled_high
        # The bootstrap and the delta method agree on such a log.
        assert each.resampled_high - each.resampled_low == pytest.approx(each.high - each.low, rel=0.25)


def test_the_difference_is_paired(answer: Any) -> None:
    assert answer.difference is not None
    assert answer.difference.value == pytest.approx(answer.snips - answer.value_logged, abs=1e-12)
    apart = sum(high - low for low, high in (answer.snips_interval, answer.value_logged_interval))
    assert answer.difference.high - answer.difference.low < apart


def test_the_course_ends_with_all_rows_and_its_sequence_is_wider(answer: Any) -> None:
    rows = [each.rows for each in answer.over_time]
    assert rows == sorted(set(rows))
    assert rows[-1] == answer.rows
    last = answer.over_time[-1]
    assert last.value == pytest.approx(answer.ips, rel=1e-9)
    assert last.low < answer.ips_interval[0] < answer.ips_interval[1] < last.high
    assert last.time_ms == columns(20_000)["time"][-1]


def test_weights_overlap_and_segments_are_of_all_rows(answer: Any) -> None:
    assert sum(each.rows for each in answer.weights) == answer.rows
    assert sum(each.share for each in answer.weights) == pytest.approx(1.0)
    assert sum(each.rows for each in answer.overlap) == answer.rows
    assert sum(each.logged for each in answer.overlap) == pytest.approx(1.0)
    assert sum(each.target for each in answer.overlap) == pytest.approx(1.0)
    assert {each.action for each in answer.overlap} == {"0", "1", "2", "3"}
    assert {each.name for each in answer.segments} == {"fr", "de"}
    assert sum(each.rows for each in answer.segments) == answer.rows
    assert {each.correction for each in answer.segments} == {"Bonferroni"}


def test_a_good_log_is_reliable_and_a_wrong_one_is_not(answer: Any) -> None:
    assert answer.verdict.level == "reliable"
    wrong = columns(20_000)
    wrong["propensity"] = np.minimum(wrong["propensity"] * 1.1, 1.0)
    del wrong["pmf"], wrong["target_pmf"]
    wrong["target"] = np.array(columns(20_000)["target_pmf"])[np.arange(20_000), wrong["action"]]
    found = bowerbird.evaluate(wrong)
    assert found.verdict.level == "not reliable"
    assert [each.name for each in found.health if each.wrong] == ["mean_weight"]


def test_rewards_beyond_0_and_1_have_a_sequence_only_where_their_range_was_told() -> None:
    log = columns(3000)
    log["reward"] = log["reward"] * 20 - 5
    assert {each.low for each in bowerbird.evaluate(log).over_time} == {None}
    known = bowerbird.evaluate(log, reward_range=(-5.0, 15.0)).over_time[-1]
    assert -5 <= known.low < known.value < known.high <= 15


def test_rows_of_a_user_hang_together() -> None:
    log = columns(8000, users=40)
    # What a user earns depends on the user alone.
    log["reward"] = np.array([float(int(name.split("-")[1]) % 2) for name in log["unit"]])
    by_user, by_row = (
        bowerbird.evaluate({**log, "unit": log[column]}, segments=["country"]) for column in ("unit", "event")
    )
    width, narrow = (np.subtract(*found.value_logged_interval[::-1]) for found in (by_user, by_row))
    assert by_name(by_user)["snips"].interval == "clustered"
    assert by_name(by_row)["snips"].interval == "delta"
    assert width > 5 * narrow
    for together, apart in zip(by_user.segments, by_row.segments, strict=True):
        assert (together.interval, apart.interval) == ("clustered", "delta")
        assert together.high - together.low > 2 * (apart.high - apart.low)
        assert (together.level, apart.level) == ("use with care", "reliable")


@pytest.mark.parametrize("users", [1, 3])
def test_thousands_of_rows_of_three_users_are_not_reliable(users: int) -> None:
    log = columns(6000, users=users)
    log["reward"] = np.array([float(int(name.split("-")[1]) % 2) for name in log["unit"]])
    found = bowerbird.evaluate(log)
    assert found.verdict.level == "not reliable"
    assert "rows of a unit count as one" in found.verdict.sentence
    if users == 1:
        assert by_name(found)["snips"].low is None


def test_two_users_with_many_rows_are_not_reliable_either() -> None:
    """Two users say next to nothing of how users differ, however alike they happen to be."""
    levels = []
    for seed in range(10):
        log = columns(6000, seed=seed, users=2)
        rates = np.random.default_rng([seed, 1]).beta(1, 4, 2)
        log["reward"] = (
            np.random.default_rng(seed).random(6000) < [rates[int(name.split("-")[1])] for name in log["unit"]]
        ).astype(float)
        levels.append(bowerbird.evaluate(log).verdict.level)
    assert "reliable" not in levels


def test_a_user_with_half_of_the_rows_is_seen() -> None:
    log = columns(40_000)
    log["unit"] = np.where(np.arange(40_000) % 2 == 0, "guest", np.array(log["event"]))
    found = bowerbird.evaluate(log)
    assert found.statistics["rows_each_unit"] == pytest.approx(2.0, rel=0.1)
    assert by_name(found)["snips"].interval == "clustered"


def test_without_event_ids_a_long_log_is_as_honest() -> None:
    """Each block draws numbers of its own where ranks are split at random."""
    accused = 0
    for seed in range(10):
        chance = np.random.default_rng(seed)
        action = (chance.random(300_000) < 0.1).astype(int)
        pmf = np.tile([0.9, 0.1], (300_000, 1))
        log = {"reward": np.ones(300_000), "action": action, "pmf": list(pmf), "target_pmf": list(pmf[:, ::-1])}
        accused += any(each.wrong for each in bowerbird.evaluate(log).health if each.name == "draws")
    assert accused <= 2


def test_what_a_table_says_of_a_model_counts_where_it_is_asked_for() -> None:
    log = columns(4000)
    log["version"] = np.where(np.arange(4000) < 2000, "1", "2")
    modelled = {**log, "model_logged": np.full(4000, 0.9), "model_target": np.full(4000, 0.1)}
    plain, other = bowerbird.evaluate(log), bowerbird.evaluate(modelled)
    assert plain.headline == other.headline == "snips"
    assert by_name(plain)["adaptive-ips"].value == by_name(other)["adaptive-ips"].value


def test_the_sequence_of_users_lies_where_rewards_do() -> None:
    looks = bowerbird.evaluate(columns(6000, users=10)).over_time
    assert all(0 <= each.low <= each.high <= 1 for each in looks if each.low is not None)


# ----- who adds up


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A log of five blocks."""
    file = tmp_path_factory.mktemp("table") / "shown.parquet"
    log = columns(300_000, users=50_000)
    log["version"] = np.where(np.arange(300_000) < 100_000, "1", "2")
    pq.write_table(pa.table(log), file, row_group_size=50_000)
    return file


@pytest.mark.slow
@pytest.mark.parametrize("parts", [1, 2, 7])
def test_nothing_hangs_on_the_number_of_parts(table: Path, parts: int) -> None:
    request = EvaluationRequest(str(table), segments=["country"])
    logs = PolicyLogs(format_for(request).target(request))
    options = Options(resamples=64)
    alone = evaluate(logs, HOW, options, lambda _: silent)
    with ThreadPoolExecutor(2) as executor:
        shared = evaluate(logs, HOW, options, lambda _: silent, Parts(executor, parts))
    assert alone.rows == 300_000
    assert alone.headline == "snips"
    assert alone.how.digest == shared.how.digest
    assert msgspec.json.encode(alone) == msgspec.json.encode(shared)


# ----- its inputs


def test_frames_and_mappings_are_the_same_log() -> None:
    log = columns(2000)
    frames = [pd.DataFrame(log), pl.DataFrame(log), pa.table(log)]
    found = [bowerbird.evaluate(each) for each in (log, *frames)]
    assert len({(each.ips, each.snips, each.rows) for each in found}) == 1


def test_a_bandit_feedback_of_obp() -> None:
    log = columns(2000)
    feedback = {"action": log["action"], "reward": log["reward"], "pscore": log["propensity"], "position": None}
    found = bowerbird.evaluate(
        {**feedback, "n_actions": ACTIONS, "action_dist": np.array(log["target_pmf"])[:, :, None]}
    )
    assert found.ips == pytest.approx(bowerbird.evaluate(log).ips, rel=1e-12)


@pytest.mark.parametrize("unit", [False, True])
def test_a_constant_reward_is_never_reliable_without_a_range(unit: bool) -> None:
    """Of 500 rows that earn 10, or 110 with a probability of .002, a third have nothing but 10."""
    log = columns(500) | {"reward": np.full(500, 10.0), "segment": ["one", "other"] * 250}
    if unit:
        log["unit"] = np.arange(500) // 5
    found = bowerbird.evaluate(log, segments=["segment"], resamples=20)
    assert found.verdict.sentence.startswith("not reliable: every reward is 10, and what else one can be is unknown")
    ends = [(each.low, each.high, each.resampled_low, each.resampled_high) for each in found.estimates]
    assert set(ends) == {(None, None, None, None)}
    assert (found.difference.low, found.difference.high) == (None, None)
    assert {(each.low, each.level) for each in found.segments} == {(None, "not reliable")}
    ranged = bowerbird.evaluate(log, reward_range=(0.0, 120.0))
    assert ranged.verdict.level != "not reliable"
    assert all(each.low is not None and each.high is not None and each.high > 10.2 for each in ranged.estimates)


def feedback_of(rows: int = 400) -> dict[str, Any]:
    log = columns(rows)
    feedback = {"action": log["action"], "reward": log["reward"], "pscore": log["propensity"], "position": None}
    return {**feedback, "n_actions": ACTIONS, "action_dist": np.array(log["target_pmf"])[:, :, None]}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"columns": {"unit": "user_id"}}, "columns: found unit for a bandit feedback of obp"),
        ({"columns": {"propensity": "pscore"}}, "columns: found propensity for a bandit feedback of obp"),
        ({"segments": ["user_id"]}, "segments: found user_id for a bandit feedback of obp"),
        ({"segments": "user_id"}, "segments: found user_id for a bandit feedback of obp"),
        ({"format": "csv"}, "format: found csv with data in memory, expected none"),
        ({"prefix": "x"}, "prefix: found x with data in memory, expected none"),
    ],
)
def test_what_a_bandit_feedback_can_not_have_is_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(WrongConfiguration, match=message):
        bowerbird.evaluate({**feedback_of(), "user_id": np.arange(400) // 20}, **options)


def test_a_table_may_have_a_column_pscore() -> None:
    log = columns(400)
    plain = {"reward": log["reward"], "propensity": log["propensity"], "target": np.full(400, 0.5)}
    expected = bowerbird.evaluate(plain)
    named = {"click": plain["reward"], "pscore": plain["propensity"], "new": plain["target"]}
    by_columns = {"reward": "click", "propensity": "pscore", "target": "new"}
    assert bowerbird.evaluate(named, columns=by_columns).snips == expected.snips
    assert bowerbird.evaluate({**plain, "pscore": np.ones(400)}).snips == expected.snips
    of_users = {**named, "action": log["action"], "who": np.arange(400) // 20}
    assert bowerbird.evaluate(of_users, columns={**by_columns, "unit": "who"}).estimates[0].interval == "clustered"


@pytest.mark.parametrize("name", ["reward", "pscore", "action", "action_dist"])
def test_masked_values_of_a_bandit_feedback_are_refused(name: str) -> None:
    feedback = feedback_of()
    values = np.array(feedback[name])
    mask = np.zeros(values.shape, dtype=bool)
    mask[7] = True
    hidden = np.ma.array(values, mask=mask)
    with pytest.raises(BadInput, match=f"row 7: {name}: found a masked value, expected a number"):
        bowerbird.evaluate({**feedback, name: hidden})
    nothing_hidden = np.ma.array(values, mask=False)
    assert bowerbird.evaluate({**feedback, name: nothing_hidden}).ips == bowerbird.evaluate(feedback).ips


@pytest.fixture(scope="module")
def archived(tmp_path_factory: pytest.TempPathFactory) -> str:
    """An archive with outcomes of two policies, of another system, and some that were not to be learned."""
    folder = tmp_path_factory.mktemp("archive")
    archive_of(busy_world(200), folder)
    return str(folder)


@pytest.mark.parametrize("external", [False, True])
@pytest.mark.parametrize("library", ["pyarrow", "pandas", "polars", "lazy"])
def test_outcomes_that_were_read_are_the_log_that_their_path_is(archived: str, library: str, external: bool) -> None:
    frame = bowerbird.read(archived, lazy=library == "lazy")
    if library in ("pandas", "polars"):
        frame = frame.to_pandas() if library == "pandas" else pl.from_arrow(frame)
    found = bowerbird.evaluate(frame, "uniform", placement="front", external=external, segments="why")
    expected = bowerbird.evaluate(archived, "uniform", placement="front", external=external)
    for name in ("ips", "snips"):
        one, other = by_name(found)[name], by_name(expected)[name]
        assert (one.value, one.low, one.high) == (other.value, other.low, other.high)
    assert (found.rows, found.verdict.level) == (expected.rows, expected.verdict.level)


def test_outcomes_that_were_read_may_bring_a_target_of_their_own(archived: str) -> None:
    outcomes = bowerbird.read(archived, lazy=True).filter(placement="front")
    mine = outcomes.with_columns(mine=1 / pl.col("actions").list.len())
    found = bowerbird.evaluate(mine, "mine", columns={"target": "mine"})
    assert found.target == "mine"
    assert found.ips == pytest.approx(bowerbird.evaluate(archived, "uniform", placement="front").ips, rel=1e-12)


def test_outcomes_in_memory_leave_out_what_their_path_does() -> None:
    """Decisions that are still open, and a propensity that no learner takes; all windows that closed count."""
    frame = pa.Table.from_pylist(
        [
            {
                "event_id": str(seq),
                "placement": "front",
                "policy": "front",
                "policy_version": "1-0",
                "chosen": "a",
                "propensity": propensity,
                "reward": reward,
                "learn": learn,
                "places": 1,
                "why": why,
                "decided_at": dt.datetime.fromtimestamp(seq, dt.UTC),
                "actions": [{"id": "a"}, {"id": "b"}],
            }
            for seq, why, reward, learn, propensity in (
                (1, "window", 0.0, True, 0.5),
                (2, "early", 1.0, True, 0.5),
                (3, "early", 1.0, True, 2.0**-70),
                (4, "window", 0.0, False, 0.5),
                (5, "early", 1.0, True, 0.5),
                (6, "early", 1.0, True, 0.5),
            )
        ]
    )
    found = bowerbird.evaluate(frame, "uniform")
    assert (found.rows, found.ips) == (2, 0.5)
    with pytest.raises(BadInput, match=r"found 2 open, expected a decision that can be used\. Open are"):
        bowerbird.evaluate(frame.slice(4), "uniform")


def test_outcomes_whose_last_windows_closed_early_are_the_log_that_their_path_is(tmp_path: Path) -> None:
    world = busy_world(200)
    end = world.watermark_ms
    for number in range(20):
        event_id, now = f"last-{number}", end + 100 * number
        world.append("decisions", 0, now, decision(event_id))
        world.append("purchases", 0, now + 50, {"event_id": event_id, "value": 1.0})
    archive_of(world.run(end + 5_000), tmp_path)
    frame = bowerbird.read(tmp_path)
    last = frame.filter(pc.equal(frame.column("placement"), "front")).column("why").to_pylist()[-20:]
    assert last == ["early"] * 20
    found = bowerbird.evaluate(frame, "uniform", placement="front")
    expected = bowerbird.evaluate(tmp_path, "uniform", placement="front")
    assert (found.rows, found.ips, found.snips) == (expected.rows, expected.ips, expected.snips)
    assert expected.left_out["open"] == 20


@pytest.mark.parametrize(
    ("topic", "options", "message"),
    [
        ("rewards", {"target": "uniform"}, "placement: found none, expected one of those in the log: front, side"),
        (
            "rewards",
            {"target": "uniform", "placement": "f"},
            "placement: found no outcome of f, expected one of those in",
        ),
        ("rewards", {"target": "front@2", "placement": "front"}, "or give the path of an archive"),
        ("decisions", {"target": "uniform"}, "log: found rows of an archive without the columns of an outcome"),
        ("versions", {}, "log: found rows of an archive without the columns of an outcome"),
    ],
)
def test_what_was_read_and_cannot_be_judged_says_what_to_give(
    archived: str, topic: str, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(WrongConfiguration, match=message):
        bowerbird.evaluate(bowerbird.read(archived, topic), **options)


def test_a_placement_is_no_option_of_a_table() -> None:
    with pytest.raises(WrongConfiguration, match="placement: expected none with data in memory"):
        bowerbird.evaluate(columns(10), placement="front")


@pytest.mark.parametrize("model", ["auto", "constant", "vw"])
def test_a_model_on_an_archive(tmp_path: Path, model: str) -> None:
    archive_of(busy_world(200), tmp_path)
    request = EvaluationRequest(str(tmp_path), target="uniform", placement="front", model=model)
    found = evaluated(request, "again", lambda _: silent)
    assert {"ips", "snips", "dm", "dr", "sndr"} <= set(by_name(found))
    assert by_name(found)["dm"].low is None
    assert found.how.model is not None
    assert found.how.command == "again"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"estimators": ("dr",)}, "estimator dr: found no reward model"),
        ({"estimators": ("best",)}, "estimator: found 'best', expected one of ips"),
        ({"model": "vw"}, "--model vw: found a log without contexts and features, expected outcomes of Bowerbird"),
        ({"resamples": -1}, "resamples: found -1"),
        ({"seed": -1}, "seed: found -1"),
        ({"reward_range": (1.0, 1.0)}, "reward range: found 1 to 1"),
        ({"columns": {"reward": "clicks"}}, "reward: found 0 columns clicks"),
    ],
)
def test_what_cannot_be_asked_is_refused_by_name(options: Mapping[str, Any], message: str) -> None:
    with pytest.raises(WrongConfiguration, match=message):
        bowerbird.evaluate(columns(100), **options)


@pytest.mark.parametrize(
    ("left_out", "options", "message"),
    [
        (("pmf",), {"target": "uniform"}, "uniform: found no column pmf or actions, whose length is the number"),
        (("pmf",), {"against": "uniform"}, "uniform: found no column pmf or actions, whose length is the number"),
        (("target_pmf",), {}, "--target: found no column target, target_pmf or weight in the dict"),
        ((), {"segments": ["none"]}, "segment none: found no row that has it"),
        (
            (),
            {"expected_shares": {"1": 0.7}, "fixed_loggers": True},
            "expected share: found none of 2, expected one of",
        ),
        (
            ("version",),
            {"expected_shares": {"1": 0.7}},
            "found a log that names no versions, expected a column version",
        ),
    ],
)
def test_what_would_be_misunderstood_is_refused(
    left_out: tuple[str, ...], options: Mapping[str, Any], message: str
) -> None:
    log = columns(200) | {"version": np.arange(200) // 100 + 1, "none": pa.nulls(200, pa.string())}
    for name in left_out:
        del log[name]
    with pytest.raises(WrongConfiguration, match=message):
        bowerbird.evaluate(log, **options)


def test_balanced_weights_need_loggers_that_ran_at_the_same_time() -> None:
    log = columns(6000) | {"mean_propensity": columns(6000)["propensity"]}
    at_once = {**log, "version": np.where(np.arange(6000) % 2, "a", "b")}
    apart = {**log, "version": np.where(np.arange(6000) < 3000, "a", "b")}
    assert "not_at_the_same_time" not in [each.name for each in bowerbird.evaluate(at_once, fixed_loggers=True).health]
    found = bowerbird.evaluate(apart, fixed_loggers=True)
    assert found.verdict.level == "use with care"
    assert "a had ended when b began" in found.verdict.sentence


def test_a_log_without_rows_is_refused() -> None:
    with pytest.raises(BadInput, match="rows: found none at all"):
        bowerbird.evaluate(pa.table({"reward": [1.0], "propensity": [1.0], "target": [1.0]}).slice(1))


def test_two_policies_are_compared_on_the_same_rows(tmp_path: Path) -> None:
    archive_of(busy_world(200), tmp_path)
    one = EvaluationRequest(str(tmp_path), "front@2", placement="front", model="none")
    both = dataclasses.replace(one, against="uniform", estimators=("snips",))
    found = evaluated(both, "", lambda _: silent)
    target = evaluated(one, "", lambda _: silent)
    uniform = bowerbird.evaluate(tmp_path, "uniform", placement="front", model="none")
    assert found.difference is not None
    assert found.difference.against == "uniform"
    assert found.difference.value == pytest.approx(target.snips - uniform.snips, abs=1e-12)
    itself = evaluated(
        EvaluationRequest(str(tmp_path), target="uniform", against="uniform", placement="front"),
        "",
        lambda _: silent,
    )
    assert itself.difference is not None
    assert (itself.difference.value, itself.difference.shows) == (0.0, False)


@pytest.mark.parametrize("against", ["uniform", "front@1"])
def test_a_policy_of_one_placement_is_compared_without_naming_it(archived: str, against: str) -> None:
    named = bowerbird.evaluate(archived, "front@2", against=against, placement="front", model="none")
    found = bowerbird.evaluate(archived, "front@2", against=against, model="none")
    assert found.difference == named.difference


def with_another(rows: int) -> tuple[dict[str, Any], Any]:
    """Return a log with the probabilities of another policy, and what it gives to the logged action."""
    log = columns(rows)
    other = np.tile([0.4, 0.3, 0.2, 0.1], (rows, 1))
    return {**log, "other": list(other)}, other[np.arange(rows), log["action"]]


def test_a_table_tells_two_policies(tmp_path: Path) -> None:
    table, of_logged = with_another(3000)
    weight = of_logged / table["propensity"]
    snips = (weight * table["reward"]).sum() / weight.sum()
    pq.write_table(pa.table(table), tmp_path / "log.parquet")
    named = {"against_pmf": "other"}
    feedback = {name: table[name] for name in ("reward", "action")} | {"pscore": table["propensity"]}
    feedback |= {name: np.stack(table[column])[:, :, None] for name, column in OBP.items()}
    for found, called in (
        (bowerbird.evaluate(table, columns=named), "against"),
        (bowerbird.evaluate(table, columns=named, against="old"), "old"),
        (bowerbird.evaluate({**table, "o": of_logged}, columns={"against": "o"}), "against"),
        (bowerbird.evaluate(feedback), "against"),
        (bowerbird.evaluate(tmp_path / "log.parquet", columns=named, against="old"), "old"),
    ):
        assert found.difference is not None
        assert found.difference.against == called
        assert found.difference.value == pytest.approx(found.snips - snips, abs=1e-12)
        assert found.difference.low < found.difference.value < found.difference.high


OBP = {"pi_b": "pmf", "action_dist": "target_pmf", "against_dist": "other"}


def test_what_a_table_does_not_tell_is_not_compared(tmp_path: Path) -> None:
    table = columns(100)
    pq.write_table(pa.table(table), tmp_path / "log.parquet")
    for log in (table, tmp_path / "log.parquet"):
        with pytest.raises(WrongConfiguration, match=r"against: found old and no"):
            bowerbird.evaluate(log, against="old")
        with pytest.raises(WrongConfiguration, match="found 0 columns other"):
            bowerbird.evaluate(log, columns={"against": "other"})
        with pytest.raises(WrongConfiguration, match="--column: found rewards, expected a field: one of reward, "):
            bowerbird.evaluate(log, columns={"rewards": "click"})


@pytest.mark.parametrize("none", ["-", ""])
def test_no_column_of_another_policy_is_none(none: str) -> None:
    found = bowerbird.evaluate(columns(100), columns={"against": none, "against_pmf": none})
    assert found.difference is not None
    assert found.difference.against == "logged"


def test_what_gives_its_rows_once_is_refused() -> None:
    with pytest.raises(WrongConfiguration, match="log: found a reader, which gives its rows once, expected a table"):
        bowerbird.evaluate(pa.table(columns(100)).to_reader())


def test_the_policy_that_is_compared_is_looked_at_too() -> None:
    """The log never shows the action that the other policy takes, which is the best one."""
    chance = np.random.default_rng(1)
    action = chance.integers(0, 2, 10_000)
    log = {
        "reward": (chance.random(10_000) < 0.3).astype(float),
        "action": action,
        "pmf": list(np.tile([0.5, 0.5, 0.0], (10_000, 1))),
        "target_pmf": list(np.tile([0.7, 0.3, 0.0], (10_000, 1))),
        "old": list(np.tile([0.05, 0.0, 0.95], (10_000, 1))),
    }
    assert bowerbird.evaluate(log).verdict.level == "reliable"
    found = bowerbird.evaluate(log, columns={"against_pmf": "old"}, against="old")
    assert found.verdict.level == "not reliable"
    assert found.verdict.sentence.startswith("not reliable: of old: ")


def test_rows_that_the_compared_policy_has_learned_are_a_fault(tmp_path: Path) -> None:
    archive_of(busy_world(200), tmp_path)
    found = bowerbird.evaluate(tmp_path, "uniform", against="front@2", placement="front", fixed_loggers=True)
    assert found.verdict.level == "not reliable"
    assert any(each.name == "against_learned" and each.wrong for each in found.health)


@pytest.mark.parametrize("estimators", [["ips"], ["clipped-ips"], []])
@pytest.mark.parametrize("fixed_loggers", [True, False])
def test_the_headline_is_among_the_estimates(tmp_path: Path, estimators: list[str], fixed_loggers: bool) -> None:
    archive_of(busy_world(200), tmp_path)
    found = bowerbird.evaluate(
        tmp_path, "uniform", placement="front", estimators=estimators, fixed_loggers=fixed_loggers, model="action-means"
    )
    assert found.headline in by_name(found)


def test_rows_of_an_arm_that_were_lost_are_a_fault() -> None:
    table = columns(4000)
    table["version"] = np.where(np.arange(4000) % 2, "a", "b")
    lost = pa.table(table).filter(pa.array((np.arange(4000) % 2 == 0) | (np.arange(4000) % 10 != 1)))
    shares = {"a": 0.5, "b": 0.5}

    def wrong(log: Any) -> list[str]:
        found = bowerbird.evaluate(log, fixed_loggers=True, expected_shares=shares)
        return [each.name for each in found.health if each.wrong]

    assert wrong(table) == []
    assert wrong(lost) == ["shares"]
    with pytest.raises(WrongConfiguration, match="expected share: found version c, expected one of the log's: b, a"):
        bowerbird.evaluate(table, expected_shares={"c": 1.0})


def test_one_estimator_may_be_named_without_a_list() -> None:
    table = {"reward": [1, 0] * 500, "propensity": [0.5] * 1000, "target": [0.5] * 1000}
    found = bowerbird.evaluate(table, estimators="clipped-ips")
    assert any(each.estimator.startswith("clipped-ips") for each in found.estimates)
    with pytest.raises(WrongConfiguration, match="estimator: found 'clipped', expected one of"):
        bowerbird.evaluate(table, estimators="clipped")
