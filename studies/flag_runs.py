"""Logs of random worlds by the hundred, and what was measured on each: the material of :mod:`studies.flags`."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from replay.evaluation.estimators.doubly_robust import DoublyRobust
from replay.evaluation.estimators.estimator import Estimator
from replay.evaluation.estimators.importance import InversePropensity, SelfNormalised
from replay.evaluation.health import checks
from replay.evaluation.health.central import AroundRatio, Central
from replay.evaluation.health.findings import WRONG_BELOW
from replay.evaluation.health.missing import FILLED
from replay.evaluation.health.state import State
from replay.evaluation.health.statistics import statistics
from replay.evaluation.intervals.delta import delta_of_rows
from replay.evaluation.rows import EvaluationRows, Flags, Floats
from studies.families import family_a, family_b
from studies.rival_rules import skdr_severity

ESTIMATORS: tuple[Estimator, ...] = (InversePropensity(), SelfNormalised(), DoublyRobust())
FAMILIES = ("ips", "snips", "dr")
Z = 1.959963984540054
BARE = "bare_"
"""The prefix of a statistic with the missing rows filled in of a log that has propensities only."""


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
        (worlds, runs, 3); ``covers_shown``: the interval that the command shows, which is widened for few positives.
    coverage
        How often the normal interval holds the truth, of these runs and of further logs: shape (worlds, 3).
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
    covers_shown: Flags
    coverage: Floats
    p_values: Floats
    wrong: Flags
    skdr: Floats
    describe: tuple[str, ...]

    def column(self, name: str) -> Floats:
        """Return a statistic: shape (worlds, runs)."""
        return self.known[:, :, self.names.index(name)]

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


def run(
    family: str,
    worlds: int,
    runs: int,
    more: int = 0,
    told: Callable[[int], None] = lambda _: None,
    mapped: Callable[..., Iterable[Any]] = map,
) -> Runs:
    """Simulate ``runs`` logs of each of the first worlds of a family, ``A`` or ``B``.

    Parameters
    ----------
    more
        So many further logs of each say what the normal interval covers, and nothing else.
    told
        Is told of each world that is done.
    mapped
        ``map``, or that of a pool of processes.
    """
    found = []
    for number, of_world in enumerate(mapped(partial(_of_world, family, runs, more), range(worlds))):
        found.append(of_world)
        told(number)
    columns = [np.array([world.measured[place] for world in found]) for place in range(6)]
    known, covers, shown, p_values, wrong, skdr = columns
    return Runs(
        found[0].names,
        known,
        covers.astype(bool),
        shown.astype(bool),
        np.array([world.coverage for world in found]),
        p_values,
        wrong.astype(bool),
        skdr[..., 0],
        tuple(world.describe for world in found),
    )


@dataclass(frozen=True, slots=True)
class _World:
    """The rows of one world of the arrays of :class:`Runs`; ``measured`` are those of :func:`measure`."""

    names: tuple[str, ...]
    measured: tuple[Floats, ...]
    coverage: Floats
    describe: str


def _of_world(family: str, runs: int, more: int, number: int) -> _World:
    world = {"A": family_a, "B": family_b}[family](number)
    tables = world.tables()
    names: tuple[str, ...] = ()
    measured, further = [], []
    for each in range(runs + more):
        rows, truth = world.simulate(np.random.default_rng([ord(family), number, each]), tables)
        if each < runs:
            names, columns = measure(rows, truth)
            measured.append(columns)
        else:
            further.append(_normal(*_spread(rows), truth))
    together = tuple(np.array(column) for column in zip(*measured, strict=True))
    coverage = np.concatenate([together[1], np.array(further).reshape(more, len(FAMILIES))]).mean(axis=0)
    return _World(names, together, coverage, world.describe)


def measure(rows: EvaluationRows, truth: float) -> tuple[tuple[str, ...], tuple[Floats, ...]]:
    """Return the names of the statistics, and a log's row of each array of :class:`Runs`."""
    state = State.of(rows)
    known = statistics(state)
    without = statistics(without_pmf(state))
    known |= {f"{BARE}{name}": without[name] for name in known if name.startswith(FILLED)}
    held = [delta_of_rows(estimator, rows).holds(truth) for estimator in ESTIMATORS]
    p_values = [checks.mean_weight(state), checks.inverse_propensity(state), checks.draws(state)]
    bare = [checks.mean_weight(without_pmf(state))]
    # The only findings that can be wrong in a log without faults.
    found = [any(p is not None and p < WRONG_BELOW for p in checks.holm(each)) for each in (p_values, bare)]
    return tuple(known), (
        _numbers(list(known.values())),
        _normal(state.worth, state.ratio, state.corrected, truth),
        np.array(held, dtype=float),
        _numbers(p_values),
        np.array(found, dtype=float),
        np.array([skdr_severity(rows)], dtype=float),
    )


def _numbers(values: list[float | None]) -> Floats:
    return np.array([np.nan if value is None else value for value in values])


def _spread(rows: EvaluationRows) -> tuple[Central, AroundRatio, Central]:
    """Return what the values of the three estimators spread by, as a state has it."""
    assert rows.model_logged is not None
    assert rows.model_target is not None
    corrected = rows.model_target + rows.weight * (rows.reward - rows.model_logged)
    worth = Central.of(rows.weight * rows.reward)
    return worth, AroundRatio.of(rows.weight, rows.reward), Central.of(corrected)


def _normal(worth: Central, ratio: AroundRatio, corrected: Central | None, truth: float) -> Floats:
    """Return whether value and standard error hold the truth; a value that is unknown does not."""
    assert corrected is not None
    error = np.sqrt(ratio.second[2] * ratio.count / max(ratio.count - 1, 1)) / ratio.weight if ratio.weight else 0.0
    values = (worth.mean, ratio.ratio, corrected.mean)
    errors = (worth.error or 0.0, error, corrected.error or 0.0)
    return np.array([abs(value - truth) <= Z * e for value, e in zip(values, errors, strict=True)], dtype=float)
