"""``bowerbird replay evaluate``: the keys that a machine reads, the table, and exit codes with a sentence."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from bowerbird.cli import app
from replay.evaluation.logs.open_bandit_log import read_target
from tests.replay.archived import archive_of
from tests.replay.world import ARGUMENTS, busy_world

RUNNER = CliRunner()
LOG = """item_id,position,click,propensity_score,user-item_affinity_0,user-item_affinity_1
0,1,1,0.5,0.0,0.0
1,2,0,0.25,0.0,0.0
"""


def run(*arguments: object, code: int = 0) -> str:
    result = RUNNER.invoke(app, ["replay", "evaluate", *map(str, arguments)])
    assert result.exit_code == code, result.output
    assert "Traceback" not in result.output
    return result.stdout if code == 0 else result.output


@pytest.fixture
def log(tmp_path: Path) -> Path:
    file = tmp_path / "log.csv"
    file.write_text(LOG)
    return file


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("archive")
    archive_of(busy_world(), folder)
    return folder


def test_the_keys_for_a_machine(log: Path, tmp_path: Path) -> None:
    np.save(tmp_path / "target.npy", np.array([[0.75, 0.5, 0.5], [0.25, 0.5, 0.5]]))
    result = json.loads(run("--format", "open-bandit", log, "--target", tmp_path / "target.npy", "--json"))
    assert result["rows"] == 2
    assert result["ips"] == pytest.approx((0.75 / 0.5) / 2)
    assert result["snips"] == pytest.approx((0.75 / 0.5) / (0.75 / 0.5 + 0.5 / 0.25))
    assert result["ess"] == pytest.approx(3.5**2 / (1.5**2 + 2**2))
    assert result["max_weight"] == 2.0
    assert result["value_logged"] == 0.5
    for name in ("ips_interval", "snips_interval", "value_logged_interval"):
        low, high = result[name]
        assert low <= result[name.removesuffix("_interval")] <= high


def test_the_table_says_what_was_left_out_and_what_the_target_had_learned(archive: Path) -> None:
    output = run(archive, "--target", "front")
    assert output.startswith("not reliable: ")
    assert "front@" in output
    assert "expired" in output
    assert "external" in output
    assert "The target has learned from" in output
    assert "learned from" not in run(archive, "--target", "uniform", "--placement", "front")


def test_a_policy_of_the_configuration_that_never_ran(archive: Path, tmp_path: Path) -> None:
    (tmp_path / "bowerbird.toml").write_text(
        f'[placements.bold]\n[policies.bold]\nkind = "vw"\narguments = "{ARGUMENTS} -q ::"\n'
    )
    config = ("--config", tmp_path / "bowerbird.toml")
    result = json.loads(run(archive, "--target", "bold", "--placement", "front", *config, "--json"))
    assert result["target"].startswith("bold@0-")
    assert result["rows"] > 5
    assert "--placement: found no outcome of bold, expected one" in run(archive, "--target", "bold", *config, code=2)
    (tmp_path / "bowerbird.toml").write_text("shards = 0\n")
    assert "line 1: shards" in run(archive, "--target", "bold", *config, code=2)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nothing", "--target", "uniform"], "expected a log"),
        (["ARCHIVE", "--target", "x.npy"], "an array has no contexts"),
        (["ARCHIVE", "--target", "front@999"], "found version 999 of front"),
        (["ARCHIVE", "--target", "uniform"], "--placement: found none, expected one of"),
        (
            ["ARCHIVE", "--target", "uniform", "--placement", "frnt"],
            "--placement: found no outcome of frnt, expected one of those in the log: front, side",
        ),
        (
            ["ARCHIVE", "--target", "uniform", "--placement", "frnt", "--workers", "2"],
            "--placement: found no outcome of frnt, expected one of those in the log: front, side",
        ),
        (["ARCHIVE", "--target", "front", "--format", "csv"], "csv"),
        (["ARCHIVE"], "--target"),
        (["--target", "uniform"], "PATH"),
        (["LOG", "--target", "front", "--format", "open-bandit"], "--target front: found no such file"),
        (["LOG", "--target", "uniform", "--format", "open-bandit", "--external"], "--external"),
        (["nothing", "--target", "uniform", "--format", "open-bandit"], "no such file"),
        (["ARCHIVE", "--target", "uniform", "--format", "open-bandit"], "expected one log"),
    ],
)
def test_wrong_use_ends_with_2_and_a_sentence(
    archive: Path, log: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    places = {"ARCHIVE": str(archive), "LOG": str(log)}
    assert message in run(*(places.get(argument, argument) for argument in arguments), code=2)


def test_the_report_is_written_and_strict_refuses_what_is_not_reliable(log: Path, tmp_path: Path) -> None:
    few = ("--format", "open-bandit", log, "--target", "uniform")
    report = tmp_path / "report.html"
    run(*few, "--html", report)
    assert "uniform" in report.read_text()
    result = json.loads(run(*few, "--json"))
    assert result["verdict"]["level"] == "not reliable"
    assert result["verdict"]["sentence"].startswith("not reliable: ")
    assert "not reliable" in run(*few, "--strict", code=1)
    assert "expected one that is there" in run(*few, "--html", tmp_path / "no" / "r.html", code=2)
    assert "expected a file that can be written" in run(*few, "--html", tmp_path, code=2)


@pytest.mark.parametrize("share", ["a", "a=", "=0.5", "a=0", "a=x", "a=nan"])
def test_a_share_that_is_none_is_refused(log: Path, share: str) -> None:
    output = run("--format", "open-bandit", log, "--target", "uniform", "--expected-share", share, code=2)
    assert f"--expected-share: found {share}" in output


def test_a_damaged_log_ends_with_2_and_a_sentence(log: Path) -> None:
    log.write_text(LOG + "x,1,0,0.5,0,0\n")
    output = run("--format", "open-bandit", log, "--target", "uniform", code=2)
    assert output.strip() == "log.csv, line 4: item_id: found 'x', expected a number (bad_log)"


def test_without_the_extra_it_says_what_to_install(log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    for name in [name for name in sys.modules if name.startswith("replay.evaluation.logs.open_bandit_columns")]:
        monkeypatch.delitem(sys.modules, name)
    for name in [name for name in sys.modules if name.startswith("replay.evaluation.logs.open_bandit_log")]:
        monkeypatch.delitem(sys.modules, name)
    output = run("--format", "open-bandit", log, "--target", "uniform", code=2)
    assert "pip install 'bowerbird[evaluate]'" in output


def test_the_target_of_the_page_is_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = (Path(__file__).parents[2] / "docs" / "evaluation.md").read_text()
    monkeypatch.chdir(tmp_path)
    exec(page.split("```python\n")[1].split("```")[0], {})
    assert read_target(tmp_path / "policy.npy").shape == (34, 3)
