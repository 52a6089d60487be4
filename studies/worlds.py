"""Six made-up worlds whose truth is known: logs of them show whether an interval or a warning keeps its word.

A world is a pure function of a generator of random numbers. Its logs have all columns that a real one could have, and
a reward model that is not perfect. Rewards are 0 or 1 in all of them.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from replay.evaluation.rows import Codes, EvaluationRows, Floats, Hashes

DAYS = 14
VERSIONS = 50
DECISIONS_A_USER = 20


@dataclass(frozen=True, slots=True)
class World:
    """A world.

    Attributes
    ----------
    name, describe
        What it is called, and what is special about it.
    simulate
        Makes a log of so many rows.
    truth, logged
        The target's value, and that of the logging policy (of all its versions, weighted by their rows).
    largest_weight
        No weight can be above it.
    expected
        Per row of a log of so many rows what the target would have earned in expectation: shape (rows,), with the
        mean ``truth``. A confidence sequence has to hold its running mean.
    """

    name: str
    describe: str
    simulate: Callable[[np.random.Generator, int], EvaluationRows]
    truth: float
    logged: float
    largest_weight: float
    expected: Callable[[int], Floats]


def _judged(
    chance: np.random.Generator,
    logging: Floats,
    target: Floats,
    model: Floats,
    action: Codes,
    reward: Floats,
    *,
    units: Hashes | None = None,
    version: Codes | None = None,
) -> EvaluationRows:
    """Put the columns together; both pmfs and the reward model have the shape (rows, actions)."""
    rows, actions = logging.shape
    each = np.arange(rows)
    propensity = logging[each, action]
    events = chance.integers(0, 2**64, size=(rows,), dtype=np.uint64)
    return EvaluationRows(
        reward=reward,
        propensity=propensity,
        target=target[each, action],
        model_logged=model[each, action],
        model_target=(target * model).sum(axis=1),
        squared_weight=(target**2 / logging).sum(axis=1),
        unseen=np.zeros(rows),
        inverse=np.full(rows, float(actions)),
        action=action,
        rank=logging.cumsum(axis=1)[each, action] - propensity / 2,
        event_hash=events,
        unit_hash=events if units is None else units,
        time_ms=np.linspace(0, DAYS * 86_400_000, rows, endpoint=False).astype(np.int64),
        version=np.zeros(rows, dtype=np.int32) if version is None else version,
    )


def _drawn(
    chance: np.random.Generator,
    logging: Floats,
    target: Floats,
    rates: Floats,
    model: Floats,
    units: Hashes | None = None,
) -> EvaluationRows:
    """Draw actions and rewards of rows that do not depend on each other."""
    rows, actions = logging.shape
    action = np.minimum((chance.random((rows, 1)) > logging.cumsum(axis=1)).sum(axis=1), actions - 1)
    reward = (chance.random(rows) < rates[np.arange(rows), action]).astype(np.float64)
    return _judged(chance, logging, target, model, action.astype(np.int32), reward, units=units)


def _timid(rates: Floats, level: float) -> Floats:
    """Return a reward model that has the order right, but the differences too small and the level too high."""
    return 0.5 * rates + 0.6 * level


def _alike(rows: int, *values: float) -> Floats:
    return np.broadcast_to(np.array(values), (rows, len(values)))


# ----- easy

_EASY_LOGGING = (0.3, 0.25, 0.2, 0.15, 0.1)
_EASY_TARGET = (0.1, 0.15, 0.2, 0.25, 0.3)
_EASY_RATES = (0.3, 0.4, 0.5, 0.6, 0.7)
_EASY_TRUTH = 0.55


def _easy(chance: np.random.Generator, rows: int) -> EvaluationRows:
    rates = _alike(rows, *_EASY_RATES)
    logging, target = _alike(rows, *_EASY_LOGGING), _alike(rows, *_EASY_TARGET)
    return _drawn(chance, logging, target, rates, _timid(rates, _EASY_TRUTH))


# ----- rare rewards

_RARE_TARGET = (0.73, *(0.03,) * 9)
_RARE_RATES = (0.006, *(0.004,) * 9)
_RARE_TRUTH = 0.73 * 0.006 + 0.27 * 0.004


def _rare(chance: np.random.Generator, rows: int) -> EvaluationRows:
    rates = _alike(rows, *_RARE_RATES)
    target = _alike(rows, *_RARE_TARGET)
    return _drawn(chance, np.full((rows, 10), 0.1), target, rates, _timid(rates, _RARE_TRUTH))


# ----- heavy weights

_HEAVY_LARGEST, _HEAVY_SMALLEST = 0.9, 0.001
_HEAVY_TRUTH = 0.9 * (0.1 + 0.4 / 2) + 0.1 * 0.3


def _heavy_first(context: Floats) -> Floats:
    """Return the logged probability of the target's action."""
    first: Floats = _HEAVY_LARGEST * (_HEAVY_SMALLEST / _HEAVY_LARGEST) ** context
    return first


def _heavy_logged() -> float:
    context = (np.arange(100_000) + 0.5) / 100_000
    return float((0.3 + _heavy_first(context) * (0.1 + 0.4 * context - 0.3)).mean())


_HEAVY_LOGGED = _heavy_logged()


def _heavy(chance: np.random.Generator, rows: int) -> EvaluationRows:
    """Log the target's action with a probability that spans three powers of ten."""
    context = chance.random(rows)
    first = _heavy_first(context)
    rates = np.stack([0.1 + 0.4 * context, np.full(rows, 0.3)], axis=1)
    logging = np.stack([first, 1 - first], axis=1)
    return _drawn(chance, logging, _alike(rows, 0.9, 0.1), rates, _timid(rates, _HEAVY_TRUTH))


