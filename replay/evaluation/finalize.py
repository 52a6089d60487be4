"""Compute the result of an evaluation from the sums over a log."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import msgspec

from records.limits import DAY_MS
from replay.evaluation.answer import Answer
from replay.evaluation.estimators.adaptive import ADAPTIVE_DR, ADAPTIVE_IPS, REFERENCE
from replay.evaluation.estimators.balanced import Balanced
from replay.evaluation.estimators.doubly_robust import DirectMethod, DoublyRobust
from replay.evaluation.estimators.estimator import Estimator
from replay.evaluation.estimators.importance import InversePropensity
from replay.evaluation.estimators.shrinkage import Shrunk
from replay.evaluation.estimators.tuning import slope
from replay.evaluation.health.findings import LogFacts, constant_reward, findings
from replay.evaluation.health.loggers import ranked_lists
from replay.evaluation.health.missing import FILLED
from replay.evaluation.health.parts import MeanWeight, segment_weights
from replay.evaluation.health.profile import profile
from replay.evaluation.health.statistics import UNITS_RETURN, statistics
from replay.evaluation.health.verdict import LEAST_SHOWN, MOST_SHOWN, family_of, verdict, worded, worse
from replay.evaluation.intervals.adaptive import adaptive_interval
from replay.evaluation.intervals.catalogue import (
    AUTOMATIC,
    CLUSTERED,
    DEFAULT,
    INTERVALS,
    MOST_LIKELY,
    IntervalInputs,
    check_log,
)
from replay.evaluation.intervals.cressie_read import REFERENCE as MOST_LIKELY_REFERENCE
from replay.evaluation.intervals.delta import NO_INTERVAL, slopes_at
from replay.evaluation.intervals.difference import LoggedMean, paired, shows
from replay.evaluation.intervals.horizon import horizon
from replay.evaluation.intervals.interval import Interval
from replay.evaluation.intervals.possible import cut, hull, with_bias, within
from replay.evaluation.intervals.segments import CORRECTION, Positives, segments
from replay.evaluation.intervals.sums import Sums
from replay.evaluation.logs.chunk import Range, no_rows
from replay.evaluation.moments import Moments
from replay.evaluation.over_time import ANALYSES, over_time, sequence
from replay.evaluation.overlap import bins, overlap
from replay.evaluation.result import (
    Difference,
    Estimated,
    Finding,
    How,
    Level,
    Segment,
    Verdict,
)
from replay.evaluation.run import digest
from replay.evaluation.summary import EvaluationPlan, Summary

FEW, SOME = 10.0, 100.0
"""Effective positives of a segment: below the one its value is not reliable, below the other it wants care."""
WITH_BIAS = "with the bias"
"""The end of an interval's method if the estimator is biased."""


@dataclass(frozen=True, slots=True)
class About:
    """Inputs of the result besides the sums.

    Attributes
    ----------
    target
        Name of the evaluated policy.
    headline
        Name of the main estimator.
    how
        Description of the computation; ``digest`` and ``estimand`` are filled in later.
    actions, versions, segments
        Names by number.
    unit_like
        The column that seems to name units, in a log that names none.
    reward_range
        Smallest and largest possible reward, if given.
    expected_shares
        Expected share of the rows by the number of a version; empty if not given.
    remarks
        Findings that do not depend on the sums.
    """

    target: str
    headline: str
    how: How
    actions: Sequence[str] = ()
    versions: Sequence[str] = ()
    segments: Mapping[str, Sequence[str]] = field(default_factory=dict)
    unit_like: str | None = None
    reward_range: tuple[float, float] | None = None
    expected_shares: Mapping[int, float] = field(default_factory=dict)
    remarks: Sequence[Finding] = ()

    def facts(self, left_out: Mapping[str, int], learned: int) -> LogFacts:
        """Return what the checks need to know besides the sums."""
        return LogFacts(
            left_out=left_out,
            learned=learned,
            expected_shares=self.expected_shares or None,
            actions=self.actions,
            versions=self.versions,
            unit_like=self.unit_like,
        )


