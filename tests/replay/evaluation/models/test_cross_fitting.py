"""No row's own reward touches its prediction, so a doubly robust value is unbiased, whatever the model."""

import pickle
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from records.errors import BadInput, WrongConfiguration
from replay.evaluation.estimators.doubly_robust import DoublyRobust
from replay.evaluation.estimators.estimator import influence
from replay.evaluation.estimators.importance import InversePropensity
from replay.evaluation.models.catalogue import MODELS, make
from replay.evaluation.models.cross_fitting import Folds, cross_fit, folds, progressive, with_predictions
from replay.evaluation.models.model import RewardModel
from replay.evaluation.models.rows import ModelRows
from replay.evaluation.rows import EvaluationRows, Floats
from tests.replay.evaluation.models.worlds import truth, world

ROWS = 400


def times(by: str, count: int) -> Folds:
    return folds(by, count, first_ms=0, last_ms=(ROWS - 1) * 1000)


def batches(rows: ModelRows, size: int = 90) -> list[ModelRows]:
    return [rows.part(start, min(start + size, len(rows))) for start in range(0, len(rows), size)]


def predictions(rows: ModelRows, made: Callable[[], RewardModel], cut: Folds) -> Floats:
    return cross_fit(batches(rows), made, cut).predict(rows)


def raised(rows: ModelRows, which: Any) -> ModelRows:
    """Return the rows, some of them with the reward 1 - or 0, where they had 1 all of them already."""
    return replace(rows, reward=np.where(which, float(not rows.reward[which].all()), rows.reward))


# ----- laws


@pytest.mark.parametrize("name", MODELS)
def test_by_unit_no_unit_predicts_itself(name: str) -> None:
    rows, _, _ = world(1, ROWS)
    assert rows.unit_hash is not None
    unit = rows.unit_hash == rows.unit_hash[17]
    assert unit.sum() > 1
    fold = rows.unit_hash % 2 == rows.unit_hash[17] % 2
    cut = folds("unit", 2)
    before = predictions(rows, lambda: make(name), cut)
    after = predictions(raised(rows, unit), lambda: make(name), cut)
    own = np.repeat(fold, rows.counts)
    np.testing.assert_array_equal(before[own], after[own])
    assert not np.array_equal(before[~own], after[~own])


@pytest.mark.parametrize("name", MODELS)
def test_by_time_no_stretch_predicts_itself(name: str) -> None:
    rows, _, _ = world(1, ROWS)
    stretch = np.arange(ROWS) < 200
    before = predictions(rows, lambda: make(name), times("time", 2))
    after = predictions(raised(rows, stretch), lambda: make(name), times("time", 2))
    own = np.repeat(stretch, rows.counts)
    np.testing.assert_array_equal(before[own], after[own])
    assert not np.array_equal(before[~own], after[~own])


@pytest.mark.parametrize("name", MODELS)
def test_from_the_past_no_later_reward_is_known(name: str) -> None:
    rows, _, _ = world(1, ROWS)
    later = np.arange(ROWS) >= 200
    before = predictions(rows, lambda: make(name), times("past", 4))
    after = predictions(raised(rows, later), lambda: make(name), times("past", 4))
    # The fold from 200 to 299 is predicted by what came before it.
    own = np.repeat(np.arange(ROWS) < 300, rows.counts)
    np.testing.assert_array_equal(before[own], after[own])
    assert not np.array_equal(before[~own], after[~own])
    assert not before[: rows.offsets[100]].any()
    assert before[rows.offsets[100] :].any()


@pytest.mark.parametrize("name", ["action-means", "vw"])
def test_a_model_of_the_past_is_the_one_that_learned_the_past(name: str) -> None:
    rows, _, _ = world(1, ROWS)
    model = make(name)
    model.learn(rows.part(0, 300))
    predicted = predictions(rows, lambda: make(name), times("past", 4))
    np.testing.assert_allclose(predicted[rows.offsets[300] :], model.predict(rows.part(300, 400)), rtol=1e-12)


