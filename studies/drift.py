"""Measure how often intervals cover the true value on a learner's log while rewards drift.

``python -m studies.drift --repetitions 1000 --write`` puts the table into docs/reward-models.md.
"""

import argparse
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from replay.evaluation.estimators.default import default_estimator
from replay.evaluation.estimators.doubly_robust import DoublyRobust
from replay.evaluation.estimators.estimator import Estimator
from replay.evaluation.estimators.importance import SelfNormalised
from replay.evaluation.intervals.adaptive import AdaptiveSums, adaptive_difference, adaptive_interval
from replay.evaluation.intervals.delta import delta_of_rows
from replay.evaluation.intervals.difference import Difference, LoggedMean, difference_of_rows
from replay.evaluation.intervals.interval import Interval
from replay.evaluation.rows import EvaluationRows, Floats
from studies.adaptive import PAGE, shrunk_means

VERSIONS = 50
SIZES = (5_000, 20_000, 50_000)
BEGIN, END = "<!-- studies.drift: begin -->", "<!-- studies.drift: end -->"
RATES = np.array([0.3, 0.35, 0.25, 0.3])
TARGET = np.array([0.7, 0.1, 0.1, 0.1])
SEASONS = 7


@dataclass(frozen=True, slots=True)
class DriftingWorld:
    """A world where a learner explores and the rewards change over time.

    Attributes
    ----------
    name, describe
        The name, and a description of the change.
    factor
        Returns the factor of the reward rate from the row's place in the log (0 to 1): shape (rows, 1) or
        (rows, actions).
    exploring
        Returns the share of random draws from a version's number and the number of versions.
    """

    name: str
    describe: str
    factor: Callable[[Floats], Floats]
    exploring: Callable[[int, int], float] = lambda version, versions: (version + 1) ** -0.7


def _line(first: float, last: float) -> Callable[[Floats], Floats]:
    return lambda place: (first + (last - first) * place)[:, None]


def _step(place: Floats) -> Floats:
    return np.where(place < 0.5, 1.4, 0.6)[:, None]


def _season(place: Floats) -> Floats:
    found: Floats = (1 + 0.6 * np.sin(2 * np.pi * SEASONS * place))[:, None]
    return found


def _one_arm(place: Floats) -> Floats:
    return np.stack([1.6 - 1.2 * place, *[np.ones(len(place))] * 3], axis=1)


def _with_the_season(version: int, versions: int) -> float:
    return 0.05 + 0.225 * (1 + float(np.sin(2 * np.pi * SEASONS * (version + 0.5) / versions)))


WORLDS = (
    DriftingWorld("none", "nothing", _line(1.0, 1.0)),
    DriftingWorld("falling", "from 1.8 times to 0.2 times", _line(1.8, 0.2)),
    DriftingWorld("rising", "from 0.2 times to 1.8 times", _line(0.2, 1.8)),
    DriftingWorld("step", "1.4 times, then 0.6 times", _step),
    DriftingWorld("seasonal", f"{SEASONS} waves of 60 %", _season),
    DriftingWorld("-25 %", "from 1.25 times to 0.75 times", _line(1.25, 0.75)),
    DriftingWorld("+20 %", "from 0.8 times to 1.2 times", _line(0.8, 1.2)),
    DriftingWorld("one action", "from 1.6 times to 0.4 times, the target's favourite alone", _one_arm),
    DriftingWorld(
        "with exploration", "as seasonal, and the share of random draws goes with it", _season, _with_the_season
    ),
)


class Log(NamedTuple):
    """A log, the target's value over its period, the learner's expected value over it, and the logged pmfs."""

    judged: EvaluationRows
    truth: float
    logged: float
    pmf: Floats


