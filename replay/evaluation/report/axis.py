"""Positions of numbers in a picture in per cent of its width, so that it fits any screen without a script."""

import math
from collections.abc import Iterable
from dataclasses import dataclass

from replay.evaluation.report.numbers import decimals, number

# Differences of larger numbers would be infinite; smaller ones lose their digits.
_LARGEST, _SMALLEST = 1e300, 1e-290


@dataclass(frozen=True, slots=True)
class Mark:
    """A value and its interval on an axis, in per cent.

    Attributes
    ----------
    value, low, high
        Where they lie, 0 to 100; ``value`` is None where it is unknown or lies outside.
    cut_low, cut_high
        Whether the interval goes on beyond the axis, or has no bound.
    """

    value: float | None
    low: float
    high: float
    cut_low: bool
    cut_high: bool

    @property
    def width(self) -> float:
        """The length of the interval."""
        return round(self.high - self.low, 2)


@dataclass(frozen=True, slots=True)
class Axis:
    """From ``low`` to ``high``, with round numbers in between."""

    low: float
    high: float
    ticks: tuple[float, ...]
    places: int

    def at(self, value: float) -> float:
        """Return where a value lies, from 0 to 100; what lies outside is put at the end.

        Examples
        --------
        >>> axis_of([0.0, 10.0], margin=0.0).at(2.5)
        25.0
        """
        return round(min(max(100 * (value - self.low) / (self.high - self.low), 0.0), 100.0), 2)

    def inside(self, value: float | None) -> bool:
        """Return whether a value is known and lies on the axis."""
        return value is not None and self.low <= value <= self.high

    def mark(self, value: float | None, low: float | None, high: float | None) -> Mark | None:
        """Return how an interval is drawn; None where nothing at all is known.

        Of an interval without ends nothing is drawn: it is unknown. One without one end goes on.
        """
        at = self.at(value) if value is not None and self.inside(value) else None
        if low is None and high is None:
            return None if at is None else Mark(at, at, at, cut_low=False, cut_high=False)
        return Mark(
            value=at,
            low=0.0 if low is None else self.at(low),
            high=100.0 if high is None else self.at(high),
            cut_low=low is None or low < self.low,
            cut_high=high is None or high > self.high,
        )

    def label(self, tick: float) -> str:
        """Return a round number as it is written."""
        return number(tick, self.places)


def axis_of(values: Iterable[float | None], *, margin: float = 0.05, most: int = 6) -> Axis:
    """Return an axis that shows all values that are known, with round numbers that cut it into at most so many parts.

    Examples
    --------
    >>> axis_of([0.0033, None, 0.0061]).ticks
    (0.0035, 0.004, 0.0045, 0.005, 0.0055, 0.006)
    """
    known = [min(max(value, -_LARGEST), _LARGEST) for value in values if value is not None and math.isfinite(value)]
    known = [value if abs(value) >= _SMALLEST else 0.0 for value in known]
    low, high = (min(known), max(known)) if known else (0.0, 1.0)
    # So near to each other that the digits of a float end.
    if high - low <= 1e-12 * max(abs(low), abs(high)):
        low, high = low - (abs(low) / 10 or 0.5), high + (abs(high) / 10 or 0.5)
    space = margin * (high - low)
    # Nothing is drawn below zero where nothing lies there.
    low, high = (0.0 if 0 <= low < space else low - space), high + space
    step = _round_step((high - low) / most)
    # Three times .1 is not .3.
    digits = 1 - math.floor(math.log10(step))
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return Axis(low, high, tuple(round(index * step, digits) for index in range(first, last + 1)), _places(step))


def focused(core: Iterable[float | None], others: Iterable[float | None]) -> Axis:
    """Return an axis for some values that matter, and for others as far as they leave those room."""
    known = [value for value in core if value is not None]
    if not known:
        return axis_of(others)
    low, high = min(known), max(known)
    room = 0.75 * ((high - low) or abs(high) / 10 or 1.0)
    rest = [min(max(value, low - room), high + room) for value in others if value is not None]
    return axis_of([*known, *rest])


def _round_step(step: float) -> float:
    size = 10.0 ** math.floor(math.log10(step))
    return next((size * factor for factor in (1, 2, 2.5, 5) if step <= 1.05 * size * factor), 10 * size)


def _places(step: float) -> int:
    return max(decimals(step, 1), decimals(step, 2) if f"{step:.1e}".startswith("2.5") else 0)