def test_a_row_that_comes_late_is_no_reward_from_the_future() -> None:
    """It is learned when it comes, and its own fold was predicted without it."""
    rows, _, _ = world(1, ROWS)
    order = [rows.part(0, 150), rows.part(200, 300), rows.part(150, 200), rows.part(300, 400)]
    cut = times("past", 4)
    fitted = cross_fit(order, lambda: make("action-means"), cut)
    without, complete = make("action-means"), make("action-means")
    without.learn(rows.part(0, 150))
    complete.learn(rows.part(0, 300))
    predicted = fitted.predict(rows)
    np.testing.assert_allclose(predicted[rows.offsets[200] : rows.offsets[300]], without.predict(rows.part(200, 300)))
    np.testing.assert_allclose(predicted[rows.offsets[300] :], complete.predict(rows.part(300, 400)))


@pytest.mark.parametrize("by", ["unit", "time", "past"])
def test_a_pickle_predicts_the_same_and_rows_may_come_in_any_parts(by: str) -> None:
    rows, _, _ = world(1, ROWS)
    fitted = cross_fit(batches(rows), lambda: make("vw"), times(by, 4))
    whole = fitted.predict(rows)
    again = pickle.loads(pickle.dumps(fitted))
    parts = [again.predict(part) for part in reversed(batches(rows, 37))]
    np.testing.assert_array_equal(np.concatenate(parts[::-1]), whole)
    words = {"unit": "by unit", "time": "by time", "past": "by time, from the past only"}[by]
    assert fitted.text == f"{make('vw').text}; cross-fitted {words}, 4 folds"


def test_a_fold_that_no_row_lies_in_is_predicted_all_the_same() -> None:
    rows, _, _ = world(1, ROWS)
    fitted = cross_fit([rows.part(0, 100)], lambda: make("action-means"), times("past", 4))
    model = make("action-means")
    model.learn(rows.part(0, 100))
    np.testing.assert_array_equal(fitted.predict(rows.part(300, 400)), model.predict(rows.part(300, 400)))


def test_progressive_knows_the_batches_before() -> None:
    rows, _, _ = world(1, ROWS)
    found = list(progressive(make("action-means"), batches(rows, 100)))
    assert [len(part) for part, _ in found] == [100] * 4
    assert not found[0][1].any()
    model = make("action-means")
    for part, predicted in found:
        np.testing.assert_array_equal(predicted, model.predict(part))
        model.learn(part)


# ----- refusals


def test_by_row_is_refused_with_the_reason() -> None:
    with pytest.raises(WrongConfiguration, match="found by row, expected unit, time or past: rows of one unit"):
        folds("row", 5)


@pytest.mark.parametrize(
    ("by", "count", "more"),
    [
        ("user", 5, {}),
        ("unit", 1, {}),
        ("time", 5, {}),
        ("time", 5, {"first_ms": 5, "last_ms": 5}),
        ("past", 5, {"first_ms": 0, "last_ms": None}),
    ],
)
def test_folds_that_are_none_are_refused(by: str, count: int, more: Any) -> None:
    with pytest.raises(WrongConfiguration, match="folds of the reward model"):
        folds(by, count, **more)


@pytest.mark.parametrize(("by", "column"), [("unit", "unit_hash"), ("time", "time_ms"), ("past", "time_ms")])
def test_a_log_without_the_column_is_refused(by: str, column: str) -> None:
    rows, _, _ = world(1, ROWS)
    lacking: dict[str, Any] = {column: None}
    cut = times(by, 4)
    with pytest.raises(BadInput) as refused:
        cut.of(replace(rows, **lacking))
    assert refused.value.field == column


@pytest.mark.parametrize("count", [2, 3, 7, 20])
def test_stretches_of_time_are_equal(count: int) -> None:
    rows, _, _ = world(1, ROWS)
    cut = times("time", count)
    counts = np.bincount(cut.of(rows), minlength=count)
    assert len(counts) == count
    assert counts.max() - counts.min() <= 1


# ----- evaluation rows


def test_predictions_become_columns() -> None:
    rows, evaluation_rows, mean = world(1, 50)
    predicted = with_predictions(evaluation_rows, rows, mean)
    assert rows.target is not None
    for row in range(50):
        own = slice(rows.offsets[row], rows.offsets[row + 1])
        assert predicted.model_logged is not None
        assert predicted.model_target is not None
        assert predicted.model_logged[row] == mean[own][rows.chosen[row]]
        assert predicted.model_target[row] == pytest.approx(rows.target[own] @ mean[own], rel=1e-14)
    np.testing.assert_array_equal(predicted.weight, evaluation_rows.weight)
    none = with_predictions(evaluation_rows.where(slice(0, 0)), rows.part(0, 0), mean[:0])
    assert none.model_target is not None
    assert len(none.model_target) == 0


