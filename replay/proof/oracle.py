"""What the outcomes of one event id have to be, computed from the finished logs alone.

This is a second implementation of the rules, and shares none of their code with the join: it reads every decision
and all feedback of an event id, long after the fact, and says what the join should have written. Sums are exact
fractions, so they are right whatever the order in which the join added. Which feedback is the same one, and which
decision a window belongs to, is in :mod:`replay.proof.by_event`.
"""

from collections.abc import Iterable, Sequence
from fractions import Fraction
from typing import NamedTuple

from records.outcome import Why
from records.position import LogPosition
from records.rule import Reward, Rule


class LoggedDecision(NamedTuple):
    """A record of ``decisions``: its position, what copies of it must share, and what closing it needs.

    ``shown``: the ids of the actions in their places. ``drawn`` is a digest of policy, version, pmf and those,
    ``content`` one of the whole record.
    """

    position: LogPosition
    placement: str
    shown: tuple[str, ...]
    drawn: bytes
    activate: bool
    expires_at_ms: int | None
    external: bool
    rule: Rule
    content: bytes


class LoggedFeedback(NamedTuple):
    """A record of a feedback stream; its position's topic is the stream, ``content`` a digest of it.

    ``known`` is a digest of the fields that the loop knows, which are all that a very large outcome carries.
    """

    position: LogPosition
    id: str
    value: float
    activate: bool
    action: str | None
    content: bytes
    known: bytes = b""


class Expected(NamedTuple):
    """The outcome that a decision must have.

    Attributes
    ----------
    decision
        The first decision by position; every later record of it is one of ``copies``.
    opens_ms, deadline_ms
        The log times between which feedback counts, both included; the deadline after any early close.
    counted
        The feedback that counts, by position.
    reward, rewards, learn, why
        The values that the outcome must hold; ``rewards`` has one for each place.
    """

    decision: LoggedDecision
    copies: int
    opens_ms: int
    deadline_ms: int
    counted: tuple[LoggedFeedback, ...]
    reward: float
    rewards: tuple[float, ...]
    learn: bool
    why: Why


def expected_outcomes(
    decisions: Iterable[LoggedDecision],
    feedback: Iterable[LoggedFeedback],
    *,
    dedup_horizon_ms: int,
    feedback_limit: int,
) -> list[Expected]:
    """Return the outcomes that one event id must have, in the order of their decisions.

    Parameters
    ----------
    decisions, feedback
        All records of the event id, in any order.
    dedup_horizon_ms
        A record of the event id within this time after a decision belongs to that decision; the first
        decision after it is a new one.
    feedback_limit
        How many events of one decision can count, the first by position.
    """
    unclaimed = sorted(decisions, key=lambda decision: decision.position)
    events = sorted(feedback, key=lambda event: event.position)
    results: list[Expected] = []
    earliest_ms: int | None = None
    while unclaimed:
        first = unclaimed[0]
        bound_ms = first.position.time_ms + dedup_horizon_ms
        copies = [decision for decision in unclaimed[1:] if decision.position.time_ms <= bound_ms]
        unclaimed = [decision for decision in unclaimed if decision.position.time_ms > bound_ms]
        opens_ms = first.position.time_ms - _milliseconds(first.rule.early_s)
        if earliest_ms is not None:
            opens_ms = max(opens_ms, earliest_ms)
        own = [event for event in events if opens_ms <= event.position.time_ms <= bound_ms]
        results.append(_outcome(first, copies, own, opens_ms, feedback_limit))
        earliest_ms = bound_ms + 1
    return results


def _outcome(
    decision: LoggedDecision,
    copies: Sequence[LoggedDecision],
    events: Sequence[LoggedFeedback],
    opens_ms: int,
    feedback_limit: int,
) -> Expected:
    rule = decision.rule
    decided_ms = decision.position.time_ms
    full_ms = decided_ms + _milliseconds(rule.window_s)
    closers = [
        max(event.position.time_ms, decided_ms)
        for event in events
        if event.position.topic in rule.reward.close_on and event.position.time_ms <= full_ms
    ]
    deadline_ms = min([full_ms, *closers])
    first_of_identity: dict[tuple[str, str], LoggedFeedback] = {}
    for event in events[:feedback_limit]:
        if event.position.time_ms <= deadline_ms:
            first_of_identity.setdefault((event.position.topic, event.id), event)
    counted = tuple(first_of_identity.values())
    why = _why(decision, copies, counted, deadline_ms, full_ms)
    of_action: dict[str, list[LoggedFeedback]] = {action: [] for action in decision.shown}
    for event in counted:
        about = decision.shown[0] if event.action is None or event.action == "" else event.action
        of_action.get(about, []).append(event)
    rewards = tuple(_reward(rule.reward, of_action[action]) for action in decision.shown)
    return Expected(
        decision,
        len(copies),
        opens_ms,
        deadline_ms,
        counted,
        _sum(rewards),
        rewards,
        why in ("window", "early"),
        why,
    )


def _why(
    decision: LoggedDecision,
    copies: Sequence[LoggedDecision],
    counted: Sequence[LoggedFeedback],
    deadline_ms: int,
    full_ms: int,
) -> Why:
    said = (decision.placement, decision.drawn)
    if any((copy.placement, copy.drawn) != said for copy in copies if copy.position.time_ms <= deadline_ms):
        return "conflicting"
    if decision.expires_at_ms is not None and decision.position.time_ms > decision.expires_at_ms:
        return "expired"
    active = decision.activate and decision.rule.activate_on is None
    if not active and not any(event.activate or event.position.topic == decision.rule.activate_on for event in counted):
        return "not_activated"
    return "early" if deadline_ms < full_ms else "window"


def _reward(rule: Reward, counted: Sequence[LoggedFeedback]) -> float:
    worths: dict[str, list[float]] = {}
    for event in counted:
        if event.position.topic in rule.streams:
            stream = rule.streams[event.position.topic]
            worths.setdefault(event.position.topic, []).append(
                stream.weight if stream.weight is not None else event.value
            )
    if not worths:
        return rule.default
    total = _sum([_aggregate(rule.streams[stream].aggregate, worths[stream]) for stream in worths])
    low, high = rule.clip
    return max(low, min(total, high))


def _aggregate(how: str, worths: Sequence[float]) -> float:
    match how:
        case "sum":
            return _sum(worths)
        case "mean":
            return _sum(worths) / len(worths)
        case "first":
            return worths[0]
        case "last":
            return worths[-1]
        case "max":
            return max(worths)
        case "min":
            return min(worths)
    raise ValueError(f"an aggregate of sum, first, last, max, min, mean was expected, found {how!r}")


def _sum(numbers: Sequence[float]) -> float:
    """Return the float nearest to the exact sum, whatever the order of the numbers."""
    return float(sum(map(Fraction, numbers), Fraction(0)))


def _milliseconds(seconds: float) -> int:
    return round(seconds * 1000)
