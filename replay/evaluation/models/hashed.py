"""Features to columns of a matrix by hashing, for models that want numbers.

Each feature is a text in which every byte of a name or value outside ``[A-Za-z0-9_.-]`` is escaped, as in
:mod:`policies.vw.text`, so that no name can pass for another feature: ``user|age`` of a context, ``user|tags[0]=new``,
``@item|price`` of an action, ``@=a1`` for its id. The first 64 bits of its BLAKE2b hash (RFC 7693) name the column.
A pair of a context's and an action's feature has a column of its own: without it a linear model would say that every
context prefers the same action.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from hashlib import blake2b

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from policies.bounded_cache import BoundedCache
from policies.features import Action, Features, number_refused
from policies.vw.text import escape
from records.errors import BadInput
from records.limits import FEATURE_LIMIT
from records.splitmix import GOLDEN, MIX_1, MIX_2
from replay.evaluation.models.rows import Indices, ModelRows
from replay.evaluation.rows import Floats, Hashes

_GOLDEN = np.uint64(GOLDEN)
_MIX_1, _MIX_2 = np.uint64(MIX_1), np.uint64(MIX_2)


def flat(features: Features, field: str, prefix: str = "") -> dict[str, float]:
    """Return features as texts with a number each; what is no number counts 1.

    Raises
    ------
    BadInput
        A value is invalid, or a number is too large or not finite; the error names namespace and feature.

    Examples
    --------
    >>> flat({"user": {"age": 31, "tags": ["new|x:1"], "paid": True}}, "context")
    {'user|age': 31.0, 'user|tags[0]=new%7Cx%3A1': 1.0, 'user|paid=true': 1.0}
    """
    found: dict[str, float] = {}
    for namespace, inside in features.items():
        for name, value in inside.items():
            text = f"{prefix}{escape(namespace)}|{escape(name)}"
            if isinstance(value, list):
                for index, item in enumerate(value):
                    _put(found, f"{text}[{index}]", item, f"{field}.{namespace}.{name}[{index}]")
            else:
                _put(found, text, value, f"{field}.{namespace}.{name}")
    return found


def _put(found: dict[str, float], text: str, value: object, field: str) -> None:
    if isinstance(value, bool):
        found[f"{text}={'true' if value else 'false'}"] = 1.0
    elif isinstance(value, str):
        found[f"{text}={escape(value)}"] = 1.0
    elif isinstance(value, int | float):
        if not -FEATURE_LIMIT < value < FEATURE_LIMIT:
            raise number_refused(value, field)
        found[text] = float(value)
    else:
        raise BadInput("feature_invalid", field, type(value).__name__, "a number, string, bool or list")


def mixed(numbers: Hashes) -> Hashes:
    """Return each number's bits spread over all 64 (splitmix64: mix64variant13 of Steele, Lea, Flood 2014)."""
    numbers = numbers + _GOLDEN
    numbers = (numbers ^ (numbers >> np.uint64(30))) * _MIX_1
    numbers = (numbers ^ (numbers >> np.uint64(27))) * _MIX_2
    return numbers ^ (numbers >> np.uint64(31))


@dataclass(frozen=True, slots=True)
class _Ragged:
    """Hashes and values of several sets of features, one after the other."""

    starts: Indices
    counts: Indices
    hashes: Hashes
    values: Floats


class Hasher:
    """Makes a matrix of rows, a line an entry.

    Parameters
    ----------
    bits
        The matrix has 2^bits columns, from 1 to 24 bits; two features may share one.
    crossed
        Whether pairs of a context's and an action's feature have columns.
    """

    def __init__(self, bits: int = 18, crossed: bool = True) -> None:
        self.bits, self.crossed = bits, crossed
        self._hash: BoundedCache[str, int] = BoundedCache(_hash, lambda text, number: len(text), 200_000, 16 * 2**20)
        self._action: BoundedCache[Action, dict[str, float]] = BoundedCache(
            _flat_action, lambda action, found: 64 * len(found), 10_000, 16 * 2**20
        )

    def matrix(self, rows: ModelRows, entries: Indices | None = None) -> sparse.csr_matrix:
        """Return features as a matrix of shape (entries, 2^bits).

        Parameters
        ----------
        entries
            Those that are wanted; None: all.

        Raises
        ------
        BadInput
            As :func:`flat`.
        """
        row, codes = rows.row, rows.action
        if entries is not None:
            row, codes = row[entries], codes[entries]
        contexts: Sequence[Features] = rows.contexts if rows.contexts is not None else [{}] * len(rows)
        # Of a wide catalogue only some actions may be asked for.
        used, action = np.unique(codes, return_inverse=True)
        of_context = self._ragged(
            flat(context, f"contexts[{index}]") if context else {} for index, context in enumerate(contexts)
        )
        of_action = self._ragged(self._action(rows.catalogue[index]) for index in used)
        lines = [
            _spread(of_context, row),
            _spread(of_action, action),
            *([_crossed(of_context, row, of_action, action)] if self.crossed else []),
        ]
        line, hashes, values = (np.concatenate(parts) for parts in zip(*lines, strict=True))
        columns = (mixed(hashes) >> np.uint64(64 - self.bits)).astype(np.int64)
        return sparse.csr_matrix((values, (line, columns)), shape=(len(row), 1 << self.bits))

    def _ragged(self, sets: Iterable[dict[str, float]]) -> _Ragged:
        counts: list[int] = []
        hashes: list[int] = []
        values: list[float] = []
        for found in sets:
            counts.append(len(found))
            hashes += self._hash.many(list(found))
            values += found.values()
        ends = np.cumsum(counts, dtype=np.int64)
        return _Ragged(
            ends - np.array(counts, dtype=np.int64),
            np.array(counts, dtype=np.int64),
            np.array(hashes, dtype=np.uint64),
            np.array(values, dtype=np.float64),
        )


def _spread(ragged: _Ragged, which: NDArray[np.integer]) -> tuple[Indices, Hashes, Floats]:
    """Return the features of the sets that are asked for: line, hash and value of each."""
    counts = ragged.counts[which]
    line, place = _lines(counts)
    at = ragged.starts[which][line] + place
    return line, ragged.hashes[at], ragged.values[at]


def _crossed(
    left: _Ragged, which_left: NDArray[np.integer], right: _Ragged, which_right: NDArray[np.integer]
) -> tuple[Indices, Hashes, Floats]:
    """Return all pairs of features of two sets, line by line."""
    widths = right.counts[which_right]
    line, place = _lines(left.counts[which_left] * widths)
    at_left = left.starts[which_left][line] + place // widths[line]
    at_right = right.starts[which_right][line] + place % widths[line]
    hashes = mixed(left.hashes[at_left]) + right.hashes[at_right]
    return line, hashes, left.values[at_left] * right.values[at_right]


def _lines(counts: Indices) -> tuple[Indices, Indices]:
    """Return, for so many places in each line, line and place of all of them."""
    line = np.repeat(np.arange(len(counts)), counts)
    return line, np.arange(len(line)) - np.repeat(np.cumsum(counts) - counts, counts)


def _flat_action(action: Action) -> dict[str, float]:
    return {f"@={escape(action.id)}": 1.0, **flat(action.features, f"actions.{action.id}", "@")}


def _hash(text: str) -> int:
    return int.from_bytes(blake2b(text.encode(), digest_size=8).digest(), "little")
