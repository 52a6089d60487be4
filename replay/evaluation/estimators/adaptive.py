"""The value of a policy on the log of a learner, which was published repeatedly while the log was written.

Each version's probabilities depend on the rewards before it. Where they become small the weights become heavy, and a
plain mean, though unbiased, has a large variance and is not normal. So rows are weighted once more, by how much
information a row of their version has (Hadad et al. 2021; Zhan et al. 2021)::

    value = sum_t h_t G_t / sum_t h_t,    G_t = model_target + weight (reward - model_logged)

with ``h_t`` known before row t was drawn. That, and a reward model from the past only (``past`` of
:mod:`replay.evaluation.models.cross_fitting`), makes the sum a martingale and its studentised form normal in the limit.

**Predictable weights.** The spread of a row's score grows with ``s = E[sum_a pi(a|x)^2 / mu_v(a|x)]`` of its version
v, the mean of the column ``squared_weight`` (Zhan et al. weight by the same). It is estimated from rows of the same
version *before* the row's window, or, without such rows, from those of the version which began last before it.
Windows end where a version begins, after its row 16, 32, 64, ... and then after each 4,096 rows of it. Contexts and
probabilities of earlier rows are used, but rewards only through the published versions. The first window of the log has
no estimate: its weight is 0, unless it is half of the log; then all rows count alike.

**Bias.** The weights depend on past rewards, and so does their sum. In the limit the resulting bias is small compared
with the interval; in logs of 5,000 rows it was up to a quarter of the standard error (docs/reward-models.md).

**Balanced weights are different.** ``pi / (mean of mu over versions)`` is valid for loggers that were fixed in advance,
such as the arms of a test. Over the versions of one learner that mean depends on the rewards that it divides: a lucky
action is taken more often later, and gets a smaller weight. The value is biased, and its interval ignores the bias.

References
----------
Hadad, Hirshberg, Zhan, Wager, Athey (2021). *Confidence intervals for policy evaluation in adaptive experiments.*
Proceedings of the National Academy of Sciences 118:e2014602118; the weights: arXiv 1911.02768, eq. 12.
Zhan, Hadad, Hirshberg, Athey (2021). *Off-Policy Evaluation via Adaptive Weighting with Data from Contextual Bandits.*
KDD 2021.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

from records.errors import BadInput, WrongConfiguration
from replay.evaluation.rows import Codes, EvaluationRows, Floats

Allocation = Literal["constant", "two-point"]
Counts = NDArray[np.int64]

ADAPTIVE_DR, ADAPTIVE_IPS = "adaptive-dr", "adaptive-ips"
FIRST_ROWS = 16
"""A version's first window ends after so many of its rows, the next after twice as many, and so on; a power of 2."""
MOST_ROWS = 4096
"""From here on a window ends after each so many rows of a version."""
_VERSION = 0xFFFFFFFF
REFERENCE = "Hadad et al. 2021, PNAS (constant allocation rate); Zhan et al. 2021, KDD (StableVar)"


def scores(rows: EvaluationRows) -> Floats:
    """Return each row's score G: the doubly robust one, without a reward model weight times reward; shape (rows,)."""
    if rows.model_logged is None or rows.model_target is None:
        return rows.weight * rows.reward
    return rows.model_target + rows.weight * (rows.reward - rows.model_logged)


