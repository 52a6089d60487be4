"""Describe the content of a log."""

import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

import msgspec
import numpy as np
from numpy.typing import NDArray

from replay.evaluation.blocks import Blocks
from replay.evaluation.health.findings import findings
from replay.evaluation.health.missing import FILLED
from replay.evaluation.health.state import State
from replay.evaluation.health.statistics import statistics
from replay.evaluation.logs.chunk import LogChunk, first_row_of
from replay.evaluation.logs.numbered import Names, Numbered
from replay.evaluation.logs.spread import Spread
from replay.evaluation.result import Finding
from replay.evaluation.rows import Codes, Floats
from replay.evaluation.sample_weights import all_alike

QUANTILES = {"1 %": 0.01, "10 %": 0.1, "50 %": 0.5, "90 %": 0.9, "99 %": 0.99}


class Group(msgspec.Struct, frozen=True, kw_only=True):
    """A version, an action or a segment: its rows, and what they earned on average."""

    name: str
    rows: int
    reward: float | None


class Distribution(msgspec.Struct, frozen=True, kw_only=True):
    """Distribution of numbers; None without any.

    Attributes
    ----------
    nonzero
        The share of them that is not 0.
    quantiles
        By the share of numbers that lie at or below; see :class:`~replay.evaluation.logs.spread.Spread`.
    """

    mean: float | None
    nonzero: float | None
    least: float | None
    most: float | None
    quantiles: dict[str, float | None]


class Description(msgspec.Struct, frozen=True, kw_only=True):
    """The content of a log.

    Attributes
    ----------
    rows, left_out
        The decisions that can be judged; the others, by reason.
    from_ms, to_ms
        When the first and the last of them was logged, since 1970.
    has_target, has_pmf
        Whether the log has a target's probabilities, and those of all actions.
    versions, actions
        Sorted by decreasing number of rows; empty if the log lacks them.
    actions_a_decision
        Between how many actions a decision chose on average (of those that could be drawn).
    segments
        By kind of segment.
    health, statistics
        What the checks found, faults first (:mod:`replay.evaluation.health.findings`), and what they were made of.
    """

    log: str
    format: str
    rows: int
    left_out: dict[str, int]
    from_ms: int | None
    to_ms: int | None
    has_target: bool
    has_pmf: bool
    versions: list[Group]
    actions: list[Group]
    actions_a_decision: float | None
    segments: dict[str, list[Group]]
    rewards: Distribution
    propensities: Distribution
    health: list[Finding]
    statistics: Mapping[str, float | None]


def describe(
    chunks: Iterable[LogChunk],
    names: Names,
    *,
    log: str,
    written_in: str,
    has_target: bool = False,
    time_like: str | None = None,
) -> Description:
    """Return the content of a log.

    Parameters
    ----------
    chunks
        The log; without a target of its own it should be judged for the logging policy itself.
    names
        What the numbers in its rows mean.
    log, written_in, has_target
        As the answer has them; ``written_in`` is its ``format``.
    time_like
        The column that seems to be the time, where the log names none.

    Examples
    --------
    >>> from replay.evaluation.logs.columns import as_log
    >>> log = as_log({"reward": [1.0, 0.0, 0.0], "propensity": [0.5, 0.5, 0.25], "action": ["a", "a", "b"]})
    >>> found = describe(log.blocks(), log.names, log="it", written_in="table")
    >>> found.rows, [(each.name, each.rows, each.reward) for each in found.actions]
    (3, [('a', 2, 0.5), ('b', 1, 0.0)])
    """
    blocks, alike, sized = Blocks[State](), Blocks[State](), False
    rewards, propensities = _Distribution(), _Distribution()
    versions, actions = _Groups(), _Groups()
    segments = {name: _Groups() for name in names.segments}
    left_out: Counter[str] = Counter()
    learned = inverse = with_pmf = 0.0
    times: list[int] = []
    open_ = _Open()
    for chunk in chunks:
        rows = chunk.rows
        open_.add(chunk)
        left_out.update(chunk.left_out)
        learned += chunk.learned
        if not len(rows):
            continue
        sized = sized or not all_alike(rows)
        if rows.sample_weight is not None:
            blocks.put(chunk.index, State.of(rows, first=first_row_of(chunk.index)))
        if not sized:
            alike.put(chunk.index, State.of(replace(rows, sample_weight=None), first=first_row_of(chunk.index)))
        rewards.add(rows.reward)
        propensities.add(rows.propensity)
        versions.add(rows.version, rows.reward)
        actions.add(rows.action, rows.reward)
        for name, codes in rows.segments.items():
            segments[name].add(codes, rows.reward)
        if rows.time_ms is not None:
            times = [min([*times, int(rows.time_ms.min())]), max([*times, int(rows.time_ms.max())])]
        if rows.inverse is not None:
            inverse, with_pmf = inverse + float(rows.inverse.sum()), with_pmf + len(rows)
    state = (blocks if sized else alike).total()
    return Description(
        log=log,
        format=written_in,
        rows=rewards.rows,
        left_out=dict(sorted((+left_out).items())),
        from_ms=min(times, default=None),
        to_ms=max(times, default=None),
        has_target=has_target,
        has_pmf=0 < with_pmf == rewards.rows,
        versions=versions.found(names.versions),
        actions=actions.found(names.actions),
        actions_a_decision=inverse / with_pmf if with_pmf else None,
        segments={name: groups.found(names.segments[name]) for name, groups in segments.items()},
        rewards=rewards.found(),
        propensities=propensities.found(),
        health=[]
        if state is None
        else [
            *findings(state, left_out, int(learned), actions=names.actions.names, unit_like=names.unit_like),
            *open_.found(rewards.rows),
            *_no_time(time_like),
        ],
        statistics={}
        if state is None
        else {name: _finite(value) for name, value in statistics(state).items() if not name.startswith(FILLED)},
    )


