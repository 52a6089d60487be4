"""A world in which the best action depends on the context, with known propensities."""

from typing import Any

import numpy as np

from policies.features import Action, Features
from replay.evaluation.models.rows import ModelRows
from replay.evaluation.rows import EvaluationRows, Floats

ACTIONS = [
    Action("news", {"item": {"topic": "news", "price": 1.0}}),
    Action("sport", {"item": {"topic": "sport", "price": 2.0}}),
    Action("art", {"item": {"topic": "art", "price": 3.0}}),
]
PEOPLE = ("reader", "fan", "painter")
WORTH = np.array([[0.7, 0.2, 0.1], [0.1, 0.8, 0.2], [0.2, 0.1, 0.6]])
"""The mean reward by person and action."""
LOGGED = np.array([0.5, 0.3, 0.2])


def world(seed: int, rows: int, users: int = 100, binary: bool = True) -> tuple[ModelRows, EvaluationRows, Floats]:
    """Return rows, the same judged for the policy that likes what the person likes, and the true q of the entries.

    Every fifth row lacks the last action, so that rows are ragged.
    """
    rng = np.random.default_rng(seed)
    person = rng.integers(0, 3, rows)
    user = rng.integers(0, users, rows)
    counts = np.where(np.arange(rows) % 5 == 0, 2, 3)
    offsets = np.concatenate(([0], np.cumsum(counts)))
    action = np.concatenate([np.arange(count) for count in counts] or [np.empty(0)]).astype(np.int32)
    row = np.repeat(np.arange(rows), counts)
    logging = LOGGED[action]
    logging /= np.bincount(row, logging, rows)[row]
    likes = np.where(action == person[row], 0.8, 0.1)
    target = likes / np.bincount(row, likes, rows)[row]
    below = np.concatenate(([0.0], np.cumsum(logging)))
    chosen = np.array([], dtype=np.int64)
    if rows:
        # The cumulative pmfs lie one after the other, one unit apart.
        chosen = np.searchsorted(below[1:], np.arange(rows) + rng.random(rows)) - offsets[:-1]
        chosen = np.clip(chosen, 0, counts - 1)
    entries = offsets[:-1] + chosen
    mean = WORTH[person[row], action]
    reward = (rng.random(rows) < mean[entries]).astype(float) if binary else mean[entries] + rng.normal(0, 0.1, rows)
    contexts: list[Features] = [
        {"user": {"kind": PEOPLE[who], "age": float(age)}, "page": {"new": bool(age % 2)}}
        for who, age in zip(person, rng.integers(20, 60, rows), strict=True)
    ]
    time_ms = np.arange(rows, dtype=np.int64) * 1000
    unit_hash = user.astype(np.uint64)
    known: dict[str, Any] = {"reward": reward, "unit_hash": unit_hash, "time_ms": time_ms}
    model_rows = ModelRows(
        catalogue=ACTIONS, action=action, offsets=offsets, chosen=chosen, contexts=contexts, target=target, **known
    )
    squared = np.bincount(row, target**2 / logging, rows).astype(np.float64)
    evaluation_rows = EvaluationRows(
        propensity=logging[entries], target=target[entries], squared_weight=squared, action=action[entries], **known
    )
    return model_rows, evaluation_rows, mean


def truth() -> float:
    """Return the target's value in the long run."""
    value = 0.0
    for who in range(3):
        for actions, share in ((2, 0.2), (3, 0.8)):
            likes = np.where(np.arange(actions) == who, 0.8, 0.1)
            value += share / 3 * float(likes @ WORTH[who, :actions] / likes.sum())
    return value