@dataclass(frozen=True, slots=True)
class Pieces:
    """Sums over the rows of one version in one window; ``a + b`` puts the windows of the next block behind.

    They grow with the number of versions and one in 4,096 rows, not with the rows.

    Attributes
    ----------
    windows
        How many windows.
    window
        The piece's window, from 0, in the order of the log: shape (pieces,), as all that follow.
    version, rows
        Its version, and how many rows it has.
    mean, squares
        Of the scores G their mean, and the sum of their squared distances from it.
    squared_weight
        The mean of the column of that name.
    """

    windows: int
    window: Counts
    version: Codes
    rows: Counts
    mean: Floats
    squares: Floats
    squared_weight: Floats

    @classmethod
    def of(cls, rows: EvaluationRows) -> "Pieces":
        """Return the pieces of a block of rows, which are in the order of the log.

        Raises
        ------
        BadInput
            The rows lack versions or whole pmfs, or a score is no number.
        """
        if rows.version is None or rows.squared_weight is None:
            lacking = "version" if rows.version is None else "squared_weight"
            raise BadInput("column_missing", lacking, "none", "a number a row, for adaptive weights")
        score = scores(rows)
        for name, column in (("score", score), ("squared_weight", rows.squared_weight)):
            if not np.isfinite(column).all():
                wrong = int(np.argmin(np.isfinite(column)))
                raise BadInput("not_finite", f"{name}[{wrong}]", str(column[wrong]), "a number")
        ends = _window_ends(rows.version)
        window = np.repeat(np.arange(len(ends)), np.diff(ends, prepend=0))
        # Versions are numbers of 32 bits, so that a pair of window and version is one of 64.
        keys = (window << 32) | (rows.version.astype(np.int64) & _VERSION)
        pairs, piece, counts = np.unique(keys, return_inverse=True, return_counts=True)
        mean = np.bincount(piece, score, len(pairs)) / counts
        return cls(
            windows=len(ends),
            window=pairs >> 32,
            version=(pairs & _VERSION).astype(np.uint32).view(np.int32),
            rows=counts.astype(np.int64),
            mean=mean,
            squares=np.bincount(piece, (score - mean[piece]) ** 2, len(pairs)).astype(np.float64),
            squared_weight=np.bincount(piece, rows.squared_weight, len(pairs)) / counts,
        )

    def __add__(self, other: "Pieces") -> "Pieces":
        return Pieces(
            self.windows + other.windows,
            np.concatenate([self.window, other.window + self.windows]),
            np.concatenate([self.version, other.version]),
            np.concatenate([self.rows, other.rows]),
            np.concatenate([self.mean, other.mean]),
            np.concatenate([self.squares, other.squares]),
            np.concatenate([self.squared_weight, other.squared_weight]),
        )

    def __len__(self) -> int:
        return len(self.rows)


@dataclass(frozen=True, slots=True)
class AdaptiveValue:
    """A value by adaptive weights.

    Attributes
    ----------
    value, low, high
        None where there is no row, or one alone.
    standard_error
        None where the interval is.
    shares
        Of all weight, that of each version.
    """

    value: float | None
    low: float | None
    high: float | None
    standard_error: float | None
    shares: dict[int, float]


def adaptive_value(pieces: Pieces, allocation: Allocation = "constant", confidence: float = 0.95) -> AdaptiveValue:
    """Return the value by adaptive weights, with its interval (the studentised one of Hadad et al. 2021).

    Answers show the wider one of :func:`replay.evaluation.intervals.adaptive.adaptive_interval`.

    Parameters
    ----------
    pieces
        Of the whole log, in its order.
    allocation
        See :func:`weights`.
    confidence
        How often the interval shall hold the truth.

    Examples
    --------
    >>> log = EvaluationRows(
    ...     reward=np.array([1.0, 0.0, 1.0, 1.0] * 10),
    ...     propensity=np.full(40, 0.5),
    ...     target=np.full(40, 0.5),
    ...     squared_weight=np.ones(40),
    ...     version=np.zeros(40, dtype=np.int32),
    ... )
    >>> found = adaptive_value(Pieces.of(log))
    >>> found.value, found.shares
    (0.75, {0: 1.0})
    """
    h = weights(pieces, allocation)
    per_piece = h * pieces.rows
    total = float(per_piece.sum())
    if not total:
        return AdaptiveValue(None, None, None, None, {})
    value = float((per_piece * pieces.mean).sum() / total)
    versions, each = np.unique(pieces.version, return_inverse=True)
    shares = np.bincount(each, per_piece, len(versions)) / total
    by_version = dict(zip(versions.tolist(), shares.tolist(), strict=True))
    if int(pieces.rows[h > 0].sum()) < 2:
        return AdaptiveValue(value, None, None, None, by_version)
    spread = h**2 * (pieces.squares + pieces.rows * (pieces.mean - value) ** 2)
    error = float(np.sqrt(spread.sum()) / total)
    z = float(ndtri(0.5 + confidence / 2))
    return AdaptiveValue(value, value - z * error, value + z * error, error, by_version)


