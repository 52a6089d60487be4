"""What the pictures of the report show, placed on axes; the templates only draw it."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

from records.limits import DAY_MS
from replay.evaluation.report.axis import Axis, Mark, axis_of, focused
from replay.evaluation.report.numbers import day, decimals, moment, number, plural
from replay.evaluation.result import ActionOverlap, Analysis, Bin, Estimated, Level, Result, Segment

SHOWN_ACTIONS = 30
SHOWN_SEGMENTS = 30
SHOWN_BINS = 16
_TIME_STEPS_MS = [
    1_000,
    *(60_000 * minutes for minutes in (1, 5, 15, 30, 60, 180, 360, 720)),
    *(DAY_MS * days for days in (1, 2, 7, 14, 28, 91, 182, 365, 3_650, 36_500)),
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A value with its interval, as a line of a picture.

    Attributes
    ----------
    tone
        What it is of: ``target``, ``logged`` or ``other``.
    places
        How many decimals its numbers deserve.
    inner
        The bootstrap's interval, where there is one.
    """

    name: str
    note: str
    value: float | None
    low: float | None
    high: float | None
    mark: Mark | None
    tone: str
    places: int
    inner: Mark | None = None
    level: Level | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Forest:
    """Values with their intervals, one below the other, on one axis; ``reference`` is the logged policy's value."""

    axis: Axis
    rows: list[Row]
    reference: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Course:
    """How a value and its interval became what they are; ``lines`` and ``bands`` are corners in per cent."""

    x_ticks: list[tuple[float, str]]
    y_axis: Axis
    lines: list[str]
    bands: list[str]
    by_time: bool
    reference: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Bars:
    """Pairs of shares; ``scale`` is the largest one, which is drawn over the whole width."""

    scale: float

    def width(self, share: float | None) -> float:
        """Return how long the bar of a share is, in per cent."""
        return round(min(max(100 * (share or 0.0) / self.scale, 0.0), 100.0), 2)


def headline(answer: Result) -> Estimated | None:
    """Return the estimate that is to be believed first."""
    named = (each for each in answer.estimates if each.estimator == answer.headline)
    return next(named, answer.estimates[0] if answer.estimates else None)


def places(answer: Result) -> int:
    """Return how many decimals values deserve: two digits of half the main interval, or of the value."""
    first = headline(answer)
    value, (low, high) = answer.value_logged, answer.value_logged_interval
    if first is not None and first.value is not None:
        low, high = first.low, first.high
        value = first.value
    if low is None or high is None or high <= low:
        return decimals(value, 3)
    half = decimals((high - low) / 2)
    # A small value with a wide interval is no zero.
    return max(half, min(decimals(value), half + 2)) if value else half


def places_apart(answer: Result) -> int:
    """Return how many decimals the difference deserves: as many as the values, more where an end would seem to be 0."""
    shown = places(answer)
    if answer.difference is None:
        return shown
    ends = [end for end in (answer.difference.value, answer.difference.low, answer.difference.high) if end]
    hidden = [decimals(end, 1) for end in ends if abs(end) < 0.5 * 10.0**-shown]
    return min(max([shown, *hidden]), shown + 3)


def places_over_time(answer: Result) -> int:
    """Return the decimals of interim analyses: those of the values, or fewer if the last interval is much wider."""
    last = answer.over_time[-1] if answer.over_time else None
    if last is None or last.low is None or last.high is None or last.high <= last.low:
        return places(answer)
    return min(places(answer), decimals((last.high - last.low) / 2, 3))


def values(answer: Result) -> Forest:
    """Return the first picture: the target and the logging policy."""
    first = headline(answer)
    ends = [answer.value_logged, *answer.value_logged_interval]
    if first is not None:
        ends += [first.value, first.low, first.high]
    axis = axis_of(ends, margin=0.08, most=7)
    rows = []
    if first is not None:
        mark = axis.mark(first.value, first.low, first.high)
        rows.append(
            Row(
                name=answer.target,
                note=f"the target, by {first.estimator}",
                value=first.value,
                low=first.low,
                high=first.high,
                mark=mark,
                tone="target",
                places=places(answer),
            )
        )
    return Forest(axis=axis, rows=[*rows, _logged(answer, axis)], reference=axis.at(answer.value_logged))


