"""What a policy would have been worth on a log: the answer of ``bowerbird replay evaluate``.

A log comes as chunks of weighted rows, so that one of any length is judged in the same memory; what a row weighs is
the business of whoever reads the log (:mod:`replay.judge_open_bandit`, :mod:`replay.judge_archive`).
"""

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import msgspec
import numpy as np
from numpy.typing import NDArray

from policies.errors import BadInput
from replay.estimate import Interval, Sums

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Chunk:
    """Some rows of a log.

    Attributes
    ----------
    weights, rewards
        Of the rows that can be used, in the order of the log: shape (rows,) each.
    left_out
        How many others there were, by reason.
    learned
        From so many of the rows that can be used the target has learned.
    """

    weights: Floats
    rewards: Floats
    left_out: Mapping[str, int] = field(default_factory=dict)
    learned: int = 0


class Evaluation(msgspec.Struct, frozen=True, kw_only=True):
    """The value of a policy on a log, and how far to trust it; intervals are of 95 %.

    Attributes
    ----------
    target
        The policy that was judged.
    rows
        How many decisions it was judged on.
    ips, snips
        Its value by importance weights, plain and self-normalised; see :class:`replay.estimate.Estimates`. None
        where the target never takes what was logged: nothing is known of it then.
    ips_interval, snips_interval, value_logged_interval
        From and to; None stands for no bound.
    value_logged
        The mean reward, which is the value of the policy that wrote the log.
    ess
        The effective sample size; ``effective_positives``: the same of the rows that have a reward.
    max_weight, mean_weight
        Of the importance weights. The mean is 1 but for chance where the logged propensities are right.
    left_out
        How many decisions of the log could not be used, by reason.
    learned
        How many of the rows the target has learned from: its value on them is too good.
    """

    target: str
    rows: int
    ips: float
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


def evaluate(target: str, chunks: Iterable[Chunk]) -> Evaluation:
    """Judge a policy on a log.

    Parameters
    ----------
    target
        Its name, for the answer.
    chunks
        The log, weighted.

    Raises
    ------
    BadInput
        No row of the log can be used.

    Examples
    --------
    >>> log = [Chunk(np.array([2.0, 0.5]), np.array([1.0, 0.0]), {"expired": 1}), Chunk(np.ones(2), np.ones(2))]
    >>> found = evaluate("uniform", log)
    >>> found.rows, found.ips, found.value_logged, found.left_out
    (4, 1.0, 0.75, {'expired': 1})
    """
    judged, logged = Sums(), Sums()
    left_out: Counter[str] = Counter()
    learned = 0
    for chunk in chunks:
        judged.add(chunk.weights, chunk.rewards)
        logged.add(np.ones_like(chunk.rewards), chunk.rewards)
        left_out.update(chunk.left_out)
        learned += chunk.learned
    reasons = dict(sorted(left_out.items()))
    if not judged.rows:
        told = ", ".join(f"{count} {reason}" for reason, count in reasons.items()) or "none at all"
        raise BadInput("no_rows", "rows", told, "a decision that can be judged")
    of_target, of_log = judged.estimates(), logged.estimates()
    return Evaluation(
        target=target,
        rows=of_target.rows,
        ips=of_target.ips.value,
        ips_interval=_ends(of_target.ips),
        snips=of_target.snips.value if of_target.mean_weight else None,
        snips_interval=_ends(of_target.snips),
        value_logged=of_log.ips.value,
        value_logged_interval=_ends(of_log.ips),
        ess=of_target.effective_sample_size,
        effective_positives=of_target.effective_positives,
        max_weight=of_target.max_weight,
        mean_weight=of_target.mean_weight,
        left_out=reasons,
        learned=learned,
    )


def _ends(interval: Interval) -> tuple[float | None, float | None]:
    # JSON has no infinity.
    low, high = (end if math.isfinite(end) else None for end in (interval.low, interval.high))
    return low, high
