"""From a probability mass function, or a density, to a decision, as a pure function of salt, event id and pmf.

The random numbers are keyed BLAKE2b hashes (RFC 7693): the salt is the key and the event id the message, so that the
draws of two salts are independent, and anyone who holds the log can draw again. Number 0 decides the action by
inversion of the cumulative pmf (Devroye 1986, *Non-Uniform Random Variate Generation*, III.2). It is the hash of 8
bytes, read little endian; its upper 53 bits, which a double holds exactly, are a fraction of 1. The numbers after it
come from hashes of 64 bytes, eight numbers each, whose ``person`` parameter is the block's number 1, 2, ... (16 bytes,
little endian). The action of a later slot n is decided by a hash of 8 bytes whose ``person`` is n. A number is drawn
from a density in the same way, by inversion of the cumulative density.

The ranking is a sample without replacement from the same pmf (Plackett 1975, *The Analysis of Permutations*; Luce
1959). Its first is the action drawn; the others follow by the exponential race ``-log(u_i) / p_i``, which is the same
law (Yellott 1977, *Journal of Mathematical Psychology* 15; Efraimidis & Spirakis 2006) in O(n log n).
"""

import sys
from bisect import bisect_right
from collections.abc import Sequence
from hashlib import blake2b
from itertools import accumulate, pairwise
from math import fsum, inf, isfinite, log, nextafter
from struct import unpack
from typing import NamedTuple

from policies.density import Density
from records.errors import StateRefused

_FRACTION = 2.0**-53
_LATEST = sys.float_info.max


class Draw(NamedTuple):
    """What was drawn.

    Attributes
    ----------
    chosen
        Index of the action drawn.
    ranking
        All indices, a sample without replacement; ``ranking[0] == chosen``.
    """

    chosen: int
    ranking: list[int]


def normalise(pmf: Sequence[float]) -> list[float]:
    """Return a pmf that can be drawn from: clipped to [0, 1], and scaled to sum to 1.

    The pmfs of explorers are in single precision: their sums miss 1 by up to 5e-5, and large sets of actions can have
    negative values.

    Parameters
    ----------
    pmf
        Probabilities, one an action.

    Returns
    -------
    list of float
        As long as ``pmf``; the same bits on every version of Python.

    Raises
    ------
    StateRefused
        A value is not a number, or nothing is left to draw from: the policy's weights are spoilt.

    Examples
    --------
    >>> normalise([0.5, -0.1, 1.5])
    [0.3333333333333333, 0.0, 0.6666666666666666]
    """
    within = min(pmf, default=1.0) >= 0.0 and max(pmf, default=0.0) <= 1.0
    clipped = list(pmf) if within else [min(max(probability, 0.0), 1.0) for probability in pmf]
    # fsum is exactly rounded; sum() adds up differently before and after Python 3.12.
    total = fsum(clipped)
    if not total > 0.0 or not all(map(isfinite, pmf)):
        raise _spoilt("pmf", str(list(pmf[:5])), "probabilities")
    return clipped if total == 1.0 else [probability / total for probability in clipped]


def normalise_density(edges: Sequence[float], heights: Sequence[float]) -> Density:
    """Return a density that can be drawn from: heights scaled so that it integrates to 1.

    Parameters
    ----------
    edges, heights
        As of :class:`policies.density.Density`.

    Raises
    ------
    StateRefused
        The edges do not ascend, a height is negative or no number, or all are 0: the policy's weights are spoilt.

    Examples
    --------
    >>> normalise_density([0.0, 2.0], [1.0])
    Density(edges=(0.0, 2.0), heights=(0.5,))
    """
    density = Density(tuple(edges), tuple(heights))
    usable = (
        len(density.edges) == len(density.heights) + 1 > 1
        and all(map(isfinite, density.edges + density.heights))
        and all(below < above for below, above in pairwise(density.edges))
        and min(density.heights) >= 0.0
    )
    mass = fsum(density.masses) if usable else 0.0
    if not (mass > 0.0 and isfinite(mass)):
        found = f"{list(density.heights[:5])} between {list(density.edges[:6])}"
        raise _spoilt("density", found, "a density over ascending edges")
    return density if mass == 1.0 else Density(density.edges, tuple(height / mass for height in density.heights))