def _no_time(like: str | None) -> list[Finding]:
    if like is None:
        return []
    says = (
        f"no column is read as the time; {like} looks like it: name it with --column time={like}, or say that it is not"
        " the time with --column time=-"
    )
    return [Finding(name="no_time", value=None, expected=None, p_value=None, wrong=False, says=says)]


class _Open:
    """Counts the decisions after the last one whose window ran to its end, as an evaluation leaves them out."""

    def __init__(self) -> None:
        self._closed_ms: int | None = None
        self._later: NDArray[np.int64] = np.zeros(0, dtype=np.int64)

    def add(self, chunk: LogChunk) -> None:
        if chunk.closed_ms is None or chunk.rows.time_ms is None:
            return
        self._closed_ms = max(chunk.closed_ms, self._closed_ms or 0)
        later = np.concatenate([self._later, chunk.rows.time_ms])
        self._later = later[later > self._closed_ms]

    def found(self, rows: int) -> list[Finding]:
        count = len(self._later)
        if not count:
            return []
        says = (
            f"{count:,} of {rows:,} decisions came after the last one whose window ran to its end: of that time only "
            "those are here that feedback closed early, and an evaluation leaves them out"
        )
        return [Finding(name="open", value=count / rows, expected=0.0, p_value=None, wrong=False, says=says)]


class _Distribution:
    def __init__(self) -> None:
        self.rows, self._sums, self._nonzero = 0, [0.0], 0
        self._spread = Spread()

    def add(self, values: Floats) -> None:
        self.rows += len(values)
        self._sums.append(float(values.sum()))
        self._nonzero += int(np.count_nonzero(values))
        self._spread.add(values)

    def found(self) -> Distribution:
        rows = self.rows
        return Distribution(
            mean=math.fsum(self._sums) / rows if rows else None,
            nonzero=self._nonzero / rows if rows else None,
            least=self._spread.quantile(0.0),
            most=self._spread.quantile(1.0),
            quantiles={name: self._spread.quantile(share) for name, share in QUANTILES.items()},
        )


class _Groups:
    def __init__(self) -> None:
        self._rows: NDArray[np.int64] = np.zeros(0, dtype=np.int64)
        self._rewards: Floats = np.zeros(0)

    def add(self, codes: Codes | None, rewards: Floats) -> None:
        if codes is None:
            return
        size = max(int(codes.max(initial=-1)) + 1, len(self._rows))
        more = size - len(self._rows)
        self._rows = np.pad(self._rows, (0, more)) + np.bincount(codes, minlength=size)
        self._rewards = np.pad(self._rewards, (0, more)) + np.bincount(codes, weights=rewards, minlength=size)

    def found(self, names: Numbered) -> list[Group]:
        order: Sequence[int] = np.argsort(-self._rows, kind="stable").tolist()
        return [
            Group(name=names.names[code], rows=count, reward=float(self._rewards[code]) / count)
            for code in order
            if (count := int(self._rows[code]))
        ]


def _named(found: list[Finding], actions: Numbered) -> list[Finding]:
    """Call actions by their names."""

    def name(number: re.Match[str]) -> str:
        return f"action {actions.names[int(number[1])]}"

    return [
        msgspec.structs.replace(each, says=re.sub(r"action number (\d+)", name, each.says)) if len(actions) else each
        for each in found
    ]


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None
