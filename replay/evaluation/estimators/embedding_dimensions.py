"""Choosing by the data which dimensions of an embedding to use."""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import combinations
from typing import Literal, NamedTuple

import numpy as np

from records.errors import WrongConfiguration
from replay.evaluation.estimators.tuning import agrees, student
from replay.evaluation.rows import Floats

Dimensions = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Dropped:
    """A search among dimensions: those that were taken one after the other, from all of them on.

    Attributes
    ----------
    path
        Each agreed with all before it.
    exhausted
        Whether all that were to be tried were taken; otherwise the next did not agree.
    """

    path: tuple[Dimensions, ...]
    exhausted: bool

    @property
    def kept(self) -> Dimensions:
        """The last of the path, which is chosen."""
        return self.path[-1]


class Search(NamedTuple):
    """A search among dimensions.

    Attributes
    ----------
    kind
        ``exact`` tries every set, ``greedy`` only those that drop one of the last that was taken.
    least
        So many stay.
    delta
        What a half-width misses on both sides together.
    """

    kind: Literal["exact", "greedy"] = "exact"
    least: int = 1
    delta: float = 0.05


EXACT = Search()


def drop_dimensions(
    reward: Floats,
    weights_of: Callable[[Dimensions], Floats],
    dimensions: int,
    search: Search = EXACT,
) -> Dropped:
    """Choose the dimensions of the embedding by SLOPE: fewer of them vary less, and may miss what moves the reward.

    Saito and Joachims 2022, ICML, section 3.2 (data-driven embedding selection) and appendix C. Sets of as many
    dimensions are tried from the widest interval to the narrowest, until one does not agree with all that were taken
    before. The Open Bandit Pipeline returns the value of the last but one of the path where it never has to stop; this
    takes the last.

    Parameters
    ----------
    reward
        Shape (rows,).
    weights_of
        Gives the weights by some of the dimensions: shape (rows,).
    dimensions
        How many there are.
    search
        Which sets are tried.

    Raises
    ------
    WrongConfiguration
        The kind of search is unknown, or there are fewer dimensions than ``least``, or ``least`` is below 1.
    """
    kind, least, delta = search
    if kind not in ("exact", "greedy"):
        raise WrongConfiguration(f"search: found {kind!r}, expected exact or greedy")
    if not 1 <= least <= dimensions:
        raise WrongConfiguration(f"least: found {least}, expected 1 to {dimensions}, the number of dimensions")
    everything = tuple(range(dimensions))
    path, estimates = [everything], [_worth(reward, weights_of(everything), delta)]
    for size in range(dimensions - 1, least - 1, -1):
        among = everything if kind == "exact" else path[-1]
        tried = [(kept, *_worth(reward, weights_of(kept), delta)) for kept in combinations(among, size)]
        if kind == "greedy":
            # Combinations drop the last dimension first; the order decides among equal widths.
            tried.reverse()
        for place in np.argsort([half_width for _, _, half_width in tried], kind="stable")[::-1]:
            kept, value, half_width = tried[place]
            before = np.array(estimates)
            if not agrees(value, half_width, before[:, 0], before[:, 1]):
                return Dropped(tuple(path), exhausted=False)
            path.append(kept)
            estimates.append((value, half_width))
    return Dropped(tuple(path), exhausted=True)


def _worth(reward: Floats, weight: Floats, delta: float) -> tuple[float, float]:
    worth = weight * reward
    if len(worth) < 2:
        return float(worth.sum()), np.inf
    spread = float(np.sqrt(worth.var() / (len(worth) - 1)))
    return float(worth.mean()), spread * student(len(worth), delta / 2)
