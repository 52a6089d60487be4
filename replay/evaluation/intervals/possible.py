"""Keep intervals within the possible values, and include the bias of an estimator in them."""

from dataclasses import replace

from replay.evaluation.intervals.interval import Interval

End = float | None


def within(found: Interval, least: float, most: float) -> Interval:
    """Cut an interval at the least and the greatest possible value; an open end becomes the bound itself.

    An interval that contains no possible value carries no information: the whole range is returned.

    Examples
    --------
    >>> found = within(Interval(0.9, 0.7, 1.09, "delta"), 0.0, 1.0)
    >>> found.low, found.high
    (0.7, 1.0)
    >>> within(Interval(1.3, 1.2, 1.4, "delta"), 0.0, 1.0).low
    0.0
    """
    if found.value is None or (found.low is None and found.high is None):
        return found
    low, high = cut((found.low, found.high), least, most)
    return replace(found, low=low, high=high)


def cut(ends: tuple[End, End], least: float, most: float) -> tuple[End, End]:
    """Cut a pair of ends as :func:`within` does; two unknown ends stay unknown."""
    low, high = ends
    if low is None and high is None:
        return ends
    low, high = least if low is None else max(low, least), most if high is None else min(high, most)
    return (least, most) if low > high else (low, high)


def with_bias(found: Interval, unbiased: Interval) -> Interval:
    """Widen the interval of a biased estimator until it includes that of an unbiased one on the same rows.

    The result covers the truth at least as often as the interval of the unbiased estimator. Without an unbiased
    estimate nothing bounds the bias, and the ends are unknown.

    Examples
    --------
    >>> with_bias(Interval(0.2, 0.19, 0.21, "delta"), Interval(0.3, 0.1, 0.5, "delta")).high
    0.5
    """
    if unbiased.value is None:
        return replace(found, low=None, high=None)
    low, high = hull((found.low, found.high), (unbiased.low, unbiased.high))
    return replace(found, low=low, high=high)


def hull(one: tuple[End, End], other: tuple[End, End]) -> tuple[End, End]:
    """Return the ends of the smallest interval that includes both; an unknown end stays unknown."""
    low = None if one[0] is None or other[0] is None else min(one[0], other[0])
    high = None if one[1] is None or other[1] is None else max(one[1], other[1])
    return low, high
