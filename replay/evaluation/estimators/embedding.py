"""Estimators by what actions have in common: weights of an action's embedding instead of the action's own.

An embedding is a row of categories, numbered from 0 in each dimension, such as an item's brand and colour. Where the
reward depends on the action only through it, the weight ``p(e|x, pi) / p(e|x, mu)`` is right, and it varies far less
than ``pi(a|x) / mu(a|x)`` where there are many actions (Saito and Joachims 2022, Off-policy evaluation for large action
spaces via embeddings, ICML).

The weights go into the rows: ``MarginalInversePropensity().estimate(marginal(rows, weights))``.
Which dimensions to use can be left to the data: :mod:`replay.evaluation.estimators.embedding_dimensions`.
"""

from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from records.errors import BadInput
from replay.evaluation.estimators.estimator import Estimator, Means
from replay.evaluation.estimators.importance import ratio, with_weight
from replay.evaluation.rows import EvaluationRows, Floats


@dataclass(frozen=True)
class MarginalInversePropensity(Estimator):
    """The mean of marginal weight times reward: ``mean(w(x, e) r)``; for the rows of :func:`marginal`."""

    name = "mips"
    reference = "Saito and Joachims 2022, ICML, section 3 (MIPS)"

    def terms(self, rows: EvaluationRows) -> dict[str, Floats]:
        """Return marginal weight times reward."""
        return {"w(x, e) r": rows.weight * rows.reward}

    def value(self, means: Means) -> Any:
        """Return its mean."""
        return means["w(x, e) r"]


@dataclass(frozen=True)
class SelfNormalisedMarginal(Estimator):
    """The same divided by the mean weight: ``mean(w(x, e) r) / mean(w(x, e))``; unknown where every weight is 0."""

    name = "snmips"
    reference = "Saito and Joachims 2022, ICML, section 3 (MIPS); Swaminathan and Joachims 2015, NeurIPS (SNIPS)"

    def terms(self, rows: EvaluationRows) -> dict[str, Floats]:
        """Return marginal weight times reward, and the weight."""
        return {"w(x, e) r": rows.weight * rows.reward, "w(x, e)": rows.weight}

    def value(self, means: Means) -> Any:
        """Return the ratio of their means."""
        return ratio(means["w(x, e) r"], means["w(x, e)"])


def marginal(rows: EvaluationRows, weight: Floats) -> EvaluationRows:
    """Return the rows with the weights of their embeddings: shape (rows,); errors are those of ``with_weight``."""
    return with_weight(rows, weight)


def weights_by_embedding(
    logging: ArrayLike, target: ArrayLike, given_action: ArrayLike, embedding: ArrayLike, *, jointly: bool = True
) -> Floats:
    """Return the weights ``p(e|x, pi) / p(e|x, mu)`` where it is known which embeddings an action may have.

    Parameters
    ----------
    logging, target
        The probability mass functions mu and pi: shape (rows, actions) each.
    given_action
        The probability of each category given the action, by dimension: shape (actions, categories, dimensions).
        Dimensions are independent given the action.
    embedding
        Of the logged action of each row: shape (rows, dimensions).
    jointly
        Whether ``p(e|x, pi)`` sums over actions the product over dimensions, as it has to be. Otherwise it is the
        product of the sums, as if dimensions were independent of each other under a policy too: the self-normalised
        form of the Open Bandit Pipeline does that.

    Returns
    -------
    weights
        Shape (rows,); 0 where neither policy can show the embedding.

    Raises
    ------
    BadInput
        Shapes do not fit, or a row's embedding is impossible under the logging policy and possible under the target.

    Examples
    --------
    Two of three actions look alike, so that it does not matter which of them is shown:

    >>> given_action = np.array([[[1.0], [0.0]], [[1.0], [0.0]], [[0.0], [1.0]]])
    >>> weights_by_embedding([[0.4, 0.1, 0.5]], [[0.1, 0.4, 0.5]], given_action, [[0]])
    array([1.])
    """
    mu, pi = np.asarray(logging, dtype=np.float64), np.asarray(target, dtype=np.float64)
    given, shown = np.asarray(given_action, dtype=np.float64), np.asarray(embedding)
    _check_shapes(mu, pi, given, shown)
    # Shape (actions, rows, dimensions): what each action makes of each row's embedding.
    likely = given[:, shown, np.arange(shown.shape[1])]
    if jointly:
        by_action = likely.prod(axis=2).T
        top, bottom = (pi * by_action).sum(axis=1), (mu * by_action).sum(axis=1)
    else:
        top = np.einsum("na,and->nd", pi, likely).prod(axis=1)
        bottom = np.einsum("na,and->nd", mu, likely).prod(axis=1)
    return _divided(top, bottom)


