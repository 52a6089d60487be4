"""Every estimator says what the Open Bandit Pipeline 0.5.7 says of the same rows, to 1e-9."""

from dataclasses import replace

import numpy as np
import pytest

from replay.evaluation.estimators.balanced import BalancedDoublyRobust, BalancedInversePropensity
from replay.evaluation.estimators.catalogue import ESTIMATORS, SHRUNK
from replay.evaluation.estimators.doubly_robust import (
    DirectMethod,
    DoublyRobust,
    importance_fit_weights,
    more_robust_fit_weights,
)
from replay.evaluation.estimators.embedding import (
    LoggedEmbeddings,
    MarginalInversePropensity,
    SelfNormalisedMarginal,
    marginal,
    weights_by_classifier,
)
from replay.evaluation.estimators.embedding_dimensions import Search, drop_dimensions
from replay.evaluation.estimators.estimator import Estimator
from replay.evaluation.estimators.importance import with_weight
from replay.evaluation.estimators.loggers import WeightedDoublyRobust, WeightedInversePropensity, balanced, shares_of
from replay.evaluation.estimators.shrinkage import ClippedDoublyRobust, ClippedInversePropensity
from replay.evaluation.estimators.tuning import ladder, least_error, slope
from replay.evaluation.rows import EvaluationRows
from studies.fixtures.inputs import EMBEDDED, LOGGERS, LOGS, Counting
from tests.replay.evaluation.estimators.obp_logs import evaluation_rows, number, said, weights_by_dimensions

BALANCED: dict[str, Estimator] = {"clipped-ips": BalancedInversePropensity(), "clipped-dr": BalancedDoublyRobust()}
BASIC, TUNING, OF_LOGGERS, OF_EMBEDDINGS = (said(each) for each in ("basic", "tuning", "loggers", "embedding"))


def close(value: float) -> object:
    return pytest.approx(value, rel=1e-9, abs=1e-9)


def built(name: str, lambda_: object) -> Estimator:
    return ESTIMATORS[name]() if lambda_ is None else SHRUNK[name](number(lambda_))


@pytest.mark.parametrize("log", LOGS)
def test_estimators_of_one_logger(log: str) -> None:
    compared = set()
    for each in BASIC["logs"][log]["values"]:
        rows = evaluation_rows(LOGS[log], estimated=each["estimated"])
        if each["name"] == "clipped-snips":
            rows = with_weight(rows, rows.target / LOGS[log].estimated_propensity)
        value = number(each["value"])
        found = built(each["name"], each["lambda_"]).estimate(rows)
        if np.isnan(value):
            # 0 / 0 there: a weight of 0 with a lambda at its limit, or weights that are all clipped to 0.
            assert number(each["lambda_"]) in (0, 1)
        elif each["name"] == "replay" and not (rows.target == 1).any():
            # Nothing is known where nothing matches; there it is 0.
            assert value == 0
            assert np.isnan(found)
        else:
            assert found == close(value), each
            compared.add(each["name"])
    assert len(compared) >= 12


def test_what_is_undefined_there_is_the_limit_here() -> None:
    rows = evaluation_rows(LOGS["deterministic"])
    undefined = [each for each in BASIC["logs"]["deterministic"]["values"] if each["value"] is None]
    assert {(each["name"], each["lambda_"]) for each in undefined} == {
        ("clipped-snips", 0.0),
        ("dr-os", 0.0),
        ("sg-ips", 1.0),
        ("sg-dr", 1.0),
    }
    assert built("dr-os", 0.0).estimate(rows) == DirectMethod().estimate(rows)
    for name in ("sg-ips", "sg-dr"):
        assert built(name, 1.0).estimate(rows) == pytest.approx(built(name, 1 - 1e-9).estimate(rows))
    assert np.isnan(built("clipped-snips", 0.0).estimate(rows))


@pytest.mark.parametrize("log", LOGS)
def test_weights_that_a_reward_model_is_fitted_by(log: str) -> None:
    said_weights = BASIC["logs"][log]["fit_weights"]
    rows = evaluation_rows(LOGS[log])
    np.testing.assert_allclose(importance_fit_weights(rows), said_weights["iw"], rtol=1e-9)
    np.testing.assert_allclose(more_robust_fit_weights(rows), said_weights["mrdr"], rtol=1e-9)


