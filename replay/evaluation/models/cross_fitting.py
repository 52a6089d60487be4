"""Cross-fitting: predictions of a reward model for rows that it was not trained on.

A model predicts its training rows too well, and a doubly robust score with such predictions is biased. So a log is
read twice: several models are trained, each without some folds of the log, and each row is then predicted by a model
that was not trained on its fold (Chernozhukov et al. 2018, *Double/debiased machine learning*, The Econometrics Journal
21:C1, definition 3.2; in time intervals, from the past only, for logs of a learner).

Folds are whole units or whole time intervals. Rows of one unit are correlated, and so are neighbours in time: a
model trained on a row's neighbour has information on the row's reward.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np

from records.errors import BadInput, WrongConfiguration
from replay.evaluation.models.model import Answers, RewardModel
from replay.evaluation.models.rows import Indices, ModelRows
from replay.evaluation.rows import EvaluationRows, Floats

By = Literal["unit", "time", "past"]


@dataclass(frozen=True, slots=True)
class Folds:
    """How a log is cut into folds, and on which folds each model is trained.

    Attributes
    ----------
    by
        ``unit``: a unit's fold is its hash modulo the number of folds; the model knows all other folds.
        ``time``: folds are time intervals; the model is trained on all other folds.
        ``past``: the same intervals; the model is trained on the folds before only. The first fold's model has no data
        and predicts 0, so that its rows count by their weights alone.
    count
        How many folds.
    edges_ms
        When each fold but the first begins, for ``time`` and ``past``.
    """

    by: By
    count: int
    edges_ms: tuple[int, ...] = ()

    def of(self, rows: ModelRows) -> Indices:
        """Return the fold of each row: shape (rows,).

        Raises
        ------
        BadInput
            The rows have no units, or no times.
        """
        if self.by == "unit":
            if rows.unit_hash is None:
                raise BadInput("no_units", "unit_hash", "none", "a unit a row; a log without units is cut by time")
            return (rows.unit_hash % np.uint64(self.count)).astype(np.int64)
        if rows.time_ms is None:
            raise BadInput("no_times", "time_ms", "none", "a time a row; a log without times is cut by unit")
        return np.searchsorted(np.array(self.edges_ms, dtype=np.int64), rows.time_ms, "right").astype(np.int64)

    @property
    def text(self) -> str:
        """The folds in a few words."""
        names = {"unit": "by unit", "time": "by time", "past": "by time, from the past only"}
        return f"cross-fitted {names[self.by]}, {self.count} folds"


def folds(by: str, count: int | None = None, *, first_ms: int | None = None, last_ms: int | None = None) -> Folds:
    """Return folds; those of time are equal intervals.

    Parameters
    ----------
    by
        ``unit``, ``time`` or ``past``.
    count
        None: 5; 20 for ``past``, where the first one is lost to the model.
    first_ms, last_ms
        When the log's first and last decision was, for folds of time.

    Raises
    ------
    WrongConfiguration
        By row, or by something unknown, fewer than 2 folds, or times that are missing or fall together.

    Examples
    --------
    >>> folds("time", 4, first_ms=0, last_ms=399).edges_ms
    (100, 200, 300)
    """
    if by == "row":
        raise WrongConfiguration(
            "folds of the reward model: found by row, expected unit, time or past: rows of one unit, and neighbours "
            "in time, are correlated, so a row's model would have learned its reward through them"
        )
    if by not in ("unit", "time", "past"):
        raise WrongConfiguration(f"folds of the reward model: found by {by}, expected unit, time or past")
    count = (20 if by == "past" else 5) if count is None else count
    if count < 2:
        raise WrongConfiguration(f"folds of the reward model: found {count}, expected 2 or more")
    if by == "unit":
        return Folds("unit", count)
    if first_ms is None or last_ms is None or last_ms <= first_ms:
        found = f"{first_ms} to {last_ms}"
        raise WrongConfiguration(f"folds of the reward model by time: found a log from {found}, expected two times")
    span = last_ms + 1 - first_ms
    edges = tuple(first_ms + -(-span * fold // count) for fold in range(1, count))
    return Folds("time" if by == "time" else "past", count, edges)


class CrossFitting:
    """The first pass: models that learn, each without some folds.

    For ``past`` one model learns all rows in the order of the log, and its state is kept where a fold begins. A row
    that comes after a later fold has begun is learned then: a model knows less than it might, never more.

    Parameters
    ----------
    make
        Makes a model that has learned nothing.
    folds
        See :func:`folds`.
    """

    def __init__(self, make: Callable[[], RewardModel], folds: Folds) -> None:
        self._folds = folds
        self._models = [make() for _ in range(1 if folds.by == "past" else folds.count)]
        self._before: list[Answers] = []

    def learn(self, rows: ModelRows) -> None:
        """Learn some rows; raises as :meth:`Folds.of` and :meth:`~replay.evaluation.models.model.RewardModel.learn`."""
        fold = self._folds.of(rows)
        for each in np.unique(fold).tolist():
            own = fold == each
            if self._folds.by == "past":
                self._begin(each)
                self._models[0].learn(rows.where(own))
            else:
                for other, model in enumerate(self._models):
                    if other != each:
                        model.learn(rows.where(own))

    def _begin(self, fold: int) -> None:
        while len(self._before) <= fold:
            self._before.append(self._models[0].fitted())

    def fitted(self) -> "CrossFitted":
        """Return what predicts."""
        if self._folds.by == "past":
            self._begin(self._folds.count - 1)
        models = self._before if self._folds.by == "past" else [model.fitted() for model in self._models]
        return CrossFitted(self._folds, tuple(models), f"{self._models[0].text}; {self._folds.text}")


@dataclass(frozen=True, slots=True)
class CrossFitted:
    """The second pass: predictions. A pickle of it predicts the same, in whatever process.

    Attributes
    ----------
    models
        One a fold.
    text
        Model, library, version and folds in a few words, for the answer.
    """

    folds: Folds
    models: tuple[Answers, ...]
    text: str

    def predict(self, rows: ModelRows) -> Floats:
        """Return q of every action of every row: shape (entries,); each row by its fold's model."""
        fold = self.folds.of(rows)
        predicted = np.empty(len(rows.action))
        for each in np.unique(fold).tolist():
            own = fold == each
            predicted[np.repeat(own, rows.counts)] = self.models[each].predict(rows.where(own))
        return predicted


