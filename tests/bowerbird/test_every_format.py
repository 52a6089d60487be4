"""Every format of a log obeys the same laws; a format that has no log here fails ``test_every_format_has_a_log``."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

import bowerbird
from bowerbird.cli import app
from records.codec import encode
from replay.evaluation.logs.formats import Format, format_of
from tests.replay.archived import archive_of
from tests.replay.world import busy_world

ROWS = 300


def archive(folder: Path) -> Path:
    archive_of(busy_world(ROWS), folder / "archive")
    return folder / "archive"


def json_lines(folder: Path) -> Path:
    outcomes = [encode(outcome) for _, outcome in busy_world(ROWS).outcomes()]
    (folder / "log.jsonl").write_bytes(b"".join(outcome + b"\n" for outcome in outcomes))
    return folder / "log.jsonl"


def open_bandit(folder: Path) -> Path:
    chance = np.random.default_rng(5)
    lines = ["timestamp,item_id,position,click,propensity_score,user-item_affinity_0,user-item_affinity_1"]
    for row in range(ROWS):
        item, click = chance.integers(2), int(chance.random() < 0.4)
        lines.append(f"2019-11-24 00:{row // 60:02}:{row % 60:02}+00:00,{item},1,{click},0.5,0,0")
    (folder / "log.csv").write_text("\n".join(lines) + "\n")
    return folder / "log.csv"


def table(folder: Path) -> Path:
    chance = np.random.default_rng(5)
    columns = {
        "reward": (chance.random(ROWS) < 0.4).astype(float),
        "propensity": np.full(ROWS, 0.5),
        "target": np.full(ROWS, 0.5),
    }
    pq.write_table(pa.table(columns), folder / "log.parquet")
    return folder / "log.parquet"


LOGS: dict[Format, Callable[[Path], Path]] = {
    Format.BOWERBIRD: archive,
    Format.JSON_LINES: json_lines,
    Format.OPEN_BANDIT: open_bandit,
    Format.TABLE: table,
}


def run(*arguments: str, code: int = 0) -> str:
    done = CliRunner().invoke(app, list(arguments))
    assert done.exit_code == code, done.output
    return done.output


def test_every_format_has_a_log() -> None:
    # A Kafka needs one that runs: tests/real/test_live_log.py.
    assert set(LOGS) == set(Format) - {Format.KAFKA}


@pytest.mark.parametrize("kind", LOGS)
def test_a_log_is_recognised_by_its_path(kind: Format, tmp_path: Path) -> None:
    assert format_of(str(LOGS[kind](tmp_path))) is kind


@pytest.mark.parametrize("kind", LOGS)
def test_naming_the_format_changes_nothing(kind: Format, tmp_path: Path) -> None:
    path = str(LOGS[kind](tmp_path))
    target = None if kind is Format.TABLE else "uniform"
    # Outcomes of one policy are judged at a time.
    policy = "side" if kind in (Format.BOWERBIRD, Format.JSON_LINES) else None
    found, named = (bowerbird.evaluate(path, target, placement=policy, format=each) for each in (None, str(kind)))
    assert (found.how.digest, found.how.format) == (named.how.digest, str(kind))
    assert found.rows > 10
    assert found.ips is not None


@pytest.mark.parametrize("kind", LOGS)
def test_a_log_is_described(kind: Format, tmp_path: Path) -> None:
    described = json.loads(run("log", "describe", str(LOGS[kind](tmp_path)), "--json"))
    assert described["rows"] > 10
    assert described["rewards"]


@pytest.mark.parametrize("kind", LOGS)
def test_another_format_than_the_log_has_is_an_error_in_words(kind: Format, tmp_path: Path) -> None:
    path = str(LOGS[kind](tmp_path))
    other = Format.JSON_LINES if kind is not Format.JSON_LINES else Format.TABLE
    output = run("replay", "evaluate", path, "--target", "uniform", "--format", str(other), code=2)
    assert "Traceback" not in output
    assert "found" in output
