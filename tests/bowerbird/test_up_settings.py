"""Which settings `up` runs with, and what it writes into its folder."""

import json
import sys
import tomllib
from pathlib import Path

import msgspec
import pytest
from typer.testing import CliRunner

from archive.names import log_file
from bowerbird.cli import app
from bowerbird.settings import load
from bowerbird.settings.built_in import BUILT_IN, MARK, built_in, chosen, example, on_servers, without_addresses
from records.decision_request import DecisionRequest
from records.errors import WrongConfiguration
from records.feedback import feedback
from stream.config import Config


def test_the_built_in_settings_close_on_a_click_within_seconds(tmp_path: Path) -> None:
    file = tmp_path / "bowerbird.toml"
    file.write_text(built_in(file))
    config = load(file, {})
    assert config.archive.url == str(tmp_path / "archive")
    assert list(config.policies) == ["front"]
    assert config.streams == ("clicks", "leaves", "purchases", "views")
    assert config.placements["front"].reward.close_on == ("clicks", "purchases", "leaves")
    assert config.longest_window_s <= 30


def test_whose_settings_come_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    kept = tmp_path / "loop" / "bowerbird.toml"
    kept.parent.mkdir()
    given, named, here = (tmp_path / name for name in ("given.toml", "named.toml", "bowerbird.toml"))
    assert chosen(None, None, {}) == (BUILT_IN, None)
    assert chosen(None, kept, {}) == (built_in(kept), None)
    here.write_text("# here\n")
    assert chosen(None, kept, {}).document == "# here\n"
    named.write_text("# named\n")
    environment = {"BOWERBIRD_CONFIG": str(named)}
    assert chosen(None, kept, environment).document == "# named\n"
    kept.write_text(f"{MARK}\n# kept\n")
    assert chosen(None, kept, environment).document == f"{MARK}\n# kept\n"
    given.write_text("# given\n")
    assert chosen(given, kept, environment).document == "# given\n"
    kept.write_text("# somebody's own\n")
    with pytest.raises(WrongConfiguration, match="has not written"):
        chosen(given, kept, environment)


def test_only_the_addresses_are_replaced_and_again() -> None:
    own = 'prefix = "a-"\nredis_url = "redis://far/0"   # ours\nbrokers = "far:9092"\n[policies.front]\n# brokers = 1\n'
    once = on_servers(own, "near:1", "redis://near/0")
    assert tomllib.loads(once) == {
        **tomllib.loads(own),
        "brokers": "near:1",
        "redis_url": "redis://near/0",
    }
    assert once.startswith(MARK)
    assert once.endswith("[policies.front]\n# brokers = 1\n")
    assert on_servers(once, "near:1", "redis://near/0") == once


def test_nothing_in_the_environment_names_other_servers() -> None:
    environment = {
        "BOWERBIRD_BROKERS": "a",
        "BOWERBIRD_REDIS_URL": "b",
        "BOWERBIRD_CONFIG": "c",
        "BOWERBIRD_SHARDS": "2",
    }
    assert without_addresses(environment) == {"BOWERBIRD_SHARDS": "2"}


@pytest.mark.parametrize("reward", ["streams.buys = {value = true}", "streams.buys = {weight = 1.0}"])
def test_the_example_fits_the_settings(reward: str, tmp_path: Path) -> None:
    file = tmp_path / "bowerbird.toml"
    file.write_text(f'[policies.plain]\n[placements.own]\npolicy = "plain"\n[placements.own.reward]\n{reward}\n')
    shown = example(load(file, {}), "visit")
    assert shown is not None
    asked = msgspec.json.decode(shown.request, type=DecisionRequest)
    event = feedback(shown.feedback.encode())
    assert (shown.stream, asked.placement, asked.event_id) == ("buys", "own", event.event_id)
    assert (event.value is not None) == ("value" in reward)
    assert json.loads(shown.next_request)["event_id"] != asked.event_id


def test_without_a_stream_there_is_no_example() -> None:
    assert example(Config(), "visit") is None


def test_an_archive_of_a_former_kafka_names_the_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without --dir the second `up` has an empty Kafka, whose copy the archive of the first one is not."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "bowerbird.toml").write_text('[policies.front]\n[placements.front]\n[archive]\nurl = "archive"\n')
    (tmp_path / "archive").mkdir()
    (tmp_path / "archive" / log_file("")).write_text('{"log_id": "former"}')
    done = CliRunner().invoke(app, ["up"])
    assert done.exit_code == 2, done.output
    assert f"archive.url: found {tmp_path / 'archive'}, the copy of a former Kafka" in done.output
    assert "--dir FOLDER" in done.output


def test_an_archive_without_its_package_is_refused_before_anything_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "bowerbird.toml").write_text('[policies.front]\n[placements.front]\n[archive]\nurl = "archive"\n')
    for name in [each for each in sys.modules if each.partition(".")[0] == "pyarrow" or each == "archive.location"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    done = CliRunner().invoke(app, ["up"])
    assert done.exit_code == 2, done.output
    assert "archive.url: pyarrow is not installed: pip install 'bowerbird[archive]'" in done.output
    assert "Starting" not in done.output
