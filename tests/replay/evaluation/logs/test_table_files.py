"""Folders and files of tables, as programs write them."""

import re
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from records.errors import WrongConfiguration
from replay.evaluation.logs.formats import Format, format_of
from replay.evaluation.logs.table_files import table_log

ROWS = {"reward": [1.0, 0.0], "propensity": [0.5, 0.5]}


def write(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(pa.table(ROWS), folder / name)
    return folder


def count(path: Path) -> int:
    return sum(len(block.rows) for block in table_log(path).blocks())


def test_what_is_hidden_in_a_folder_is_no_part_of_its_table(tmp_path: Path) -> None:
    folder = write(
        tmp_path / "log.parquet", "a.parquet", "day=1/b.parquet", "_part=2/c.parquet", "in.parquet/d.parquet"
    )
    write(folder, "_temporary/0/a.parquet", ".hidden.parquet", "_a.parquet", ".ipynb_checkpoints/a.parquet")
    assert format_of(str(folder)) is Format.TABLE
    assert count(folder) == 8


def test_a_file_that_is_named_is_read_however_it_is_called(tmp_path: Path) -> None:
    assert count(write(tmp_path, "_a.parquet") / "_a.parquet") == 2


@pytest.mark.parametrize(
    ("sign", "found"),
    [
        ("_delta_log/00000000000000000000.json", "a Delta table"),
        ("metadata/v1.metadata.json", "an Iceberg table"),
        (".hoodie/hoodie.properties", "a Hudi table"),
        ("inner/_delta_log/00000000000000000000.json", "a Delta table"),
    ],
)
def test_a_table_with_files_that_are_not_current_is_named(tmp_path: Path, sign: str, found: str) -> None:
    folder = write(tmp_path, "a.parquet", "data/b.parquet")
    (folder / sign).parent.mkdir(parents=True)
    (folder / sign).write_text("{}")
    for read in (lambda: format_of(str(folder)), lambda: table_log(folder)):
        with pytest.raises(WrongConfiguration, match=re.escape(f"found {found}, of whose files some are not current")):
            read()
