"""Hashes of ids: the ones that the page promises, one and the same by the row and by the column."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from archive.hashes import event_hash, event_hashes, unit_hash, unit_hashes
from archive.schema import COMPUTED, SCHEMAS

PAGE = (Path(__file__).parents[2] / "docs" / "archive.md").read_text()
TEXTS = st.lists(st.none() | st.text(max_size=40), max_size=12)
KINDS = [pa.string(), pa.large_string(), pa.string_view()]


def test_the_vectors_of_the_page() -> None:
    names: dict[str, Any] = {}
    exec(PAGE.split("```py\n")[1].split("```")[0], names)
    vectors = re.findall(r"^\| `(\w+)`.* \| (\d) \| `(.+)` \| (\d+) \|$", PAGE, re.MULTILINE)
    assert {name for name, *_ in vectors} == {"event_hash", "unit_hash"}
    for name, kind, text, expected in vectors:
        users = {"2": text, "3": None}
        ours = event_hash(text) if name == "event_hash" else unit_hash(users[kind], text)
        assert ours == names["hash64"](int(kind), text) == int(expected)
        assert event_hashes(pa.array([text])).to_pylist() == [event_hash(text)]


@pytest.mark.parametrize("without_numpy", [False, True])
@given(texts=TEXTS, start=st.integers(0, 3), kind=st.sampled_from(KINDS))
def test_a_column_has_the_hashes_of_its_rows(
    without_numpy: bool, texts: list[str | None], start: int, kind: pa.DataType
) -> None:
    column = pa.array(texts, kind)[start:]
    with pytest.MonkeyPatch.context() as patch:
        if without_numpy:
            patch.setitem(__import__("sys").modules, "numpy", None)
        hashes = event_hashes(column)
    assert hashes.type == pa.uint64()
    assert hashes.to_pylist() == [None if text is None else event_hash(text) for text in texts[start:]]


@given(st.lists(st.tuples(st.none() | st.text(max_size=9), st.none() | st.text(max_size=9))))
def test_units_by_the_column(ids: list[tuple[str | None, str | None]]) -> None:
    users, events = (pa.array([each[which] for each in ids], pa.string()) for which in (0, 1))
    expected = [None if not user and event is None else unit_hash(user, event or "") for user, event in ids]
    assert unit_hashes(users, events).to_pylist() == expected


@pytest.mark.parametrize("size", [0, 1, 7, 8, 9, 511, 512, 513, 100_000])
def test_a_text_of_any_length_between_others(size: int) -> None:
    texts = ["a", "x" * size, "b" * 17]
    assert event_hashes(pa.array(texts)).to_pylist() == [event_hash(text) for text in texts]
    assert event_hash("x" * size) != event_hash("x" * size + "\0")


def test_a_user_and_an_event_of_one_name_are_two_units() -> None:
    assert len({unit_hash("x", "e"), unit_hash(None, "x"), event_hash("x")}) == 3
    assert unit_hash("", "x") == unit_hash(None, "x")
    assert unit_hash("x", "1") == unit_hash("x", "2")


def test_hashes_are_spread_evenly() -> None:
    """Of every bit half are set, and neighbours are as far apart as strangers: within five standard errors."""
    count = 40_000
    hashes = np.asarray(event_hashes(pa.array([f"event-{number:06d}" for number in range(count)])))
    assert len(np.unique(hashes)) == count
    bits = np.unpackbits(hashes.view(np.uint8).reshape(count, 8), axis=1)
    assert np.abs(bits.mean(axis=0) - 0.5).max() < 5 * 0.5 / count**0.5
    apart = (bits[1:] != bits[:-1]).sum(axis=1)
    assert abs(apart.mean() - 32) < 5 * 4 / (count - 1) ** 0.5


def test_the_columns_stand_at_the_end_where_no_reader_of_older_files_looks() -> None:
    for topic in ("decisions", "rewards"):
        assert tuple(SCHEMAS[topic].names[-2:]) == COMPUTED == ("event_hash", "unit_hash")
