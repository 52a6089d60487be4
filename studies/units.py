"""Measure how often intervals by unit cover the true value if few users have most of the rows.

``python -m studies.units --repetitions 2000 --write`` puts the table into docs/evaluation.md.
"""

import argparse
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from replay.evaluation.estimators.importance import SelfNormalised
from replay.evaluation.intervals.clustered import BucketSums, clustered_of_rows
from replay.evaluation.rows import EvaluationRows, Floats

PAGE = Path(__file__).parent.parent / "docs" / "evaluation.md"
BEGIN, END = "<!-- studies.units: begin -->", "<!-- studies.units: end -->"
TARGET, LIFT = np.array([0.1, 0.2, 0.7]), np.array([0.8, 1.0, 1.2])
MEAN = 0.25
SNIPS = SelfNormalised()


@dataclass(frozen=True, slots=True)
class UnevenWorld:
    """A world of users with uneven numbers of decisions and with reward rates of their own.

    Attributes
    ----------
    users, rows
        The numbers of users and of decisions.
    tail
        The shape of the Pareto distribution of a user's activity; None if all users are equally active.
    differ
        Whether half of the users never earn a reward; otherwise all users have the same rate.
    """

    users: int
    rows: int
    tail: float | None
    differ: bool

    @property
    def truth(self) -> float:
        """The target's value for the average user."""
        return float(MEAN * TARGET @ LIFT)

    def simulate(self, chance: np.random.Generator) -> EvaluationRows:
        """Return a log of a uniform logger."""
        activity: Floats = np.ones(self.users) if self.tail is None else chance.pareto(self.tail, self.users) + 1
        user = chance.choice(self.users, self.rows, p=activity / activity.sum())
        rate = 2 * MEAN * (chance.random(self.users) < 0.5) if self.differ else np.full(self.users, MEAN)
        action = chance.integers(0, 3, self.rows)
        return EvaluationRows(
            reward=(chance.random(self.rows) < rate[user] * LIFT[action]).astype(float),
            propensity=np.full(self.rows, 1 / 3),
            target=TARGET[action],
            unit_hash=user.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15),
        )


WORLDS = (
    UnevenWorld(400, 4_000, None, differ=True),
    UnevenWorld(400, 4_000, 1.5, differ=True),
    UnevenWorld(400, 4_000, 1.1, differ=True),
    UnevenWorld(400, 4_000, 1.1, differ=False),
    UnevenWorld(3_000, 20_000, 1.1, differ=True),
    UnevenWorld(100, 4_000, 1.1, differ=True),
    UnevenWorld(30, 2_000, 1.1, differ=True),
)


@dataclass(frozen=True, slots=True)
class Measured:
    """The coverage in a world, the median share of the largest user, and the median number of effective users."""

    coverage: float
    largest: float
    effective: float


def measure(world: UnevenWorld, repetitions: int, seed: int = 0) -> Measured:
    """Return what some logs of a world show."""
    held, shares, effective = 0, [], []
    for repetition in range(repetitions):
        rows = world.simulate(np.random.default_rng([seed, repetition]))
        assert rows.unit_hash is not None
        units = BucketSums.exact(SNIPS.terms(rows), rows.unit_hash)
        held += clustered_of_rows(SNIPS, rows, largest=1.0).holds(world.truth)
        shares.append(units.largest_share())
        effective.append(units.effective())
    return Measured(held / repetitions, float(np.median(shares)), float(np.median(effective)))


def page_lines(repetitions: int, seed: int = 0) -> Iterator[str]:
    """Yield the lines of the generated part of the page."""
    error = 100 * (0.95 * 0.05 / repetitions) ** 0.5
    yield f"{repetitions:,} logs for each world; the standard error of a coverage near 95 % is {error:.1f} points."
    yield ""
    yield "| users | rows | activity | users differ | largest user | effective users | coverage |"
    yield "|---:|---:|---|---|---:|---:|---:|"
    for world in WORLDS:
        found = measure(world, repetitions, seed)
        activity = "equal" if world.tail is None else f"Pareto {world.tail:g}"
        yield (
            f"| {world.users:,} | {world.rows:,} | {activity} | {'yes' if world.differ else 'no'} "
            f"| {100 * found.largest:.0f} % | {found.effective:.0f} | {100 * found.coverage:.1f} % |"
        )


def main() -> None:
    """Run the study."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repetitions", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--write", action="store_true", help=f"put the table into {PAGE.name}")
    options = parser.parse_args()
    text = "\n".join(page_lines(options.repetitions, options.seed))
    sys.stdout.write(text + "\n")
    if options.write:
        before, _, rest = PAGE.read_text(encoding="utf-8").partition(BEGIN)
        after = rest.partition(END)[2]
        PAGE.write_text(f"{before}{BEGIN}\n{text}\n{END}{after}", encoding="utf-8")


if __name__ == "__main__":
    main()
