"""What each estimator makes of the logs of a learner, in worlds whose truth is known.

``python -m studies.adaptive --repetitions 3000 --write`` puts the table into docs/reward-models.md.
"""

import argparse
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np

from replay.evaluation.estimators.adaptive import Pieces, adaptive_value
from replay.evaluation.estimators.doubly_robust import DoublyRobust
from replay.evaluation.estimators.estimator import Estimator, influence
from replay.evaluation.estimators.importance import InversePropensity, SelfNormalised, with_propensity
from replay.evaluation.intervals.adaptive import AdaptiveSums, adaptive_interval
from replay.evaluation.rows import EvaluationRows, Floats, Hashes

ROWS, VERSIONS = 5000, 50
PRIOR_ROWS = 10.0
NORMAL_95 = 1.959963984540054
PAGE = Path(__file__).parent.parent / "docs" / "reward-models.md"
BEGIN, END = "<!-- studies.adaptive: begin -->", "<!-- studies.adaptive: end -->"


@dataclass(frozen=True, slots=True)
class LearningWorld:
    """A world in which a learner explores less and less.

    Attributes
    ----------
    name, describe
        What it is called, and what is special about it.
    rates
        The chance of a reward of 1: shape (contexts, actions); contexts come alike.
    target
        The judged policy's pmf: shape (contexts, actions).
    decay
        Version v, from 0, draws an action at random with the probability ``(v + 1)^-decay``, and else takes the one
        with the best mean so far.
    decisions_a_user
        So many rows a user has. Where they return, half of the users never earn a reward and the others twice as often.
    """

    name: str
    describe: str
    rates: Floats
    target: Floats
    decay: float
    decisions_a_user: int = 1

    @property
    def truth(self) -> float:
        """The target's value."""
        return float((self.rates * self.target).sum(axis=1).mean())


def _one_action(rates: list[float]) -> tuple[Floats, Floats]:
    """Return rates without contexts, and the target that always takes the first action."""
    return np.array([rates]), np.eye(len(rates))[:1]


def _three_contexts() -> tuple[Floats, Floats]:
    """Return rates of five actions of which each context has its best, and a target that likes the second best."""
    context = np.arange(3)
    rates, target = np.full((3, 5), 0.25), np.zeros((3, 5))
    rates[context, context], rates[context, context + 1] = 0.45, 0.3
    target[context, context], target[context, context + 1], target[context, context + 2] = 0.1, 0.8, 0.1
    # So that the truth is .3.
    rates[context, context + 1] += (0.3 - (rates * target).sum(axis=1)) / 0.8
    return rates, target


WORLDS = (
    LearningWorld("alike", "20 actions, all worth .3: luck decides which is taken", *_one_action([0.3] * 20), 0.7),
    LearningWorld(
        "best", "the target takes the best of 5 actions: .3 against .25", *_one_action([0.3] + [0.25] * 4), 1.2
    ),
    LearningWorld("contexts", "3 contexts; the target likes what is second best there", *_three_contexts(), 0.9),
    LearningWorld(
        "users", "as before, and users decide 50 times; half of them like nothing", *_three_contexts(), 0.5, 50
    ),
)


class Log(NamedTuple):
    """A log, and more than a log tells.

    Attributes
    ----------
    judged
        The rows; their reward model is from the past only.
    mixture
        The logged action's probability by all versions' mixture: shape (rows,).
    hindsight
        The rows with a reward model that has learned all of them.
    """

    judged: EvaluationRows
    mixture: Floats
    hindsight: EvaluationRows


def simulate(world: LearningWorld, chance: np.random.Generator, rows: int = ROWS, versions: int = VERSIONS) -> Log:
    """Return the log of a learner that is published after every ``rows / versions`` rows."""
    contexts, actions = world.rates.shape
    counts, sums = np.zeros((contexts, actions)), np.zeros((contexts, actions))
    context = chance.integers(0, contexts, rows)
    user, liking = _users(world, chance, rows)
    cut = np.arange(versions + 1) * rows // versions
    pmfs = np.empty((versions, contexts, actions))
    models = np.empty((versions, contexts, actions))
    action, reward = np.empty(rows, dtype=np.int32), np.empty(rows)
    for version in range(versions):
        models[version] = shrunk_means(counts, sums)
        random = (version + 1) ** -world.decay
        pmfs[version] = random / actions
        pmfs[version, np.arange(contexts), models[version].argmax(axis=1)] += 1 - random
        own = slice(cut[version], cut[version + 1])
        below = pmfs[version].cumsum(axis=1)[context[own]]
        taken = np.minimum((below < chance.random((len(below), 1))).sum(axis=1), actions - 1)
        action[own] = taken
        reward[own] = chance.random(len(taken)) < world.rates[context[own], taken] * liking[own]
        np.add.at(counts, (context[own], taken), 1)
        np.add.at(sums, (context[own], taken), reward[own])
    version_of = np.repeat(np.arange(versions, dtype=np.int32), np.diff(cut))
    pmf, target = pmfs[version_of, context], world.target[context]
    each = np.arange(rows)
    propensity = pmf[each, action]

    def modelled(model: Floats) -> EvaluationRows:
        return EvaluationRows(
            reward=reward,
            propensity=propensity,
            target=target[each, action],
            model_logged=model[each, action],
            model_target=(target * model).sum(axis=1),
            squared_weight=(target**2 / pmf).sum(axis=1),
            action=action,
            time_ms=each * 1000,
            version=version_of,
            unit_hash=user,
            segments={"context": context.astype(np.int32)},
        )

    share = np.diff(cut) / rows
    mixture = np.einsum("v,vca->ca", share, pmfs)[context, action]
    return Log(modelled(models[version_of, context]), mixture, modelled(shrunk_means(counts, sums)[context]))


