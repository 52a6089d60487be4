"""What an evaluation adds up: one state a block of the log, from which every number of the answer is made."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import TYPE_CHECKING, Any

from replay.estimators.balanced import with_balanced_weights
from replay.estimators.estimator import Estimator, all_terms
from replay.estimators.importance import InversePropensity
from replay.estimators.shrinkage import Shrunk
from replay.health.statistics import CERTAIN, State
from replay.intervals.adaptive import AdaptiveSums
from replay.intervals.difference import Difference, LoggedMean, paired_reach
from replay.intervals.reach import Reach
from replay.intervals.segments import Segments
from replay.intervals.stretches import Stretches
from replay.intervals.sums import Sums
from replay.judged import Judged
from replay.logs.chunk import LogChunk, Range, spanned

if TYPE_CHECKING:
    from replay.resample import Resampled


@dataclass(frozen=True, slots=True)
class Wanted:
    """What to add up.

    Attributes
    ----------
    asked
        Whose values are asked for: an estimator by itself, or candidates of which the data choose one.
    of_segments
        The one of them that is asked for within each segment.
    pair, against
        What is compared, and with which policy; None: the logging policy.
    adaptive
        Whether the versions of one learner wrote the log.
    fixed, balanced
        Whether whoever wrote the log was fixed beforehand, and whether the weights that are to be believed, and whose
        health is looked at, are balanced over them.
    resamples, seed, threads
        Of the bootstrap; 0: none.
    clustered
        Whether rows of one unit are resampled together.
    least, largest
        What a row may earn, if none beyond was seen; ``largest`` is what was seen where it is None.
    """

    asked: tuple[tuple[Estimator, ...], ...]
    of_segments: Estimator
    pair: Difference
    against: str | None = None
    adaptive: bool = False
    fixed: bool = False
    balanced: bool = False
    resamples: int = 0
    seed: int = 0
    threads: int = 1
    clustered: bool = True
    least: float = 0.0
    largest: float | None = None

    @property
    def estimators(self) -> tuple[Estimator, ...]:
        """All of which the terms are needed: the candidates, what these shrink, and the mean reward."""
        asked = [each for some in self.asked for each in some]
        return (*asked, *(each.plain for each in asked if isinstance(each, Shrunk)), LoggedMean())


@dataclass(frozen=True, slots=True)
class Summary:
    """Sums over some rows; ``a + b`` is the state of the rows of both, in the order of the log.

    Attributes
    ----------
    values
        Of the estimators' terms and of the reward.
    paired
        Of the terms of the difference.
    health
        What the log says of itself.
    stretches
        Its course.
    adaptive
        For adaptive weights; None where no learner wrote the log, or it does not tell whole pmfs.
    segments
        By kind of segment.
    resampled
        The bootstrap, where it was asked for.
    first_ms, last_ms
        When the first and the last decision was; None where the log does not tell.
    left_out, learned, reward_range
        As in :class:`~replay.logs.chunk.LogChunk`.
    """

    values: Sums
    paired: Sums
    health: State
    stretches: Stretches
    adaptive: AdaptiveSums | None
    segments: Mapping[str, Segments]
    resampled: "Resampled | None"
    first_ms: int | None
    last_ms: int | None
    left_out: Counter[str] = field(default_factory=Counter)
    learned: int = 0
    reward_range: Range | None = None

    def __add__(self, other: "Summary") -> "Summary":
        # What has no row may lack a column that the others have, and says nothing.
        if not self.health.rows or not other.health.rows:
            whole = other if other.health.rows else self
            return replace(whole, left_out=self.left_out + other.left_out, learned=self.learned + other.learned)
        both: dict[str, Any] = {}
        for each in fields(Summary):
            mine, its = getattr(self, each.name), getattr(other, each.name)
            if mine is None or its is None:
                both[each.name] = None
            elif each.name == "first_ms":
                both[each.name] = min(mine, its)
            elif each.name == "last_ms":
                both[each.name] = max(mine, its)
            elif each.name == "reward_range":
                both[each.name] = spanned([mine, its])
            elif each.name == "segments":
                both[each.name] = {name: parts + its[name] for name, parts in mine.items()}
            else:
                both[each.name] = mine + its
        return Summary(**both)


def summarise(chunk: LogChunk, wanted: Wanted, others: Judged | None = None) -> Summary:
    """Return the sums over a block of a log; ``others`` are the same rows judged for what the target is compared with.

    Raises
    ------
    BadInput
        A number is not finite, or a column that an estimator needs is missing.
    """
    rows = chunk.rows
    terms = all_terms(wanted.estimators, rows)
    reach: Any = {"least": wanted.least, "largest": wanted.largest}
    unit = rows.unit_hash
    times = rows.time_ms
    others = rows if others is None else others
    return Summary(
        values=Sums.of(terms, Reach.of(wanted.estimators, rows, **reach), unit),
        paired=Sums.of(wanted.pair.terms_of(rows, others), paired_reach(wanted.pair, rows, others, **reach), unit),
        health=_health(rows, wanted),
        stretches=Stretches.of(rows.weight, rows.reward, times),
        adaptive=AdaptiveSums.of(rows, **reach) if wanted.adaptive and rows.squared_weight is not None else None,
        segments={
            name: Segments.of([wanted.of_segments, InversePropensity()], rows, codes, **reach)
            for name, codes in rows.segments.items()
        },
        resampled=_resampled(chunk, terms, wanted) if wanted.resamples else None,
        first_ms=None if times is None or not len(times) else int(times.min()),
        last_ms=None if times is None or not len(times) else int(times.max()),
        left_out=Counter(chunk.left_out),
        learned=chunk.learned,
        reward_range=chunk.reward_range,
    )


def _health(rows: Judged, wanted: Wanted) -> State:
    if not wanted.balanced:
        return State.of(rows)
    even = with_balanced_weights(rows)
    assert even.mean_propensity is not None
    # What one logger did for certain, another may not have done at all.
    return replace(State.of(even), certain=int((even.mean_propensity >= CERTAIN).sum()))


def _resampled(chunk: LogChunk, terms: Mapping[str, Any], wanted: Wanted) -> "Resampled":
    # What it compiles takes a quarter of a second to load.
    from replay.resample import Resampled, places

    rows = chunk.rows
    hashes = rows.unit_hash if wanted.clustered and rows.unit_hash is not None else rows.event_hash
    if hashes is None:
        # 2^20 places a block: more than it has rows.
        hashes = places(chunk.index << 20, len(rows))
    return Resampled.of(terms, hashes, resamples=wanted.resamples, seed=wanted.seed, threads=wanted.threads)
