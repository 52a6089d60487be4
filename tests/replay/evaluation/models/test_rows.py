"""Rows of a reward model: ragged, cut without loss, and refused by name where they are no rows."""

from dataclasses import fields, replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from policies.features import Action
from records.errors import BadInput
from replay.evaluation.models.rows import Decided, ModelRows, rows_of, rows_of_catalogue
from tests.replay.evaluation.models.worlds import world


def listed(rows: ModelRows) -> list[Any]:
    """Return every row by itself, without offsets."""
    assert rows.contexts is not None
    assert rows.target is not None
    assert rows.unit_hash is not None
    assert rows.time_ms is not None
    return [
        (
            rows.contexts[row],
            [rows.catalogue[each].id for each in rows.action[start:end]],
            rows.target[start:end].tolist(),
            rows.chosen[row],
            rows.reward[row],
            rows.unit_hash[row],
            rows.time_ms[row],
        )
        for row, (start, end) in enumerate(zip(rows.offsets[:-1], rows.offsets[1:], strict=True))
    ]


@given(st.lists(st.booleans(), min_size=30, max_size=30))
def test_some_rows_are_those_rows(which: list[bool]) -> None:
    rows, _, _ = world(1, 30)
    expected = [row for row, kept in zip(listed(rows), which, strict=True) if kept]
    assert listed(rows.where(np.array(which))) == expected


@given(st.integers(0, 30), st.integers(0, 30), st.integers(1, 100))
def test_parts_are_all_rows_in_order(start: int, stop: int, most: int) -> None:
    rows, _, _ = world(1, 30)
    start, stop = min(start, stop), max(start, stop)
    part = rows.part(start, stop)
    assert listed(part) == listed(rows)[start:stop]
    cut = list(part.parts(most))
    assert [row for each in cut for row in listed(each)] == listed(part)
    assert all(len(each.action) <= most or len(each) == 1 for each in cut)


def test_decisions_become_rows() -> None:
    a, b = Action("a", {}), Action("b", {})
    rows = rows_of([Decided({}, [a, b], 1, 0.5, [0.3, 0.7]), Decided({"f": {"x": 1}}, [b], 0, 1.0, [1.0])])
    assert [each.id for each in rows.catalogue] == ["a", "b"]
    assert rows.action.tolist() == [0, 1, 1]
    assert rows.target is not None
    assert rows.target.tolist() == [0.3, 0.7, 1.0]
    assert rows.logged.tolist() == [1, 2]
    assert rows.row.tolist() == [0, 0, 1]
    assert len(rows_of([])) == 0


@pytest.mark.parametrize("target", [np.array([0.2, 0.8]), np.array([[0.2, 0.8]] * 3)])
def test_a_target_of_a_catalogue_may_be_the_same_for_all(target: Any) -> None:
    rows = rows_of_catalogue([Action("a", {}), Action("b", {})], [0, 1, 1], [1, 0, 1], target)
    assert rows.target is not None
    assert rows.target.tolist() == [0.2, 0.8] * 3
    assert rows.logged.tolist() == [0, 3, 5]


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"reward": np.array([0.0, np.nan])}, "reward[1]"),
        ({"reward": np.array([0.0, 1e7])}, "reward[1]"),
        ({"reward": np.zeros(3)}, "chosen"),
        ({"chosen": np.array([0, 2])}, "chosen[1]"),
        ({"chosen": np.array([-1, 1])}, "chosen[0]"),
        ({"offsets": np.array([0, 4, 4])}, "offsets[1]"),
        ({"offsets": np.array([0, 3, 1, 4])}, "offsets"),
        ({"offsets": np.array([1, 2, 4])}, "offsets"),
        ({"action": np.array([0, 1, 0, 2], dtype=np.int32)}, "action[3]"),
        ({"target": np.array([0.5, 0.5, np.nan, 1])}, "target[2]"),
        ({"target": np.array([0.5, 0.5, -0.1, 1])}, "target[2]"),
        ({"target": np.array([0.5, 0.5, 0.5, 0.6])}, "target of row[1]"),
        ({"target": np.ones(3)}, "target"),
        ({"contexts": [{}]}, "contexts"),
        ({"unit_hash": np.zeros(1, dtype=np.uint64)}, "unit_hash"),
        ({"time_ms": np.zeros(3, dtype=np.int64)}, "time_ms"),
        ({"segment": np.zeros(3, dtype=np.int32)}, "segment"),
    ],
)
def test_what_are_no_rows_is_refused_by_name(change: dict[str, Any], field: str) -> None:
    rows = rows_of_catalogue([Action("a", {}), Action("b", {})], [0, 1], [1, 0], np.array([0.5, 0.5]))
    assert {*change} <= {each.name for each in fields(rows)}
    with pytest.raises(BadInput) as refused:
        replace(rows, **change)
    assert refused.value.field == field


def test_a_decision_between_nothing_and_a_pmf_of_another_length_are_refused() -> None:
    with pytest.raises(BadInput, match="at least one action"):
        rows_of([Decided({}, [], 0, 0.0)])
    with pytest.raises(BadInput, match="target"):
        rows_of([Decided({}, [Action("a", {})], 0, 0.0, [0.5, 0.5])])
