"""What whole pmfs tell, against the sums as they are written in the papers, row by row."""

from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from replay.evaluation.logs.pmf import Pmfs, RoundedProbabilities, ranks, whole

KINDS = [pa.list_(pa.float64()), pa.large_list(pa.float64()), pa.list_(pa.float32())]


@st.composite
def logs(draw: st.DrawFn) -> list[tuple[list[float], list[float], int]]:
    """Draw rows: a logged pmf, a target's, and the index of a logged action that could be drawn."""
    found = []
    for size in draw(st.lists(st.integers(1, 5), min_size=1, max_size=6)):
        masses = [
            draw(st.lists(st.integers(0, 4), min_size=size, max_size=size).filter(any)) for _ in ("logged", "target")
        ]
        logged, target = ([mass / sum(some) for mass in some] for some in masses)
        found.append((logged, target, draw(st.sampled_from([at for at, mass in enumerate(logged) if mass]))))
    return found


@given(logs(), st.sampled_from(KINDS), st.integers(0, 2))
def test_against_the_sums_row_by_row(rows: list[tuple[list[float], list[float], int]], kind: Any, start: int) -> None:
    some = rows[start:] or rows
    column = pa.array([logged for logged, *_ in rows], kind)
    pmfs = Pmfs.of(column[start:] if rows[start:] else column)
    chosen = np.array([each[2] for each in some])
    target = np.array([mass for _, targets, _ in some for mass in targets])
    found, itself = whole(pmfs, target), whole(pmfs, None)
    assert pmfs.honest().all()
    for row, (logged, targets, at) in enumerate(some):
        drawn = [(mu, pi) for mu, pi in zip(logged, targets, strict=True) if mu]
        assert found.squared_weight[row] == pytest.approx(sum(pi**2 / mu for mu, pi in drawn), rel=1e-6)
        assert found.unseen[row] == pytest.approx(1 - sum(pi for _, pi in drawn), abs=1e-12)
        assert found.inverse[row] == itself.inverse[row] == len(drawn)
        assert found.squared_inverse[row] == pytest.approx(sum(1 / mu for mu, _ in drawn), rel=1e-6)
        assert (itself.squared_weight[row], itself.unseen[row]) == (pytest.approx(1.0, rel=1e-6), 0.0)
        assert ranks(pmfs, chosen)[row] == pytest.approx(sum(logged[:at]) + logged[at] / 2, rel=1e-6)
        assert pmfs.at(chosen)[row] == pytest.approx(logged[at], rel=1e-6)


@given(logs())
def test_a_row_is_the_same_bits_whatever_stands_beside_it(rows: list[tuple[list[float], list[float], int]]) -> None:
    def columns(some: list[tuple[list[float], list[float], int]]) -> Any:
        pmfs = Pmfs.of(pa.array([logged for logged, *_ in some], pa.list_(pa.float64())))
        target = np.array([mass for _, targets, _ in some for mass in targets])
        return [*whole(pmfs, target), ranks(pmfs, np.array([each[2] for each in some]))]

    alone = [columns([row]) for row in rows]
    for number, column in enumerate(columns(rows)):
        assert np.array_equal(column, np.concatenate([each[number] for each in alone]))


@pytest.mark.parametrize(
    "pmf", [[0.5, 0.6], [0.5], [1.5, -0.5], [float("nan"), 1.0], [float("inf"), 0.0], [None, 1.0, 0.5]]
)
def test_what_is_no_pmf_is_told(pmf: list[float]) -> None:
    column = pa.array([[0.5, 0.5], pmf, [1.0]], pa.list_(pa.float64()))
    assert Pmfs.of(column).honest().tolist() == [True, False, True]


def test_a_fixed_size_and_no_rows() -> None:
    column = pa.array([[0.25, 0.75], [1.0, 0.0]], pa.list_(pa.float64(), 2))
    assert Pmfs.of(column[1:]).values.tolist() == [1.0, 0.0]
    nothing = Pmfs.of(pa.array([], pa.list_(pa.float64())))
    assert [len(each) for each in whole(nothing, None)] == [0, 0, 0, 0]
    assert ranks(nothing, np.zeros(0, dtype=np.int64)).tolist() == []


def test_probabilities_of_six_digits_are_taken_with_a_warning() -> None:
    """As Vowpal Wabbit prints them: the sum of a few is 0.999996."""
    with pytest.warns(RoundedProbabilities, match="log all digits"):
        assert Pmfs.matrix(np.array([[0.333332] * 3])).honest().all()
    with pytest.warns(RoundedProbabilities):
        assert Pmfs.matrix(np.array([[0.142857] * 6 + [0.142854]])).honest().tolist() == [True]
    assert Pmfs.matrix(np.array([[0.3333] * 3])).honest().tolist() == [False]
