"""How much longer a log would have to be until a difference shows."""

from dataclasses import dataclass

from replay.evaluation.intervals.difference import shows
from replay.evaluation.intervals.interval import Interval

ASSUMPTION = (
    "the difference stays as large as it is now, and as many decisions a day are logged in the same way; "
    "since it is an estimate itself, it is as likely to take longer as not"
)

LONGEST_DAYS = 3650.0
"""What would take longer than ten years is called unknowable: the difference is too close to 0."""


@dataclass(frozen=True, slots=True)
class Horizon:
    """How many more days, and what that assumes; None where it shows already, or where that cannot be said.

    ``why`` says which of the two it is, and is empty where there is a number.
    """

    days_more: float | None
    why: str = ""
    assumption: str = ASSUMPTION


def horizon(difference: Interval, days: float, *, longest_days: float = LONGEST_DAYS) -> Horizon:
    """Return how many more days like those of the log until an interval would exclude 0.

    Its half towards 0 shrinks with the square root of the days. It has to become as small as the difference is.

    Parameters
    ----------
    difference
        Of two policies, on the whole log.
    days
        How long the log is, in days of 24 hours.
    longest_days
        What takes longer is not said.

    Examples
    --------
    A difference of 0.01, give or take 0.02, after a week: four weeks are needed, and one has passed.

    >>> horizon(Interval(0.01, -0.01, 0.03, "delta"), 7.0).days_more
    21.0
    """
    if shows(difference):
        return Horizon(None, "it shows already")
    value = difference.value
    end = None if value is None else difference.low if value > 0 else difference.high
    if not value or end is None or not days > 0:
        return Horizon(
            None, "that cannot be said: the difference, its interval or the length of the log is unknown or 0"
        )
    more = days * (((value - end) / value) ** 2 - 1)
    if more > longest_days:
        return Horizon(
            None,
            f"that cannot be said: the difference is so close to 0 that it would take over {longest_days:.0f} days",
        )
    return Horizon(max(more, 0.0))
