"""Per action, or per version, how often it was logged and with which propensities."""

from dataclasses import dataclass

import numpy as np

from replay.evaluation.rows import Codes, Floats

MOST = 65_536
"""A log may have more actions than that; then nothing is said about each."""

COUNT, INVERSE, SQUARED_INVERSE, WEIGHT, REWARD = range(5)


@dataclass(frozen=True, slots=True)
class Actions:
    """Sums per action: rows, 1 / propensity, its square, weight, reward; ``a + b`` has those of both.

    Attributes
    ----------
    sums
        Shape (5, actions); actions are numbered from 0. Of more than 65,536 actions, an action is one of the others
        (number modulo 65,536), and ``crowded`` is true.

    Examples
    --------
    >>> half = np.full(3, 0.5)
    >>> Actions.of(np.array([0, 2, 2], dtype=np.int32), half, half, half).sums[COUNT].tolist()
    [1.0, 0.0, 2.0]
    """

    sums: Floats
    crowded: bool

    @staticmethod
    def of(action: Codes, propensity: Floats, weight: Floats, reward: Floats, times: Floats | None = None) -> "Actions":
        """Return the sums of columns of shape (rows,); ``times``: how many rows each row counts as.

        Raises
        ------
        ValueError
            An action's number is negative.
        """
        if action.size and int(action.min()) < 0:
            raise ValueError(f"expected actions numbered from 0, found {int(action.min())}")
        crowded = bool(action.size) and int(action.max()) >= MOST
        if crowded:
            action = action % np.int32(MOST)
        inverse, earned = 1 / propensity, reward if times is None else reward * times
        size = int(action.max()) + 1 if action.size else 0
        return Actions(
            np.stack(
                [
                    np.bincount(action, weights=column, minlength=size)
                    for column in (times, inverse, inverse * inverse, weight, earned)
                ]
            ).astype(np.float64),
            crowded,
        )

    def __add__(self, other: "Actions") -> "Actions":
        size = max(self.sums.shape[1], other.sums.shape[1])
        left, right = (np.pad(sums, ((0, 0), (0, size - sums.shape[1]))) for sums in (self.sums, other.sums))
        return Actions(left + right, self.crowded or other.crowded)