def _spoilt(what: str, found: str, expected: str) -> StateRefused:
    return StateRefused(
        what,
        found,
        expected,
        "the policy's weights are spoilt: run `bowerbird policy rebuild NAME --until TIME`, of before that",
    )


def draw(salt: str, event_id: str, pmf: Sequence[float]) -> Draw:
    """Draw an action, and a ranking that starts with it.

    Parameters
    ----------
    salt
        Of the policy; two policies with different salts draw independently for the same event id.
    event_id
        Of the decision.
    pmf
        What :func:`normalise` returned; an action of probability 0 is never chosen, and ranked last.

    Raises
    ------
    ValueError
        No action, or none with a probability above 0.

    Examples
    --------
    >>> draw("front", "visit-17", [0.2, 0.8, 0.0])
    Draw(chosen=1, ranking=[1, 0, 2])
    """
    chosen = choose(salt, event_id, pmf)
    return Draw(chosen, _ranking(_key(salt), event_id.encode(), pmf, chosen))


def choose(salt: str, event_id: str, pmf: Sequence[float], slot: int = 0) -> int:
    """Return the index that is drawn for a slot; for the first one :func:`draw` chooses it, too.

    >>> choose("front", "visit-17", [0.2, 0.8, 0.0])
    1
    """
    return _part_at(_fraction(salt, event_id, slot), pmf)


def choose_value(salt: str, event_id: str, density: Density, slot: int = 0) -> float:
    """Return the number that is drawn for a slot from a density that integrates to 1.

    It is at least the lower edge of its part, and below the upper one.

    >>> round(choose_value("front", "visit-17", Density((0.0, 10.0), (0.1,))), 3)
    4.345
    """
    fraction, masses = _fraction(salt, event_id, slot), density.masses
    part = _part_at(fraction, masses)
    below, above = density.edges[part : part + 2]
    value = below + (fraction - fsum(masses[:part])) / density.heights[part]
    return min(max(value, below), nextafter(above, below))


def _fraction(salt: str, event_id: str, slot: int) -> float:
    """Return the number that decides a slot, from 0 to below 1."""
    person = slot.to_bytes(16, "little")
    digest = blake2b(event_id.encode(), digest_size=8, key=_key(salt), person=person).digest()
    return (int.from_bytes(digest, "little") >> 11) * _FRACTION


def _part_at(fraction: float, masses: Sequence[float]) -> int:
    """Return the index at which the cumulative masses pass a fraction of 1; its mass is above 0."""
    part = bisect_right(list(accumulate(masses)), fraction)
    if part < len(masses):
        return part
    # The sum fell short of 1 by rounding and the number is in the gap.
    return max(index for index, mass in enumerate(masses) if mass > 0.0)


def _key(salt: str) -> bytes:
    key = salt.encode()
    return key if len(key) <= blake2b.MAX_KEY_SIZE else blake2b(key).digest()


def _ranking(key: bytes, message: bytes, pmf: Sequence[float], chosen: int) -> list[int]:
    stream = b"".join(
        blake2b(message, digest_size=64, key=key, person=block.to_bytes(16, "little")).digest()
        for block in range(1, (len(pmf) + 7) // 8 + 1)
    )
    # The last block has numbers to spare. An action that cannot be chosen arrives after all others.
    arrivals = [
        min(-log(((number >> 11) + 1) * _FRACTION) / probability, _LATEST) if probability > 0.0 else inf
        for number, probability in zip(unpack(f"<{len(stream) // 8}Q", stream), pmf, strict=False)
    ]
    arrivals[chosen] = -1.0
    return sorted(range(len(pmf)), key=arrivals.__getitem__)
