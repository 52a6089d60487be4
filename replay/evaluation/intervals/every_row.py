"""The terms of every row, for intervals that sums do not suffice for."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from records.errors import WrongConfiguration
from replay.evaluation.rows import Floats

REWARD = "r"
"""The column of rewards as they are weighed, among the terms."""
MOST_ROWS = 5_000_000
"""With more rows their terms would take gigabytes."""


@dataclass(frozen=True, slots=True)
class EveryRow:
    """Terms of each row of some blocks, in the order of the log; ``a + b`` are those of both.

    Examples
    --------
    >>> both = EveryRow(({"w": np.array([1.0])},)) + EveryRow(({"w": np.array([2.0, 3.0])},))
    >>> len(both), both.terms["w"].tolist()
    (3, [1.0, 2.0, 3.0])
    """

    blocks: tuple[Mapping[str, Floats], ...]

    def __len__(self) -> int:
        return sum(len(next(iter(block.values()))) for block in self.blocks)

    def __add__(self, other: "EveryRow") -> "EveryRow":
        both = EveryRow(self.blocks + other.blocks)
        if len(both) > MOST_ROWS:
            raise WrongConfiguration(
                f"interval: found a log of more than {MOST_ROWS:,} rows, expected one whose rows fit into memory;"
                " leave the option out"
            )
        return both

    @property
    def terms(self) -> dict[str, Floats]:
        """The terms as whole columns."""
        return {name: np.concatenate([block[name] for block in self.blocks]) for name in self.blocks[0]}
