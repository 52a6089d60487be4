"""Evaluate a policy on a log, in one pass or, with a reward model, in three.

The first pass finds the versions that wrote the log and its period, the second trains the reward model, the third
computes the sums for all results (:mod:`replay.evaluation.summary`). Memory use does not depend on the log's length.
"""

from collections.abc import Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import replace
from functools import partial
from typing import NamedTuple

import msgspec

from records.errors import BadInput, WrongConfiguration, shorten
from replay.evaluation.answer import Answer
from replay.evaluation.estimators.balanced import (
    Balanced,
    BalancedDoublyRobust,
    BalancedInversePropensity,
    BalancedSelfNormalised,
)
from replay.evaluation.estimators.catalogue import requested
from replay.evaluation.estimators.default import default_estimator
from replay.evaluation.estimators.doubly_robust import DoublyRobust
from replay.evaluation.estimators.estimator import Estimator
from replay.evaluation.estimators.importance import SelfNormalised
from replay.evaluation.finalize import About, finalize
from replay.evaluation.health.loggers import UNFIXED, not_at_the_same_time, not_balanced
from replay.evaluation.intervals.catalogue import check_name
from replay.evaluation.intervals.difference import Difference, LoggedMean
from replay.evaluation.logs.chunk import MEAN_PROPENSITY, OPTIONAL, REWARD_RANGE, SAMPLE_WEIGHT, Log, Windowed
from replay.evaluation.logs.entries import WITH_CONTEXTS, WITHOUT_CONTEXTS
from replay.evaluation.logs.numbered import NOTHING, Names
from replay.evaluation.models.catalogue import make
from replay.evaluation.models.cross_fitting import CrossFitted, CrossFitting, folds
from replay.evaluation.options import AUTOMATIC, DEFAULT_MODEL, NO_MODEL, Options
from replay.evaluation.result import Finding, How
from replay.evaluation.run import run
from replay.evaluation.scan import (
    SCANNED,
    Accumulation,
    OpenLog,
    PolicyLogs,
    Scan,
    Stages,
    cut_blocks,
    names_of,
    scan,
    versions_in,
)
from replay.evaluation.summary import EvaluationPlan

WITHOUT_MODEL = ("ips", "snips")
WITH_MODEL = ("ips", "snips", "dm", "dr", "sndr")
_BELIEVED = (BalancedDoublyRobust(), BalancedSelfNormalised(), BalancedInversePropensity())
"""Balanced estimators by preference: the first requested one is the headline."""


ROUNDED = 0.01
"""So much may the sum of expected shares be off, of which each may be rounded."""


class Parts(NamedTuple):
    """Into how many parts to cut the log, and what computes their sums; they change no bit of the result.

    For an executor of processes the log must be picklable.
    """

    executor: Executor
    number: int


class _Found(NamedTuple):
    """What the passes before the sums found.

    Attributes
    ----------
    fitted
        The cross-fitted reward model; None: none is used.
    seen
        The first pass; None if nothing needed it.
    closed_ms
        As in :class:`~replay.evaluation.scan.Scan`.
    balanced
        Whether the log has what balanced weights need.
    """

    fitted: CrossFitted | None
    seen: Scan | None
    closed_ms: int | None
    balanced: bool

    @property
    def lists(self) -> bool:
        """Whether the log has ranked lists."""
        return self.seen is not None and self.seen.lists


