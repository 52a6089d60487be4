"""However a log is cut into parts, each of its rows is read once, in its block."""

from itertools import pairwise

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

import benchmarks.parquet_parts
from benchmarks.parquet_parts import Part, Stretch, cut, files_with_rows, read_blocks

BLOCK = 16


@pytest.fixture(autouse=True, scope="module")
def small_blocks():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(benchmarks.parquet_parts, "BLOCK_ROWS", BLOCK)
        yield


@given(st.lists(st.integers(0, 90), max_size=6), st.integers(1, 9))
def test_parts_hold_every_row_once_and_end_between_blocks(sizes: list[int], count: int) -> None:
    files = [(str(number), rows) for number, rows in enumerate(sizes)]
    parts = cut(files, count)
    blocks = -(-sum(sizes) // BLOCK)
    assert len(parts) == min(count, blocks)
    rows = [
        (stretch.file, row)
        for part in parts
        for stretch in part.stretches
        for row in range(stretch.first, stretch.first + stretch.rows)
    ]
    assert rows == [(file, row) for file, of in files for row in range(of)]
    assert [part.first_block * BLOCK for part in parts[1:]] == [
        sum(each.rows for each in parts[: number + 1]) for number in range(len(parts) - 1)
    ]
    held = [-(-part.rows // BLOCK) for part in parts]
    assert max(held, default=0) - min(held, default=0) <= 1


def test_a_log_without_rows_has_no_part() -> None:
    assert cut([], 3) == []
    assert cut([("a", 0)], 3) == []


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Give a log of files and row groups of all sizes, one of them empty."""
    folder, begun, files = tmp_path_factory.mktemp("log"), 0, []
    for number, (rows, group) in enumerate([(100, 7), (0, 1), (5, 5), (40, 16), (1, 1), (64, 64)]):
        table = pa.table({"row": range(begun, begun + rows), "other": ["x"] * rows})
        files.append(str(folder / f"{number}.parquet"))
        pq.write_table(table, files[-1], row_group_size=group)
        begun += rows
    return files


@pytest.mark.parametrize("count", [1, 2, 3, 7, 14])
def test_the_blocks_of_all_parts_are_the_log(log: list[str], count: int) -> None:
    files = files_with_rows(log)
    assert [rows for _, rows in files] == [100, 0, 5, 40, 1, 64]
    found = [block for part in cut(files, count) for block in read_blocks(part, ["row"])]
    assert [place for place, _ in found] == list(range(14))
    assert [len(table) for _, table in found] == [16] * 13 + [2]
    assert [row for _, table in found for row in table.column("row").to_pylist()] == list(range(210))
    assert {tuple(table.column_names) for _, table in found} == {("row",)}
    assert all(table.column("row").num_chunks == 1 for _, table in found)


def test_a_stretch_begins_and_ends_within_row_groups(log: list[str]) -> None:
    part = Part(5, (Stretch(log[0], 10, 3), Stretch(log[0], 97, 3), Stretch(log[3], 1, 14)))
    ((first, one), (second, two)) = read_blocks(part, ["row"])
    expected = [*range(10, 13), *range(97, 100), *range(106, 120)]
    assert (first, second) == (5, 6)
    assert one.column("row").to_pylist() + two.column("row").to_pylist() == expected
    assert all(low < high for low, high in pairwise(expected))
