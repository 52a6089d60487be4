"""The result of an evaluation, as shown by the table, the JSON, the report and a notebook, in their order.

Unknown numbers are None; no number is infinite or NaN. Intervals have a confidence of 95 % unless stated otherwise.
"""

from collections.abc import Mapping
from typing import Literal

import msgspec

Level = Literal["reliable", "use with care", "not reliable"]


class Estimated(msgspec.Struct, frozen=True, kw_only=True):
    """A value by one estimator.

    Attributes
    ----------
    estimator
        Its name, as ``snips``; ``reference``: paper and equation.
    value, low, high
        The value and the ends of its interval; None stands for unknown, and for no bound.
    interval
        The interval's method, as ``delta``.
    resampled_low, resampled_high
        Ends of the bootstrap interval, if requested.
    """

    estimator: str
    reference: str
    value: float | None
    low: float | None
    high: float | None
    interval: str
    resampled_low: float | None = None
    resampled_high: float | None = None


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """How far the numbers may be trusted: the first line of every output.

    Attributes
    ----------
    level
        ``reliable``, ``use with care`` or ``not reliable``.
    sentence
        The level and why, in plain words.
    reasons
        The single reasons, the most important first; empty if reliable.
    """

    level: Level
    sentence: str
    reasons: list[str]


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """A check of the log's health.

    Attributes
    ----------
    name
        Name of the check, as ``mean_weight``; ``says`` describes the finding in words.
    value
        The measured value; ``expected`` is its value without a fault, None if that is not a single number.
    p_value
        p-value, corrected for the number of checks; None for a deterministic check.
    wrong
        Whether the finding is a fault.
    """

    name: str
    value: float | None = None
    expected: float | None = None
    p_value: float | None = None
    wrong: bool
    says: str


class Analysis(msgspec.Struct, frozen=True, kw_only=True):
    """An interim analysis: the value of all rows up to a time; the intervals of all of them hold simultaneously."""

    time_ms: int | None
    rows: int
    value: float | None
    low: float | None
    high: float | None


class Bin(msgspec.Struct, frozen=True, kw_only=True):
    """Importance weights from ``low`` to below ``high``: how many rows, and their share of all weight."""

    low: float
    high: float
    rows: int
    share: float


class ActionOverlap(msgspec.Struct, frozen=True, kw_only=True):
    """An action: its rows, its share in the log and under the target, and its mean logged reward."""

    action: str
    rows: int
    logged: float
    target: float
    reward: float | None


class Segment(msgspec.Struct, frozen=True, kw_only=True):
    """The value within a segment; the interval is corrected for the number of segments (``correction``)."""

    segment: str
    name: str
    rows: int
    value: float | None
    low: float | None
    high: float | None
    interval: str
    level: Level
    correction: str


class Difference(msgspec.Struct, frozen=True, kw_only=True):
    """The target's value less that of the logging policy (or of ``against``), on the same rows.

    Attributes
    ----------
    base
        The value of what it is compared with, by the same estimator.
    value, low, high
        Of the difference; ``shows``: whether the interval excludes 0.
    days_more
        How many more days like those of the log until it would show, if it stays as it is; None where it shows
        already, or where that cannot be said.
    """

    against: str
    base: float | None
    value: float | None
    low: float | None
    high: float | None
    interval: str
    shows: bool
    days_more: float | None
    assumption: str


class How(msgspec.Struct, frozen=True, kw_only=True):
    """How it was computed, so that anyone can do it again.

    Attributes
    ----------
    command
        The command line; ``bowerbird``: the version of the program.
    log, format
        What was read.
    interval
        The interval that was asked for, or ``auto``.
    estimand
        What the value is of, in words: the average over the log's period.
    digest
        Of all sums; the same for any number of processes.
    """

    command: str
    bowerbird: str
    log: str
    format: str
    interval: str = "auto"
    estimand: str
    model: str | None
    resamples: int
    digest: str


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """What a policy would have been worth on a log, and how far to trust that.

    The keys ``target`` to ``learned`` are the promise of the first form of the command, and stay as they are;
    ``ips`` and ``snips`` are in ``estimates``, too.
    """

    verdict: Verdict
    target: str
    rows: int
    ips: float | None
    ips_interval: tuple[float | None, float | None]
    snips: float | None
    snips_interval: tuple[float | None, float | None]
    value_logged: float
    value_logged_interval: tuple[float | None, float | None]
    ess: float
    effective_positives: float
    max_weight: float
    mean_weight: float
    left_out: dict[str, int]
    learned: int
    headline: str
    """Name of the main one of the ``estimates``."""
    estimates: list[Estimated]
    difference: Difference | None
    over_time: list[Analysis]
    over_time_interval: str = ""
    """The method of the intervals over time."""
    weights: list[Bin]
    overlap: list[ActionOverlap]
    segments: list[Segment]
    statistics: Mapping[str, float | None]
    health: list[Finding]
    how: How
