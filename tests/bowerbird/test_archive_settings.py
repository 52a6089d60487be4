"""The settings of the archive, and the role that comes with them."""

from pathlib import Path

import pytest

from bowerbird.check import _archive
from bowerbird.settings import WrongSettings, load
from stream.role import LOOP_ROLES, ROLES

POLICY = '[policies.front]\nkind = "uniform"\n[placements.front]\n'


def test_the_role_comes_with_its_place(tmp_path: Path) -> None:
    file = tmp_path / "bowerbird.toml"
    file.write_text(POLICY)
    assert load(file, {}).roles == LOOP_ROLES
    assert load(file, {"BOWERBIRD_ARCHIVE__URL": "archive"}).roles == ROLES
    file.write_text('[archive]\nurl = "s3://bucket/folder"\nmax_s = 5\n' + POLICY)
    assert load(file, {}).archive.max_s == 5.0
    assert load(file, {"BOWERBIRD_ARCHIVE__URL": ""}).roles == LOOP_ROLES


@pytest.mark.parametrize(
    "setting", ['url = "ftp://me:secret@host"', "url = 7", "max_s = 0", "max_rows = 0", "folder = 1"]
)
def test_mistakes_name_the_key_and_never_a_secret(tmp_path: Path, setting: str) -> None:
    file = tmp_path / "bowerbird.toml"
    file.write_text(f"[archive]\n{setting}\n{POLICY}")
    with pytest.raises(WrongSettings, match=rf"line 2: archive\.{setting.split()[0]}: found .*, expected ") as wrong:
        load(file, {})
    assert "secret" not in str(wrong.value)


def test_check_tells_of_the_place(tmp_path: Path) -> None:
    assert _archive(str(tmp_path / "new" / "archive"), "").found.endswith("empty as yet")
    (tmp_path / "_log.json").write_text("{}")
    there = _archive(str(tmp_path), "")
    assert there.holds
    assert "a copy" in there.found
    (tmp_path / "file").write_text("")
    for no_folder in ("file", "file/below"):
        refused = _archive(str(tmp_path / no_folder), "")
        assert not refused.holds
        assert "cannot be written" in refused.found
    refused = _archive("s3://", "")
    assert (refused.holds, refused.found) == (False, "archive.url")
    assert "expected" in refused.remedy