def finalize(summary: Summary, plan: EvaluationPlan, about: About) -> Answer:
    """Return the result.

    Raises
    ------
    BadInput
        The log has no usable row.
    """
    state, left_out = summary.health, dict(sorted(summary.left_out.items()))
    if not state.rows:
        raise no_rows(left_out)
    known = statistics(state)
    of_rows, summary = summary, summary.a_decision
    by_unit = (known.get("rows_each_unit") or 1.0) > UNITS_RETURN or plan.interval == CLUSTERED
    checks = _checks(summary, plan, about, known["max_weight"] or 0.0, by_unit)
    if by_unit and (units := summary.values.buckets) is not None:
        _, slopes = slopes_at(plan.shown, summary.values.moments.means)
        known.update(effective_units=units.effective(slopes), largest_unit_share=units.largest_share(slopes))
    possible = _possible(summary, about.reward_range)
    inputs = _interval(summary, plan, about, known, by_unit)
    estimates = _estimates(summary, plan, inputs, possible)
    effect = summary.values.rows_that_tell_as_one(plan.shown, by_unit=by_unit)
    if summary.adaptive:
        estimates.append(_adaptive(summary, plan.model, by_unit, possible))
        checks.append(profile(summary.adaptive.target, effect))
    compared = paired(summary.paired.interval(plan.pair, by_unit=by_unit))
    by_name = {each.estimator: each for each in estimates}
    headline = about.headline if about.headline in by_name else plan.shown.name
    ips, snips = by_name["ips"], by_name["snips"]
    logged_value = within(summary.logged.interval(LoggedMean(), by_unit=by_unit), *possible)
    known["mean_reward"] = logged_value.value
    judgement = verdict(known, checks, family_of(headline), effect_of_units=effect)
    if summary.compared is not None:
        others = _of_compared(summary, family_of(headline), effect, plan.against or "")
        judgement, checks = worse(judgement, others.verdict), [*others.faults, *checks]
    analyses = sequence(summary, inputs, possible)
    return Answer(
        verdict=judgement,
        target=about.target,
        rows=state.rows,
        ips=ips.value,
        ips_interval=(ips.low, ips.high),
        snips=snips.value,
        snips_interval=(snips.low, snips.high),
        value_logged=logged_value.value or 0.0,
        value_logged_interval=(logged_value.low, logged_value.high),
        ess=known["ess"] or 0.0,
        effective_positives=known["effective_positives"] or 0.0,
        max_weight=known["max_weight"] or 0.0,
        mean_weight=known["mean_weight"] or 0.0,
        left_out=left_out,
        learned=summary.learned,
        headline=headline,
        estimates=estimates,
        difference=_compared(compared, plan, summary, possible),
        over_time=over_time(summary, analyses),
        over_time_interval=analyses.method if analyses else "",
        weights=bins(state),
        overlap=overlap(state, about.actions, summary.taken),
        segments=_segments(summary, of_rows, plan, about, by_unit),
        statistics={name: _finite(value) for name, value in known.items() if not name.startswith(FILLED)},
        health=checks,
        how=_how(about.how, of_rows, checks),
    )


def _checks(summary: Summary, plan: EvaluationPlan, about: About, heaviest: float, by_unit: bool) -> list[Finding]:
    """Return the findings on the log, faults first."""
    state = summary.health
    checks = findings(state, about.facts(dict(sorted(summary.left_out.items())), summary.learned))
    of_lists = [ranked_lists(plan.whole_lists or plan.balanced)] if summary.lists else []
    checks = sorted([*checks, *of_lists, *about.remarks], key=lambda each: not each.wrong)
    if (reward := summary.values.bound.constant) is not None:
        checks.insert(0, constant_reward(reward))
    if not state.unseen and (parts := segment_weights(summary.segments, about.segments, heaviest, by_unit=by_unit)):
        checks.insert(0, parts)
    return checks


def _chosen(candidates: tuple[Estimator, ...], moments: Moments) -> Estimator:
    return candidates[0] if len(candidates) == 1 else slope(candidates, moments).estimator


def _reward_range(summary: Summary, given: Range | None) -> Range | None:
    """Return the range of rewards: the one given, else that of the log's rules, else 0 to 1 for binary rewards."""
    return given or summary.reward_range or ((0.0, 1.0) if summary.binary else None)


