"""Balanced weights in an evaluation: of an archive, a table, and what is said where they are wrong or not known."""

import json
import pickle
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

import bowerbird
from bowerbird import all_loggers
from bowerbird.all_loggers import with_all_loggers
from bowerbird.cli import app
from bowerbird.evaluation_request import EvaluationRequest
from bowerbird.log_formats.log_format import format_for
from records.codec import encode
from records.errors import BadInput, StateRefused, WrongConfiguration
from replay.evaluation.answer import Answer
from replay.evaluation.estimators.estimator import Estimator
from replay.evaluation.estimators.importance import InversePropensity, SelfNormalised
from replay.evaluation.estimators.loggers import balanced, shares_of
from replay.evaluation.evaluate import Parts, evaluate
from replay.evaluation.logs import chunk
from replay.evaluation.logs.chunk import silent
from replay.evaluation.options import Options
from replay.evaluation.result import How
from replay.evaluation.rows import EvaluationRows
from replay.evaluation.scan import PolicyLogs
from tests.replay.archived import archive_of
from tests.replay.arms import Arm, arms_world, by_hand
from tests.replay.world import World, busy_world

HOW = How(command="", bowerbird="", log="", format="", estimand="", model=None, resamples=0, digest="")
BALANCED = ("balanced-ips", "balanced-snips", "balanced-dr")
PLAIN: dict[str, Estimator] = {"balanced-ips": InversePropensity(), "balanced-snips": SelfNormalised()}


def by_name(found: Answer) -> dict[str, Any]:
    return {each.estimator: each for each in found.estimates}


def says(found: Answer, name: str) -> list[str]:
    return [each.says for each in found.health if each.name == name]


# ----- an archive


@pytest.fixture(scope="module")
def arms() -> tuple[World, list[Arm]]:
    return arms_world()


