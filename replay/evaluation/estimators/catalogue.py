"""The estimators by name, and what people may write for those of single decisions."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from records.errors import WrongConfiguration
from replay.evaluation.estimators.balanced import (
    BalancedDoublyRobust,
    BalancedInversePropensity,
    BalancedSelfNormalised,
)
from replay.evaluation.estimators.continuous import (
    Continuous,
    KernelDoublyRobust,
    KernelInversePropensity,
    KernelSelfNormalised,
)
from replay.evaluation.estimators.doubly_robust import DirectMethod, DoublyRobust, SelfNormalisedDoublyRobust
from replay.evaluation.estimators.embedding import MarginalInversePropensity, SelfNormalisedMarginal
from replay.evaluation.estimators.estimator import Estimator
from replay.evaluation.estimators.importance import InversePropensity, Replay, SelfNormalised
from replay.evaluation.estimators.loggers import WeightedDoublyRobust, WeightedInversePropensity
from replay.evaluation.estimators.pseudo_inverse import PseudoInverse
from replay.evaluation.estimators.shrinkage import (
    ClippedDoublyRobust,
    ClippedInversePropensity,
    ClippedSelfNormalised,
    OptimisticDoublyRobust,
    Shrunk,
    SubGaussianDoublyRobust,
    SubGaussianInversePropensity,
    SwitchDoublyRobust,
)
from replay.evaluation.estimators.slate_rows import Slates
from replay.evaluation.estimators.slates import (
    CascadeDoublyRobust,
    IndependentSlate,
    RewardInteractionSlate,
    SelfNormalisedIndependentSlate,
    SelfNormalisedRewardInteractionSlate,
    SelfNormalisedStandardSlate,
    StandardSlate,
)
from replay.evaluation.estimators.tuning import ladder
from replay.evaluation.rows import EvaluationRows

ESTIMATORS: Mapping[str, type[Estimator]] = MappingProxyType(
    {
        kind.name: kind
        for kind in (
            InversePropensity,
            SelfNormalised,
            Replay,
            ClippedInversePropensity,
            ClippedSelfNormalised,
            SubGaussianInversePropensity,
            DirectMethod,
            DoublyRobust,
            SelfNormalisedDoublyRobust,
            ClippedDoublyRobust,
            SwitchDoublyRobust,
            OptimisticDoublyRobust,
            SubGaussianDoublyRobust,
            WeightedInversePropensity,
            WeightedDoublyRobust,
            BalancedInversePropensity,
            BalancedSelfNormalised,
            BalancedDoublyRobust,
        )
    }
)
"""Estimators for rows of one decision each; ``needs`` lists the required columns."""

EMBEDDED: Mapping[str, type[Estimator]] = MappingProxyType(
    {kind.name: kind for kind in (MarginalInversePropensity, SelfNormalisedMarginal)}
)
"""What evaluates rows with the weights of embeddings (:func:`~replay.evaluation.estimators.embedding.marginal`)."""

SLATES: Mapping[str, type[Estimator[Slates]]] = MappingProxyType(
    {
        kind.name: kind
        for kind in (
            StandardSlate,
            SelfNormalisedStandardSlate,
            IndependentSlate,
            SelfNormalisedIndependentSlate,
            RewardInteractionSlate,
            SelfNormalisedRewardInteractionSlate,
            CascadeDoublyRobust,
            PseudoInverse,
        )
    }
)
"""What evaluates slates and rankings."""

CONTINUOUS: Mapping[str, type[Estimator[Continuous]]] = MappingProxyType(
    {kind.name: kind for kind in (KernelInversePropensity, KernelSelfNormalised, KernelDoublyRobust)}
)
"""What evaluates continuous actions."""

SHRUNK: Mapping[str, type[Shrunk]] = MappingProxyType(
    {name: kind for name, kind in ESTIMATORS.items() if issubclass(kind, Shrunk)}
)
"""Those of them that have a ``lambda_``, which :mod:`replay.evaluation.estimators.tuning` can choose."""


def requested(text: str) -> tuple[Estimator, ...]:
    """Return the estimator of a name, or the candidates that :func:`~.tuning.slope` chooses from.

    Parameters
    ----------
    text
        ``snips``; ``dr-os=100``, where the number is ``lambda_``; ``dr-os`` alone for a choice by the data;
        ``weighted-ips=3``, where it is the number of loggers.

    Raises
    ------
    WrongConfiguration
        The estimator does not exist, or its number is invalid, missing or not allowed.

    Examples
    --------
    >>> requested("dr-os=100")
    (OptimisticDoublyRobust(lambda_=100.0),)
    >>> len(requested("dr-os"))
    8
    """
    name, equals, number = text.partition("=")
    kind: Any = ESTIMATORS.get(name)
    if kind is None:
        raise WrongConfiguration(f"estimator: found {name!r}, expected one of {', '.join(ESTIMATORS)}")
    if kind in (WeightedInversePropensity, WeightedDoublyRobust):
        return (kind(_loggers(text, number)),)
    if kind in SHRUNK.values():
        return (kind(_lambda(text, number)),) if equals else ladder(kind)
    if equals:
        raise WrongConfiguration(f"estimator: found {text!r}, expected {name} alone, which has no number")
    return (kind(),)


def usable(rows: EvaluationRows) -> tuple[str, ...]:
    """Return the names of the estimators whose columns the rows have.

    ``replay`` is among them, although it wants more: a log in which every action was equally probable.

    Examples
    --------
    >>> import numpy as np
    >>> "dr" in usable(EvaluationRows(reward=np.ones(1), propensity=np.ones(1), target=np.ones(1)))
    False
    """
    return tuple(
        name for name, kind in ESTIMATORS.items() if all(getattr(rows, each) is not None for each in kind.needs)
    )


def _loggers(text: str, number: str) -> int:
    if not (number.isdecimal() and int(number) > 0):
        raise WrongConfiguration(f"estimator: found {text!r}, expected how many loggers there are, as weighted-ips=3")
    return int(number)


def _lambda(text: str, number: str) -> float:
    try:
        return float(number)
    except ValueError as error:
        raise WrongConfiguration(f"estimator: found {text!r}, expected a number after the =") from error
