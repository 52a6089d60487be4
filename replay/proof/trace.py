"""The life of one event id, from what the logs hold about it: request, decision, feedback, outcome, version.

What counts and when a window closes is said by the rules of :mod:`replay.proof.oracle`; here each feedback gets the
reason. The versions tell which of them learned the outcome.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import msgspec

from policies.controls import in_force
from records.outcome import Outcome, Why, outbox_name
from records.policy_version import PolicyVersion
from records.position import LogPosition
from replay.proof.by_event import Case
from replay.proof.oracle import Expected, LoggedFeedback, expected_outcomes
from replay.proof.recompute import FoundDecision

Verdict = Literal["counts", "early", "late", "repeat", "too_many", "unknown_decision"]
Fate = Literal["learned", "taken_back", "held", "refused", "waiting", "not_to_be_learned"]


class TracedRecord(msgspec.Struct, frozen=True):
    """A record and what is said of it."""

    position: LogPosition
    message: str


class TracedFeedback(msgspec.Struct, frozen=True):
    """A feedback; ``verdict`` tells whether it counts, ``message`` why, ``closes`` whether it ends the window."""

    position: LogPosition
    id: str
    value: float
    verdict: Verdict
    closes: bool
    message: str


class TracedOutcome(msgspec.Struct, frozen=True, kw_only=True):
    """An outcome from ``rewards``; ``fate`` tells whether it was learned, ``message`` by which version."""

    position: LogPosition
    shard: int
    outcome_seq: int
    reward: float
    why: Why
    closed_ms: int
    fate: Fate
    version: str | None
    message: str


class TracedDecision(msgspec.Struct, frozen=True, kw_only=True):
    """A decision, its window, and what the rules make of the feedback that is in the log.

    Attributes
    ----------
    position, copies
        Of the first record by position, and of the further ones under its event id.
    opens_ms, deadline_ms, full_ms
        The log times between which feedback counts, both included; ``full_ms``: the deadline without an early close.
    closed
        Whether the watermark has passed the deadline: no feedback can change anything any more.
    reward, learn, why
        What the outcome must be; of an open window what it would be now.
    outcome
        None if there is no outcome yet.
    """

    position: LogPosition
    copies: list[LogPosition]
    policy: str
    policy_version: str
    chosen: str
    propensity: float
    opens_ms: int
    deadline_ms: int
    full_ms: int
    closed: bool
    reward: float
    learn: bool
    why: Why
    feedback: list[TracedFeedback]
    outcome: TracedOutcome | None


class Trace(msgspec.Struct, frozen=True, kw_only=True):
    """All that is known of an event id.

    Attributes
    ----------
    watermark_ms, held_by
        Watermark of the join for this event id, and the input that holds it back.
    feedback
        What belongs to no decision.
    dead_letters
        What could not be used, at the position of ``dead-letters`` that holds it.
    """

    event_id: str
    watermark_ms: int
    held_by: str
    requests: list[TracedRecord]
    decisions: list[TracedDecision]
    feedback: list[TracedFeedback]
    dead_letters: list[TracedRecord]


class FoundOutcomeRecord(NamedTuple):
    """An outcome and where it stands; ``refused``: the dead letters say that its policy could not learn it."""

    position: LogPosition
    outcome: Outcome
    refused: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class EventLogs:
    """What the logs hold about an event id, and the settings of the join that decide what it means.

    Attributes
    ----------
    case
        All decisions and all feedback of the event id.
    located
        The decisions once more, whole.
    outcomes
        The outcomes of the event id.
    versions
        All versions of the policies that decided, in the order of the log.
    watermark_ms
        Watermark of its shard.
    dedup_horizon_ms, feedback_limit
        Settings of the join.
    """

    case: Case
    located: Sequence[FoundDecision]
    outcomes: Sequence[FoundOutcomeRecord]
    versions: Sequence[PolicyVersion]
    watermark_ms: int
    dedup_horizon_ms: int
    feedback_limit: int

    def decisions(self) -> tuple[list[TracedDecision], list[TracedFeedback]]:
        """Return the decisions of the event id, and the feedback that belongs to none of them."""
        expected = expected_outcomes(
            self.case.decisions,
            self.case.feedback,
            dedup_horizon_ms=self.dedup_horizon_ms,
            feedback_limit=self.feedback_limit,
        )
        own: dict[int, list[LoggedFeedback]] = {}
        for event in self.case.feedback:
            own.setdefault(self._decision_of(event, expected), []).append(event)
        lost = [
            TracedFeedback(
                event.position, event.id, event.value, "unknown_decision", False, "no decision has this event id"
            )
            for event in own.get(-1, [])
        ]
        return [self._decision(each, own.get(number, [])) for number, each in enumerate(expected)], lost

    def _decision_of(self, event: LoggedFeedback, expected: Sequence[Expected]) -> int:
        """Return the number of the decision to which a feedback belongs, by time; -1: none."""
        for number, each in enumerate(expected):
            if event.position.time_ms <= each.decision.position.time_ms + self.dedup_horizon_ms:
                return number
        return -1

    def _decision(self, expected: Expected, feedback: Sequence[LoggedFeedback]) -> TracedDecision:
        first = _offsets(expected.decision.position)
        position, decision = next(each for each in self.located if _offsets(each.position) == first)
        outcome = self._outcome(expected)
        full_ms = position.time_ms + round(expected.decision.rule.window_s * 1000)
        closers = expected.decision.rule.reward.close_on if expected.deadline_ms < full_ms else ()
        closer = next(
            (event for event in feedback if event.position.topic in closers and _closes(event, expected)), None
        )
        return TracedDecision(
            position=position,
            copies=[
                each.position
                for each in self.located
                if self._belongs(each.position, expected) and _offsets(each.position) != first
            ],
            policy=decision.policy,
            policy_version=decision.policy_version,
            chosen=decision.chosen,
            propensity=decision.propensity,
            opens_ms=expected.opens_ms,
            deadline_ms=expected.deadline_ms,
            full_ms=full_ms,
            closed=outcome is not None or expected.deadline_ms < self.watermark_ms,
            reward=expected.reward,
            learn=expected.learn,
            why=expected.why,
            feedback=[_feedback(event, expected, closes=event is closer) for event in feedback],
            outcome=outcome,
        )

    def _outcome(self, expected: Expected) -> TracedOutcome | None:
        for record in sorted(self.outcomes, key=lambda each: each.position.offset):
            outcome = record.outcome
            if self._belongs(outcome.decision_position, expected):
                fate, version, message = _fate(record, self.versions)
                return TracedOutcome(
                    position=record.position,
                    shard=outcome.shard,
                    outcome_seq=outcome.outcome_seq,
                    reward=outcome.reward,
                    why=outcome.why,
                    closed_ms=outcome.closed_ms,
                    fate=fate,
                    version=version,
                    message=message,
                )
        return None

    def _belongs(self, position: LogPosition, expected: Expected) -> bool:
        """Tell whether a record of a decision is a decision or a copy of it, by time."""
        first_ms = expected.decision.position.time_ms
        return first_ms <= position.time_ms <= first_ms + self.dedup_horizon_ms


def verdict_on(event: LoggedFeedback, expected: Expected) -> Verdict:
    """Say whether a feedback counts for a decision, or why it does not."""
    if event in expected.counted:
        return "counts"
    if event.position.time_ms < expected.opens_ms:
        return "early"
    if event.position.time_ms > expected.deadline_ms:
        return "late"
    return "repeat" if _same(event, expected) is not None else "too_many"


def fate_of(record: FoundOutcomeRecord, versions: Iterable[PolicyVersion]) -> tuple[Fate, str | None, str]:
    """Return what became of an outcome, the version that tells, and a sentence."""
    outcome, offset = record.outcome, record.position.offset
    if not outcome.learn:
        return "not_to_be_learned", None, f"counted, not learned: {outcome.why}"
    before: PolicyVersion | None = None
    learned: PolicyVersion | None = None
    for version in versions:
        if learned is None:
            if version.last_seqs.get(outbox_name(outcome.placement, outcome.shard), 0) < outcome.outcome_seq:
                before = version
                continue
            learned = version
        elif version.rebuilt_to is not None and version.rebuilt_to <= offset < version.cut:
            return "taken_back", version.version, f"taken out of the weights again by version {version.version}"
    if before is not None and not before.shape.learn:
        by = in_force(before.shape)
        return "held", before.version, f"not learned: version {before.version} ({by}) held the weights"
    if record.refused:
        return "refused", None, "the policy could not learn it; see the dead letters"
    if learned is None:
        return "waiting", None, "not learned yet by any published version"
    return "learned", learned.version, f"learned by version {learned.version}"


def _fate(record: FoundOutcomeRecord, versions: Sequence[PolicyVersion]) -> tuple[Fate, str | None, str]:
    """Return what became of an outcome with the policy that decided, or else with the first that learns it."""
    placement, decided = record.outcome.placement, record.outcome.policy
    learners = sorted({each.policy for each in versions if placement in each.placements})
    policy = decided if decided in learners or not learners else learners[0]
    fate, version, message = fate_of(record, (each for each in versions if each.policy == policy))
    return fate, version, message if policy == decided else f"{policy}: {message}"


def _closes(event: LoggedFeedback, expected: Expected) -> bool:
    at_ms = max(event.position.time_ms, expected.decision.position.time_ms)
    return event.position.time_ms >= expected.opens_ms and at_ms == expected.deadline_ms


def _feedback(event: LoggedFeedback, expected: Expected, *, closes: bool) -> TracedFeedback:
    verdict = verdict_on(event, expected)
    return TracedFeedback(
        event.position, event.id, event.value, verdict, closes, _message(event, expected, verdict, closes)
    )


def _message(event: LoggedFeedback, expected: Expected, verdict: Verdict, closes: bool) -> str:
    time_ms = event.position.time_ms
    match verdict:
        case "counts":
            worth = "" if event.position.topic in expected.decision.rule.reward.streams else ", and is worth nothing"
            return "counts" + worth + (", and closes the window" if closes else "")
        case "early":
            return f"does not count: {(expected.opens_ms - time_ms) / 1000:g} s before the window opened"
        case "late":
            return f"does not count: {(time_ms - expected.deadline_ms) / 1000:g} s after the window closed"
        case "repeat":
            same = _same(event, expected)
            assert same is not None
            return f"does not count: repeats {where(same.position)}, the same stream and id"
        case _:
            return "does not count: so many came before it that no more are kept"


def where(position: LogPosition) -> str:
    """Return a position as people read it.

    >>> where(LogPosition(0, "clicks", 2, 17, 0))
    'clicks[2]@17.0'
    """
    return f"{position.topic}[{position.partition}]@{position.offset}.{position.index}"


def _same(event: LoggedFeedback, expected: Expected) -> LoggedFeedback | None:
    identity = event.position.topic, event.id
    return next((other for other in expected.counted if (other.position.topic, other.id) == identity), None)


def _offsets(position: LogPosition) -> tuple[int, int, int]:
    return position.partition, position.offset, position.index