def cross_fit(rows: Iterable[ModelRows], make: Callable[[], RewardModel], folds: Folds) -> CrossFitted:
    """Return models that have learned all of a log, each without some folds."""
    fitting = CrossFitting(make, folds)
    for part in rows:
        fitting.learn(part)
    return fitting.fitted()


def progressive(model: RewardModel, rows: Iterable[ModelRows]) -> Iterator[tuple[ModelRows, Floats]]:
    """Yield each batch with q of all its entries, by a model that has learned the batches before and no other.

    One pass; for models that learn cheaply, and logs that come batch by batch.
    """
    for part in rows:
        yield part, model.predict(part)
        model.learn(part)


def with_predictions(evaluation_rows: EvaluationRows, rows: ModelRows, predicted: Floats) -> EvaluationRows:
    """Return evaluation rows with the predictions of the model for the logged action and for the target.

    Parameters
    ----------
    evaluation_rows, rows
        The same rows of a log, in the same order.
    predicted
        q of every entry: shape (entries,).

    Raises
    ------
    BadInput
        The lengths differ, or the rows have no target.
    """
    if len(evaluation_rows) != len(rows) or len(predicted) != len(rows.action):
        found = f"{len(evaluation_rows)} evaluation rows, {len(rows)} of the model, {len(predicted)} predictions"
        raise BadInput("length_invalid", "predicted", found, f"the same rows, and {len(rows.action)} predictions")
    if not len(rows):
        return replace(evaluation_rows, model_logged=np.empty(0), model_target=np.empty(0))
    if rows.target is None:
        raise BadInput("no_target", "target", "none", "the target's pmf")
    worth: Any = rows.target * predicted
    return replace(
        evaluation_rows,
        model_logged=predicted[rows.logged],
        model_target=np.add.reduceat(worth, rows.offsets[:-1]),
    )