def estimates(answer: Result) -> Forest:
    """Return all estimators side by side, the headline first, the logged policy last."""
    first = headline(answer)
    ordered = sorted(answer.estimates, key=lambda each: each is not first)
    core = [answer.value_logged, *answer.value_logged_interval]
    if first is not None:
        core += [first.value, first.low, first.high]
    others = [end for each in ordered for end in (each.value, each.low, each.high)]
    axis = focused(core, others)
    rows = []
    for each in ordered:
        resampled = (each.resampled_low, each.resampled_high)
        rows.append(
            Row(
                name=each.estimator,
                note=each.interval,
                value=each.value,
                low=each.low,
                high=each.high,
                mark=axis.mark(each.value, each.low, each.high),
                tone="target" if each is first else "other",
                places=places(answer),
                inner=None if resampled == (None, None) else axis.mark(None, *resampled),
            )
        )
    return Forest(axis=axis, rows=[*rows, _logged(answer, axis)], reference=axis.at(answer.value_logged))


def segments(answer: Result) -> Iterator[tuple[str, Forest, int, str]]:
    """Yield per kind of segment its name, the picture of the largest ones, how many others, and their intervals."""
    by_kind = groupby(sorted(answer.segments, key=lambda each: each.segment), key=lambda each: each.segment)
    for kind, found in by_kind:
        largest: Sequence[Segment] = sorted(found, key=lambda each: (-each.rows, each.name))
        shown = largest[:SHOWN_SEGMENTS]
        ends = [end for each in shown for end in (each.low, each.high)]
        axis = focused([answer.value_logged, *(each.value for each in shown)], ends)
        rows = [
            Row(
                name=each.name,
                note=plural(each.rows, "row"),
                value=each.value,
                low=each.low,
                high=each.high,
                mark=axis.mark(each.value, each.low, each.high),
                tone="target",
                places=places(answer),
                level=each.level,
            )
            for each in shown
        ]
        forest = Forest(axis=axis, rows=rows, reference=axis.at(answer.value_logged))
        yield kind, forest, len(largest) - len(shown), f"{shown[0].interval}, corrected by {shown[0].correction}"


def course(answer: Result) -> Course | None:
    """Return the value over time; None with fewer than two interim analyses."""
    analyses = answer.over_time
    if len(analyses) < 2:
        return None
    by_time = all(analysis.time_ms is not None for analysis in analyses)
    at = [
        float(analysis.time_ms if by_time and analysis.time_ms is not None else analysis.rows) for analysis in analyses
    ]
    last = analyses[-1]
    if last.low is None and last.high is None:
        y_axis = axis_of([answer.value_logged, *(analysis.value for analysis in analyses)])
    else:
        # The first intervals are so wide that the others would look flat.
        core = [answer.value_logged, last.value, last.low, last.high]
        y_axis = focused(core, [end for each in analyses for end in (each.value, each.low, each.high)])
    start, length = at[0], (at[-1] - at[0]) or 1.0
    across = [round(100 * (each - start) / length, 2) for each in at]
    return Course(
        x_ticks=[(100 * (tick - start) / length, text) for tick, text in _ticks(at[0], at[-1], by_time)],
        y_axis=y_axis,
        lines=[_corners(part) for part in _lines(across, analyses, y_axis)],
        bands=[_corners(part) for part in _bands(across, analyses, y_axis)],
        by_time=by_time,
        reference=y_axis.at(answer.value_logged) if y_axis.inside(answer.value_logged) else None,
    )


