"""What an evaluation adds up: one state a block of the log, from which every number of the answer is made."""

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import TYPE_CHECKING, Any

from replay.evaluation.estimators.balanced import with_balanced_weights
from replay.evaluation.estimators.estimator import Estimator, all_terms
from replay.evaluation.estimators.shrinkage import Shrunk
from replay.evaluation.health.parts import MeanWeight
from replay.evaluation.health.state import CERTAIN, State
from replay.evaluation.intervals.adaptive import AdaptiveSums
from replay.evaluation.intervals.catalogue import AUTOMATIC, INTERVALS
from replay.evaluation.intervals.difference import Difference, LoggedMean, paired_bound
from replay.evaluation.intervals.every_row import REWARD, EveryRow
from replay.evaluation.intervals.influence_bound import InfluenceBound
from replay.evaluation.intervals.log_segments import LogSegments
from replay.evaluation.intervals.segments import Positives, Segments
from replay.evaluation.intervals.sums import Sums, a_decision
from replay.evaluation.logs.chunk import LogChunk, Range, first_row_of, spanned
from replay.evaluation.logs.taken import Taken, together
from replay.evaluation.rows import EvaluationRows
from replay.evaluation.sample_weights import sized

if TYPE_CHECKING:
    from replay.evaluation.resample import Resampled


@dataclass(frozen=True, slots=True)
class EvaluationPlan:
    """The sums to compute.

    Attributes
    ----------
    candidates
        The requested estimators; each is one estimator, or several of which the data choose one.
    shown
        The estimator of the difference, of the segments and of the verdict.
    pair, against
        The difference to estimate, and the name of the compared policy; None: the logging policy.
    adaptive
        Whether the versions of one learner wrote the log.
    model
        Whether the predictions of a reward model are used.
    fixed, balanced
        Whether the loggers were fixed in advance, and whether headline and health use weights balanced over them.
    sized
        Whether sample weights count, if the log has any; else each row counts as one decision.
    resamples, seed
        Number of bootstrap resamples (0 disables the bootstrap), and their seed.
    clustered
        Whether rows of one unit are resampled together.
    least, largest
        Range of rewards, widened to the observed ones; without ``largest`` the observed maximum.
    interval, largest_weight, whole_lists
        As in :class:`~replay.evaluation.options.Options`.
    """

    candidates: tuple[tuple[Estimator, ...], ...]
    shown: Estimator
    pair: Difference
    against: str | None = None
    adaptive: bool = False
    model: bool = False
    fixed: bool = False
    balanced: bool = False
    sized: bool = True
    resamples: int = 0
    seed: int = 0
    clustered: bool = True
    least: float = 0.0
    largest: float | None = None
    interval: str = AUTOMATIC
    largest_weight: float | None = None
    whole_lists: bool = False

    @property
    def every_row(self) -> bool:
        """Whether the interval needs the terms of every row."""
        return self.interval != AUTOMATIC and INTERVALS[self.interval].every_row

    @property
    def estimators(self) -> tuple[Estimator, ...]:
        """All estimators whose terms are needed: the candidates, and their unshrunk versions."""
        every = [each for some in self.candidates for each in some]
        return (*every, *(each.plain for each in every if isinstance(each, Shrunk)))


@dataclass(frozen=True, slots=True)
class Summary:
    """Sums over some rows; ``a + b`` is the state of the rows of both, in the order of the log.

    Attributes
    ----------
    values, logged
        Sums of the estimators' terms, and of the logged reward.
    paired
        Sums of the terms of the difference.
    health, compared
        State of the checks for the target and for the compared policy; None: the logging policy.
    log_segments
        Sums over log segments, for the confidence sequence.
    adaptive
        Sums for adaptive weights; None if no learner wrote the log, or without whole pmfs.
    segments
        Sums of the segments of each kind.
    resampled
        The bootstrap, if requested.
    every_row
        The terms of every row, if the interval needs them.
    first_ms, last_ms
        Times of the first and the last decision; None if unknown.
    learned_compared
        Number of rows that the compared policy has learned from.
    left_out, learned, reward_range, taken, lists
        As in :class:`~replay.evaluation.logs.chunk.LogChunk`.
    """

    values: Sums
    logged: Sums
    paired: Sums
    health: State
    compared: State | None
    log_segments: LogSegments
    adaptive: AdaptiveSums | None
    segments: Mapping[str, Segments]
    resampled: "Resampled | None"
    every_row: EveryRow | None
    first_ms: int | None
    last_ms: int | None
    left_out: Counter[str] = field(default_factory=Counter)
    learned: int = 0
    learned_compared: int = 0
    reward_range: Range | None = None
    taken: Taken | None = None
    lists: bool = False

    @property
    def seen(self) -> Range:
        """The least and the largest reward that was logged."""
        return self.logged.bound.seen

    @property
    def weighed(self) -> Range:
        """The least and the largest reward that was weighed: of ranked lists by place another one."""
        return float(self.log_segments.least_reward.min()), float(self.log_segments.most_reward.max())

    @property
    def binary(self) -> bool:
        """Whether every reward is 0 or 1: of numbers from 0 to 1, only these have squares with the same mean."""
        reward = self.health.reward
        mean, squares = reward.mean, reward.squares / (reward.count or 1.0)
        return self.seen[0] >= 0 and self.seen[1] <= 1 and math.isclose(mean, squares, rel_tol=1e-9)

    @property
    def a_decision(self) -> "Summary":
        """The same with the sums of estimators' terms a decision, if rows have sample weights."""
        return replace(
            self,
            values=a_decision(self.values),
            logged=a_decision(self.logged),
            paired=a_decision(self.paired),
            segments={
                name: Segments({code: a_decision(sums) for code, sums in kind.parts.items()})
                for name, kind in self.segments.items()
            },
        )

    def __add__(self, other: "Summary") -> "Summary":
        # A summary without rows may lack a column that the others have.
        if not self.health.rows or not other.health.rows:
            whole = other if other.health.rows else self
            return replace(
                whole,
                left_out=self.left_out + other.left_out,
                learned=self.learned + other.learned,
                learned_compared=self.learned_compared + other.learned_compared,
            )
        both: dict[str, Any] = {}
        for each in fields(Summary):
            left, right = getattr(self, each.name), getattr(other, each.name)
            if left is None or right is None:
                both[each.name] = None
            elif each.name == "first_ms":
                both[each.name] = min(left, right)
            elif each.name == "last_ms":
                both[each.name] = max(left, right)
            elif each.name == "reward_range":
                both[each.name] = spanned([left, right])
            elif each.name == "taken":
                both[each.name] = together([left, right])
            elif each.name == "lists":
                both[each.name] = left or right
            elif each.name == "segments":
                both[each.name] = {name: parts + right[name] for name, parts in left.items()}
            else:
                both[each.name] = left + right
        return Summary(**both)


