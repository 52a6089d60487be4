"""The bootstrap of all estimators at once, as sums that add up like any others.

Every row gets its number of copies in every resample from a hash of the row, the resample and the seed: nothing is
drawn, so it does not matter who resamples a row, or when, and what is correlated gets the same number. The numbers
are independent, of mean 1 and variance 1, as Poisson's (Chamandy, Muralidharan, Najmi, Naidu 2012, Estimating
uncertainty for massive data streams): a resample does not hold exactly as many rows as the log, and its means are
taken over those that it holds.

Eight resamples share a hash; of its 64 bits each takes eight. With ``mix``, the finaliser of splitmix64
(:mod:`archive.hashes`), and all numbers unsigned and of 64 bits::

    bits = mix(mix(hash ^ mix(seed)) ^ mix(resample // 8 + 1))
    byte = bits >> 8 * (resample % 8) & 255
    copies = (byte >= 93) + (byte >= 191) + (byte >= 234) + (byte >= 251) + (byte >= 255)
"""

from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, TypeVar

import numba
import numpy as np

from records.errors import BadInput, WrongConfiguration
from records.splitmix import MIX_1, MIX_2
from replay.evaluation.blocks import BLOCK_ROWS, Blocks
from replay.evaluation.estimators.estimator import Estimator, need
from replay.evaluation.moments import stacked
from replay.evaluation.rows import EvaluationRows, Floats, Hashes
from replay.evaluation.sample_weights import means_of

_STEP = 8
"""Rows that are added up together: a sum is then read and written once for all of them."""
_LANES = 512
"""Resamples that are summed together: their sums stay in the core's cache, and there is work for several threads."""
_PADDED = 64
"""Of what their number is a multiple, so that each is computed by the same instructions wherever it stands."""
_SEEDS = 2**64


