"""Evaluation rows to compare."""

from collections.abc import Iterable
from dataclasses import fields
from typing import Any

import numpy as np

from replay.evaluation.logs.chunk import LogChunk
from replay.evaluation.logs.columns import Columns
from replay.evaluation.rows import EvaluationRows, joined


def together(chunks: Iterable[LogChunk]) -> EvaluationRows:
    """Return all rows of a log."""
    return joined([chunk.rows for chunk in chunks])


def same(found: EvaluationRows, expected: EvaluationRows, but: Iterable[str] = ()) -> None:
    """Assert that two have the same rows, to the last bit, in all columns but some."""
    for name in {field.name for field in fields(EvaluationRows)} - {*but}:
        one, other = getattr(found, name), getattr(expected, name)
        if name == "segments":
            assert {*one} == {*other}
            for segment in one:
                assert np.array_equal(one[segment], other[segment]), segment
        else:
            assert (one is None) == (other is None), name
            assert one is None or np.array_equal(one, other), name


def named(codes: Any, names: list[str]) -> list[str]:
    """Return what numbers mean."""
    return [names[code] for code in codes.tolist()]


def with_column(field: str, column: str) -> Columns:
    """Return columns of which one is named."""
    named: dict[str, Any] = {field: column}
    return Columns(**named)