@pytest.fixture(scope="module")
def archive(arms: tuple[World, list[Arm]], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("arms")
    archive_of(arms[0], folder, files=3)
    return folder


def test_every_version_of_an_archive_is_asked(arms: tuple[World, list[Arm]], archive: Path) -> None:
    world, versions = arms
    rows = by_hand(world, versions)
    reward, propensity, each = (np.array([row[field] for row in rows]) for field in range(3))
    own = np.array([row.own for row in rows])
    assert set(own) == {0, 1, 2}
    # The arms differ, and so do the weights.
    assert np.abs(each[:, 1] - each[:, 2]).max() > 0.5
    plain = EvaluationRows(reward=reward, propensity=propensity, target=np.full(len(reward), 1 / 3))
    even = balanced(plain, each, shares_of(own, 3))
    found = bowerbird.evaluate(archive, "uniform", placement="front", fixed_loggers=True)
    for name, estimator in PLAIN.items():
        assert by_name(found)[name].value == pytest.approx(estimator.estimate(even), rel=1e-12)
    assert found.ips == pytest.approx(InversePropensity().estimate(plain), rel=1e-12)
    assert found.headline == "balanced-dr"
    # What is believed is what is looked at.
    assert found.max_weight == pytest.approx(even.weight.max(), rel=1e-12)
    assert even.weight.max() < 0.5 * plain.weight.max()
    assert found.difference is not None
    assert found.difference.value == pytest.approx(by_name(found)["balanced-dr"].value - reward.mean(), abs=1e-12)


def test_both_policies_that_are_compared_are_balanced(arms: tuple[World, list[Arm]], archive: Path) -> None:
    options: dict[str, Any] = {"placement": "front", "fixed_loggers": True, "model": "none"}
    both = bowerbird.evaluate(archive, "front@1", against="uniform", **options)
    one, other = (bowerbird.evaluate(archive, each, **options) for each in ("front@1", "uniform"))
    values = [by_name(each)["balanced-snips"].value for each in (one, other)]
    assert both.difference is not None
    assert both.difference.value == pytest.approx(values[0] - values[1], abs=1e-12)


@pytest.mark.parametrize("parts", [1, 2, 7])
def test_nothing_hangs_on_the_number_of_parts(archive: Path, monkeypatch: pytest.MonkeyPatch, parts: int) -> None:
    monkeypatch.setattr(chunk, "BLOCK_ROWS", 16)
    request = EvaluationRequest(str(archive), target="front@1", placement="front")
    options = Options(fixed_loggers=True, resamples=16)
    logs = with_all_loggers(request, PolicyLogs(format_for(request).target(request)), lambda _: silent)
    assert logs.lacks == ""
    # They can be sent to other processes.
    logs = pickle.loads(pickle.dumps(logs))
    alone = evaluate(logs, HOW, options, lambda _: silent)
    with ThreadPoolExecutor(2) as executor:
        shared = evaluate(logs, HOW, options, lambda _: silent, Parts(executor, parts))
    assert alone.headline == "balanced-dr"
    assert msgspec.json.encode(alone) == msgspec.json.encode(shared)


def test_processes_share_the_log(archive: Path) -> None:
    runner = CliRunner()

    def evaluated(*more: str) -> Any:
        arguments = ["replay", "evaluate", str(archive), "--target", "uniform", "--placement", "front", "--json", *more]
        result = runner.invoke(app, [*arguments, "--fixed-loggers"])
        assert result.exit_code == 0, result.output
        return json.loads(result.stdout)

    alone, shared = evaluated(), evaluated("--workers", "2")
    assert alone["headline"] == "balanced-dr"
    assert alone["how"]["digest"] == shared["how"]["digest"]


def test_nobody_is_asked_where_estimators_are_named(archive: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(all_loggers, "archived_policy", None)
    choices: list[dict[str, Any]] = [{"fixed_loggers": True, "estimators": ["dr"]}, {}]
    for options in choices:
        result = bowerbird.evaluate(archive, "uniform", placement="front", **options)
        assert not {*by_name(result)} & {*BALANCED}
        assert says(result, "not_balanced") == []


def test_the_versions_of_a_learner_are_said_to_be_biased(archive: Path) -> None:
    found = bowerbird.evaluate(archive, "uniform", placement="front", estimators=["balanced-snips"])
    assert found.headline == "dr"
    assert found.verdict.level != "reliable"
    assert any("biased over the versions of one learner" in each for each in found.verdict.reasons)
    assert len(says(found, "balanced_over_versions")) == 1
    biased = by_name(found)["balanced-snips"]
    assert biased.interval == "none: the bias over the versions of a learner is unknown"
    assert biased.low is None
    assert biased.high is None
    fixed = bowerbird.evaluate(archive, "uniform", placement="front", estimators=["balanced-snips"], fixed_loggers=True)
    assert fixed.headline == "balanced-snips"
    assert says(fixed, "balanced_over_versions") == []
    assert by_name(fixed)["balanced-snips"].interval == "delta"
    assert by_name(fixed)["balanced-snips"].value == by_name(found)["balanced-snips"].value


@pytest.mark.parametrize("versions", [1, 2])
def test_the_verdict_on_a_good_log_does_not_hide_it(versions: int) -> None:
    columns = shown(20_000)
    columns["version"] = np.arange(20_000) * versions // 20_000
    columns["mean_propensity"] = columns["propensity"] = np.full(20_000, 1 / 3)
    del columns["target"]
    columns["weight"] = np.ones(20_000)
    plain = bowerbird.evaluate(columns)
    assert plain.verdict.level == "reliable"
    found = bowerbird.evaluate(columns, estimators=["balanced-snips"])
    assert found.verdict.level == ("reliable" if versions == 1 else "use with care")
    assert ("biased over the versions" in found.verdict.sentence) == (versions == 2)
    assert by_name(found)["balanced-snips"].interval.startswith("none: the bias") == (versions == 2)


def test_what_an_archive_lacks_is_said(
    arms: tuple[World, list[Arm]], archive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def both(path: Path, lacks: str) -> None:
        with pytest.raises(WrongConfiguration, match=f"^estimator balanced-ips: {lacks}"):
            bowerbird.evaluate(path, "uniform", placement="front", estimators=["balanced-ips"])
        found = bowerbird.evaluate(path, "uniform", placement="front", fixed_loggers=True)
        assert found.headline == "dr"
        assert lacks in says(found, "not_balanced")[0]

    world, _ = arms
    monkeypatch.setattr(all_loggers, "MOST", 2)
    both(archive, "found 3 versions, expected at most 2: each takes a prediction a row")
    monkeypatch.undo()
    archive_of(busy_world(200), tmp_path / "busy")
    with pytest.raises(WrongConfiguration, match="balanced-ips: found decisions of another system"):
        bowerbird.evaluate(tmp_path / "busy", "uniform", placement="front", external=True, estimators=["balanced-ips"])
    lost = World()
    lost.logs, lost.versions = world.logs, world.versions[:1]
    archive_of(lost, tmp_path / "lost")
    both(
        tmp_path / "lost",
        f"found version {world.versions[1].version} of front, expected one that the archive has: 0 to 1",
    )


def change_the_last(world: World, **changes: Any) -> None:
    """Change what the last outcome says of its decision."""
    index, outcome = world.outcomes()[-1]
    decision = json.loads(bytes(outcome.decision)) | changes
    chosen = [each["id"] for each in decision["actions"]].index(decision["chosen"])
    decision["propensity"] = decision["pmf"][chosen]
    changed = msgspec.json.decode(encode(outcome)) | {"decision": decision, "propensity": decision["propensity"]}
    message = world.logs["rewards", 0][index]
    world.logs["rewards", 0][index] = message._replace(value=json.dumps([changed]).encode())


def test_rows_that_nobody_can_be_asked_about_are_left_out(tmp_path: Path) -> None:
    world, versions = arms_world()
    rows = by_hand(world, versions)[:-1]
    change_the_last(world, context={"taste": {"of": {"what": 1}}})
    archive_of(world, tmp_path)
    found = bowerbird.evaluate(tmp_path, "uniform", placement="front", fixed_loggers=True, model="none")
    assert found.left_out["refused"] == 1
    reward, propensity, each = (np.array([row[field] for row in rows]) for field in range(3))
    plain = EvaluationRows(reward=reward, propensity=propensity, target=np.full(len(rows), 1 / 3))
    even = balanced(plain, each, shares_of(np.array([row.own for row in rows]), 3))
    assert by_name(found)["balanced-ips"].value == pytest.approx(InversePropensity().estimate(even), rel=1e-12)


def test_a_probability_that_its_version_would_not_have_given_is_refused(tmp_path: Path) -> None:
    world, _ = arms_world()
    change_the_last(world, pmf=[0.25, 0.25, 0.5])
    archive_of(world, tmp_path)
    bowerbird.evaluate(tmp_path, "uniform", placement="front")
    with pytest.raises(
        StateRefused, match=r"propensity in archive file .*: found 0\.\d+, expected .* as version [12]-"
    ):
        bowerbird.evaluate(tmp_path, "uniform", placement="front", fixed_loggers=True)


# ----- other logs


def test_other_formats_say_what_they_lack(arms: tuple[World, list[Arm]], tmp_path: Path) -> None:
    world, _ = arms
    lines = tmp_path / "log.jsonl"
    lines.write_bytes(b"".join(encode(outcome) + b"\n" for _, outcome in world.outcomes()))
    with pytest.raises(WrongConfiguration, match="balanced-dr: found json-lines, expected an archive, whose versions"):
        bowerbird.evaluate(lines, "uniform", estimators=["balanced-dr"])
    found = bowerbird.evaluate(lines, "uniform", fixed_loggers=True)
    assert found.headline == "dr"
    assert "found json-lines" in says(found, "not_balanced")[0]
    table = {name: column for name, column in shown(100).items() if name != "mean_propensity"}
    with pytest.raises(WrongConfiguration, match="balanced-ips: found no column mean_propensity, expected the average"):
        bowerbird.evaluate(table, estimators=["balanced-ips"])
    assert "found no column mean_propensity" in says(bowerbird.evaluate(table, fixed_loggers=True), "not_balanced")[0]


TRUTH = 0.5 * 0.2 + 0.3 * 0.4 + 0.2 * 0.9


def shown(rows: int, seed: int = 1, target: tuple[float, ...] = (0.5, 0.3, 0.2)) -> dict[str, Any]:
    """Return the log of a test of two arms, which differ much, and whose shares are not the same."""
    chance = np.random.default_rng(seed)
    arms = np.array([[0.9, 0.08, 0.02], [0.05, 0.15, 0.8]])
    arm = (chance.random(rows) < 0.3).astype(int)
    action = (chance.random((rows, 1)) > arms[arm].cumsum(axis=1)).sum(axis=1).clip(0, 2)
    return {
        "reward": (chance.random(rows) < np.array([0.2, 0.4, 0.9])[action]).astype(float),
        "propensity": arms[arm, action],
        "mean_propensity": (np.bincount(arm, minlength=2) / rows @ arms)[action],
        "target": np.array(target)[action],
        "version": np.where(arm, "b", "a"),
    }


@pytest.mark.parametrize("kind", ["memory", "parquet", "csv"])
def test_a_table_tells_the_mean_of_its_loggers(tmp_path: Path, kind: str) -> None:
    columns = shown(3000)
    log: Any = columns
    if kind == "parquet":
        log = tmp_path / "shown.parquet"
        pq.write_table(pa.table(columns), log)
    elif kind == "csv":
        log = tmp_path / "shown.csv"
        lines = [",".join(columns), *(",".join(map(str, row)) for row in zip(*columns.values(), strict=True))]
        log.write_text("\n".join(lines))
    found = bowerbird.evaluate(log, fixed_loggers=True)
    weight = columns["target"] / columns["mean_propensity"]
    assert by_name(found)["balanced-ips"].value == pytest.approx((weight * columns["reward"]).mean(), rel=1e-9)
    assert found.headline == "balanced-snips"
    assert found.mean_weight == pytest.approx(weight.mean(), rel=1e-9)
    assert found.ess == pytest.approx(weight.sum() ** 2 / (weight**2).sum(), rel=1e-9)
    assert "balanced-ips" not in by_name(bowerbird.evaluate(log))


def test_balanced_values_are_without_bias_and_narrower() -> None:
    logs = [bowerbird.evaluate(shown(600, seed), fixed_loggers=True) for seed in range(200)]
    plain, even = (np.array([by_name(each)[name].value for each in logs]) for name in ("ips", "balanced-ips"))
    assert even.var() < 0.5 * plain.var()
    assert abs(even.mean() - TRUTH) < 3 * even.std() / np.sqrt(len(logs))
    for name in ("balanced-ips", "balanced-snips"):
        held = [by_name(each)[name].low <= TRUTH <= by_name(each)[name].high for each in logs]
        assert np.mean(held) >= 0.9


def test_arms_that_leave_nothing_to_chance_can_be_judged_together() -> None:
    chance = np.random.default_rng(2)
    arm = chance.integers(0, 2, 4000)
    columns = {
        "reward": (chance.random(4000) < 0.3 + 0.4 * arm).astype(float),
        "propensity": np.ones(4000),
        "mean_propensity": np.array([np.mean(arm == 0), np.mean(arm == 1)])[arm],
        "action": arm,
        "pmf": list(np.eye(2)[arm]),
        "target_pmf": [[0.25, 0.75]] * 4000,
        "version": arm,
    }
    found = bowerbird.evaluate(columns, fixed_loggers=True)
    assert found.verdict.level == "reliable"
    assert by_name(found)["balanced-snips"].low < 0.25 * 0.3 + 0.75 * 0.7 < by_name(found)["balanced-snips"].high
    del columns["mean_propensity"]
    assert bowerbird.evaluate(columns, fixed_loggers=True).verdict.level == "not reliable"


def test_a_mean_that_is_not_that_of_the_loggers_is_found() -> None:
    columns = shown(3000)
    # As if both arms had had half of the rows.
    arms = np.array([[0.9, 0.08, 0.02], [0.05, 0.15, 0.8]])
    action = np.abs(columns["target"][:, None] - np.array([0.5, 0.3, 0.2])).argmin(axis=1)
    columns["mean_propensity"] = arms.mean(axis=0)[action]
    found = bowerbird.evaluate(columns, fixed_loggers=True)
    assert found.verdict.level == "not reliable"
    assert [each.name for each in found.health if each.wrong] == ["mean_weight"]


def test_a_table_that_does_not_name_its_versions_is_believed_where_somebody_said_so() -> None:
    columns = {name: column for name, column in shown(3000).items() if name != "version"}
    assert bowerbird.evaluate(columns, fixed_loggers=True).headline == "balanced-snips"
    result = bowerbird.evaluate(columns, estimators=["balanced-snips"])
    assert result.headline == "snips"
    assert "--fixed-loggers was not given" in result.verdict.sentence


@pytest.mark.parametrize("wrong", [0.0, 1.5, float("nan")])
def test_a_mean_that_is_none_is_refused(wrong: float) -> None:
    columns = shown(10)
    columns["mean_propensity"][3] = wrong
    with pytest.raises(BadInput, match="row 3: mean_propensity: found"):
        bowerbird.evaluate(columns)


@pytest.mark.parametrize("parts", [1, 2, 7])
def test_parts_of_a_table(tmp_path: Path, parts: int) -> None:
    pq.write_table(pa.table(shown(200_000)), tmp_path / "shown.parquet", row_group_size=30_000)
    request = EvaluationRequest(str(tmp_path / "shown.parquet"))
    logs = PolicyLogs(format_for(request).target(request))
    options = Options(fixed_loggers=True)
    alone = evaluate(logs, HOW, options, lambda _: silent)
    with ThreadPoolExecutor(2) as executor:
        shared = evaluate(logs, HOW, options, lambda _: silent, Parts(executor, parts))
    assert alone.headline == "balanced-snips"
    assert msgspec.json.encode(alone) == msgspec.json.encode(shared)