def summarise(chunk: LogChunk, plan: EvaluationPlan, compared: LogChunk | None = None) -> Summary:
    """Return the sums over a block of a log; ``compared`` are the same rows for the compared policy.

    Raises
    ------
    BadInput
        A number is not finite, or a column that an estimator needs is missing.
    """
    rows = _seen(chunk.rows, plan)
    others = rows if compared is None else _seen(compared.rows, plan)
    terms = all_terms(plan.estimators, rows)
    reward_range: Any = {"least": plan.least, "largest": plan.largest}
    unit, times, first = rows.unit_hash, rows.time_ms, first_row_of(chunk.index)
    known = rows.squared_weight is not None and rows.version is not None
    adaptive = plan.adaptive and known and rows.sample_weight is None
    of_segments = [plan.shown, Positives(plan.balanced), MeanWeight()]
    return Summary(
        values=Sums.of(terms, InfluenceBound.of(plan.estimators, rows, **reward_range), unit),
        logged=Sums.of(
            all_terms([LoggedMean()], rows), InfluenceBound.of([LoggedMean()], rows.as_logged(), **reward_range), unit
        ),
        paired=Sums.of(
            sized(plan.pair.terms_of(rows, others), rows), paired_bound(plan.pair, rows, others, **reward_range), unit
        ),
        health=_health(rows, plan, first),
        compared=None if compared is None else _health(others, plan, first),
        log_segments=LogSegments.of(rows.weight, rows.reward, times),
        adaptive=AdaptiveSums.of(rows, **reward_range) if adaptive else None,
        segments={name: Segments.of(of_segments, rows, codes, **reward_range) for name, codes in rows.segments.items()},
        resampled=_resampled(chunk.index, rows, terms, plan) if plan.resamples else None,
        every_row=EveryRow(({**terms, REWARD: rows.reward},)) if plan.every_row else None,
        first_ms=None if times is None or not len(times) else int(times.min()),
        last_ms=None if times is None or not len(times) else int(times.max()),
        left_out=Counter(chunk.left_out),
        learned=chunk.learned,
        learned_compared=0 if compared is None else compared.learned,
        reward_range=chunk.reward_range,
        # Of rows and not of decisions.
        taken=chunk.taken if rows.sample_weight is None else None,
        lists=chunk.lists,
    )


def _seen(rows: EvaluationRows, plan: EvaluationPlan) -> EvaluationRows:
    if not plan.sized:
        rows = replace(rows, sample_weight=None)
    return rows if plan.model else replace(rows, model_logged=None, model_target=None)


def _health(rows: EvaluationRows, plan: EvaluationPlan, first: int) -> State:
    if not plan.balanced:
        return State.of(rows, first=first)
    even = with_balanced_weights(rows)
    assert even.mean_propensity is not None
    # What one logger did for certain, another may not have done at all.
    return replace(State.of(even, first=first), certain=int((even.mean_propensity >= CERTAIN).sum()))


def _resampled(index: int, rows: EvaluationRows, terms: Mapping[str, Any], plan: EvaluationPlan) -> "Resampled":
    # What it compiles takes a quarter of a second to load.
    from replay.evaluation.resample import Resampled, places

    hashes = rows.unit_hash if plan.clustered and rows.unit_hash is not None else rows.event_hash
    if hashes is None:
        # 2^20 places a block: more than it has rows.
        hashes = places(index << 20, len(rows))
    return Resampled.of(terms, hashes, resamples=plan.resamples, seed=plan.seed)
