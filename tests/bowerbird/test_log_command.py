"""``bowerbird log describe``: what it says of a log, the keys for a machine, and exit codes with a sentence."""

import json
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv
import pyarrow.feather
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from bowerbird.cli import app
from records.codec import encode
from tests.replay.archived import archive_of
from tests.replay.world import World, busy_world

RUNNER = CliRunner()
CSV = """timestamp,item_id,position,click,propensity_score,user-item_affinity_0,user-item_affinity_1
2019-11-24 00:00:01+00:00,0,1,1,0.5,0.0,0.0
2019-11-24 00:00:02+00:00,1,2,0,0.25,0.0,0.0
"""


def run(*arguments: object, code: int = 0) -> str:
    result = RUNNER.invoke(app, ["log", "describe", *map(str, arguments)])
    assert result.exit_code == code, result.output
    assert "Traceback" not in result.output
    return result.stdout if code == 0 else result.output


@pytest.fixture(scope="module")
def world() -> World:
    return busy_world(120)


@pytest.fixture(scope="module")
def archive(world: World, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("archive")
    archive_of(world, folder)
    return folder


@pytest.fixture(scope="module")
def lines(world: World, tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("lines") / "log.jsonl"
    file.write_bytes(b"".join(encode(outcome) + b"\n" for _, outcome in world.outcomes()))
    return file


@pytest.fixture
def table(tmp_path: Path) -> Path:
    columns: dict[str, Any] = {"click": [1, 0, 0], "p": [0.5, 0.25, 0.25], "action": ["a", "b\n", "[red]b"]}
    pq.write_table(pa.table(columns), tmp_path / "shown.parquet")
    return tmp_path / "shown.parquet"


@pytest.fixture
def csv(tmp_path: Path) -> Path:
    (tmp_path / "log.csv").write_text(CSV)
    return tmp_path / "log.csv"


def test_the_keys_for_a_machine_are_the_same_for_all_origins(world: World, archive: Path, lines: Path) -> None:
    of_archive, of_lines = (json.loads(run(path, "--json", "--segment", "day")) for path in (archive, lines))
    learned = [outcome for _, outcome in world.outcomes() if outcome.learn]
    assert of_archive["rows"] == len(learned)
    assert of_archive["left_out"] == {
        why: sum(not outcome.learn and outcome.why == why for _, outcome in world.outcomes())
        for why in ("conflicting", "expired", "not_activated")
    }
    assert of_archive["rewards"]["mean"] == pytest.approx(sum(outcome.reward for outcome in learned) / len(learned))
    assert (of_archive["from_ms"], of_archive["to_ms"]) == (
        min(outcome.decision_position.time_ms for outcome in learned),
        max(outcome.decision_position.time_ms for outcome in learned),
    )
    versions = {group["name"]: group["rows"] for group in of_archive["versions"]}
    assert versions["front@external"] == sum(
        (outcome.policy, outcome.policy_version) == ("front", "external") for outcome in learned
    )
    assert sum(versions.values()) == sum(group["rows"] for group in of_archive["actions"]) == of_archive["rows"]
    assert of_archive["propensities"]["least"] == 0.25
    assert of_archive["segments"]["day"][0]["name"] == "1970-01-01"
    assert {finding["name"] for finding in of_archive["health"]} >= {"mean_weight", "draws"}
    but = {"log": "", "format": ""}
    assert {**of_archive, **but} == {**of_lines, **but}
    assert (of_archive["format"], of_lines["format"]) == ("bowerbird", "json-lines")


def test_the_folder_above_an_archive_names_it(archive: Path, tmp_path: Path) -> None:
    (tmp_path / "archive").symlink_to(archive)
    assert f"expected the archive: name {tmp_path / 'archive'}" in run(tmp_path, "--placement", "front", code=2)
    assert f"expected an archive: name {tmp_path / 'archive'}" in run(tmp_path, "--format", "bowerbird", code=2)


def test_one_policy(world: World, archive: Path) -> None:
    description = json.loads(run(archive, "--placement", "side", "--json"))
    assert {group["name"].partition("@")[0] for group in description["versions"]} == {"side"}
    assert description["rows"] == sum(outcome.learn and outcome.policy == "side" for _, outcome in world.outcomes())


def test_for_a_person(archive: Path, table: Path, csv: Path) -> None:
    output = run(archive)
    for text in (
        "rows                 92",
        "left out",
        "expired",
        "1970-01-01",
        "front@0-00000000",
        "healthy",
        "of all actions",
    ):
        assert text in output
    output = run(table, "--column", "reward=click", "--column", "propensity=p")
    for text in ("of the logged action alone", "33.33% not 0", "'b\\n'", "[red]b"):
        assert text in output
    output = run(csv)
    for text in ("open-bandit", "rows                 2", "2019-11-24 00:00:01 to 2019-11-24 00:00:02 (UTC)"):
        assert text in output


@pytest.mark.parametrize("suffix", ["csv", "parquet", "feather"])
def test_a_column_that_looks_like_the_time_is_named(suffix: str, tmp_path: Path) -> None:
    file, rows = tmp_path / f"shown.{suffix}", 3
    columns = pa.table({"reward": [1, 0, 0], "propensity": [0.5] * rows, "Timestamp": [1_764_000_000_000 + 1] * rows})
    if suffix == "csv":
        pa.csv.write_csv(columns, file)
    elif suffix == "parquet":
        pq.write_table(columns, file)
    else:
        pa.feather.write_feather(columns, str(file))
    hint = "name it with --column time=Timestamp"
    assert hint in run(file)
    assert hint in run(file, "--json")
    named = run(file, "--column", "time=Timestamp")
    assert "2025-11-24" in named
    assert hint not in named
    assert hint not in run(file, "--column", "time=-")


def test_what_is_wrong_is_said_and_many_names_are_summed_up(tmp_path: Path) -> None:
    rows = 3000
    columns = {
        "reward": [float(number % 2) for number in range(rows)],
        "pmf": [[0.9, 0.1]] * rows,
        "action": [number % 2 for number in range(rows)],
        "version": [f"v{number % 12}" for number in range(rows)],
    }
    pq.write_table(pa.table(columns), tmp_path / "a.parquet")
    output = run(tmp_path / "a.parquet")
    assert "wrong" in output
    assert "healthy" not in output
    assert "2 more" in output


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nothing"], "nothing: found nothing there, expected a log"),
        (["nothing.jsonl"], "found no such file, expected JSON lines"),
        (["nothing.parquet"], "found no file, expected a table"),
        (["nothing", "--format", "bowerbird"], "expected an archive"),
        (["nothing.toml"], "nothing.toml"),
        (["ARCHIVE", "--format", "csv"], "--format: found csv, expected one of bowerbird, json-lines"),
        (["ARCHIVE", "--column", "reward=click"], "--column: expected none with --format bowerbird"),
        (["TABLE", "--placement", "front"], "--placement: expected none with --format table"),
        (["TABLE", "--prefix", "x-"], "--prefix: expected none with --format table"),
        (["TABLE"], "reward: found no column of this name among click, p, action"),
        (["TABLE", "--column", "reward"], "--column: found reward, expected FIELD=COLUMN"),
        (["TABLE", "--column", "price=click"], "--column: found price, expected a field: one of reward, "),
        (["ARCHIVE", "--segment", "taste"], "segment: found taste, expected one of policy_version"),
        (["CSV", "--segment", "city"], "segment: found no column city"),
        ([], "PATH"),
    ],
)
def test_wrong_use_ends_with_2_and_a_sentence(
    archive: Path,
    table: Path,
    csv: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    places = {"ARCHIVE": str(archive), "TABLE": str(table), "CSV": str(csv)}
    assert message in run(*(places.get(argument, argument) for argument in arguments), code=2)


def test_a_damaged_log_ends_with_1_and_a_sentence(lines: Path, tmp_path: Path) -> None:
    (tmp_path / "log.jsonl").write_bytes(lines.read_bytes() + b"{}\n")
    count = lines.read_bytes().count(b"\n")
    output = run(tmp_path / "log.jsonl", code=2)
    assert output.strip() == f"log.jsonl, line {count + 1}: placement: found null, expected a value (bad_log)"


def test_without_the_extra_it_says_what_to_install(lines: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    monkeypatch.delitem(sys.modules, "replay.evaluation.logs.json_outcomes", raising=False)
    assert "log describe: pyarrow is not installed: pip install 'bowerbird[evaluate]'" in run(lines, code=2)


def test_the_progress_is_not_shown_to_a_machine(lines: Path) -> None:
    assert RUNNER.invoke(app, ["log", "describe", str(lines), "--json"]).stderr == ""


def test_rounded_probabilities_are_read_with_a_warning(tmp_path: Path) -> None:
    rows = {"reward": [0, 1] * 50, "action": [0, 1] * 50, "pmf": [[0.333332, 0.333332, 0.333332]] * 100}
    pq.write_table(pa.table(rows), tmp_path / "six.parquet")
    result = RUNNER.invoke(app, ["log", "describe", str(tmp_path / "six.parquet")])
    assert result.exit_code == 0, result.output
    assert "warning: pmf: found probabilities that were rounded" in result.stderr


def test_a_log_in_which_all_is_open_is_not_called_healthy(tmp_path: Path) -> None:
    """Every window was closed early, as by visitors who all click or leave."""
    outcomes = [outcome for _, outcome in busy_world(60).outcomes() if outcome.policy == "front" and outcome.learn]
    lines = [
        json.loads(encode(outcome)) | {"shard": 0, "outcome_seq": seq, "why": "early"}
        for seq, outcome in enumerate(outcomes, 1)
        if outcome.policy_version != "external"
    ]
    lines = [line | {"outcome_seq": seq} for seq, line in enumerate(lines, 1)]
    (tmp_path / "log.jsonl").write_text("\n".join(map(json.dumps, lines)))
    output = run(tmp_path / "log.jsonl")
    assert "too early no decision can be evaluated yet" in output
    assert "take a stream out of close_on" in output
    assert "healthy" not in output
