"""Two policies are compared on the rows that can be used for both, and on no others."""

import numpy as np
import pytest

from records.errors import BadInput
from replay.evaluation.logs.chunk import LogChunk
from replay.evaluation.rows import EvaluationRows
from replay.evaluation.scan import shared


def chunk(events: list[int], *, named: bool = True) -> LogChunk:
    hashes = np.array(events, dtype=np.uint64)
    rows = EvaluationRows(
        reward=hashes.astype(float),
        propensity=np.ones(len(events)),
        target=np.ones(len(events)),
        event_hash=hashes if named else None,
    )
    return LogChunk(0, rows, {"refused": 1, "expired": 2})


def test_what_one_of_them_refuses_is_left_out_of_both() -> None:
    one, other = shared(chunk([1, 2, 3, 5]), chunk([2, 3, 4, 5]))
    assert one.rows.reward.tolist() == other.rows.reward.tolist() == [2.0, 3.0, 5.0]
    assert one.left_out == {"refused": 2, "expired": 2}


def test_rows_without_names_must_be_as_many() -> None:
    one, other = chunk([1, 2], named=False), chunk([1, 2], named=False)
    assert shared(one, other) == (one, other)
    with pytest.raises(BadInput, match="found 2 rows for the one, 1 for the other, expected the same rows"):
        shared(one, chunk([1], named=False))