class Classifier(Protocol):
    """What is asked of a classifier; those of scikit-learn have it."""

    def fit(self, features: Any, action: Any, /) -> Any:
        """Learn which action goes with which features: shapes (rows, features) and (rows,)."""

    def predict_proba(self, features: Any, /) -> Any:
        """Return the probabilities of the actions that were seen, in their order: shape (rows, seen)."""


class LoggedEmbeddings(NamedTuple):
    """Logged rows: contexts (rows, features), actions (rows,) and the actions' embeddings (rows, dimensions)."""

    context: ArrayLike
    action: ArrayLike
    embedding: ArrayLike


def weights_by_classifier(
    classifier: Classifier, logged: LoggedEmbeddings, logging: ArrayLike, target: ArrayLike
) -> Floats:
    """Return the weights ``sum over a of w(x, a) p(a|x, e)`` where ``p(a|x, e)`` has to be learned.

    Saito and Joachims 2022, ICML, section 3.3, eq. 3: the classifier learns the logged action from the context and the
    embedding, one column per category but the first. It is fitted and used on the same rows.

    Parameters
    ----------
    classifier
        It is fitted here.
    logged
        The rows.
    logging, target
        As in :func:`weights_by_embedding`.

    Returns
    -------
    weights
        Shape (rows,). An action that could not be logged (mu = 0) adds nothing.
    """
    mu, pi = np.asarray(logging, dtype=np.float64), np.asarray(target, dtype=np.float64)
    action, shown = np.asarray(logged.action), np.asarray(logged.embedding)
    if mu.shape != pi.shape or action.shape != (len(mu),) or len(shown) != len(mu):
        found = f"{pi.shape}, {action.shape} and {shown.shape}"
        raise BadInput("wrong_shape", "target, action, embedding", found, f"{len(mu)} rows as in logging {mu.shape}")
    features = np.column_stack([np.asarray(logged.context, dtype=np.float64), one_hot(shown)])
    classifier.fit(features, action)
    of_action = np.zeros(mu.shape)
    of_action[:, np.unique(action)] = classifier.predict_proba(features)
    weight = np.divide(pi, mu, out=np.zeros(mu.shape), where=mu > 0)
    found_weights: Floats = (weight * of_action).sum(axis=1)
    return found_weights


def one_hot(embedding: NDArray[Any]) -> Floats:
    """Return a column of 0 and 1 per category of each dimension but its smallest: shape (rows, columns)."""
    columns = [
        (embedding[:, dimension] == category).astype(np.float64)
        for dimension in range(embedding.shape[1])
        for category in np.unique(embedding[:, dimension])[1:]
    ]
    return np.column_stack(columns) if columns else np.empty((len(embedding), 0))


def _check_shapes(mu: Floats, pi: Floats, given: Floats, shown: NDArray[Any]) -> None:
    if mu.ndim != 2 or pi.shape != mu.shape:
        raise BadInput("wrong_shape", "target", f"the shape {pi.shape}", f"(rows, actions) as in logging: {mu.shape}")
    if given.ndim != 3 or given.shape[0] != mu.shape[1]:
        expected = f"(actions, categories, dimensions) for {mu.shape[1]} actions"
        raise BadInput("wrong_shape", "given_action", f"the shape {given.shape}", expected)
    if shown.shape != (len(mu), given.shape[2]):
        expected = f"(rows, dimensions): {(len(mu), given.shape[2])}"
        raise BadInput("wrong_shape", "embedding", f"the shape {shown.shape}", expected)
    if shown.size and not (shown.min() >= 0 and shown.max() < given.shape[1]):
        expected = f"categories from 0 to {given.shape[1] - 1}"
        raise BadInput("wrong_category", "embedding", f"{shown.min()} to {shown.max()}", expected)


def _divided(top: Floats, bottom: Floats) -> Floats:
    lost = (bottom == 0) & (top > 0)
    if lost.any():
        expected = "embeddings that the logging policy can show"
        raise BadInput("impossible_embedding", "embedding", f"one of probability 0 in row {lost.argmax()}", expected)
    return np.divide(top, bottom, out=np.zeros_like(top), where=bottom > 0)
