"""The statistics of the warning, each oriented so that more is worse, and their descriptions in words."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from replay.evaluation.health.missing import FILLED
from replay.evaluation.rows import Floats

Known = Mapping[str, float | None]
FAMILIES = ("ips", "snips", "dr")


@dataclass(frozen=True, slots=True)
class WarningStatistic:
    """A statistic as the score sees it.

    Attributes
    ----------
    name
        Of the statistic; ``*`` stands for the family of estimators.
    badness
        Makes of the statistic a number that is larger where it is worse; of None too.
    says
        Tells a person of it, given all statistics and the statistic itself.
    """

    name: str
    badness: Callable[[float | None], float]
    says: Callable[[Known, float], str]

    def statistic(self, family: str) -> str:
        """Return the name of the statistic for a family of estimators."""
        return self.name.replace("*", family)

    def of(self, known: Known, family: str) -> float | None:
        """Return the statistic, with the missing weight filled in where that is worse; None where it is unknown."""
        name = self.statistic(family)
        value, more = known.get(name), known.get(f"{FILLED}{name}")
        return more if more is not None and self.badness(more) > self.badness(value) else value


def _few(value: float | None) -> float:
    # More than some thirty do not make it better; nothing at all is as bad as a tenth of a row.
    return math.log10(1 + 30 / max(value or 0.0, 0.1))


def _many(value: float | None) -> float:
    return math.log10(1 + min(max(value or 0.0, 0.0), 1e6))


def _share(value: float | None) -> float:
    return math.log10(max(value or 0.0, 1e-4))


def _plain(value: float | None) -> float:
    return min(max(value or 0.0, 0.0), 1.0)


def _heavy(value: float | None) -> float:
    # A bounded tail, or too few rows to fit one, has no effect.
    return min(max(value or 0.0, 0.0), 2.0)


def count(value: float) -> str:
    """Return a number of rows for a person: two digits below ten, none above."""
    if value < 0.95:
        return "less than 1"
    return f"{value:,.0f}" if value >= 9.5 else f"{value:.2g}"


def percent(share: float) -> str:
    """Return a share for a person."""
    if 0 < share < 0.001:
        return "less than 0.1 %"
    return f"{100 * share:.0f} %" if share >= 0.095 else f"{100 * share:.2g} %"


def _rows(known: Known) -> str:
    return f"{known['rows'] or 0:,.0f}"


_POSITIVES = WarningStatistic(
    "effective_positives",
    _few,
    lambda known, value: (
        f"only {count(value)} effective rows with a reward" if value else "no row with a reward counts"
    ),
)
VARIANCE = WarningStatistic(
    "variance_ess_*",
    _few,
    lambda known, value: f"how wide the interval is rests on {count(value)} of {_rows(known)} rows",
)
ESS = WarningStatistic("ess", _few, lambda known, value: f"effective sample size {count(value)} of {_rows(known)}")
_SHARE_OF_ROWS = WarningStatistic(
    "ess_share",
    lambda value: -_share(value),
    lambda known, value: f"effective sample size is {percent(value)} of the rows",
)
_OF_PMF = WarningStatistic(
    "ess_of_pmf",
    _few,
    lambda known, value: f"effective sample size {count(value)} is all that the logged probabilities promise",
)
_FAR = WarningStatistic(
    "far",
    _plain,
    lambda known, value: f"in {percent(value)} of the rows the target does what the log hardly shows",
)
_UNSEEN = WarningStatistic(
    "unseen_errors_*",
    _many,
    lambda known, value: f"{percent(known['unseen'] or 0.0)} of what the target does was never logged",
)
_MISSING = WarningStatistic(
    "missing_errors_*",
    _many,
    lambda known, value: (
        f"the mean weight is {known['mean_weight'] or 0.0:.3g} and not 1: the log does not show all "
        "that the target does"
    ),
)
_PARETO = WarningStatistic(
    "pareto_k", _heavy, lambda known, value: f"the weights have a heavy tail (Pareto k {value:.2f})"
)
_LARGEST = WarningStatistic(
    "largest_share", _share, lambda known, value: f"one row carries {percent(value)} of the weight"
)
_PERCENT = WarningStatistic(
    "largest_percent_share",
    _share,
    lambda known, value: f"1 % of the rows carry {percent(value)} of the weight",
)

WHOLE: tuple[WarningStatistic, ...] = (_POSITIVES, VARIANCE, ESS, _OF_PMF, _FAR, _UNSEEN, _PARETO, _LARGEST)
"""Where the log has whole probability mass functions."""
BARE: tuple[WarningStatistic, ...] = (_POSITIVES, VARIANCE, ESS, _SHARE_OF_ROWS, _MISSING, _PARETO, _LARGEST, _PERCENT)
"""Where it has the propensity of the logged action only."""


def badness(known: Known, family: str, features: Sequence[WarningStatistic]) -> Floats:
    """Return the features of a log: shape (features,)."""
    return np.array([feature.badness(feature.of(known, family)) for feature in features])