def _possible(summary: Summary, given: Range | None) -> Range:
    """Return the range of a mean reward; a reward outside of it refutes it, and then it is unbounded."""
    least, most = (float(each) for each in summary.seen)
    known = _reward_range(summary, given)
    return known if known is not None and known[0] <= least and most <= known[1] else (-math.inf, math.inf)


def _interval(
    summary: Summary, plan: EvaluationPlan, about: About, known: Mapping[str, float | None], by_unit: bool
) -> IntervalInputs:
    """Return the requested interval with what it needs; raise if the log lacks it."""
    inputs = IntervalInputs(
        method=DEFAULT if plan.interval == AUTOMATIC else INTERVALS[plan.interval],
        sums=summary.values,
        every_row=summary.every_row,
        by_unit=by_unit,
        # What is given bounds the reward of a list, and the rules also that of its places.
        reward_range=summary.reward_range
        if summary.lists and not plan.whole_lists
        else _reward_range(summary, about.reward_range),
        largest_weight=plan.largest_weight,
        analyses=ANALYSES,
    )
    if plan.interval == AUTOMATIC:
        return inputs
    return_often = (known.get("rows_each_unit") or 1.0) if by_unit else 0.0
    check_log(
        plan.interval,
        inputs,
        sized=summary.health.sized is not None,
        units_return=return_often,
        heaviest=known["max_weight"] or 0.0,
    )
    return inputs


def _estimates(summary: Summary, plan: EvaluationPlan, inputs: IntervalInputs, possible: Range) -> list[Estimated]:
    chosen = (_chosen(each, summary.values.moments) for each in plan.candidates)
    estimates = [_estimated(each, summary, inputs, plan.fixed, possible) for each in chosen]
    return estimates + _most_likely(inputs, possible)


def _most_likely(inputs: IntervalInputs, possible: Range) -> list[Estimated]:
    """Return the value that the interval has of its own, if any."""
    if inputs.method.most_likely is None:
        return []
    bounds = within(inputs.method.most_likely(inputs), *possible)
    ends = {"low": _finite(bounds.low), "high": _finite(bounds.high)}
    value = _finite(bounds.value)
    return [
        Estimated(estimator=MOST_LIKELY, reference=MOST_LIKELY_REFERENCE, value=value, interval=bounds.method, **ends)
    ]


def _estimated(
    estimator: Estimator, summary: Summary, inputs: IntervalInputs, fixed: bool, possible: Range
) -> Estimated:
    interval = inputs.interval(estimator)
    resampled = _resampled(estimator, summary)
    if isinstance(estimator, DirectMethod):
        # The spread of a model's predictions says nothing about its error.
        interval = Interval(interval.value, None, None, f"{NO_INTERVAL}: the model's error is unknown")
    elif isinstance(estimator, Balanced) and not fixed:
        interval = Interval(
            interval.value, None, None, f"{NO_INTERVAL}: the bias over the versions of a learner is unknown"
        )
    elif isinstance(estimator, Shrunk):
        interval = with_bias(interval, inputs.interval(estimator.plain))
        resampled = hull(resampled, _resampled(estimator.plain, summary))
        interval = replace(interval, method=f"{interval.method}, {WITH_BIAS}")
    if interval.method.startswith(NO_INTERVAL):
        resampled = None, None
    interval, (low, high) = within(interval, *possible), cut(resampled, *possible)
    return Estimated(
        estimator=f"{estimator.name}={estimator.lambda_:g}" if isinstance(estimator, Shrunk) else estimator.name,
        reference=estimator.reference,
        value=_finite(interval.value),
        low=_finite(interval.low),
        high=_finite(interval.high),
        interval=interval.method,
        resampled_low=_finite(low),
        resampled_high=_finite(high),
    )


def _resampled(estimator: Estimator, summary: Summary) -> tuple[float | None, float | None]:
    if summary.resampled is None:
        return None, None
    from replay.evaluation.resample import ends

    return ends(summary.resampled.values(estimator))