def simulate(world: DriftingWorld, chance: np.random.Generator, rows: int) -> Log:
    """Return the log of a learner that publishes every ``rows / 50`` rows; the reward model has seen the past only."""
    actions = len(RATES)
    rates = world.factor((np.arange(rows) + 0.5) / rows) * RATES
    counts, sums = np.zeros((1, actions)), np.zeros((1, actions))
    cut = np.arange(VERSIONS + 1) * rows // VERSIONS
    pmfs, models = np.empty((VERSIONS, actions)), np.empty((VERSIONS, actions))
    action, reward = np.empty(rows, dtype=np.int32), np.empty(rows)
    for version in range(VERSIONS):
        own = slice(cut[version], cut[version + 1])
        models[version] = shrunk_means(counts, sums)[0]
        random = world.exploring(version, VERSIONS)
        pmfs[version] = random / actions
        pmfs[version, models[version].argmax()] += 1 - random
        count = own.stop - own.start
        taken = np.minimum(np.searchsorted(pmfs[version].cumsum(), chance.random(count)), actions - 1)
        action[own] = taken
        reward[own] = chance.random(count) < rates[own][np.arange(count), taken]
        np.add.at(counts, (0, taken), 1)
        np.add.at(sums, (0, taken), reward[own])
    version_of = np.repeat(np.arange(VERSIONS, dtype=np.int32), np.diff(cut))
    pmf, model, each = pmfs[version_of], models[version_of], np.arange(rows)
    judged = EvaluationRows(
        reward=reward,
        propensity=pmf[each, action],
        target=TARGET[action],
        model_logged=model[each, action],
        model_target=model @ TARGET,
        squared_weight=(TARGET**2 / pmf).sum(axis=1),
        action=action,
        version=version_of,
    )
    return Log(judged, float((rates @ TARGET).mean()), float((rates * pmf).sum(axis=1).mean()), pmf)


_ESTIMATORS: dict[str, Estimator] = {"dr": DoublyRobust(), "snips": SelfNormalised()}


def headline(has_model: bool) -> Estimator:
    """Return the default estimator of a learner's log."""
    return _ESTIMATORS[default_estimator(VERSIONS, one_learner=True, has_model=has_model).name]


def _difference(has_model: bool, rows: EvaluationRows) -> Interval:
    return difference_of_rows(Difference(headline(has_model), LoggedMean()), rows)


VALUES: dict[str, Callable[[EvaluationRows], Interval]] = {
    "with a model": lambda rows: delta_of_rows(headline(True), rows),
    "without": lambda rows: delta_of_rows(headline(False), rows),
    "adaptive weights alone": lambda rows: adaptive_interval(AdaptiveSums.of(rows)),
}
DIFFERENCES: dict[str, Callable[[EvaluationRows], Interval]] = {
    "difference, with a model": lambda rows: _difference(True, rows),
    "difference, without": lambda rows: _difference(False, rows),
    "difference, adaptive weights alone": lambda rows: adaptive_difference(AdaptiveSums.of(rows)),
}
METHODS = (*VALUES, *DIFFERENCES)


def coverage(world: DriftingWorld, rows: int, repetitions: int, seed: int = 0) -> dict[str, float]:
    """Return the share of logs on which the interval of each method covered the truth."""
    held = dict.fromkeys(METHODS, 0)
    for repetition in range(repetitions):
        log = simulate(world, np.random.default_rng([seed, rows, repetition]), rows)
        for methods, truth in ((VALUES, log.truth), (DIFFERENCES, log.truth - log.logged)):
            for name, method in methods.items():
                held[name] += method(log.judged).holds(truth)
    return {name: count / repetitions for name, count in held.items()}


def page_lines(repetitions: int, sizes: Sequence[int] = SIZES, seed: int = 0) -> Iterator[str]:
    """Yield the lines of the generated part of the page."""
    error = 100 * (0.95 * 0.05 / repetitions) ** 0.5
    yield (
        f"{repetitions:,} logs for each world and size, with {VERSIONS} publishes. Version v explores with the "
        f"probability v^-0.7, except where\nthe table says otherwise. The standard error of a share near 95 % is "
        f"{error:.1f} points."
    )
    for rows in sizes:
        yield ""
        yield f"**{rows:,} rows**: coverage of 95 % intervals, in %."
        yield ""
        yield f"| rewards change | {' | '.join(METHODS)} |"
        yield f"|---|{'---:|' * len(METHODS)}"
        for world in WORLDS:
            found = coverage(world, rows, repetitions, seed)
            cells = " | ".join(f"{100 * found[name]:.1f}" for name in METHODS)
            yield f"| {world.name}: {world.describe} | {cells} |"


def main() -> None:
    """Run the study."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repetitions", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--write", action="store_true", help=f"put the tables into {PAGE.name}")
    options = parser.parse_args()
    text = "\n".join(page_lines(options.repetitions, seed=options.seed))
    sys.stdout.write(text + "\n")
    if options.write:
        before, _, rest = PAGE.read_text(encoding="utf-8").partition(BEGIN)
        after = rest.partition(END)[2]
        PAGE.write_text(f"{before}{BEGIN}\n{text}\n{END}{after}", encoding="utf-8")


if __name__ == "__main__":
    main()