def _users(world: LearningWorld, chance: np.random.Generator, rows: int) -> tuple[Hashes, Floats]:
    """Return whose each row is, and by how much they like more than others: shape (rows,) each."""
    if world.decisions_a_user == 1:
        return np.arange(rows, dtype=np.uint64), np.ones(rows)
    users = -(-rows // world.decisions_a_user)
    user = chance.permutation(np.repeat(np.arange(users, dtype=np.uint64), world.decisions_a_user)[:rows])
    return user, 2.0 * chance.integers(0, 2, users)[user]


def shrunk_means(counts: Floats, sums: Floats) -> Floats:
    """Return the means that `ActionMeans` has: shape (contexts, actions)."""
    overall = sums.sum() / max(counts.sum(), 1)
    of_action = (sums.sum(axis=0) + PRIOR_ROWS * overall) / (counts.sum(axis=0) + PRIOR_ROWS)
    means: Floats = (sums + PRIOR_ROWS * of_action) / (counts + PRIOR_ROWS)
    return means


class Result(NamedTuple):
    """A value, and its interval."""

    value: float
    low: float
    high: float


def _normal(value: float, error: float) -> Result:
    return Result(value, value - NORMAL_95 * error, value + NORMAL_95 * error)


def _plain(estimator: Estimator, rows: EvaluationRows) -> Result:
    return _normal(estimator.estimate(rows), float(influence(estimator, rows).std(ddof=1)) / len(rows) ** 0.5)


def _adaptive(rows: EvaluationRows, two_point: bool = False) -> Result:
    found = adaptive_value(Pieces.of(rows), "two-point" if two_point else "constant")
    if found.value is None or found.standard_error is None:
        raise ValueError("expected a log of more than one window")
    return _normal(found.value, found.standard_error)


def _shown(rows: EvaluationRows) -> Result:
    found = adaptive_interval(AdaptiveSums.of(rows), by_unit=True)
    if found.value is None or found.low is None or found.high is None:
        raise ValueError("expected a log of more than one window")
    return Result(found.value, found.low, found.high)


def _balanced(log: Log) -> EvaluationRows:
    return with_propensity(log.judged, log.mixture)


METHODS: dict[str, Callable[[Log], Result]] = {
    "IPS": lambda log: _plain(InversePropensity(), log.judged),
    "DR, model from the past": lambda log: _plain(DoublyRobust(), log.judged),
    "DR, model of all rows": lambda log: _plain(DoublyRobust(), log.hindsight),
    "IPS, balanced over versions": lambda log: _plain(InversePropensity(), _balanced(log)),
    "SNIPS, balanced over versions": lambda log: _plain(SelfNormalised(), _balanced(log)),
    "DR, balanced over versions": lambda log: _plain(DoublyRobust(), _balanced(log)),
    "IPS, adaptive weights": lambda log: _adaptive(replace(log.judged, model_logged=None, model_target=None)),
    "DR, adaptive weights": lambda log: _adaptive(log.judged),
    "DR, adaptive weights, two-point": lambda log: _adaptive(log.judged, two_point=True),
    "**DR, adaptive weights, as shown**": lambda log: _shown(log.judged),
}


class Row(NamedTuple):
    """What a method did in a world, over all repetitions."""

    method: str
    bias: float
    bias_error: float
    rmse: float
    coverage: float


def study(world: LearningWorld, repetitions: int, seed: int = 0) -> list[Row]:
    """Return what each method does in a world; the seed decides the logs."""
    results = np.empty((len(METHODS), repetitions, 3))
    for repetition in range(repetitions):
        log = simulate(world, np.random.default_rng([seed, repetition]))
        for number, method in enumerate(METHODS.values()):
            results[number, repetition] = method(log)
    off, ends = results[:, :, 0] - world.truth, results[:, :, 1:] - world.truth
    return [
        Row(
            name,
            bias=float(off[number].mean()),
            bias_error=float(off[number].std(ddof=1)) / repetitions**0.5,
            rmse=float(np.sqrt((off[number] ** 2).mean())),
            coverage=float(((ends[number, :, 0] <= 0) & (ends[number, :, 1] >= 0)).mean()),
        )
        for number, name in enumerate(METHODS)
    ]


def page_lines(repetitions: int, seed: int = 0) -> Iterator[str]:
    """Yield the part of the page that numbers are in."""
    sampling = 100 * (0.95 * 0.05 / repetitions) ** 0.5
    yield (
        f"{repetitions:,} logs of {ROWS:,} rows and {VERSIONS} publishes a world; the truth is .3; intervals of 95 %. "
        f"Coverage is uncertain by\n±{2 * sampling:.1f} points (two standard errors), "
        "the bias by what stands behind it."
    )
    for world in WORLDS:
        yield ""
        yield f"**{world.name}**: {world.describe}; version v explores with the probability v^-{world.decay:g}."
        yield ""
        yield "| | bias | RMSE | coverage |"
        yield "|---|---|---|---|"
        for row in study(world, repetitions, seed):
            bias = f"{row.bias:+.3f} ± {2 * row.bias_error:.3f}"
            yield f"| {row.method} | {bias} | {row.rmse:.3f} | {100 * row.coverage:.1f} % |"


def main() -> None:
    """Run the study."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repetitions", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--write", action="store_true", help=f"put the tables into {PAGE.name}")
    told = parser.parse_args()
    text = "\n".join(page_lines(told.repetitions, told.seed))
    sys.stdout.write(text + "\n")
    if told.write:
        before, _, rest = PAGE.read_text(encoding="utf-8").partition(BEGIN)
        after = rest.partition(END)[2]
        PAGE.write_text(f"{before}{BEGIN}\n{text}\n{END}{after}", encoding="utf-8")


if __name__ == "__main__":
    main()