@dataclass(frozen=True, slots=True)
class Resampled:
    """Sums of k columns over resampled rows; ``a + b`` is the state of the rows of both.

    One pass serves every estimator, and differences between two of them: their values come from the same resamples.

    Attributes
    ----------
    names
        Of the columns: as many as k.
    seed
        What the resamples were made from.
    rows
        How many rows there were.
    sums
        Per resample how many rows it holds, copies counted, and the sums of the columns over these: shape
        (resamples, 1 + k).

    Examples
    --------
    >>> rewards = np.arange(1000) % 10 == 0.0
    >>> state = Resampled.of({"r": rewards}, places(0, 1000), resamples=2000, seed=1)
    >>> low, high = ends(state.means["r"])
    >>> round(low, 2), round(high, 2)
    (0.08, 0.12)
    """

    names: tuple[str, ...]
    seed: int
    rows: int
    sums: Floats

    @classmethod
    def of(
        cls, columns: Mapping[str, Floats], hashes: Hashes, *, resamples: int, seed: int, threads: int = 1
    ) -> "Resampled":
        """Resample some rows.

        Parameters
        ----------
        columns
            Terms of estimators, shape (rows,) each.
        hashes
            What a row's copies depend on, shape (rows,): see :func:`hashes_of`.
        resamples
            How many. The first ones are the same however many there are.
        seed
            From 0 to 2^64 - 1.
        threads
            How many share the resamples. It changes no bit.

        Raises
        ------
        BadInput
            As :func:`~replay.evaluation.moments.stacked`; or there are not as many hashes as rows.
        WrongConfiguration
            The number of resamples or the seed is invalid.
        """
        if resamples < 1:
            raise WrongConfiguration(f"resamples: found {resamples}, expected at least 1")
        if not 0 <= seed < _SEEDS:
            raise WrongConfiguration(f"seed: found {seed}, expected a number from 0 to 2^64 - 1")
        rows = len(hashes)
        # A column of ones counts the rows; those that fill up the last step count as none.
        names, values = stacked({"": np.ones(rows), **columns}, _STEP)
        padded = np.zeros(values.shape[1], dtype=np.uint64)
        padded[:rows] = hashes

        def sums(first: int) -> Floats:
            lanes = -(-min(_LANES, resamples - first) // _PADDED) * _PADDED
            found: Floats = _sums(padded, values, np.uint64(seed), first // 8, lanes)
            return found

        firsts = range(0, resamples, _LANES)
        if threads > 1 and len(firsts) > 1:
            with ThreadPoolExecutor(threads) as pool:
                parts = list(pool.map(sums, firsts))
        else:
            parts = [sums(first) for first in firsts]
        return cls(names[1:], seed, rows, np.concatenate(parts, axis=1)[:, :resamples].T.copy())

    def __add__(self, other: "Resampled") -> "Resampled":
        left, right = ((state.names, state.seed, len(state.sums)) for state in (self, other))
        if left != right:
            raise ValueError(f"expected sums of {left} (names, seed, resamples); found those of {right}")
        return Resampled(self.names, self.seed, self.rows + other.rows, self.sums + other.sums)

    @property
    def means(self) -> dict[str, Floats]:
        """Per column its mean in every resample, shape (resamples,); NaN in one that holds no row."""
        count = self.sums[:, :1]
        means = np.divide(self.sums[:, 1:], count, out=np.full_like(self.sums[:, 1:], np.nan), where=count > 0)
        return means_of(dict(zip(self.names, means.T, strict=True)))

    def values(self, estimator: Estimator[Any]) -> Floats:
        """Return an estimator's value in every resample, shape (resamples,); NaN where it is unknown."""
        return np.asarray(estimator.value(self.means), dtype=np.float64)


def resampled(
    columns: Mapping[str, Floats],
    hashes: Hashes,
    *,
    resamples: int,
    seed: int,
    threads: int = 1,
) -> Resampled:
    """Resample rows that are at hand: the same bits as from many processes that read them block by block.

    Parameters
    ----------
    columns, hashes, resamples, seed, threads
        As those of :meth:`Resampled.of`.
    """
    blocks = Blocks[Resampled]()
    rows = len(hashes)
    for name, column in columns.items():
        if np.shape(column) != (rows,):
            raise BadInput("wrong_shape", name, f"the shape {np.shape(column)}", f"one number a row: ({rows},)")
    # Of no rows there is one block, which is empty.
    for first in range(0, max(rows, 1), BLOCK_ROWS):
        block = slice(first, first + BLOCK_ROWS)
        some = {name: column[block] for name, column in columns.items()}
        state = Resampled.of(some, hashes[block], resamples=resamples, seed=seed, threads=threads)
        blocks.put(first // BLOCK_ROWS, state)
    summed = blocks.total()
    assert summed is not None
    return summed


def hashes_of(rows: EvaluationRows, first: int = 0, *, by_unit: bool = False) -> Hashes:
    """Return what the copies of evaluation rows depend on: shape (rows,).

    Parameters
    ----------
    rows
        Those of a block.
    first
        The place of the first one in the log: it stands for the hashes of a log without event ids.
    by_unit
        Draw the rows of a unit together (the cluster bootstrap): for logs where one person decides more than once.

    Raises
    ------
    BadInput
        The units are asked for, and the log names none.
    """
    if by_unit:
        return need(rows.unit_hash, "unit_hash")
    return places(first, len(rows)) if rows.event_hash is None else rows.event_hash


def places(first: int, rows: int) -> Hashes:
    """Return what stands for the hashes of rows that have no name: their places in the log, shape (rows,)."""
    return np.arange(first, first + rows, dtype=np.uint64)


def ends(values: Floats, confidence: float = 0.95) -> tuple[float | None, float | None]:
    """Return the percentile ends of an interval, interpolated between two resamples.

    A resample in which the value is unknown lies beyond either end: an end is None where too many of them are.
    The bootstrap does not account for unobserved events: if all rewards are 0, both ends are 0.

    References
    ----------
    Efron 1982, The jackknife, the bootstrap and other resampling plans, chapter 10 (the percentile method).

    Examples
    --------
    >>> ends(np.arange(101.0), 0.5)
    (25.0, 75.0)
    >>> ends(np.append(np.arange(101.0), np.full(50, np.nan)), 0.5)
    (None, None)
    """
    high = _percentile(-values, (1 - confidence) / 2)
    return _percentile(values, (1 - confidence) / 2), None if high is None else -high


def _percentile(values: Floats, share: float) -> float | None:
    ordered = np.sort(np.where(np.isfinite(values), values, -np.inf))
    below, part = divmod(share * (len(values) - 1), 1)
    low, high = ordered[int(below)], ordered[min(int(below) + 1, len(values) - 1)]
    # In a form that is exact where the two are equal.
    return None if np.isneginf(low) else float(low + part * (high - low))


Function = TypeVar("Function", bound=Callable[..., Any])


def _compiled(function: Function) -> Function:
    # Products and sums may become one instruction; threads run in parallel, since none holds the interpreter lock.
    options: dict[str, Any] = {"nogil": True, "fastmath": {"contract"}, "error_model": "numpy"}
    compiled: Function
    try:
        compiled = numba.njit(cache=True, **options)(function)
    except RuntimeError:
        # There is no folder that the compiled code could be kept in.
        compiled = numba.njit(**options)(function)
    return compiled


@_compiled
def _mix(bits: Any) -> Any:
    bits = (bits ^ (bits >> np.uint64(30))) * np.uint64(MIX_1)
    bits = (bits ^ (bits >> np.uint64(27))) * np.uint64(MIX_2)
    return bits ^ (bits >> np.uint64(31))


@_compiled
def _copies(row: Any, groups: Any, words: Any, bytes_: Any, copies: Any) -> None:
    """Write how often a row occurs in each resample; ``bytes_`` are those of ``words``."""
    for group in range(len(groups)):
        words[group] = _mix(row ^ groups[group])
    for lane in range(len(copies)):
        byte = bytes_[lane]
        copies[lane] = (
            np.uint8(byte >= 93)
            + np.uint8(byte >= 191)
            + np.uint8(byte >= 234)
            + np.uint8(byte >= 251)
            + np.uint8(byte >= 255)
        )


@_compiled
def _add(values: Any, copies: Any, sums: Any) -> None:
    """Add eight rows of a column to its sums in every resample."""
    a, b, c, d, e, f, g, h = values[0], values[1], values[2], values[3], values[4], values[5], values[6], values[7]
    for lane in range(len(sums)):
        sums[lane] += ((a * copies[0, lane] + b * copies[1, lane]) + (c * copies[2, lane] + d * copies[3, lane])) + (
            (e * copies[4, lane] + f * copies[5, lane]) + (g * copies[6, lane] + h * copies[7, lane])
        )


@_compiled
def _sums(hashes: Any, values: Any, seed: Any, first_group: int, lanes: int) -> Any:
    """Return the sums of all columns in so many resamples: shape (columns, lanes)."""
    columns, rows = values.shape
    groups = np.empty(lanes // 8, dtype=np.uint64)
    for group in range(len(groups)):
        groups[group] = _mix(np.uint64(first_group + group + 1))
    words = np.empty(len(groups), dtype=np.uint64)
    bytes_ = words.view(np.uint8)
    copies = np.empty((_STEP, lanes))
    sums = np.zeros((columns, lanes))
    salt = _mix(seed)
    for first in range(0, rows, _STEP):
        for row in range(_STEP):
            _copies(_mix(hashes[first + row] ^ salt), groups, words, bytes_, copies[row])
        for column in range(columns):
            _add(values[column, first : first + _STEP], copies, sums[column])
    return sums
