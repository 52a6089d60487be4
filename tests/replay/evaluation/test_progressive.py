"""A policy that learns is judged by versions that had not seen the rows, and by no other."""

import pytest

from policies.features import Action
from policies.question import Pick, Pmf, Question
from replay.evaluation.progressive import Row, progressive


class Always:
    """A policy that always answers one pmf."""

    def __init__(self, *pmf: float) -> None:
        self.pmf = list(pmf)

    def predict(self, question: Question) -> Pmf:
        return self.pmf


def rows(*offsets: int) -> list[Row]:
    question = Question({}, [Action(id="a", features={}), Action(id="b", features={})])
    return [Row(offset, question, Pick(0, 1, 0.5), float(offset)) for offset in offsets]


def test_each_row_is_weighted_by_the_version_before_it() -> None:
    versions = [(0, Always(0.5, 0.5)), (2, Always(0.8, 0.2)), (3, Always(0.9, 0.1)), (3, Always(0.0, 1.0))]
    weighted = list(progressive(rows(0, 1, 1, 2, 4), versions))
    assert [row.weight for row in weighted] == [1.0, 1.0, 1.0, 0.4, 2.0]
    assert [row.cut for row in weighted] == [0, 0, 0, 2, 3]
    assert [row.reward for row in weighted] == [0.0, 1.0, 1.0, 2.0, 4.0]


def test_progressive_validation_refuses_what_would_look_ahead() -> None:
    even = Always(0.5, 0.5)
    with pytest.raises(ValueError, match="order of the log"):
        list(progressive(rows(1, 0), [(0, even)]))
    with pytest.raises(ValueError, match="rising cuts"):
        list(progressive(rows(5), [(3, even), (2, even)]))
    with pytest.raises(ValueError, match="at or below offset 4"):
        list(progressive(rows(4), [(5, even)]))