def evaluate(logs: PolicyLogs, how: How, options: Options, stages: Stages, parts: Parts | None = None) -> Answer:
    """Evaluate a policy on a log.

    Parameters
    ----------
    logs
        The log and the policies.
    how
        Description of the computation, to be completed.
    options, stages
        See :class:`~replay.evaluation.options.Options` and :data:`~replay.evaluation.scan.Stages`.
    parts
        The parts of the log that are computed side by side; None: the whole log in this process.

    Raises
    ------
    BadInput
        The log has no usable row, or an invalid value.
    WrongConfiguration
        There is no such estimator, interval or model, or the log lacks what they need.
    """
    check_name(options.interval, options.largest_weight)
    open_log = logs.target.open_log
    fitted, seen = None, None
    if options.model != NO_MODEL or parts is not None:
        fitted, seen = _fitted(open_log, options, stages)
    columns = _columns(options, fitted)
    log = open_log(columns, True)
    found = _found(open_log, log, options, stages, (fitted, seen))
    plan = _plan(logs, options, found)
    accumulation = Accumulation(logs=logs, columns=columns, fitted=fitted, plan=plan, closed_ms=found.closed_ms)
    progress = stages("evaluating")
    if parts is None:
        names, blocks = log.names, accumulation.of(log, progress)
    else:
        assert seen is not None
        # All parts use the same numbering of names.
        names = names_of(open_log, stages("numbering"))
        cut = cut_blocks(seen.blocks, parts.number)
        blocks = run(cut, partial(accumulation.of_part, names), executor=parts.executor, progress=progress)
    summary = blocks.total()
    if summary is None:
        raise BadInput("no_rows", "rows", "none at all", "a decision that can be used")
    if options.expected_shares and summary.health.sized is not None:
        raise WrongConfiguration("expected share: found a log with sample weights, expected rows that count alike")
    versions = versions_in(names)
    if versions < 2:
        summary, plan = replace(summary, adaptive=None), replace(plan, adaptive=False)
    # Without versions it is unknown whether a learner wrote the log.
    plan = replace(plan, fixed=plan.fixed or versions == 1)
    about = About(
        target=logs.target.name,
        headline=plan.shown.name if plan.balanced else default_estimator(versions, plan.adaptive, plan.model).name,
        how=msgspec.structs.replace(
            how, model=fitted.text if fitted else None, resamples=options.resamples, interval=options.interval
        ),
        actions=names.actions.names,
        versions=names.versions.names,
        unit_like=names.unit_like,
        expected_shares=_numbered(options.expected_shares or {}, names.versions.names),
        segments=_segments(names),
        reward_range=options.reward_range,
        remarks=_remarks(options, found, plan, logs.lacks if versions > 1 else ""),
    )
    return finalize(summary, plan, about)


def _columns(options: Options, fitted: CrossFitted | None) -> frozenset[str]:
    """Return the optional columns that the sums need."""
    columns = OPTIONAL | {REWARD_RANGE} | (set() if fitted is None else {_entries_of(options)})
    return columns | {MEAN_PROPENSITY} if options.balanced else columns


def _found(
    open_log: OpenLog, log: Log, options: Options, stages: Stages, first: tuple[CrossFitted | None, Scan | None]
) -> _Found:
    """Return what the passes found; a log that was not scanned yet is, as far as it must be."""
    fitted, seen = first
    closed_ms = None if seen is None else seen.closed_ms
    # Opened separately: a stream can be read only once.
    if seen is None and isinstance(log, Windowed) and isinstance(again := open_log(SCANNED, False), Windowed):
        closed_ms = again.closed_ms(stages("looking"))
    if seen is None and SAMPLE_WEIGHT in log.provides:
        seen = scan(open_log(SCANNED, False), stages("looking"))
    return _Found(fitted, seen, closed_ms, options.balanced and MEAN_PROPENSITY in log.provides)


def _plan(logs: PolicyLogs, options: Options, found: _Found) -> EvaluationPlan:
    """Return which sums to compute."""
    seen, against = found.seen, logs.against
    candidates = _candidates(options, found.fitted is not None, None if found.balanced else logs.lacks, found.lists)
    shown: Estimator = DoublyRobust() if found.fitted else SelfNormalised()
    if even := found.balanced and options.fixed_loggers:
        shown = next(each for each in _BELIEVED if (each,) in candidates)
    return EvaluationPlan(
        candidates=candidates,
        shown=shown,
        pair=Difference(shown, LoggedMean() if against is None else shown),
        against=None if against is None else against.name,
        model=found.fitted is not None,
        adaptive=not options.fixed_loggers and (seen is None or seen.versions > 1),
        fixed=options.fixed_loggers,
        balanced=even,
        sized=seen is None or seen.sized,
        resamples=options.resamples,
        seed=options.seed,
        least=0.0 if options.reward_range is None else options.reward_range[0],
        largest=None if options.reward_range is None else options.reward_range[1],
        interval=options.interval,
        largest_weight=options.largest_weight,
        whole_lists=options.whole_lists,
    )


def _remarks(options: Options, found: _Found, plan: EvaluationPlan, lacks: str) -> list[Finding]:
    """Return the findings that do not depend on the sums; ``lacks``: why several versions are not balanced."""
    balanced, seen = found.balanced, found.seen
    remarks = [UNFIXED] if balanced and not plan.fixed else []
    if options.balanced and not balanced and lacks:
        remarks.append(not_balanced(lacks))
    if balanced and seen is not None and seen.apart is not None:
        remarks.append(not_at_the_same_time(*seen.apart))
    return remarks


