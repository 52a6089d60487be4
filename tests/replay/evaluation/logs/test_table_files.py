"""Folders and files of tables, as programs write them."""

import gzip
import re
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.feather as feather
import pyarrow.parquet as pq
import pytest

from archive.reader import Archive
from records.errors import BadInput, WrongConfiguration
from replay.evaluation.logs.columns import Columns
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


def parts(folder: Path, first: dict[str, Any], second: dict[str, Any]) -> Path:
    pq.write_table(pa.table({**ROWS, **first}), folder / "a.parquet")
    pq.write_table(pa.table({**ROWS, **second}), folder / "b.parquet")
    return folder


TIMES = pa.array([1_795_953_600_000] * 2, pa.timestamp("ms"))


@pytest.mark.parametrize(
    ("column", "one", "other"),
    [
        ("reward", [1.0, 0.0], ["1", "0"]),
        ("reward", [1.0, 0.0], [{"a": 1}] * 2),
        ("reward", [1.0, 0.0], [b"1", b"0"]),
        ("target", [0.5, 0.5], [[0.5], [0.5]]),
        ("pmf", [[1.0], [1.0]], ["[1]", "[1]"]),
        ("action", [0, 0], ["0", "0"]),
        ("action", ["0", "0"], [0, 0]),
        ("time", TIMES, [1_795_953_600] * 2),
        ("time", TIMES, [True, True]),
        ("unit", ["a", "b"], [b"a", b"b"]),
        ("event", ["a", "b"], [1, 2]),
    ],
)
def test_a_file_with_another_type_is_named(tmp_path: Path, column: str, one: Any, other: Any) -> None:
    folder = parts(tmp_path, {column: one}, {column: other})
    kinds = [re.escape(str(pq.read_schema(folder / name).field(column).type)) for name in ("b.parquet", "a.parquet")]
    with pytest.raises(
        BadInput, match=rf"^b\.parquet: {column}: found {kinds[0]}, expected {kinds[1]}, as in a\.parquet"
    ):
        count(folder)


@pytest.mark.parametrize(
    ("column", "one", "other"),
    [
        ("reward", [1.0, 0.0], [True, False]),
        ("reward", [1.0, 0.0], pa.array([1, 0], pa.int8())),
        ("pmf", [[1.0], [1.0]], pa.array([[1.0], [1.0]], pa.large_list(pa.float32()))),
        ("time", TIMES, TIMES.cast(pa.timestamp("us", "UTC"))),
        ("unit", ["a", "b"], pa.array(["a", "b"]).dictionary_encode()),
    ],
)
def test_types_that_are_read_alike_may_differ(tmp_path: Path, column: str, one: Any, other: Any) -> None:
    assert count(parts(tmp_path, {column: one}, {column: other})) == 4


def test_a_segment_of_which_a_file_has_nothing(tmp_path: Path) -> None:
    log = table_log(parts(tmp_path, {"part": ["a", "b"]}, {"part": pa.nulls(2)}), Columns(segments=["part"]))
    list(log.blocks())
    assert log.names.segments["part"].names == ["a", "b", "(none)"]


def test_a_file_that_lacks_a_column_or_has_it_twice(tmp_path: Path) -> None:
    folder = parts(tmp_path, {"unit": ["a", "b"]}, {})
    with pytest.raises(BadInput, match=r"^b\.parquet: found no column unit, expected the columns of .*a\.parquet"):
        count(folder)


def test_a_file_is_no_archive(tmp_path: Path) -> None:
    file = write(tmp_path, "a.parquet") / "a.parquet"
    with pytest.raises(WrongConfiguration, match=r"found the file .*a\.parquet, expected a folder"):
        Archive.at(str(file))


@pytest.mark.parametrize(
    ("names", "says"),
    [
        (["a.csv", "b.csv"], "found a folder of tables as text (a.csv, b.csv), expected one file"),
        (["part-00000.CSV", "_SUCCESS"], "found a folder of tables as text (part-00000.CSV), expected one file"),
        (["a.jsonl", "b.jsonl"], "found a folder of JSON (a.jsonl, b.jsonl), expected one file"),
        (["a.feather"], "found a folder of Arrow (a.feather), expected one file"),
    ],
)
def test_a_folder_of_other_files_is_named(tmp_path: Path, names: list[str], says: str) -> None:
    for name in names:
        (tmp_path / name).write_text("reward,propensity\n1,0.5\n")
    with pytest.raises(WrongConfiguration, match=re.escape(says)):
        format_of(str(tmp_path))
    with pytest.raises(WrongConfiguration, match="found no Parquet file in the folder"):
        table_log(tmp_path)


def test_files_without_suffix_are_named_by_their_looks(tmp_path: Path) -> None:
    write(tmp_path, "000000_0")
    with pytest.raises(WrongConfiguration, match=r"000000_0: found Parquet: its name must end with \.parquet"):
        format_of(str(tmp_path))


@pytest.mark.parametrize(
    "url", ["http://user:secret@host/a.parquet", "https://host/log", "file:///a.CSV", "s3://b/a.json"]
)
def test_a_url_that_is_no_archive_is_named(url: str) -> None:
    with pytest.raises(
        WrongConfiguration, match=r"log: found (a URL of https?://|the URL of a file), expected"
    ) as error:
        format_of(url)
    assert "secret" not in str(error.value)
    assert format_of("s3://bucket/archive") is Format.BOWERBIRD


def test_capitals_in_a_name_are_the_same_name(tmp_path: Path) -> None:
    write(tmp_path, "log.PARQUET", "Folder/a.Parquet")
    text = b"reward,propensity\n1,0.5\n0,0.5\n"
    (tmp_path / "LOG.CSV").write_bytes(text)
    (tmp_path / "LOG.CSV.GZ").write_bytes(gzip.compress(text))
    feather.write_feather(pa.table(ROWS), tmp_path / "log.Feather")
    for name in ("log.PARQUET", "Folder", "LOG.CSV", "LOG.CSV.GZ", "log.Feather"):
        assert format_of(str(tmp_path / name)) is Format.TABLE
        assert count(tmp_path / name) == 2
    assert format_of("LOG.JSONL") is Format.JSON_LINES


def test_a_stream_of_arrow_is_read_and_old_feather_is_named(tmp_path: Path) -> None:
    table = pa.table(ROWS)
    with pa.ipc.new_stream(str(tmp_path / "stream.arrow"), table.schema) as sink:
        for _ in range(3):
            sink.write_table(table)
    assert count(tmp_path / "stream.arrow") == 6
    (tmp_path / "cut.arrow").write_bytes((tmp_path / "stream.arrow").read_bytes()[:-300])
    with pytest.raises(BadInput, match=r"cut\.arrow: found bytes that are damaged or cut short"):
        count(tmp_path / "cut.arrow")
    (tmp_path / "old.feather").write_bytes(b"FEA1 and more")
    with pytest.raises(BadInput, match=r"old\.feather: found Feather of version 1: read it with pandas"):
        table_log(tmp_path / "old.feather")
