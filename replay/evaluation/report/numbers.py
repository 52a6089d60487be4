"""Numbers and names as people read them: what the report, the table and the picture share."""

import math

import numpy as np

UNKNOWN = "unknown"
MOST_PLACES = 9
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
NARROW = "\u202f"
"""A space that does not break, between a number and its unit."""


def decimals(step: float | None, digits: int = 2) -> int:
    """Return how many decimals show a step with so many significant digits: 0 to 9.

    Examples
    --------
    >>> decimals(0.0014), decimals(250.0), decimals(None)
    (4, 0, 4)
    """
    if step is None or not math.isfinite(step) or not step:
        return 4
    return min(max(digits - 1 - math.floor(math.log10(abs(step))), 0), MOST_PLACES)


def number(value: float | None, places: int) -> str:
    """Return a value with its decimals, or in powers of ten where these would say nothing.

    Examples
    --------
    >>> number(0.00463, 4), number(1234567.8, 0), number(3e-12, 4), number(1.234e-9, 9), number(None, 4)
    ('0.0046', '1,234,568', '3e-12', '1.23e-09', 'unknown')
    >>> number(0.0, 4), number(0.0, 9)
    ('0.0000', '0')
    """
    if value is None or not math.isfinite(value):
        return UNKNOWN
    # More decimals than are ever shown, or than the value has: powers of ten keep its significant digits.
    if abs(value) >= 1e12 or 0 < abs(value) < 0.05 * 10.0**-places or (places >= MOST_PLACES and 0 < abs(value) < 1e-6):
        return f"{value:.3g}"
    if not value and places >= MOST_PLACES:
        return "0"
    text = f"{value:,.{places}f}"
    # Rounded to zero, it has no sign.
    return text if text.strip("-0.") else text.lstrip("-")


def short(value: float | None) -> str:
    """Return a value of unknown size with four significant digits.

    Examples
    --------
    >>> short(18.10234), short(12345.6), short(0.000123456), short(3.0)
    ('18.1', '12,346', '0.0001235', '3')
    """
    if value is None or not math.isfinite(value):
        return UNKNOWN
    if not value or not 1e-5 <= abs(value) < 1e12:
        return f"{value + 0.0:.3g}"
    text = f"{value:,.{decimals(value, 4)}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def signed(value: float | None, places: int) -> str:
    """Return a difference, with its sign."""
    return f"+{number(value, places)}" if value is not None and value > 0 else number(value, places)


def percent(share: float | None) -> str:
    """Return a share in per cent.

    Examples
    --------
    >>> [percent(share).replace(NARROW, " ") for share in (0.0, 0.000001, 0.00042, 0.031, 0.5, 1.0, None)]
    ['0 %', '< 0.001 %', '0.042 %', '3.1 %', '50 %', '100 %', 'unknown']
    """
    if share is None or not math.isfinite(share):
        return UNKNOWN
    of_hundred = 100 * share
    if 0 < abs(of_hundred) < 0.001:
        return f"{'<' if share > 0 else '>'}{NARROW}{'' if share > 0 else '-'}0.001{NARROW}%"
    places = 0 if abs(of_hundred) >= 99.95 else 1 if abs(of_hundred) >= 1 else decimals(of_hundred)
    text = f"{of_hundred:,.{places}f}"
    return f"{text.rstrip('0').rstrip('.') if '.' in text else text}{NARROW}%"


def probability(p: float | None) -> str:
    """Return a p-value; a check without chance has none.

    Examples
    --------
    >>> [probability(p).replace(NARROW, " ") for p in (0.0000001, 0.0312, 0.3, 1.0, None)]
    ['< 0.0001', '0.031', '0.30', '1', '\N{EN DASH}']
    """
    if p is None or not math.isfinite(p):
        return "\N{EN DASH}"
    if p < 0.0001:
        return f"<{NARROW}0.0001"
    return f"{p:.2f}" if 0.1 <= p < 0.995 else f"{p:.2g}"


def days(more: float) -> str:
    """Return a time to come, as roughly as it is known.

    Examples
    --------
    >>> [days(more) for more in (0.3, 1.2, 17.4, 800.0, 1e9)]
    ['less than one more day', 'about 2 more days', 'about 18 more days', 'about 2.2 more years', 'more than 100 years']
    """
    if more <= 1:
        return "less than one more day"
    if more < 730:
        return f"about {math.ceil(more):,} more days"
    if more < 36_525:
        return f"about {more / 365.25:.1f} more years"
    return "more than 100 years"


def moment(time_ms: int | None) -> str:
    """Return a time in UTC.

    Examples
    --------
    >>> moment(1_764_090_000_000), moment(None)
    ('2025-11-25 17:00', 'unknown')
    """
    if time_ms is None:
        return UNKNOWN
    return str(np.datetime64(time_ms, "ms").astype("datetime64[m]")).replace("T", " ")


def day(time_ms: int, *, with_year: bool = False) -> str:
    """Return a day in UTC, short enough for an axis.

    Examples
    --------
    >>> day(1_764_090_000_000), day(1_764_090_000_000, with_year=True)
    ('25 Nov', 'Nov 2025')
    """
    year, month, number = str(np.datetime64(time_ms, "ms").astype("datetime64[D]")).rsplit("-", 2)
    name = _MONTHS[int(month) - 1]
    return f"{name} {year}" if with_year else f"{int(number)} {name}"


def plural(count: int, of: str) -> str:
    """Return a count of things.

    Examples
    --------
    >>> plural(1, "decision"), plural(12_000, "decision")
    ('1 decision', '12,000 decisions')
    """
    return f"{count:,} {of}{'' if count == 1 else 's'}"


def spelled(name: str) -> str:
    """Return a key of ours in words, as ``effective_positives``."""
    return name.replace("_", " ")


def brief(text: str, most: int) -> str:
    """Return a text that is at most so long: what is too much is left out of its middle.

    Examples
    --------
    >>> brief("walking boots", 20), brief("walking boots, brown", 11)
    ('walking boots', 'walk...rown')
    """
    half = (most - 3) // 2
    return text if len(text) <= most else f"{text[:half]}...{text[-half:]}"


def printable(text: str) -> str:
    r"""Return foreign text that does nothing to a terminal and is no damaged text in a file.

    What is not printable is escaped; the joiners that some scripts are written with are kept.

    Examples
    --------
    >>> print(printable("red\x1b[31m"), printable("hat"))
    red\x1b[31m hat
    """
    if text.isprintable():
        return text
    return "".join(
        each if each.isprintable() or each in "\u200c\u200d" else each.encode("unicode_escape").decode()
        for each in text
    )