def _segments(names: Names) -> dict[str, Sequence[str]]:
    for name, numbered in names.segments.items():
        if numbered.names and set(numbered.names) == {NOTHING}:
            raise WrongConfiguration(f"segment {shorten(name)}: found no row that has it")
    return {name: numbered.names for name, numbered in names.segments.items()}


def _candidates(
    options: Options, with_model: bool, lacks: str | None, lists: bool
) -> tuple[tuple[Estimator, ...], ...]:
    """Return the requested estimators.

    ``lacks`` says why balanced weights are unknown, None if they are known; ``lists``: the log has ranked lists.
    """
    names = options.estimators or (WITH_MODEL if with_model else WITHOUT_MODEL)
    if options.fixed_loggers and not options.estimators and lacks is None:
        names = (*names, *(each.name for each in reversed(_BELIEVED) if with_model or "model_target" not in each.needs))
    # The result always needs these: for its keys, the headline, the difference and the verdict.
    always = (*WITHOUT_MODEL, DoublyRobust.name) if with_model else WITHOUT_MODEL
    every = [requested(each) for each in dict.fromkeys((*always, *names))]
    for candidates in every:
        name = candidates[0].name
        if lacks is not None and isinstance(candidates[0], Balanced):
            raise WrongConfiguration(f"estimator {name}: {lacks}")
        if not with_model and "model_target" in candidates[0].needs:
            expected = "a log without ranked lists" if lists else "--model"
            raise WrongConfiguration(f"estimator {name}: found no reward model, expected {expected}")
    return tuple(every)


def _numbered(shares: Mapping[str, float], versions: Sequence[str]) -> dict[int, float]:
    if shares and not versions:
        raise WrongConfiguration("expected share: found a log that names no versions, expected a column version")
    if unknown := [name for name in shares if name not in versions]:
        raise WrongConfiguration(
            f"expected share: found version {unknown[0]}, expected one of the log's: {shorten(', '.join(versions))}"
        )
    if missing := [name for name in versions if shares and name not in shares]:
        raise WrongConfiguration(f"expected share: found none of {shorten(missing[0])}, expected one of every version")
    if shares and abs(sum(shares.values()) - 1) > ROUNDED:
        raise WrongConfiguration(f"expected share: found {sum(shares.values()):.4g} of all, expected the sum 1")
    return {versions.index(name): share for name, share in shares.items()}


def _fitted(open_log: OpenLog, options: Options, stages: Stages) -> tuple[CrossFitted | None, Scan]:
    log = open_log(SCANNED, False)
    scanned = scan(log, stages("looking"))
    possible = _entries_of(options) in log.provides and (scanned.timed or scanned.units) and not scanned.lists
    if options.model == NO_MODEL or (options.model == AUTOMATIC and not possible):
        return None, scanned
    if _entries_of(options) not in log.provides:
        lacking = "contexts and features" if _entries_of(options) == WITH_CONTEXTS else "the actions of each decision"
        raise WrongConfiguration(
            f"--model {options.model}: found a log without {lacking}, expected outcomes of Bowerbird; else --model none"
        )
    if scanned.lists:
        found = "found ranked lists, of which no reward model is known; expected --model none"
        raise WrongConfiguration(f"--model {options.model}: {found}")
    by, learner = options.folds, scanned.versions > 1 and not options.fixed_loggers
    if learner and by not in (AUTOMATIC, "past"):
        raise WrongConfiguration(
            f"--folds: found {by} and a log of {scanned.versions} versions, expected past, or --fixed-loggers if they "
            "are the arms of a test: the model of a learner's log must not know later rewards"
        )
    if by == AUTOMATIC:
        by = "past" if learner else "unit" if scanned.units else "time"
    cut = folds(by, first_ms=scanned.first_ms, last_ms=scanned.last_ms)
    name = DEFAULT_MODEL if options.model == AUTOMATIC else options.model
    fitting = CrossFitting(partial(make, name), cut)
    for chunk in open_log({_entries_of(options)}, False).blocks(stages("learning")):
        for entries in chunk.entries:
            fitting.learn(entries)
    return fitting.fitted(), scanned


def _entries_of(options: Options) -> str:
    return WITHOUT_CONTEXTS if options.model in (AUTOMATIC, DEFAULT_MODEL, "constant") else WITH_CONTEXTS
