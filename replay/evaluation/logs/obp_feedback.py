"""Logs as the Open Bandit Pipeline (``obp``) has them: a dict of arrays."""

import math
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from records.errors import BadInput, WrongConfiguration
from records.limits import PMF_TOLERANCE
from replay.evaluation.blocks import BLOCK_ROWS
from replay.evaluation.logs.chunk import LARGEST, SAMPLE_WEIGHT, LogChunk, Progress, silent
from replay.evaluation.logs.numbered import Names, Numbered
from replay.evaluation.logs.pmf import Pmfs, ranks, whole
from replay.evaluation.logs.taken import taken_by_place
from replay.evaluation.rows import EvaluationRows, Floats, are_propensities
from replay.evaluation.sample_weights import LEAST, MOST

_OF_SLATES = ("slate_id", "pscore_item_position", "pscore_cascade")
"""Arrays of a feedback of slates, as obp's SyntheticSlateBanditDataset returns it."""


class ObpFeedback:
    """A ``bandit_feedback``, and the target's ``action_dist``.

    Parameters
    ----------
    feedback
        ``action`` (whole numbers), ``reward`` and ``pscore``, of shape (rounds,). Also taken, where they are there:
        ``position`` (shape (rounds,), from 0; None: always 0), ``n_actions``, and ``pi_b``, the logged probabilities of
        all actions, of shape (rounds, actions, positions); ``sample_weight``, how many decisions each row counts as, or
        ``pdrop``, the probability with which it could have been dropped, of shape (rounds,).
    action_dist
        The target's probabilities, of shape (rounds, actions, positions); ``uniform``: every action alike; None: the
        target is the logging policy.

    Raises
    ------
    WrongConfiguration
        An array is not there, or has another shape.
    BadInput
        A value is invalid in its array: the error names array and row.

    Examples
    --------
    >>> feedback = {"action": [0, 1], "reward": [1, 0], "pscore": [0.5, 0.25], "position": None, "n_actions": 2}
    >>> (block,) = ObpFeedback(feedback, [[[1.0], [0.0]], [[0.5], [0.5]]]).blocks()
    >>> block.rows.weight.tolist()
    [2.0, 2.0]
    """

    def __init__(self, feedback: Mapping[str, Any], action_dist: ArrayLike | str | None = None) -> None:
        if slates := [name for name in _OF_SLATES if feedback.get(name) is not None]:
            raise WrongConfiguration(
                f"bandit_feedback: found {slates[0]}: its rows are positions of slates, expected a row per decision. A "
                "frame with columns={'unit': 'slate_id', 'propensity': 'pscore_item_position'} is evaluated by "
                "position; replay.evaluation.estimators.slates evaluates whole slates"
            )
        self._reward = _numbers("reward", feedback)
        self._rounds = len(self._reward)
        self._pscore = _numbers("pscore", feedback, self._rounds)
        self._size = _sample_weights(feedback, self._rounds)
        self.provides = frozenset[str]() if self._size is None else frozenset({SAMPLE_WEIGHT})
        self._action = _whole_numbers("action", feedback, self._rounds)
        uniform = isinstance(action_dist, str)
        given = {**feedback, "action_dist": None if uniform else action_dist}
        self._pi_b, self._target = (_cube(name, given, self._rounds) for name in ("pi_b", "action_dist"))
        self._position = np.zeros(self._rounds, dtype=np.int64)
        if feedback.get("position") is not None:
            self._position = _whole_numbers("position", feedback, self._rounds)
        shapes = {cube.shape for cube in (self._pi_b, self._target) if cube is not None}
        if len(shapes) > 1:
            found = " and ".join(map(str, sorted(shapes)))
            raise WrongConfiguration(f"pi_b and action_dist: found the shapes {found}, expected the same")
        if shapes:
            _, actions, positions = shapes.pop()
            if positions > 1 and feedback.get("position") is None:
                raise WrongConfiguration(
                    f"bandit_feedback, position: found none, expected that of each row, 0 to {positions - 1}: pi_b or "
                    f"action_dist has {positions} positions"
                )
        else:
            if uniform and not feedback.get("n_actions"):
                raise WrongConfiguration("bandit_feedback: found no n_actions or pi_b, expected one: uniform needs it")
            actions = int(feedback.get("n_actions") or self._action.max(initial=0) + 1)
            positions = int(self._position.max(initial=0)) + 1
        if uniform:
            self._target = np.broadcast_to(1 / actions, (self._rounds, actions, positions))
        _check("reward", self._reward, np.abs(self._reward) <= LARGEST, f"a number within ±{LARGEST:g}")
        _check("pscore", self._pscore, are_propensities(self._pscore), "a probability from 2^-66 to 1")
        _check("action", self._action, (self._action >= 0) & (self._action < actions), f"0 to {actions - 1}")
        _check(
            "position", self._position, (self._position >= 0) & (self._position < positions), f"0 to {positions - 1}"
        )
        self.names = Names(actions=Numbered(str(action) for action in range(actions)))

    def blocks(self, progress: Progress = silent, first: int = 0, last: int | None = None) -> Iterator[LogChunk]:
        """Yield the log in blocks, from ``first`` to ``last``, exclusive."""
        stop = self._rounds if last is None else min(self._rounds, last * BLOCK_ROWS)
        for start in range(first * BLOCK_ROWS, stop, BLOCK_ROWS):
            end = min(start + BLOCK_ROWS, self._rounds)
            target = self._pmf("action_dist", self._target, start, end)
            taken = None if target is None else taken_by_place(target)
            yield LogChunk(start // BLOCK_ROWS, self._evaluation_rows(start, end, target), taken=taken)
            progress(end, self._rounds)

    def _evaluation_rows(self, start: int, end: int, target: Pmfs | None) -> EvaluationRows:
        part = slice(start, end)
        action, propensity = self._action[part], self._pscore[part]
        logged = self._pmf("pi_b", self._pi_b, start, end)
        known: dict[str, Any] = {}
        if logged is not None:
            right = np.abs(logged.at(action) - propensity) <= PMF_TOLERANCE * propensity
            _check("pscore", propensity, right, "the probability in pi_b of the logged action", start)
            known = whole(logged, None if target is None else target.values)._asdict()
            known["rank"] = ranks(logged, action)
        return EvaluationRows(
            reward=self._reward[part],
            propensity=propensity,
            target=propensity if target is None else target.at(action),
            action=action.astype(np.int32),
            sample_weight=None if self._size is None else self._size[part],
            **known,
        )

    def _pmf(self, name: str, cube: NDArray[Any] | None, start: int, end: int) -> Pmfs | None:
        if cube is None:
            return None
        rows = np.arange(start, end)
        pmfs = Pmfs.matrix(np.asarray(cube[rows, :, self._position[start:end]], dtype=np.float64))
        _check(name, pmfs.sums(pmfs.values), pmfs.honest(), "numbers from 0 to 1 with the sum 1", start)
        return pmfs


def _numbers(name: str, feedback: Mapping[str, Any], rounds: int | None = None) -> Floats:
    if feedback.get(name) is None:
        raise WrongConfiguration(f"bandit_feedback: found no {name}, expected an array of it")
    _check_unmasked(name, feedback[name])
    try:
        array = np.asarray(feedback[name], dtype=np.float64)
    except (TypeError, ValueError):
        raise WrongConfiguration(f"bandit_feedback, {name}: found no numbers, expected an array of them") from None
    if array.ndim != 1 or rounds not in (None, len(array)):
        expected = "(rounds,)" if rounds is None else f"({rounds},)"
        raise WrongConfiguration(f"bandit_feedback, {name}: found the shape {array.shape}, expected {expected}")
    return array


def _sample_weights(feedback: Mapping[str, Any], rounds: int) -> Floats | None:
    there = [name for name in ("sample_weight", "pdrop") if feedback.get(name) is not None]
    if not there:
        return None
    if len(there) > 1:
        raise WrongConfiguration("bandit_feedback: found sample_weight and pdrop, expected one of them")
    values = _numbers(there[0], feedback, rounds)
    least, most = (0.0, 1 - LEAST) if there[0] == "pdrop" else (LEAST, MOST)
    _check(there[0], values, (values >= least) & (values <= most), f"a number from {least:g} to {most:g}")
    return 1 / (1 - values) if there[0] == "pdrop" else values


def _whole_numbers(name: str, feedback: Mapping[str, Any], rounds: int) -> NDArray[np.int64]:
    found = _numbers(name, feedback, rounds)
    _check(name, found, np.isfinite(found) & (found == np.floor(found)) & (np.abs(found) < 2**31), "a whole number")
    return found.astype(np.int64)


def _cube(name: str, feedback: Mapping[str, Any], rounds: int) -> NDArray[Any] | None:
    if feedback.get(name) is None:
        return None
    _check_unmasked(name, feedback[name])
    array = np.asarray(feedback[name])
    if array.dtype.kind not in "fiu" or array.ndim != 3 or len(array) != rounds or not math.prod(array.shape[1:]):
        expected = f"numbers of shape ({rounds}, actions, positions)"
        raise WrongConfiguration(f"{name}: found {array.dtype} of shape {array.shape}, expected {expected}")
    return array


def _check_unmasked(name: str, values: Any) -> None:
    """Refuse masked values, of which an array shows what fills them."""
    if np.ma.is_masked(values):
        row = int(np.argwhere(np.ma.getmaskarray(values))[0][0])
        raise BadInput("bad_log", f"bandit_feedback, row {row}: {name}", "a masked value", "a number")


def _check(name: str, values: NDArray[Any], right: NDArray[np.bool_], expected: str, first: int = 0) -> None:
    if not right.all():
        row = int(np.argmin(right))
        raise BadInput("bad_log", f"bandit_feedback, row {first + row}: {name}", str(values[row]), expected)
