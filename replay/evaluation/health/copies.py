"""Rows that are exact copies of others, in a log without event ids."""

from dataclasses import dataclass

import numpy as np

from records.splitmix import GOLDEN
from replay.evaluation.health.hashes import Sampled, mixed
from replay.evaluation.rows import EvaluationRows, Hashes

_ODD = np.uint64(GOLDEN)
LAGS = (1, 2)
"""Rows are compared with these many rows before them to learn how often neighbours are equal by chance."""


@dataclass(frozen=True, slots=True)
class Copies:
    """Counts of rows that agree in time, and in everything; ``a + b`` is that of both logs.

    Rows with the same time are expected to be equal in the rest as often as neighbours with different times are.

    Attributes
    ----------
    rows, instants
        Samples of the hashes of whole rows, and of their times.
    equal, compared
        How many neighbours with different times are equal in the rest, and how many were compared.
    """

    rows: Sampled
    instants: Sampled
    equal: int
    compared: int

    @staticmethod
    def of(rows: EvaluationRows) -> "Copies | None":
        """Return the counts of a block; None if rows have event ids, or no times."""
        if rows.event_hash is not None or rows.time_ms is None:
            return None
        times = rows.time_ms.astype(np.uint64)
        rest = _hashed(rows)
        equal = compared = 0
        for lag in LAGS:
            apart = times[lag:] != times[:-lag]
            equal += int((apart & (rest[lag:] == rest[:-lag])).sum())
            compared += int(apart.sum())
        return Copies(Sampled.of(rest ^ mixed(times)), Sampled.of(times), equal, compared)

    def __add__(self, other: "Copies") -> "Copies":
        return Copies(
            self.rows + other.rows,
            self.instants + other.instants,
            self.equal + other.equal,
            self.compared + other.compared,
        )

    def share(self, rows: int) -> float | None:
        """Return the share of rows that have copies beyond chance; None if too few rows were compared.

        Examples
        --------
        >>> half, rewards = np.full(200, 0.5), np.tile([0.0, 1.0], 100)
        >>> log = EvaluationRows(reward=rewards, propensity=half, target=half, time_ms=np.arange(200) // 4 * 4)
        >>> Copies.of(log).share(200)
        0.0
        """
        if self.compared < 100:
            return None
        by_chance = (self.equal + 3 * self.equal**0.5 + 3) / self.compared
        same, expected = _pairs(self.rows), _pairs(self.instants) * by_chance
        # Pairs of one instant are copies, or equal by chance.
        return min((same - expected) / (1 - by_chance) / rows, 1.0) if by_chance < 0.5 and same > 2 * expected else 0.0


def _pairs(sampled: Sampled) -> float:
    counts = sampled.counts.astype(np.float64)
    return float((counts * (counts - 1) / 2).sum()) * 2.0**sampled.halvings


def _hashed(rows: EvaluationRows) -> Hashes:
    columns = [
        np.ascontiguousarray(column, dtype=np.float64).view(np.uint64)
        for column in (rows.reward, rows.propensity, rows.weight)
    ]
    columns += [codes.astype(np.uint64) for codes in (rows.action, rows.version) if codes is not None]
    columns += [] if rows.unit_hash is None else [rows.unit_hash]
    found = np.zeros(len(rows), dtype=np.uint64)
    with np.errstate(over="ignore"):
        for column in columns:
            # The end of a float is often all zeros, and a product moves bits up only.
            found = (found ^ column ^ (column >> np.uint64(32))) * _ODD
    return mixed(found)
