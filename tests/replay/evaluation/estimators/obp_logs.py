"""The logs of studies/fixtures as our rows, and what the Open Bandit Pipeline said of them."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from replay.evaluation.estimators.embedding import weights_by_embedding
from replay.evaluation.estimators.embedding_dimensions import Dimensions
from replay.evaluation.rows import EvaluationRows, Floats
from studies.fixtures.inputs import EmbeddedLog, Log

FIXTURES = Path(__file__).parents[1] / "fixtures"


def said(name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((FIXTURES / f"{name}.json").read_text())
    return found


def number(written: Any) -> float:
    """JSON has no infinity; the fixtures write it as text, and NaN as null."""
    return np.nan if written is None else float(written)


def evaluation_rows(log: Log, *, estimated: bool = False, version: Any = None) -> EvaluationRows:
    row = np.arange(len(log.reward))
    target = log.target[row, :, log.position]
    model = log.model[row, :, log.position]
    return EvaluationRows(
        reward=log.reward,
        propensity=log.estimated_propensity if estimated else log.propensity,
        target=target[row, log.action],
        model_logged=model[row, log.action],
        model_target=(target * model).sum(axis=1),
        action=log.action.astype(np.int32),
        version=None if version is None else version.astype(np.int32),
    )


def weights_by_dimensions(log: EmbeddedLog, *, jointly: bool = True) -> Callable[[Dimensions], Floats]:
    row = np.arange(len(log.log.reward))
    logging, target = log.log.logging[row, :, log.log.position], log.log.target[row, :, log.log.position]

    def weights(kept: Dimensions) -> Floats:
        some = list(kept)
        return weights_by_embedding(
            logging, target, log.given_action[:, :, some], log.embedding[:, some], jointly=jointly
        )

    return weights
