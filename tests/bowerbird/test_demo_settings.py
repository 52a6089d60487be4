"""The demo archives what it does, and is over before anybody waits for the last file."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

from bowerbird.demo.archived import ARCHIVED_WITHIN_S
from bowerbird.demo.play import _write_settings
from bowerbird.settings import load
from stream.role import ROLES


def test_the_archive_lies_in_the_folder_of_the_demo(tmp_path: Path) -> None:
    folder = tmp_path / 'a "folder", ours'
    folder.mkdir()
    running: Any = SimpleNamespace(brokers="127.0.0.1:1", redis_url="redis://127.0.0.1:2/0")
    config = load(_write_settings(folder, running), {})
    assert config.roles == ROLES
    assert config.archive.url == str(folder.resolve() / "archive")
    assert 2 * config.archive.max_s < ARCHIVED_WITHIN_S
