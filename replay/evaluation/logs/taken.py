"""How often the target takes each action over a part of a log, by its whole probabilities.

Sums are whole numbers of :data:`UNIT`, so that they are the same however the rows were shared out.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from replay.evaluation.logs.pmf import Pmfs
from replay.evaluation.rows import Floats

Taken = Mapping[str, int]
UNIT = 2.0**-32
MOST = 65_536
"""With more actions than this, nothing is said of each."""


def taken_by_name(names: "pa.Array", target: Floats) -> Taken:
    """Return the sum of the target's probabilities by action name; both are flat, one per action of each row.

    Examples
    --------
    >>> found = taken_by_name(pa.array(["a", "b", "a"]), np.array([0.25, 0.75, 1.0]))
    >>> {name: mass * UNIT for name, mass in found.items()}
    {'a': 1.25, 'b': 0.75}
    """
    encoded = names.cast(pa.large_string()).fill_null("").dictionary_encode()
    sums = _summed(np.asarray(encoded.indices), target, len(encoded.dictionary))
    return dict(zip(encoded.dictionary.to_pylist(), sums, strict=True))


def taken_by_place(target: Pmfs) -> Taken:
    """Return the same of actions that are called by their index in the lists."""
    place = np.arange(len(target.values)) - target.each(target.starts)
    return {str(action): mass for action, mass in enumerate(_summed(place, target.values))}


def _summed(place: NDArray[Any], target: Floats, size: int = 0) -> list[int]:
    # Exact: fewer than 2^20 rows of whole numbers up to 2^32 stay below 2^53.
    sums = np.bincount(place, weights=np.rint(target / UNIT), minlength=size)
    return [int(mass) for mass in sums.tolist()]


def together(parts: Sequence[Taken | None]) -> Taken | None:
    """Return the sums of some parts, by name; None if a part has none, or there are too many actions.

    Examples
    --------
    >>> together([{"b": 2}, {"a": 1, "b": 1}]), together([{"b": 2}, None])
    ({'a': 1, 'b': 3}, None)
    """
    found: dict[str, int] = {}
    for part in parts:
        if part is None:
            return None
        for name, mass in part.items():
            found[name] = found.get(name, 0) + mass
    # Sorted, so that the digest does not depend on the order in which actions came.
    return dict(sorted(found.items())) if len(found) <= MOST else None


def scaled(taken: Taken | None, kept: int, rows: int) -> Taken | None:
    """Return what remains if some of the rows are left out: the same mixture, of fewer rows."""
    return taken if taken is None or kept == rows else {name: mass * kept // rows for name, mass in taken.items()}
