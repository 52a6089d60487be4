"""Logs of random worlds by the hundred, and what was measured on each: the material of :mod:`studies.flags`."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from replay.estimators.doubly_robust import DoublyRobust
from replay.estimators.estimator import Estimator
from replay.estimators.importance import InversePropensity, SelfNormalised
from replay.health import checks
from replay.health.findings import WRONG_BELOW
from replay.health.statistics import State, statistics
from replay.intervals.delta import delta_of_rows
from replay.judged import Flags, Floats, Judged
from studies.families import RandomWorld, family_a, family_b
from studies.rival_rules import skdr_severity

ESTIMATORS: tuple[Estimator, ...] = (InversePropensity(), SelfNormalised(), DoublyRobust())
FAMILIES = ("ips", "snips", "dr")
Z = 1.959963984540054
SHOWN_RUNS = 100


@dataclass(frozen=True, slots=True)
class Runs:
    """What was measured on the logs of some worlds.

    Attributes
    ----------
    names
        Of the statistics, as many as k.
    known
        The statistics; NaN where one is unknown: shape (worlds, runs, k).
    covers
        Whether the normal interval of the delta method held the truth, for each of three estimators: shape
        (worlds, runs, 3); ``covers_shown``: the interval that the command shows, which is widened for few positives;
        NaN after the first hundred runs.
    p_values
        Of the checks of mean weight, 1 / propensity and draws, not corrected: shape (worlds, runs, 3).
    wrong
        Whether a check called a fault, on the whole log and on one without its pmfs: shape (worlds, runs, 2).
    skdr
        By skdr-eval's rules: 0, 1 or 2 for ok, caution and high risk: shape (worlds, runs).
    describe
        Of each world.
    """

    names: tuple[str, ...]
    known: Floats
    covers: Flags
    covers_shown: Floats
    p_values: Floats
    wrong: Flags
    skdr: Floats
    describe: tuple[str, ...]

    def column(self, name: str) -> Floats:
        """Return a statistic: shape (worlds, runs)."""
        return self.known[:, :, self.names.index(name)]

    def coverage(self) -> Floats:
        """Return how often the normal intervals of each world hold the truth: shape (worlds, 3)."""
        share: Floats = self.covers.mean(axis=1)
        return share

    def save(self, path: Path) -> None:
        """Write to a file of numpy, without anything pickled."""
        columns: dict[str, Any] = {name: np.asarray(getattr(self, name)) for name in self.__slots__}
        np.savez_compressed(path, **columns)

    @staticmethod
    def load(path: Path) -> "Runs":
        """Read what was written."""
        with np.load(path, allow_pickle=False) as stored:
            columns = {name: stored[name] for name in Runs.__slots__}
        texts = {name: tuple(str(each) for each in columns[name]) for name in ("names", "describe")}
        return Runs(**{**columns, **texts})


def without_pmf(state: State) -> State:
    """Return the state of the same rows, had only the propensity of the logged action been written down."""
    return replace(
        state,
        squared=None,
        squared_mean=float(state.rows),
        unseen=None,
        inverse_off=None,
        squared_inverse=None,
        spread_squared=None,
        ranks=None,
        contradicting=0,
    )


def run(family: str, worlds: int, runs: int, told: Callable[[int], None] = lambda _: None) -> Runs:
    """Simulate ``runs`` logs of each of the first worlds of a family, ``A`` or ``B``."""
    make = {"A": family_a, "B": family_b}[family]
    found: list[list[tuple[Floats, ...]]] = []
    made: list[RandomWorld] = []
    names: tuple[str, ...] = ()
    for number in range(worlds):
        world = make(number)
        of_world = []
        tables = world.tables()
        for each in range(runs):
            rows, truth = world.simulate(np.random.default_rng([ord(family), number, each]), tables)
            names, measured = measure(rows, truth, shown=each < SHOWN_RUNS)
            of_world.append(measured)
        found.append(of_world)
        made.append(world)
        told(number)
    known, covers, shown, p_values, wrong, skdr = (
        np.array([[measured[place] for measured in of_world] for of_world in found]) for place in range(6)
    )
    return Runs(
        names,
        known,
        covers.astype(bool),
        shown,
        p_values,
        wrong.astype(bool),
        skdr[..., 0],
        tuple(world.describe for world in made),
    )


def measure(rows: Judged, truth: float, *, shown: bool = True) -> tuple[tuple[str, ...], tuple[Floats, ...]]:
    """Return the names of the statistics, and a log's row of each array of :class:`Runs`."""
    state = State.of(rows)
    known = statistics(state)
    held = [delta_of_rows(estimator, rows).holds(truth) if shown else np.nan for estimator in ESTIMATORS]
    p_values = [checks.mean_weight(state), checks.inverse_propensity(state), checks.draws(state)]
    bare = [checks.mean_weight(without_pmf(state))]
    # The only findings that can be wrong in a log without faults.
    found = [any(p is not None and p < WRONG_BELOW for p in checks.holm(each)) for each in (p_values, bare)]
    return tuple(known), (
        _numbers(list(known.values())),
        _normal(state, truth),
        np.array(held, dtype=float),
        _numbers(p_values),
        np.array(found, dtype=float),
        np.array([skdr_severity(rows)], dtype=float),
    )


def _numbers(values: list[float | None]) -> Floats:
    return np.array([np.nan if value is None else value for value in values])


def _normal(state: State, truth: float) -> Floats:
    """Return whether value and standard error hold the truth; a value that is unknown does not."""
    ratio, corrected = state.ratio, state.corrected
    assert corrected is not None
    error = np.sqrt(ratio.second[2] * state.rows / max(state.rows - 1, 1)) / ratio.weight if ratio.weight else 0.0
    values = (state.worth.mean, ratio.ratio, corrected.mean)
    errors = (state.worth.error or 0.0, error, corrected.error or 0.0)
    return np.array([abs(value - truth) <= Z * e for value, e in zip(values, errors, strict=True)], dtype=float)