def weights(pieces: Pieces, allocation: Allocation = "constant") -> Floats:
    """Return the weight h of a row of each piece: shape (pieces,).

    With ``e = 1 / max(s, 1)``, and s as this module says: no s is below 1 where every action that the target takes
    could be logged (Cauchy and Schwarz).

    Parameters
    ----------
    allocation
        ``constant``: ``h = sqrt(e)``, so that every row adds as much to the variance (the constant allocation rate of
        Hadad et al. 2021; StableVar of Zhan et al. 2021).
        ``two-point``: rows whose probabilities go to 0 spend more of the variance early, while it is cheap, and those
        whose go to 1 spread it evenly (the two-point allocation rate of Hadad et al. 2021, with the exponent .7). It
        knows the number of all rows.

    Raises
    ------
    WrongConfiguration
        There is no such allocation.
    """
    known = _known(pieces)
    share = np.where(known > 0, 1 / np.maximum(known, 1.0), 0.0)
    if allocation == "constant":
        return np.sqrt(share)
    if allocation == "two-point":
        return np.sqrt(share * _spent(pieces.rows, share) / np.maximum(pieces.rows, 1))
    raise WrongConfiguration(f"allocation of adaptive weights: found {allocation}, expected constant or two-point")


def _window_ends(version: Codes) -> Counts:
    """Return where windows end, the last of them with the block: shape (windows,).

    The ends depend on earlier rows alone; otherwise a weight would depend on later rows.
    """
    rows = len(version)
    if not rows:
        return np.empty(0, dtype=np.int64)
    order = np.argsort(version, kind="stable")
    begins = np.flatnonzero(np.diff(version[order], prepend=version[order[0]] - 1))
    count = np.empty(rows, dtype=np.int64)
    count[order] = np.arange(rows) - np.repeat(begins, np.diff(begins, append=rows)) + 1
    doubled = (count >= FIRST_ROWS) & (count & (count - 1) == 0) & (count < MOST_ROWS)
    ends = {*np.flatnonzero(count == 1).tolist(), *(np.flatnonzero(doubled | (count % MOST_ROWS == 0)) + 1).tolist()}
    return np.array(sorted((ends | {rows}) - {0}), dtype=np.int64)


def _known(pieces: Pieces) -> Floats:
    """Return what was known of s before each piece's window: shape (pieces,); 0 where nothing was."""
    second_moments = np.zeros(len(pieces))
    if 2 * pieces.rows[pieces.window == 0].sum() >= pieces.rows.sum():
        return np.ones(len(pieces))
    rows, sums = dict[int, int](), dict[int, float]()
    newest = None
    for window in _each_window(pieces):
        for piece in window:
            version = int(pieces.version[piece])
            source = version if version in rows else newest
            if source is not None:
                second_moments[piece] = sums[source] / rows[source]
                # A target that never takes what could be logged has an s of 0, which is known all the same.
                second_moments[piece] = max(second_moments[piece], 1.0)
        for piece in window:
            version = int(pieces.version[piece])
            if version not in rows:
                newest, rows[version], sums[version] = version, 0, 0.0
            rows[version] += int(pieces.rows[piece])
            sums[version] += float(pieces.rows[piece] * pieces.squared_weight[piece])
    return second_moments


def _each_window(pieces: Pieces) -> Iterator[range]:
    begins = np.flatnonzero(np.diff(pieces.window, prepend=-1)).tolist()
    for start, stop in pairwise([*begins, len(pieces)]):
        yield range(start, stop)


def _spent(rows: Counts, share: Floats, exponent: float = 0.7) -> Floats:
    """Return which part of all variance each piece may spend: shape (pieces,), with the sum 1."""
    total = int(rows.sum())
    left, before = 1.0, 0
    row_weights = np.zeros(len(rows))
    for piece, (count, e) in enumerate(zip(rows.tolist(), share.tolist(), strict=True)):
        if e:
            t = np.arange(before + 1, before + count + 1)
            to_one = 1 / (total - t + 1)
            to_zero = (1 - exponent) / ((1 - exponent) + total * (t / total) ** exponent - t)
            rates = np.minimum(e * to_one + (1 - e) * to_zero, 1.0)
            after = left * float(np.prod(1 - rates))
            row_weights[piece], left = left - after, after
        before += count
    return row_weights
