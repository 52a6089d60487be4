"""The value over time, and its confidence sequence."""

import math
from dataclasses import replace

import numpy as np

from replay.evaluation.intervals.catalogue import IntervalInputs
from replay.evaluation.intervals.gamma_exponential import GammaExponential
from replay.evaluation.intervals.interval import Analyses
from replay.evaluation.logs.chunk import Range
from replay.evaluation.result import Analysis
from replay.evaluation.summary import Summary

ANALYSES = 100
"""Number of interim analyses in the result, evenly spread over the rows."""


def sequence(summary: Summary, inputs: IntervalInputs, possible: Range) -> Analyses | None:
    """Return the values over time, with the ends of the confidence sequence within the range of a mean reward.

    None for a log with sample weights: no sequence here allows for them.
    """
    if summary.health.sized is not None:
        return None
    log_segments = summary.log_segments
    least, most = inputs.reward_range or (0.0, 1.0)
    within = summary.weighed[0] >= least and summary.weighed[1] <= most
    bounded = within and math.isfinite(most - least) and most > least
    if inputs.method.over_time is not None:
        analyses = inputs.method.over_time(inputs)
    elif bounded:
        analyses = log_segments.analyses(GammaExponential(rmin=least, rmax=most))
        analyses = inputs.of_units(analyses)
    else:
        # Bounds taken from the data are not valid for a confidence sequence.
        rows = np.cumsum(log_segments.rows)
        open_ended = np.full(len(rows), np.inf)
        analyses = Analyses(rows, np.cumsum(log_segments.wr) / rows, -open_ended, open_ended, "")
    if bounded:
        possible = max(least, possible[0]), min(most, possible[1])
    if not math.isfinite(possible[1] - possible[0]):
        return analyses
    # A value cannot be outside of the range of rewards.
    least, most = possible
    lows, highs = np.maximum(analyses.low, least), np.minimum(analyses.high, most)
    # Ends that cross contain no possible value: the propensities are not right, and nothing is known.
    crossed = lows > highs
    lows, highs = np.where(crossed, least, lows), np.where(crossed, most, highs)
    return replace(analyses, low=lows, high=highs)


def over_time(summary: Summary, analyses: Analyses | None) -> list[Analysis]:
    """Return interim analyses that are evenly spread over the rows; none without a sequence."""
    if analyses is None:
        return []
    rows = analyses.rows
    timed = summary.last_ms is not None
    # A log is read partition by partition; the time of an interim analysis is the latest one so far.
    times = np.maximum.accumulate(summary.log_segments.time_ms)
    segments = np.searchsorted(np.cumsum(summary.log_segments.rows), rows)
    ends = np.unique(np.searchsorted(rows, np.linspace(rows[-1] / ANALYSES, rows[-1], ANALYSES)))
    return [
        Analysis(
            time_ms=int(times[segments[at]]) if timed else None,
            rows=int(rows[at]),
            value=analysis.value,
            low=analysis.low,
            high=analysis.high,
        )
        for at, analysis in ((at, analyses.at(at)) for at in ends.tolist())
    ]