def overlap(answer: Result) -> tuple[list[ActionOverlap], list[ActionOverlap], Bars]:
    """Return the actions that are shown, then the others, and the scale of the bars.

    First come those that were never logged, then those with the larger shares.
    """
    ordered = sorted(answer.overlap, key=lambda each: (each.rows > 0, -max(each.logged, each.target), each.action))
    shown = ordered[:SHOWN_ACTIONS]
    return shown, ordered[SHOWN_ACTIONS:], _bars(share for each in shown for share in (each.logged, each.target))


def weights(answer: Result) -> tuple[list[Bin], Bars, int]:
    """Return the bins of the weights, the scale of their bars, and how many rows there are in all of them.

    Of many bins, the lowest are shown as one: large weights are what matters.
    """
    bins = sorted(answer.weights, key=lambda each: (each.low, each.high))
    while len(bins) > SHOWN_BINS:
        # Rows that the target never takes stay apart.
        first = 1 if bins[0].high == 0 else 0
        low, high = bins[first : first + 2]
        both = Bin(low=low.low, high=high.high, rows=low.rows + high.rows, share=low.share + high.share)
        bins[first : first + 2] = [both]
    rows = sum(each.rows for each in bins)
    return bins, _bars(share for each in bins for share in (each.rows / max(rows, 1), each.share)), rows


def _bars(shares: Iterable[float]) -> Bars:
    return Bars(scale=max(shares, default=0.0) or 1.0)


def _logged(answer: Result, axis: Axis) -> Row:
    low, high = answer.value_logged_interval
    shown = places(answer)
    return Row(
        name="Logged policy",
        note="mean reward",
        value=answer.value_logged,
        low=low,
        high=high,
        mark=axis.mark(answer.value_logged, low, high),
        tone="logged",
        # It may be known much better than the target's value.
        places=shown if low is None or high is None else min(max(decimals((high - low) / 2), shown), shown + 2),
    )


def _lines(across: list[float], analyses: Sequence[Analysis], axis: Axis) -> Iterator[list[tuple[float, float]]]:
    """Yield the parts of the line between interim analyses whose value is unknown or outside."""
    part: list[tuple[float, float]] = []
    for x, analysis in zip(across, analyses, strict=True):
        if analysis.value is not None and axis.inside(analysis.value):
            part.append((x, 100 - axis.at(analysis.value)))
        elif part:
            yield part
            part = []
    if part:
        yield part


def _bands(across: list[float], analyses: Sequence[Analysis], axis: Axis) -> Iterator[list[tuple[float, float]]]:
    """Yield the parts of the band between interim analyses without bounds; with one bound it continues to the edge."""
    both = zip(across, analyses, strict=True)
    for bounded, part in groupby(both, key=lambda each: (each[1].low, each[1].high) != (None, None)):
        if bounded:
            inside = list(part)
            upper = [(x, 0.0 if analysis.high is None else 100 - axis.at(analysis.high)) for x, analysis in inside]
            lower = [(x, 100.0 if analysis.low is None else 100 - axis.at(analysis.low)) for x, analysis in inside]
            yield [*upper, *reversed(lower)]


def _corners(points: Iterable[tuple[float, float]]) -> str:
    return " ".join(f"{x:g},{round(y, 2):g}" for x, y in points)


def _ticks(first: float, last: float, by_time: bool) -> Iterator[tuple[float, str]]:
    if not by_time:
        axis = axis_of([first, last], margin=0.0)
        yield from ((tick, number(tick, 0)) for tick in axis.ticks if first <= tick <= last)
        return
    step = next((each for each in _TIME_STEPS_MS if (last - first) / each <= 7), _TIME_STEPS_MS[-1] * 10)
    tick = -(-int(first) // step) * step
    for _ in range(8):
        if tick > last:
            return
        yield tick, day(tick, with_year=step > 60 * DAY_MS) if step >= DAY_MS else moment(tick)[-5:]
        tick += step
