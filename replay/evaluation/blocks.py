"""Adding up the blocks of a log, so that the result does not depend on who added which of them.

Floating-point sums depend on their order. Here it is fixed: blocks are the leaves of a binary tree, numbered by their
place in the log, and two neighbours are added as soon as both are there. So 1, 2 or 7 processes give the same bits,
and what is kept grows with the logarithm of the number of blocks.
"""

from collections.abc import Iterable
from typing import Any, Generic, Protocol, TypeVar

BLOCK_ROWS = 65_536
"""Number of consecutive rows of the log in a block, including those that are left out."""


_LEVELS = 48


class Addable(Protocol):
    """What can be added to its right neighbour; neither changes."""

    def __add__(self, other: Any, /) -> Any:
        """Return the state of both."""


State = TypeVar("State", bound=Addable)


class Blocks(Generic[State]):
    """States of blocks, added up where neighbours met; ``a + b`` joins what two processes have seen.

    Examples
    --------
    >>> left, right = Blocks[int](), Blocks[int]()
    >>> left.put(0, 5), left.put(2, 7), right.put(1, 6)
    (None, None, None)
    >>> (left + right).total(), len(left + right)
    (18, 2)
    """

    def __init__(self) -> None:
        self._nodes: dict[tuple[int, int], State] = {}

    def put(self, index: int, state: State) -> None:
        """Take in the block at a place of the log; no place comes twice.

        Raises
        ------
        ValueError
            It was there already.
        """
        self._put(0, index, state)

    def _put(self, level: int, index: int, state: State) -> None:
        # A node may lie inside of another one that was completed before, or others inside of it.
        inside = any((above, index >> (above - level)) in self._nodes for above in range(level, _LEVELS))
        if inside or (level and any(low < level and at >> (level - low) == index for low, at in self._nodes)):
            raise ValueError(f"block {index} of level {level} came twice")
        while (other := self._nodes.pop((level, index ^ 1), None)) is not None:
            state = other + state if index & 1 else state + other
            level, index = level + 1, index >> 1
        self._nodes[level, index] = state

    def __add__(self, other: "Blocks[State]") -> "Blocks[State]":
        both: Blocks[State] = Blocks()
        both._nodes = dict(self._nodes)
        for (level, index), state in sorted(other._nodes.items(), key=lambda node: node[0]):
            both._put(level, index, state)
        return both

    def __len__(self) -> int:
        return len(self._nodes)

    @property
    def nodes(self) -> dict[tuple[int, int], State]:
        """The states by the level of their node and its place among those of that level, in the order of the log."""
        return dict(sorted(self._nodes.items(), key=lambda node: node[0][1] << node[0][0]))

    def total(self) -> State | None:
        """Return the sum of all blocks, in the order of the log; None of none.

        Gaps between blocks do not matter to what is added, only to what could be added beforehand.
        """
        summed: State | None = None
        for state in self.nodes.values():
            summed = state if summed is None else summed + state
        return summed


def total(states: Iterable[Blocks[State]]) -> State | None:
    """Return the sum of what several processes have seen."""
    joint: Blocks[State] = Blocks()
    for states_of_one in states:
        joint = joint + states_of_one
    return joint.total()