def test_other_rows_than_those_of_the_model_are_refused() -> None:
    rows, evaluation_rows, mean = world(1, 50)
    with pytest.raises(BadInput, match="49 evaluation rows, 50 of the model"):
        with_predictions(evaluation_rows.where(slice(1, 50)), rows, mean)
    with pytest.raises(BadInput, match="predicted"):
        with_predictions(evaluation_rows, rows, mean[1:])
    with pytest.raises(BadInput, match="target: found none"):
        with_predictions(evaluation_rows, replace(rows, target=None), mean)


# ----- doubly robust


class Memory(RewardModel):
    """Says of a row that it has learned what it earned, and of any other something absurd: the worst of models."""

    name = "memory"
    text = "memory"

    def __init__(self) -> None:
        super().__init__()
        self._seen: dict[tuple[int, int], float] = {}

    def _learn(self, rows: ModelRows) -> None:
        assert rows.time_ms is not None
        keys = zip(rows.time_ms.tolist(), rows.action[rows.logged].tolist(), strict=True)
        self._seen.update(zip(keys, rows.reward.tolist(), strict=True))

    def _fit(self) -> Any:
        seen = dict(self._seen)

        def predict(rows: ModelRows) -> Floats:
            assert rows.time_ms is not None
            keys = zip(rows.time_ms[rows.row].tolist(), rows.action.tolist(), strict=True)
            return np.array([seen.get(key, 0.9) for key in keys])

        return predict


def values(made: Callable[[], RewardModel], cut: Folds | None, logs: int) -> Any:
    """Return the doubly robust value of each log; without folds the model has learned what it predicts."""
    found = []
    for seed in range(logs):
        rows, evaluation_rows, _ = world(seed, ROWS)
        if cut is None:
            model = made()
            model.learn(rows)
            predicted = model.predict(rows)
        else:
            predicted = predictions(rows, made, cut)
        found.append(DoublyRobust().estimate(with_predictions(evaluation_rows, rows, predicted)))
    return np.array(found)


def off(found: Any) -> float:
    """Return by how many standard errors the mean misses the truth."""
    return float(abs(found.mean() - truth()) / (found.std(ddof=1) / len(found) ** 0.5))


@pytest.mark.parametrize(
    ("made", "by"),
    [
        (Memory, "unit"),
        (Memory, "time"),
        (Memory, "past"),
        (lambda: make("action-means"), "unit"),
        (lambda: make("vw"), "past"),
    ],
    ids=["memory by unit", "memory by time", "memory of the past", "means by unit", "vw of the past"],
)
def test_it_is_unbiased_whatever_the_model(made: Any, by: str) -> None:
    assert off(values(made, times(by, 4), 25)) < 3.5


def test_a_model_that_has_learned_its_rows_is_not() -> None:
    assert off(values(Memory, None, 25)) > 5


def spread(evaluation_rows: EvaluationRows, estimator: Any) -> float:
    return float(influence(estimator, evaluation_rows).std())


def test_the_better_the_model_the_narrower() -> None:
    rows, evaluation_rows, mean = world(5, 4000)
    cut = folds("unit", 4)
    perfect = spread(with_predictions(evaluation_rows, rows, mean), DoublyRobust())
    ridge = spread(
        with_predictions(evaluation_rows, rows, predictions(rows, lambda: make("ridge"), cut)), DoublyRobust()
    )
    constant = spread(
        with_predictions(evaluation_rows, rows, predictions(rows, lambda: make("constant"), cut)), DoublyRobust()
    )
    assert ridge < 1.02 * perfect
    assert perfect < 1.02 * ridge
    assert ridge < 0.9 * constant
    assert constant < spread(evaluation_rows, InversePropensity())
    rng = np.random.default_rng(1)
    for _ in range(20):
        other = np.clip(mean + rng.normal(0, 0.3, len(mean)), 0, 1)
        assert spread(with_predictions(evaluation_rows, rows, other), DoublyRobust()) > perfect
