"""Weights by embeddings: without bias where the reward comes through them, and never wider than by the action."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import t as student_t

from records.errors import BadInput, WrongConfiguration
from replay.evaluation.estimators.embedding import (
    LoggedEmbeddings,
    MarginalInversePropensity,
    marginal,
    one_hot,
    weights_by_classifier,
    weights_by_embedding,
)
from replay.evaluation.estimators.embedding_dimensions import Dimensions, Search, drop_dimensions
from replay.evaluation.rows import EvaluationRows, Floats
from studies.fixtures.inputs import EMBEDDED, Counting
from tests.replay.evaluation.estimators.obp_logs import evaluation_rows, weights_by_dimensions


@given(seed=st.integers(0, 2**32 - 1), actions=st.integers(2, 5), categories=st.integers(1, 4))
def test_it_is_without_bias_where_the_reward_comes_through_the_embedding(
    seed: int, actions: int, categories: int
) -> None:
    """Exactly: over all actions and embeddings, each as often as it would have been."""
    rng = np.random.default_rng(seed)
    logging, target = rng.dirichlet(np.ones(actions), 2)
    logging = logging * 0.99 + 0.01 / actions
    given_action = np.moveaxis(rng.dirichlet(np.ones(categories), (actions, 2)), 2, 1)
    reward = rng.normal(0, 1, (categories, categories))
    action, first, second = (each.ravel() for each in np.indices((actions, categories, categories)))
    embedding = np.stack([first, second], axis=1)
    likely = given_action[action, first, 0] * given_action[action, second, 1]
    size = len(action)
    weight = weights_by_embedding(np.tile(logging, (size, 1)), np.tile(target, (size, 1)), given_action, embedding)
    chance = logging[action] * likely
    truth = (target[action] * likely) @ reward[first, second]
    assert chance @ (weight * reward[first, second]) == pytest.approx(truth)
    assert chance @ weight == pytest.approx(1)
    by_action = target[action] / logging[action]
    assert chance @ weight**2 <= chance @ by_action**2 * (1 + 1e-9)


def test_an_embedding_that_names_the_action_gives_its_weight() -> None:
    of = EMBEDDED["plain"].log
    row = np.arange(len(of.reward))
    logging, target = of.logging[row, :, of.position], of.target[row, :, of.position]
    names = np.eye(7)[:, :, None]
    weight = weights_by_embedding(logging, target, names, of.action[:, None])
    np.testing.assert_allclose(weight, target[row, of.action] / of.propensity)
    assert MarginalInversePropensity().estimate(marginal(evaluation_rows(of), weight)) == pytest.approx(
        float(np.mean(evaluation_rows(of).weight * of.reward))
    )
    # A classifier that knows the action gives the same; all that it sees is the embedding.
    logged = LoggedEmbeddings(np.zeros((len(row), 1)), of.action, of.action[:, None])
    found = weights_by_classifier(Knowing(), logged, logging, target)
    np.testing.assert_allclose(found, weight)


class Knowing:
    """Tells the action from its name, whose first category has no column."""

    def fit(self, features: Floats, action: Floats) -> None:
        pass

    def predict_proba(self, features: Floats) -> Floats:
        names = features[:, 1:]
        return np.column_stack([1 - names.sum(axis=1), names])


def test_one_embedding_for_all_gives_the_mean_reward() -> None:
    of = EMBEDDED["money"].log
    row = np.arange(len(of.reward))
    logging, target = of.logging[row, :, of.position], of.target[row, :, of.position]
    alike = np.zeros((len(row), 1), dtype=int)
    np.testing.assert_allclose(weights_by_embedding(logging, target, np.ones((7, 1, 1)), alike), 1)


def test_jointly_differs_from_one_by_one() -> None:
    """Two dimensions that name the action together: their product of sums is another weight."""
    given_action = np.zeros((2, 2, 2))
    given_action[[0, 0, 1, 1], [0, 0, 1, 1], [0, 1, 0, 1]] = 1
    pmfs = [[0.5, 0.5]], [[0.2, 0.8]], given_action, [[1, 1]]
    assert weights_by_embedding(*pmfs).tolist() == [1.6]
    assert weights_by_embedding(*pmfs, jointly=False) == pytest.approx([2.56])


def test_an_action_that_was_never_logged_adds_nothing() -> None:
    logging, target = np.array([[1.0, 0.0], [0.5, 0.5]]), np.array([[0.5, 0.5], [0.5, 0.5]])
    logged = LoggedEmbeddings(np.zeros((2, 1)), [0, 1], np.array([[0], [1]]))
    weight = weights_by_classifier(Counting(), logged, logging, target)
    assert weight[0] <= 0.5


def test_one_hot() -> None:
    assert one_hot(np.array([[3, 1], [5, 1], [9, 1]])).tolist() == [[0, 0], [1, 0], [0, 1]]
    assert one_hot(np.array([[1], [1]])).shape == (2, 0)


def test_what_does_not_fit_is_refused() -> None:
    even, given_action = np.full((2, 2), 0.5), np.full((2, 2, 1), 0.5)
    shown = np.array([[0], [1]])
    for arguments, field in (
        ((even, np.full((2, 3), 1 / 3), given_action, shown), "target"),
        ((even, even, given_action[:1], shown), "given_action"),
        ((even, even, given_action, shown[:1]), "embedding"),
        ((even, even, given_action, shown + 1), "embedding"),
        ((even, even, given_action, shown - 1), "embedding"),
    ):
        with pytest.raises(BadInput, match=f"^{field}: found"):
            weights_by_embedding(*arguments)
    with pytest.raises(BadInput, match="wrong_shape"):
        weights_by_classifier(Counting(), LoggedEmbeddings(np.zeros((2, 1)), [0], shown), even, even)
    names = np.eye(2)[:, :, None]
    with pytest.raises(BadInput, match="embedding: found one of probability 0 in row 1"):
        weights_by_embedding([[1, 0], [1, 0]], even, names, shown)
    assert weights_by_embedding([[1, 0]], [[1, 0]], names, [[1]]).tolist() == [0]


def shown_by(weights: dict[Dimensions, Floats]) -> list[Dimensions]:
    return list(drop_dimensions(np.ones(100), weights.__getitem__, 2).path)


def test_dimensions_are_dropped_as_long_as_the_value_agrees() -> None:
    rng = np.random.default_rng(0)
    noise = rng.normal(0, 1, 100)
    wide, narrow, off = 1 + noise, 1 + noise / 10, 5 + noise / 100
    assert shown_by({(0, 1): wide, (0,): narrow, (1,): off}) == [(0, 1), (0,)]
    assert shown_by({(0, 1): wide, (0,): off, (1,): narrow}) == [(0, 1), (1,)]
    assert shown_by({(0, 1): wide, (0,): wide + 9, (1,): narrow}) == [(0, 1)]


def test_the_reach_of_a_value_is_by_student_s_distribution() -> None:
    wide = np.array([1.0, 2.0, 4.0, 5.0])
    half_width = float(student_t.ppf(0.9, 3)) * wide.std(ddof=1) / 2
    reach = 3 + (math.sqrt(6) - 1) * half_width
    for value, kept in ((reach * 0.999, (0,)), (reach * 1.001, (0, 1))):
        weights = {(0, 1): wide, (0,): np.full(4, value), (1,): np.full(4, value)}
        assert drop_dimensions(np.ones(4), weights.__getitem__, 2, Search(delta=0.2)).path[-1] == kept


@pytest.mark.parametrize("search", ["exact", "greedy"])
def test_so_many_dimensions_stay(search: str) -> None:
    of = EMBEDDED["four dimensions"]
    asked: list[Dimensions] = []

    def weights(kept: Dimensions) -> Floats:
        asked.append(kept)
        return weights_by_dimensions(of)(kept)

    dropped = drop_dimensions(of.log.reward, weights, 4, Search(search, least=2))  # type: ignore[arg-type]
    assert dropped.exhausted
    assert len(dropped.kept) == 2
    assert len(asked) == {"exact": 1 + 4 + 6, "greedy": 1 + 4 + 3}[search]
    assert drop_dimensions(of.log.reward, weights, 4, Search(search, least=4)).path == ((0, 1, 2, 3),)  # type: ignore[arg-type]


def test_one_row_agrees_with_everything() -> None:
    assert drop_dimensions(np.ones(1), lambda kept: np.full(1, float(len(kept))), 2).exhausted


def test_a_search_that_cannot_be_is_refused() -> None:
    for least in (0, 3):
        with pytest.raises(WrongConfiguration, match=f"least: found {least}, expected 1 to 2"):
            drop_dimensions(np.ones(2), lambda kept: np.ones(2), 2, Search(least=least))
    with pytest.raises(WrongConfiguration, match="search: found 'all'"):
        drop_dimensions(np.ones(2), lambda kept: np.ones(2), 2, Search("all"))  # type: ignore[arg-type]


def test_other_weights_are_for_as_many_rows() -> None:
    rows = EvaluationRows(reward=np.ones(2), propensity=np.ones(2), target=np.ones(2))
    with pytest.raises(BadInput, match="weight: found the shape"):
        marginal(rows, np.ones(3))


def test_equal_widths_are_tried_in_the_order_of_the_open_bandit_pipeline() -> None:
    paths = [
        drop_dimensions(np.ones(4), lambda kept: np.ones(4), 3, search).path
        for search in (Search("exact"), Search("greedy"))
    ]
    assert paths[0] == ((0, 1, 2), (1, 2), (0, 2), (0, 1), (2,), (1,), (0,))
    assert paths[1] == ((0, 1, 2), (0, 1), (0, 2), (1, 2), (1,), (2,))
