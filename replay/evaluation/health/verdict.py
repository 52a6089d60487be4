"""The verdict: how far the value of a policy may be trusted, in one sentence.

A logistic score on eight statistics, for each of three families of estimators; its coefficients were fitted once to
random worlds whose truth is known, and are frozen in ``scores.json`` (docs/warnings.md). Above the score stand rules
that no score may overrule.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

import numpy as np
import orjson

from replay.evaluation.health.missing import FILLED
from replay.evaluation.health.warning_statistics import (
    BARE,
    ESS,
    FAMILIES,
    VARIANCE,
    WHOLE,
    Known,
    WarningStatistic,
    badness,
    count,
    percent,
)
from replay.evaluation.result import Finding, Level, Verdict
from replay.evaluation.rows import Floats

LESS = frozenset(
    {
        *("repeated", "copies", "late_rewards", "segment_weights", "unnamed_unit"),
        *("balanced_over_versions", "not_at_the_same_time"),
    }
)
"""Faults that leave a value usable with care."""
OF_ROWS = ("effective_positives", "ess", "ess_of_pmf")
"""Statistics, besides those of the intervals' variances, that count rows: fewer if rows are correlated."""
TOGETHER = 1.2
"""Minimum design effect that the verdict mentions."""
REASONS_SHOWN = 3
"""Number of reasons in the sentence."""
WEIGHTY = 0.5
"""A statistic is a reason when it moves the score by so much against a good log's."""
FEWEST = 15
"""A log with a smaller effective sample size is never reliable, whatever its other statistics."""
FEWEST_OF_VARIANCE = 3
"""A value is never reliable if its variance depends on fewer effective rows: one or two contribute most of it."""
LEAST_SHOWN, MOST_SHOWN = 0.5, 0.8
"""A log with a mean weight below the first is not reliable, one below the second needs care: rows are missing."""
GREAT_SHARE = 0.1
"""A log in which one unit (a user) has a larger share of the rows is never reliable."""
FEWEST_OF = ((VARIANCE, FEWEST_OF_VARIANCE), (ESS, FEWEST))
"""Statistics that count rows, and how many a reliable value needs at least."""
LEVELS: tuple[Level, ...] = ("reliable", "use with care", "not reliable")


@dataclass(frozen=True, slots=True)
class Score:
    """A logistic score; a log with a larger one is worse.

    Attributes
    ----------
    features
        Its statistics.
    centre, scale, weights
        Shape (features,) each; ``centre`` is the mean of good worlds.
    intercept
        The score of a log in the centre.
    care, refuse
        A log with a score above them is called *use with care*, and *not reliable*.
    """

    features: tuple[WarningStatistic, ...]
    centre: Floats
    scale: Floats
    weights: Floats
    intercept: float
    care: float
    refuse: float

    def parts(self, known: Known, family: str) -> Floats:
        """Return what each feature adds to the score, against a good log: shape (features,)."""
        moved: Floats = self.weights * (badness(known, family, self.features) - self.centre) / self.scale
        return moved

    def level(self, score: float) -> Level:
        """Return the level of a score."""
        return LEVELS[(score > self.care) + (score > self.refuse)]


def family_of(estimator: str) -> str:
    """Return the family of an estimator, whose score is used: that with the most similar error.

    Examples
    --------
    >>> family_of("switch-dr"), family_of("dr-os=10"), family_of("clipped-snips"), family_of("clipped-ips")
    ('dr', 'dr', 'snips', 'ips')
    """
    parts = estimator.partition("=")[0].split("-")
    if {"dr", "sndr", "dm"} & set(parts):
        return "dr"
    # Likelihood and rejection are ratios too.
    return "snips" if any(part.startswith("sn") or part in {"mle", "replay"} for part in parts) else "ips"


@cache
def _all_scores() -> Mapping[str, Any]:
    stored: Mapping[str, Any] = orjson.loads(files("replay.evaluation.health").joinpath("scores.json").read_bytes())
    return stored


def score_of(family: str, *, whole: bool) -> Score:
    """Return the frozen score of a family, for logs with whole probability mass functions or without.

    Raises
    ------
    ValueError
        There is no such family.
    """
    if family not in FAMILIES:
        raise ValueError(f"family: found {family}, expected one of {', '.join(FAMILIES)}")
    return score_from(_all_scores()["scores"][family]["whole" if whole else "bare"], whole=whole)


def score_from(stored: Mapping[str, Any], *, whole: bool) -> Score:
    """Return a score from its coefficients."""
    features = WHOLE if whole else BARE
    if stored["features"] != [feature.name for feature in features]:
        raise ValueError(f"features: found {stored['features']}, expected those of this version")
    centre, scale, weights = (np.array(stored[name]) for name in ("centre", "scale", "weights"))
    return Score(features, centre, scale, weights, stored["intercept"], stored["care"], stored["refuse"])


