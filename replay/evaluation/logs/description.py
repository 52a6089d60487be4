"""Describe the content of a log."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace

import msgspec
import numpy as np
from numpy.typing import NDArray

from replay.evaluation.blocks import Blocks
from replay.evaluation.health.findings import LogFacts, findings
from replay.evaluation.health.missing import FILLED
from replay.evaluation.health.state import State
from replay.evaluation.health.statistics import statistics
from replay.evaluation.logs.chunk import WAIT, Log, LogChunk, Progress, first_row_of, silent
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
        The decisions that can be used; the others, by reason.
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


def describe(log: Log, called: str, written_in: str, progress: Progress = silent) -> Description:
    """Return the content of a log.

    Parameters
    ----------
    log
        The log; without a target of its own it should be opened for the logging policy itself.
    called, written_in
        Its name and its format in the result.
    progress
        Called with how much of the log has been read.

    Examples
    --------
    >>> from replay.evaluation.logs.columns import as_log
    >>> log = as_log({"reward": [1.0, 0.0, 0.0], "propensity": [0.5, 0.5, 0.25], "action": ["a", "a", "b"]})
    >>> found = describe(log, "it", "table")
    >>> found.rows, [(each.name, each.rows, each.reward) for each in found.actions]
    (3, [('a', 2, 0.5), ('b', 1, 0.0)])
    """
    content = _Content(log.names)
    for chunk in log.blocks(progress):
        content.add(chunk)
    rows, names, state = content.rewards.rows, log.names, content.state
    return Description(
        log=called,
        format=written_in,
        rows=rows,
        left_out=dict(sorted((+content.left_out).items())),
        from_ms=min(content.times, default=None),
        to_ms=max(content.times, default=None),
        has_target=getattr(log, "has_target", False),
        has_pmf=0 < content.with_pmf == rows,
        versions=content.versions.found(names.versions),
        actions=content.actions.found(names.actions),
        actions_a_decision=content.inverse / content.with_pmf if content.with_pmf else None,
        segments={name: groups.found(names.segments[name]) for name, groups in content.segments.items()},
        rewards=content.rewards.found(),
        propensities=content.propensities.found(),
        health=[] if state is None else content.health(state, getattr(log, "time_like", None)),
        statistics={}
        if state is None
        else {name: _finite(value) for name, value in statistics(state).items() if not name.startswith(FILLED)},
    )


class _Content:
    """Adds up what a log holds."""

    def __init__(self, names: Names) -> None:
        self._names = names
        self._blocks, self._alike, self._sized = Blocks[State](), Blocks[State](), False
        self.rewards, self.propensities = _Distribution(), _Distribution()
        self.versions, self.actions = _Groups(), _Groups()
        self.segments = {name: _Groups() for name in names.segments}
        self.left_out: Counter[str] = Counter()
        self.learned = self.inverse = self.with_pmf = 0.0
        self.times: list[int] = []
        self.open = _Open()

    def add(self, chunk: LogChunk) -> None:
        """Add a block."""
        rows = chunk.rows
        self.open.add(chunk)
        self.left_out.update(chunk.left_out)
        self.learned += chunk.learned
        if not len(rows):
            return
        self._put(chunk)
        self.rewards.add(rows.reward)
        self.propensities.add(rows.propensity)
        self.versions.add(rows.version, rows.reward)
        self.actions.add(rows.action, rows.reward)
        for name, codes in rows.segments.items():
            self.segments[name].add(codes, rows.reward)
        if rows.time_ms is not None:
            every = [*self.times, int(rows.time_ms.min()), int(rows.time_ms.max())]
            self.times = [min(every), max(every)]
        if rows.inverse is not None:
            self.inverse, self.with_pmf = self.inverse + float(rows.inverse.sum()), self.with_pmf + len(rows)

    def _put(self, chunk: LogChunk) -> None:
        rows, first = chunk.rows, first_row_of(chunk.index)
        self._sized = self._sized or not all_alike(rows)
        if rows.sample_weight is not None:
            self._blocks.put(chunk.index, State.of(rows, first=first))
        if not self._sized:
            self._alike.put(chunk.index, State.of(replace(rows, sample_weight=None), first=first))

    @property
    def state(self) -> State | None:
        """The state of the checks; None of no rows."""
        return (self._blocks if self._sized else self._alike).total()

    def health(self, state: State, time_like: str | None) -> list[Finding]:
        """Return what the checks found."""
        names = self._names
        known = LogFacts(
            left_out=self.left_out, learned=int(self.learned), actions=names.actions.names, unit_like=names.unit_like
        )
        return [*findings(state, known), *self.open.found(self.rewards.rows), *_no_time(time_like)]


def _no_time(like: str | None) -> list[Finding]:
    if like is None:
        return []
    says = (
        f"no column is read as the time; {like} looks like it: name it with --column time={like}, or say that it is not"
        " the time with --column time=-"
    )
    return [Finding(name="no_time", wrong=False, says=says)]


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
        if count == rows:
            says += f". {WAIT}"
        return [Finding(name="open", value=count / rows, expected=0.0, wrong=False, says=says)]


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


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None
