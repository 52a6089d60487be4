"""Options of a command that give a value to a name, as ``--column reward=click``."""

import math
from collections.abc import Sequence

from records.errors import WrongConfiguration


def columns_of(given: Sequence[str]) -> dict[str, str]:
    """Return which column is which field, from texts as ``reward=click``.

    Raises
    ------
    WrongConfiguration
        A text cannot be parsed.
    """
    named: dict[str, str] = {}
    for each in given:
        name, _, column = each.partition("=")
        if not name or not column:
            raise WrongConfiguration(f"--column: found {each}, expected FIELD=COLUMN")
        named[name] = column
    return named


def shares_of(given: Sequence[str]) -> dict[str, float]:
    """Return the expected share of each version, from texts as ``arm-a=0.5``.

    Raises
    ------
    WrongConfiguration
        A share is not a number above 0.
    """
    shares: dict[str, float] = {}
    for each in given:
        name, _, share = each.rpartition("=")
        try:
            shares[name] = float(share)
        except ValueError:
            shares[name] = 0.0
        if not name or not 0 < shares[name] < math.inf:
            raise WrongConfiguration(f"--expected-share: found {each}, expected VERSION=SHARE, SHARE above 0")
    return shares