# ----- drifting

_DRIFT_LOGGING = (0.5, 0.3, 0.2)
_DRIFT_TARGET = (0.1, 0.2, 0.7)
_DRIFT_FROM = np.array([0.1, 0.3, 0.1])
_DRIFT_TO = np.array([0.5, 0.1, 0.6])
_DRIFT_TRUTH = 0.315


def _drift_rates(rows: int) -> Floats:
    share = ((np.arange(rows) + 0.5) / rows)[:, None]
    rates: Floats = _DRIFT_FROM * (1 - share) + _DRIFT_TO * share
    return rates


def _drift_expected(rows: int) -> Floats:
    expected: Floats = _drift_rates(rows) @ np.array(_DRIFT_TARGET)
    return expected


def _drifting(chance: np.random.Generator, rows: int) -> EvaluationRows:
    timeless = _alike(rows, *(_DRIFT_FROM + _DRIFT_TO) / 2)
    return _drawn(chance, _alike(rows, *_DRIFT_LOGGING), _alike(rows, *_DRIFT_TARGET), _drift_rates(rows), timeless)


# ----- a learning logger

_LEARNING_RATE = 0.3
_LEARNING_TARGET = (0.7, 0.1, 0.1, 0.1)


def _learning(chance: np.random.Generator, rows: int) -> EvaluationRows:
    """Let a greedy learner take one of four equally good actions; it publishes 50 versions, and explores less and less.

    Equally good, since then chance decides which action it comes to prefer, and what a row weighs hangs together
    with the rewards before it (Hadad et al. 2021). The reward model is what the version of the row knew.
    """
    actions = len(_LEARNING_TARGET)
    seen, earned = np.ones(actions), np.full(actions, 0.5)
    logging, model = np.empty((rows, actions)), np.empty((rows, actions))
    action, version = np.empty(rows, dtype=np.int32), np.empty(rows, dtype=np.int32)
    uniform, reward = chance.random(rows), (chance.random(rows) < _LEARNING_RATE).astype(np.float64)
    ends = np.linspace(0, rows, VERSIONS + 1).astype(np.int64)
    for number, span in enumerate(map(slice, ends[:-1], ends[1:])):
        exploration = 1 / (number + 1)
        pmf = np.full(actions, exploration / actions)
        pmf[np.argmax(earned / seen)] += 1 - exploration
        logging[span], model[span], version[span] = pmf, earned / seen, number
        action[span] = np.minimum(np.searchsorted(pmf.cumsum(), uniform[span]), actions - 1)
        seen += np.bincount(action[span], minlength=actions)
        earned += np.bincount(action[span], weights=reward[span], minlength=actions)
    return _judged(chance, logging, _alike(rows, *_LEARNING_TARGET), model, action, reward, version=version)


# ----- clustered users

_USER_TRUTH = 0.3


def _clustered(chance: np.random.Generator, rows: int) -> EvaluationRows:
    """Mix users of 20 decisions each over time; a few like nearly everything, most like little."""
    users = -(-rows // DECISIONS_A_USER)
    user = chance.permutation(np.repeat(np.arange(users), DECISIONS_A_USER)[:rows])
    liking = chance.beta(2 * _USER_TRUTH, 2 - 2 * _USER_TRUTH, size=users)[user]
    names = chance.integers(0, 2**64, size=(users,), dtype=np.uint64)
    rates, model = np.stack([liking, liking], axis=1), np.full((rows, 2), _USER_TRUTH)
    return _drawn(chance, np.full((rows, 2), 0.5), _alike(rows, 0.7, 0.3), rates, model, names[user])


def _world(
    name: str,
    describe: str,
    simulate: Callable[[np.random.Generator, int], EvaluationRows],
    truth: float,
    logged: float,
    largest_weight: float,
    expected: Callable[[int], Floats] | None = None,
) -> World:
    constant: Callable[[int], Floats] = lambda rows: np.full(rows, truth)  # noqa: E731
    return World(name, describe, simulate, truth, logged, largest_weight, expected or constant)


WORLDS = (
    _world("easy", "5 actions, half of the decisions rewarded, weights up to 3", _easy, _EASY_TRUTH, 0.45, 3.0),
    _world("rare rewards", "1 decision in 200 rewarded, weights up to 7.3", _rare, _RARE_TRUTH, 0.0042, 7.3),
    _world(
        "heavy weights", "propensities down to 0.001, weights up to 900", _heavy, _HEAVY_TRUTH, _HEAVY_LOGGED, 900.0
    ),
    _world(
        "drifting",
        "the value climbs from 0.14 to 0.49 within the log",
        _drifting,
        _DRIFT_TRUTH,
        0.28,
        3.5,
        _drift_expected,
    ),
    _world("learning logger", "a greedy learner's 50 versions, less and less exploration", _learning, 0.3, 0.3, 140.0),
    _world("clustered users", "20 decisions a user, and users differ", _clustered, _USER_TRUTH, _USER_TRUTH, 1.4),
)
"""All of them; :func:`world` finds one by its name."""


def world(name: str) -> World:
    """Return the world of a name.

    Examples
    --------
    >>> rows = world("easy").simulate(np.random.default_rng(1), 1000)
    >>> len(rows), round(float(rows.weight.mean()), 1)
    (1000, 1.0)
    """
    return next(each for each in WORLDS if each.name == name)