def _adaptive(summary: Summary, modelled: bool, by_unit: bool, possible: Range) -> Estimated:
    """Return the value by adaptive weights; its interval includes the bias that drifting rewards cause."""
    assert summary.adaptive is not None
    plain: Estimator = DoublyRobust() if modelled else InversePropensity()
    interval = with_bias(
        adaptive_interval(summary.adaptive, by_unit=by_unit), summary.values.interval(plain, by_unit=by_unit)
    )
    bounds = within(interval, *possible)
    return Estimated(
        estimator=ADAPTIVE_DR if modelled else ADAPTIVE_IPS,
        reference=REFERENCE,
        value=_finite(bounds.value),
        low=_finite(bounds.low),
        high=_finite(bounds.high),
        interval=f"{bounds.method}, {WITH_BIAS}",
    )


class _Others(NamedTuple):
    """Verdict and faults for the policy that the target is compared with."""

    verdict: Verdict
    faults: list[Finding]


def _of_compared(summary: Summary, family: str, effect: float, name: str) -> _Others:
    """Return verdict and faults of the compared policy; a difference is only as reliable as the worse of both."""
    assert summary.compared is not None
    checks = findings(summary.compared, LogFacts(learned=summary.learned_compared))
    other_verdict = verdict(statistics(summary.compared), checks, family, effect_of_units=effect)
    reasons = [f"of {name}: {each}" for each in other_verdict.reasons]
    prefixed = worded(other_verdict.level, reasons)
    own = [each for each in checks if each.wrong]
    faults = [
        msgspec.structs.replace(each, name=f"against_{each.name}", says=f"of {name}: {each.says}") for each in own
    ]
    return _Others(prefixed, faults)


def _compared(interval: Interval, plan: EvaluationPlan, summary: Summary, possible: Range) -> Difference:
    widest = possible[1] - possible[0]
    interval = within(interval, -widest, widest)
    days, means = 0.0, plan.pair.of_other(summary.paired.moments.means)
    if summary.first_ms is not None and summary.last_ms is not None:
        days = (summary.last_ms - summary.first_ms) / DAY_MS
    more = horizon(interval, days)
    return Difference(
        against=plan.against or "logged",
        base=_finite(float(plan.pair.other.value(means))),
        value=_finite(interval.value),
        low=_finite(interval.low),
        high=_finite(interval.high),
        interval=interval.method,
        shows=shows(interval),
        days_more=more.days_more,
        assumption=more.why or more.assumption,
    )


def _segments(summary: Summary, of_rows: Summary, plan: EvaluationPlan, about: About, by_unit: bool) -> list[Segment]:
    possible = _possible(summary, about.reward_range)
    looked_at = sum(len(parts.parts) for parts in summary.segments.values())
    return [
        Segment(
            segment=name,
            name=about.segments[name][each.code],
            rows=each.rows,
            value=_finite(interval.value),
            low=_finite(interval.low),
            high=_finite(interval.high),
            interval=interval.method,
            level=_level_of_segment(
                parts.parts[each.code], of_rows.segments[name].parts[each.code], plan.shown, by_unit
            ),
            correction=CORRECTION,
        )
        for name, parts in summary.segments.items()
        for each in segments(plan.shown, parts, by_unit=by_unit, looked_at=looked_at)
        for interval in [within(each.interval, *possible)]
    ]


def _level_of_segment(sums: Sums, of_rows: Sums, shown: Estimator, by_unit: bool) -> Level:
    positives = Positives.effective(of_rows.moments) / sums.rows_that_tell_as_one(shown, by_unit=by_unit)
    mean_weight = MeanWeight().value(sums.moments.means)
    if positives < FEW or sums.bound.constant is not None or mean_weight < LEAST_SHOWN:
        return "not reliable"
    return "use with care" if positives < SOME or mean_weight < MOST_SHOWN else "reliable"


def _how(how: How, summary: Summary, checks: Sequence[Finding]) -> How:
    estimand = "the mean reward of a decision, averaged over the log's period"
    if any(each.name == "drift_of_reward" and each.p_value is not None and each.p_value < 0.05 for each in checks):
        estimand += "; rewards drift over it, so the value of the next days may be another"
    return msgspec.structs.replace(how, estimand=estimand, digest=digest(summary))


def _finite(value: float | None) -> float | None:
    return None if value is None or not math.isfinite(value) else value
