"""Two families of random worlds with known truth: one to calibrate the warning, another one to test it.

A world is a situation: who logged, for which target, how many rows, and what kind of rewards. Every log of it gets
rewards that are drawn anew, with a truth of their own: so an interval does well in a world because the log allows it,
not because what the log does not show happens to be like the rest. What is logged less than once, or never, is better
or worse than the rest by half, and a model is as much off where it has to guess. There is a pool of contexts with
everything that is to know of them, so the truth is a sum and a log is drawn fast.

Family A has clicks and amounts over softmax policies. Family B shares no rule with it: other action counts, other
reward models, propensities with power tails, policies that are greedy, actions that are never logged, loggers that
change or learn while they log.
"""

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from replay.evaluation.rows import EvaluationRows, Floats

Rewards = Literal["click", "normal", "revenue"]
OFF = 0.5
"""How far what is not known is off: the standard deviation of its logarithm."""
Tables = list[tuple[Floats, Floats]]


@dataclass(frozen=True, slots=True)
class RandomWorld:
    """A pool of contexts, which come with the same probability each.

    Attributes
    ----------
    family, number
        Which one it is; ``describe``: its features, in words.
    rows
        Of a log.
    logging
        The logging policy's pmf for each version: shape (versions, contexts, actions).
    target
        The target's pmf: shape (contexts, actions).
    draw
        Draws the expected rewards, and what a reward model says of them: shape (contexts, actions) each.
    rewards
        How rewards spread around their mean: ``click`` (0 or 1), ``normal``, or ``revenue``: mostly 0, else lognormal.
    spread
        The standard deviation of normal rewards, as a multiple of the mean reward; the sigma of the lognormal.
    learning
        How many times the logger looks at its log and moves on to what earned most; 0 where it does not learn.
    """

    family: str
    number: int
    describe: str
    rows: int
    logging: Floats
    target: Floats
    draw: Callable[[np.random.Generator], tuple[Floats, Floats]]
    rewards: Rewards
    spread: float
    learning: int = 0

    def simulate(self, chance: np.random.Generator, tables: Tables | None = None) -> tuple[EvaluationRows, float]:
        """Return a log and the target's true value; ``tables`` of :meth:`tables` save the time of making them again."""
        mean, model = self.draw(chance)
        prepared = tables or self.tables()
        actions = mean.shape[1]
        bounds = np.linspace(0, self.rows, (self.learning or len(self.logging)) + 1).astype(int)
        parts: list[list[Floats]] = []
        seen, earned = np.ones(actions), np.full(actions, float(mean.mean()))
        for version, (start, end) in enumerate(itertools.pairwise(bounds)):
            if self.learning:
                edges, columns = self._table(_greedy(self.logging[0], earned / seen, 1 / (1 + version) ** 0.7))
            else:
                edges, columns = prepared[version]
            cell = np.searchsorted(edges, chance.random(end - start) * edges[-1], side="right")
            reward, action = self._earn(chance, mean, cell), cell % actions
            if self.learning:
                seen += np.bincount(action, minlength=actions)
                earned += np.bincount(action, weights=reward, minlength=actions)
            parts.append([*columns[:, cell], reward, cell, np.full(end - start, version)])
        joined = [np.concatenate(column) for column in zip(*parts, strict=True)]
        propensity, target, rank, squared, unseen, inverse, squares, reward, cell, version_of = joined
        rows = EvaluationRows(
            reward=reward,
            propensity=propensity,
            target=target,
            model_logged=model.ravel()[cell],
            model_target=(self.target * model).sum(axis=1)[cell // actions],
            squared_weight=squared,
            unseen=unseen,
            inverse=inverse,
            squared_inverse=squares,
            rank=rank,
            action=(cell % actions).astype(np.int32),
            version=version_of.astype(np.int32),
            event_hash=chance.integers(0, 2**64, size=self.rows, dtype=np.uint64),
        )
        return rows, float((self.target * mean).sum(axis=1).mean())

    def tables(self) -> Tables:
        """Return for each version the edges to draw a cell (context, action) by, and the columns of each cell."""
        return [] if self.learning else [self._table(pmf) for pmf in self.logging]

    def _table(self, pmf: Floats) -> tuple[Floats, Floats]:
        possible = pmf > 0
        inverses = np.divide(1.0, pmf, out=np.zeros_like(pmf), where=possible)
        of_context = (
            (self.target**2 * inverses).sum(axis=1),
            np.where(possible, 0.0, self.target).sum(axis=1),
            possible.sum(axis=1).astype(np.float64),
            inverses.sum(axis=1),
        )
        columns = [pmf, self.target, pmf.cumsum(axis=1) - pmf / 2]
        columns += [np.repeat(column[:, None], pmf.shape[1], axis=1) for column in of_context]
        return pmf.ravel().cumsum(), np.stack([column.ravel() for column in columns])

    def _earn(self, chance: np.random.Generator, means: Floats, cell: NDArray[np.int64]) -> Floats:
        mean: Floats = means.ravel()[cell]
        if self.rewards == "normal":
            mean += self.spread * float(means.mean()) * chance.standard_normal(len(mean))
            return mean
        if self.rewards == "click":
            return (chance.random(len(mean)) < mean).astype(np.float64)
        # An average amount of 1, so the mean is how often there is one.
        amounts = np.exp(self.spread * chance.standard_normal(len(mean)) - self.spread**2 / 2)
        return np.where(chance.random(len(mean)) < mean, amounts, 0.0)


def _greedy(start: Floats, worth: Floats, exploration: float) -> Floats:
    best = np.zeros_like(start)
    best[:, int(worth.argmax())] = 1.0
    exploration = max(exploration, 0.05)
    mixed: Floats = exploration * start + (1 - exploration) * best
    return mixed


def _softmax(scores: Floats) -> Floats:
    raised: Floats = np.exp(scores - scores.max(axis=1, keepdims=True))
    raised /= raised.sum(axis=1, keepdims=True)
    return raised


def _between(chance: np.random.Generator, low: float, high: float) -> float:
    """Draw from low to high, evenly in the logarithm."""
    return float(low * (high / low) ** chance.random())


def _otherwise(mean: Floats, logging: Floats, rows: int, luck: np.random.Generator) -> Floats:
    """Make what is hardly logged better or worse, all of it alike."""
    return np.where(logging * rows < 1, np.minimum(mean * np.exp(OFF * luck.standard_normal()), 0.99), mean)


def family_a(number: int) -> RandomWorld:
    """Return a world of the family that calibrates: softmax policies around shared preferences."""
    chance = np.random.default_rng([1, number])
    actions = int(_between(chance, 2, 40))
    contexts = int(_between(chance, 1, 200))
    rows = int(_between(chance, 400, 10_000))
    shared = chance.standard_normal((contexts, actions))
    logging = _softmax(_between(chance, 0.2, 4) * (0.7 * shared + 0.7 * chance.standard_normal(shared.shape)))
    exploration = chance.choice([0.0, 0.01, 0.05, 0.2])
    logging = exploration / actions + (1 - exploration) * logging
    scores = chance.choice([-1.0, 0.0, 1.0]) * 0.7 * shared + 0.7 * chance.standard_normal(shared.shape)
    sharpness = _between(chance, 0.2, 8)
    target = _softmax(sharpness * scores)
    if chance.random() < 0.3:
        target = np.eye(actions)[scores.argmax(axis=1)]
    kept = "all actions logged"
    if chance.random() < 0.2 and actions > 2:
        gone = chance.random(shared.shape) < _between(chance, 0.01, 0.3)
        gone[:, 0] = False
        logging = np.where(gone, 0.0, logging)
        logging /= logging.sum(axis=1, keepdims=True)
        kept = "some never logged"
    rewards: Rewards = "click" if chance.random() < 0.65 else ("normal" if chance.random() < 0.5 else "revenue")
    rate = _between(chance, 0.003, 0.5)
    # The model knows what the log showed it, and guesses elsewhere.
    shown = rows * logging / contexts
    known = 0.9 * shown / (shown + chance.choice([10, 100, 1_000]))

    def draw(luck: np.random.Generator) -> tuple[Floats, Floats]:
        logits = np.log(rate / (1 - rate)) + 0.7 * (shared + luck.standard_normal(shared.shape))
        mean = _otherwise(1 / (1 + np.exp(-logits)), logging, rows, luck)
        guess = mean.mean() * np.exp(0.3 * luck.standard_normal(shared.shape) + OFF * luck.standard_normal())
        return mean, known * mean + (1 - known) * guess

    return RandomWorld(
        "A",
        number,
        f"{actions} actions, {contexts} contexts, exploration {exploration:g}, {kept}, {rewards}s at {rate:.3f}",
        rows,
        logging[None],
        target,
        draw,
        rewards,
        _between(chance, 0.3, 1.5),
    )


def family_b(number: int) -> RandomWorld:
    """Return a world of the family that tests; it has no rule in common with the other one."""
    chance = np.random.default_rng([5, number])
    actions = int(chance.choice([3, 6, 12, 25, 50]))
    contexts = 300
    rows = int(chance.choice([1_000, 2_000, 5_000, 10_000, 10_000]))
    place = chance.random((contexts, 3))
    logging, shape = _loggers(chance, place, actions)
    target, aim = _target(chance, logging[0], place)
    rewards: Rewards = chance.choice(np.array(["click", "click", "revenue", "normal"]))
    highest, told = _between(chance, 0.1, 0.95), chance.choice([0, 1, 2])
    often = logging[0] > 0.5 / actions

    def draw(luck: np.random.Generator) -> tuple[Floats, Floats]:
        # A step in one place of the context, a hill in another one, and every action with a level of its own.
        step = np.where(place[:, :1] > luck.random(actions), 1.5, 0.5)
        hill = 1 + np.sin(6 * (place[:, 1:2] - luck.random(actions)))
        mean = luck.gamma(0.8, 1.0, size=actions) * step * hill
        mean = _otherwise(np.clip(mean / mean.max() * highest, 1e-4, 0.98), logging.mean(axis=0), rows, luck)
        off = float(np.exp(OFF * luck.standard_normal()))
        if told == 0:
            return mean, off * np.tile(mean.mean(axis=0), (contexts, 1))
        if told == 1:
            return mean, off * np.tile(mean.mean(axis=1)[:, None], actions)
        return mean, np.where(often, 0.9 * mean, off * mean.mean())

    learning = int(chance.choice([0, 0, 0, 0, 10])) if shape != "loggers that change" else 0
    return RandomWorld(
        "B",
        number,
        f"{actions} actions, {shape}{', learning' if learning else ''}, target {aim}, {rewards}s",
        rows,
        logging,
        target,
        draw,
        rewards,
        _between(chance, 0.2, 1.8),
        learning,
    )


def _loggers(chance: np.random.Generator, place: Floats, actions: int) -> tuple[Floats, str]:
    contexts = len(place)
    shape = str(chance.choice(["power tails", "greedy", "part of the actions", "loggers that change", "even", "even"]))
    if shape == "power tails":
        logging = chance.random((contexts, actions)) ** _between(chance, 1, 12) + 1e-9
    elif shape == "greedy":
        share = _between(chance, 0.01, 0.5)
        best = ((place[:, 0] + place[:, 2]) * 7).astype(int) % actions
        logging = share / actions + (1 - share) * np.eye(actions)[best]
    elif shape == "part of the actions":
        offered = chance.random((contexts, actions)) < _between(chance, 0.3, 0.98)
        offered[np.arange(contexts), chance.integers(0, actions, size=contexts)] = True
        logging = offered * chance.gamma(2.0, 1.0, size=(contexts, actions))
    elif shape == "loggers that change":
        several = chance.dirichlet(np.full(actions, _between(chance, 0.1, 3)), size=(4, 1)) + 1e-4
        logging = np.tile(several, (1, contexts, 1))
    else:
        logging = chance.gamma(_between(chance, 0.5, 20), 1.0, size=(contexts, actions)) + 1e-6
    logging = logging if logging.ndim == 3 else logging[None]
    return logging / logging.sum(axis=2, keepdims=True), shape


def _target(chance: np.random.Generator, logging: Floats, place: Floats) -> tuple[Floats, str]:
    contexts, actions = logging.shape
    aim = str(chance.choice(["near", "near", "near", "one action", "by context", "even", "even", "against"]))
    if aim == "near":
        share = _between(chance, 0.02, 0.6)
        target = (1 - share) * logging + share * np.eye(actions)[chance.integers(0, actions)]
    elif aim == "one action":
        target = np.tile(np.eye(actions)[chance.integers(0, actions)], (contexts, 1))
    elif aim == "by context":
        chosen = (place[:, 1] * actions).astype(int) % actions
        share = _between(chance, 0.01, 0.5)
        target = share / actions + (1 - share) * np.eye(actions)[chosen]
    elif aim == "even":
        target = np.full((contexts, actions), 1 / actions)
    else:
        target = 1 / (logging + _between(chance, 0.003, 0.3) / actions)
        target = target / target.sum(axis=1, keepdims=True)
    return target, aim