def verdict(
    known: Known, findings: Sequence[Finding], family: str = "snips", *, effect_of_units: float = 1.0
) -> Verdict:
    """Return how far a value may be trusted, and why.

    A value is never reliable if the log has no row or only certain actions, when a check found a fault (wrong
    propensities, rows that the target has learned from), when the target never takes what was logged, when the
    effective sample size is below :data:`FEWEST`, when the variance rests on fewer rows than
    :data:`FEWEST_OF_VARIANCE`, when the log shows less of what the target does than :data:`MOST_SHOWN`, when one unit
    has more than :data:`GREAT_SHARE` of the rows or of their weight, when there are fewer than :data:`FEWEST` effective
    units, and when the mean of the weights could not be checked.

    Parameters
    ----------
    known
        The log's statistics, from :func:`replay.evaluation.health.statistics.statistics`.
    findings
        From :func:`replay.evaluation.health.findings.findings`.
    family
        ``ips``, ``snips`` or ``dr``; see :func:`family_of`.
    effect_of_units
        Number of rows that count as one, since rows of a unit (a user) are correlated: the design effect (Kish 1965,
        Survey sampling). The score is that of a log of as many fewer rows.

    Raises
    ------
    ValueError
        There is no such family.

    Examples
    --------
    >>> from replay.evaluation.rows import EvaluationRows
    >>> from replay.evaluation.health.findings import findings
    >>> from replay.evaluation.health.statistics import State, statistics
    >>> half = np.full(1000, 0.5)
    >>> state = State.of(EvaluationRows(reward=np.tile([0.0, 1.0], 500), propensity=half, target=half))
    >>> verdict(statistics(state), findings(state)).sentence
    'reliable: effective sample size 1,000 of 1,000, 500 effective rows with a reward'
    """
    if not known.get("rows"):
        return worded("not reliable", ["no row could be used"])
    known = {name: _fewer(name, value, effect_of_units) for name, value in known.items()}
    together = f"; {count(effect_of_units)} rows of a unit count as one" if effect_of_units >= TOGETHER else ""
    score = score_of(family, whole=known.get("ess_of_pmf") is not None)
    ruled = _ruled(known, findings)
    parts = score.parts(known, family)
    total = score.intercept + float(parts.sum())
    few = _few(known, family)
    least: Level = "use with care" if few else "reliable"
    level = max([score.level(total), least, *(level for level, _ in ruled)], key=LEVELS.index)
    if level == "reliable":
        return Verdict(level=level, sentence=f"reliable: {_good(known)}{together}", reasons=[])
    reasons = [reason for _, reason in sorted(ruled, key=lambda each: -LEVELS.index(each[0]))]
    by_weight = [int(place) for place in np.argsort(-parts, kind="stable")]
    weighty = [place for place in by_weight if parts[place] >= WEIGHTY]
    if score.level(total) != "reliable":
        for place in weighty or by_weight[:1]:
            feature = score.features[place]
            reasons.append(feature.says(known, feature.of(known, family) or 0.0))
    reasons += [each for each in few if each not in reasons]
    return worded(level, reasons, together)


def worse(one: Verdict, other: Verdict) -> Verdict:
    """Return the worse of two verdicts, or the first if they are equal."""
    return other if LEVELS.index(other.level) > LEVELS.index(one.level) else one


def _fewer(name: str, value: float | None, effect_of_units: float) -> float | None:
    name = name.removeprefix(FILLED)
    counts = name in OF_ROWS or name.startswith("variance_ess")
    return value / effect_of_units if counts and value is not None else value


def _few(known: Known, family: str) -> list[str]:
    """Return the effective numbers of rows that are too small for any value, whatever the score."""
    found = [(each, each.of(known, family), fewest) for each, fewest in FEWEST_OF]
    return [each.says(known, value) for each, value, fewest in found if value is not None and value < fewest]


def _ruled(known: Known, findings: Sequence[Finding]) -> list[tuple[Level, str]]:
    """Return the levels that override the score, and the reasons."""
    ruled: list[tuple[Level, str]] = [
        ("use with care" if each.name in LESS else "not reliable", each.says) for each in findings if each.wrong
    ]
    shown = known.get("mean_weight")
    if not known.get("ess"):
        ruled.append(("not reliable", "the target never takes what was logged"))
    elif shown is not None and shown < MOST_SHOWN:
        level: Level = "not reliable" if shown < LEAST_SHOWN else "use with care"
        ruled.append((level, f"the log shows only {percent(shown)} of what the target does"))
    units, largest = known.get("effective_units"), known.get("largest_unit_share")
    if largest is not None and largest > GREAT_SHARE:
        ruled.append(("use with care", f"one unit has {percent(largest)} of the rows or of their weight"))
    if units is not None and units < FEWEST:
        ruled.append(("use with care", f"the rows are of {count(units)} effective units"))
    if known.get("ess") and all(each.name != "mean_weight" for each in findings):
        ruled.append(("use with care", "whether the propensities are right could not be checked"))
    return ruled


def _good(known: Known) -> str:
    rows, ess, positives = (known.get(name) or 0.0 for name in ("rows", "ess", "effective_positives"))
    return f"effective sample size {ess:,.0f} of {rows:,.0f}, {positives:,.0f} effective rows with a reward"


def worded(level: Level, reasons: list[str], together: str = "") -> Verdict:
    """Return a verdict whose sentence names the level and the weightiest reasons."""
    return Verdict(level=level, sentence=f"{level}: {', '.join(reasons[:REASONS_SHOWN])}{together}", reasons=reasons)
