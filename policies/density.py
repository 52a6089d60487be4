"""A probability density over a domain of numbers: what a policy of continuous actions answers with."""

from bisect import bisect_right
from dataclasses import dataclass
from itertools import pairwise


@dataclass(frozen=True, slots=True)
class Density:
    """A density that is constant between edges, and 0 outside of them.

    Attributes
    ----------
    edges
        Ascending, in the unit of the domain.
    heights
        The density between each edge and the next one, per unit of the domain; one fewer than edges.
    """

    edges: tuple[float, ...]
    heights: tuple[float, ...]

    def at(self, value: float) -> float:
        """Return the density at a value; an edge belongs to the part above it, the last one to the part below.

        >>> density = Density((0.0, 1.0, 3.0), (0.5, 0.25))
        >>> density.at(0.0), density.at(1.0), density.at(3.0), density.at(3.1)
        (0.5, 0.25, 0.25, 0.0)
        """
        if not self.edges[0] <= value <= self.edges[-1]:
            return 0.0
        return self.heights[min(bisect_right(self.edges, value), len(self.heights)) - 1]

    @property
    def masses(self) -> list[float]:
        """The probability of each part."""
        return [
            height * (above - below) for height, (below, above) in zip(self.heights, pairwise(self.edges), strict=True)
        ]
