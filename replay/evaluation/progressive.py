"""Evaluation of a policy on the log that it learns from: each row by the version that had not learned it yet."""

from collections.abc import Iterable, Iterator
from typing import NamedTuple, Protocol

from policies.density import Density
from policies.question import Pick, Pmf, Question, pmf_of


class Predicts(Protocol):
    """What is asked of a policy: its probability mass function, in the order of the actions."""

    def predict(self, question: Question) -> Pmf | Density:
        """Return the probability of each action."""


class Row(NamedTuple):
    """A logged decision and its reward; ``offset`` is that of its outcome in ``rewards``."""

    offset: int
    question: Question
    pick: Pick
    reward: float


class Weighted(NamedTuple):
    """A row's importance weight and reward, and the cut of the version that it was weighted by."""

    weight: float
    reward: float
    cut: int


def progressive(rows: Iterable[Row], versions: Iterable[tuple[int, Predicts]]) -> Iterator[Weighted]:
    """Weight each row by the newest version that has not learned from it (Blum, Kalai, Langford 1999, COLT).

    So a policy that learns is evaluated on what it had not seen, and no row is kept from learning.

    Parameters
    ----------
    rows
        In the order of the log.
    versions
        Each version's cut and policy, in the order of the cuts. A version has learned all rows below its cut;
        the first one's must lie at or below the first row.

    Raises
    ------
    ValueError
        Rows or cuts are not in order, or there is no version before the first row.
    """
    waiting = iter(versions)
    upcoming = next(waiting, None)
    cut, policy, last = -1, None, -1
    for row in rows:
        if row.offset < last:
            raise ValueError(f"expected rows in the order of the log, found offset {row.offset} after {last}")
        last = row.offset
        while upcoming is not None and upcoming[0] <= row.offset:
            if upcoming[0] < cut:
                raise ValueError(f"expected rising cuts, found {upcoming[0]} after {cut}")
            cut, policy = upcoming
            upcoming = next(waiting, None)
        if policy is None:
            raise ValueError(f"expected a version with a cut at or below offset {row.offset}, found none")
        probability = pmf_of(policy.predict(row.question))[row.pick.action]
        yield Weighted(probability / row.pick.propensity, row.reward, cut)