@pytest.mark.parametrize("log", TUNING["logs"])
def test_choices_of_lambda(log: str) -> None:
    rows = evaluation_rows(LOGS[log])
    chosen_lambdas = set()
    for each in TUNING["logs"][log]:
        lambdas = [number(written) for written in each["lambdas"]]
        candidates = ladder(SHRUNK[each["name"]], lambdas)
        way = each["way"]
        if way["tuning_method"] == "slope":
            chosen = slope(candidates, rows, delta=way["delta"])
        else:
            chosen = least_error(candidates, rows, bound=way["use_bias_upper_bound"], delta=way.get("delta", 0.1))
            errors = [tried.score for tried in chosen.tried]
            np.testing.assert_allclose(errors, [number(error) for error in each["errors"]], rtol=1e-9, atol=1e-12)
        if np.isnan(number(each["value"])):
            continue
        assert chosen.estimator.estimate(rows) == close(number(each["value"])), each
        chosen_lambdas.add((each["name"], number(each["chosen"])))
    # A choice that were always the first or the last candidate would be no choice.
    assert len(chosen_lambdas) > 6


@pytest.mark.parametrize("log", LOGGERS)
def test_estimators_of_several_loggers(log: str) -> None:
    of = LOGGERS[log]
    rows = evaluation_rows(of.log, version=of.logger)
    even = balanced(rows, of.propensities, shares_of(of.logger, 3))
    for each in OF_LOGGERS["logs"][log]:
        lambda_ = number(each["lambda_"])
        kind, _, name = each["name"].partition(" ")
        estimators: dict[str, Estimator] = {
            "clipped-ips": ClippedInversePropensity(lambda_),
            "clipped-dr": ClippedDoublyRobust(lambda_),
            "weighted-ips": WeightedInversePropensity(3, lambda_),
            "weighted-dr": WeightedDoublyRobust(3, lambda_),
        }
        found = estimators[name or kind].estimate(even if kind == "balanced" else rows)
        assert found == close(number(each["value"])), each
        if kind == "balanced" and lambda_ == np.inf:
            with_mean = replace(rows, mean_propensity=even.propensity)
            assert BALANCED[name].estimate(with_mean) == close(number(each["value"]))


@pytest.mark.parametrize("log", EMBEDDED)
def test_estimators_by_embeddings(log: str) -> None:
    of = EMBEDDED[log]
    rows = evaluation_rows(of.log)
    everything = tuple(range(of.embedding.shape[1]))
    row = np.arange(len(rows))
    for each in OF_EMBEDDINGS["logs"][log]:
        value = number(each["value"])
        # The self-normalised form there multiplies over dimensions what it summed up over actions.
        weights_of = weights_by_dimensions(of, jointly=each["name"] == "mips")
        estimator = MarginalInversePropensity() if each["name"] == "mips" else SelfNormalisedMarginal()
        if "search" in each:
            search = Search(each["search"], least=each["least"], delta=each["delta"])
            dropped = drop_dimensions(rows.reward, weights_of, len(everything), search)
            # Its choice is the value of plain weights, for the self-normalised form too; and where nothing stopped
            # the search, that of the last but one.
            values = [MarginalInversePropensity().estimate(marginal(rows, weights_of(kept))) for kept in dropped.path]
            assert value == close(values[-2 if dropped.exhausted else -1]), each
        elif each["by_classifier"]:
            logging, target = of.log.logging[row, :, of.log.position], of.log.target[row, :, of.log.position]
            logged = LoggedEmbeddings(of.context, of.log.action, of.embedding)
            weight = weights_by_classifier(Counting(), logged, logging, target)
            assert estimator.estimate(marginal(rows, weight)) == close(value)
        else:
            assert estimator.estimate(marginal(rows, weights_of(everything))) == close(value)


@pytest.mark.parametrize("log", ["plain", "positions", "money"])
@pytest.mark.parametrize("name", ["ips", "snips", "dr", "sndr"])
def test_one_wrong_weight_is_seen(log: str, name: str) -> None:
    (value,) = [
        each["value"] for each in BASIC["logs"][log]["values"] if each["name"] == name and not each["estimated"]
    ]
    rows = evaluation_rows(LOGS[log])
    place = int(np.flatnonzero(rows.reward)[0])
    weight = rows.weight.copy()
    weight[place] *= 1.0001
    wrong = ESTIMATORS[name]().estimate(with_weight(rows, weight))
    assert wrong != close(value)


def test_the_fixtures_say_what_made_them() -> None:
    for each in (BASIC, TUNING, OF_LOGGERS, OF_EMBEDDINGS):
        assert each["versions"]["obp"] == "0.5.7"
        assert {"python", "numpy", "scikit-learn"} <= set(each["versions"])


def test_a_log_of_no_weight_or_reward_differs_from_the_others() -> None:
    """The logs are what their names say: otherwise a comparison on them would show nothing."""
    assert not LOGS["no rewards"].reward.any()
    assert (LOGS["money"].reward < 0).any()
    assert evaluation_rows(LOGS["heavy"]).weight.max() > 20
    rows: EvaluationRows = evaluation_rows(LOGS["deterministic"])
    assert set(rows.target) == {0.0, 1.0}
    assert DoublyRobust().estimate(rows) != DirectMethod().estimate(rows)
