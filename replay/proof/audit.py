"""Compares the outcomes of one event id with those that the raw streams give."""

from collections import Counter
from collections.abc import Iterator
from typing import Literal

from replay.proof.by_event import Case, CitedFeedback, FoundOutcome
from replay.proof.oracle import Expected, LoggedFeedback, expected_outcomes
from replay.proof.order import Closing, OutcomeOrder
from replay.proof.request import VerificationRequest
from replay.proof.retained import Retained
from replay.proof.verdict import FindingKind, Findings


class Audit:
    """The outcomes of every event id, one event id after the other.

    Attributes
    ----------
    figures
        Figures of the verdict: ``decisions``, ``external``, ``copies``, ``pending``, ``wrong``, ``own_feedback`` and
        ``not_verifiable``.
    unprovable
        By outbox, the highest seq that cannot be proved.
    """

    def __init__(
        self, request: VerificationRequest, retained: Retained, order: OutcomeOrder, findings: Findings
    ) -> None:
        self._request, self._retained, self._order, self._findings = request, retained, order, findings
        self.figures: Counter[str] = Counter()
        self.unprovable: dict[str, int] = {}

    def take(self, case: Case) -> None:
        """Compare the outcomes of an event id."""
        expected = expected_outcomes(
            case.decisions,
            case.feedback,
            dedup_horizon_ms=self._request.dedup_horizon_ms,
            feedback_limit=self._request.limits.max_feedback,
        )
        of_decision: dict[int, list[FoundOutcome]] = {}
        for outcome in self._without_repeats(case):
            number = self._decision_of(outcome, expected)
            if number is not None:
                of_decision.setdefault(number, []).append(outcome)
            elif self._retained.lacks_cited(outcome):
                self._not_provable(outcome)
            else:
                self._findings.add(
                    "unfounded",
                    case.event_id,
                    f"seq {outcome.outcome_seq} of {outcome.outbox} cites a decision at {outcome.decision_at}, "
                    "where there is no decision",
                )
        for number, each in enumerate(expected):
            self._judge(case.event_id, each, of_decision.get(number, []))

    def _without_repeats(self, case: Case) -> list[FoundOutcome]:
        first_of: dict[tuple[str, int], FoundOutcome] = {}
        for outcome in case.outcomes:
            first = first_of.setdefault((outcome.outbox, outcome.outcome_seq), outcome)
            if outcome._replace(offset=first.offset) != first:
                self._findings.add(
                    "contradiction",
                    case.event_id,
                    f"seq {outcome.outcome_seq} of {outcome.outbox} stands at offsets {first.offset} and "
                    f"{outcome.offset}, and they differ",
                )
        return list(first_of.values())

    def _decision_of(self, outcome: FoundOutcome, expected: list[Expected]) -> int | None:
        """Return the number of the decision within whose time the outcome's decision lies."""
        decided_ms = outcome.decision_at[0]
        for number, each in enumerate(expected):
            first_ms = each.decision.position.time_ms
            if first_ms <= decided_ms <= first_ms + self._request.dedup_horizon_ms:
                return number
        return None

    def _judge(self, event_id: str, expected: Expected, outcomes: list[FoundOutcome]) -> None:
        if expected.decision.placement in self._request.identity.placements:
            self.figures["decisions"] += 1
            self.figures["external"] += expected.decision.external
            self.figures["copies"] += expected.copies
            if not outcomes:
                self._judge_absent(event_id, expected)
        if not outcomes:
            return
        first, *others = sorted(outcomes, key=lambda outcome: (outcome.offset, outcome.outcome_seq))
        for other in others:
            self._findings.add(
                "doubled",
                event_id,
                f"has seq {first.outcome_seq} of {first.outbox} and seq {other.outcome_seq} of {other.outbox}",
            )
        if not self._retained.proves(expected, first):
            self._not_provable(first)
            return
        self.figures["own_feedback"] += self._retained.needs_own_feedback(expected, first)
        found = list(differences(expected, first))
        self.figures["wrong"] += bool(found)
        for kind, message in found:
            self._findings.add(kind, event_id, f"seq {first.outcome_seq} of {first.outbox}: {message}")

    def _judge_absent(self, event_id: str, expected: Expected) -> None:
        request = self._request
        if expected.deadline_ms >= request.watermark_ms:
            self.figures["pending"] += 1
            return
        closing = Closing(expected.deadline_ms, event_id.encode())
        head_gone = request.rewards_start > 0 and self._order.begins_after(expected.decision.placement, closing)
        if head_gone or not self._retained.is_whole(expected):
            self.figures["not_verifiable"] += 1
            return
        self._findings.add(
            "missing",
            event_id,
            f"its window closed at {expected.deadline_ms}, the join has read to {request.watermark_ms}, "
            "and there is no outcome"
            + ("; the join still holds outcomes that it has not sent: is it running?" if request.unsent else ""),
        )

    def _not_provable(self, outcome: FoundOutcome) -> None:
        self.figures["not_verifiable"] += 1
        self.unprovable[outcome.outbox] = max(self.unprovable.get(outcome.outbox, 0), outcome.outcome_seq)


def differences(expected: Expected, outcome: FoundOutcome) -> Iterator[tuple[FindingKind, str]]:
    """Yield in what an outcome differs from the one that the streams give."""
    decision = expected.decision
    position = decision.position
    at = (position.time_ms, position.partition, position.offset, position.index)
    if decision.placement != outcome.placement:
        yield "decision", f"of {outcome.placement}, the decision is of {decision.placement}"
    if not outcome.consistent:
        yield "decision", "another topic, policy or version than that of the decision in it"
    if outcome.decision_at != at:
        yield "decision", f"cites the decision at {outcome.decision_at}, the first is at {at}"
    elif outcome.decision != decision.content:
        yield "decision", "the decision in it is not the logged one"
    counted, known = (sorted(_cited(event, each) for event in expected.counted) for each in ("content", "known"))
    if sorted(outcome.feedback) not in (counted, known):
        yield "feedback", _feedback_message(set(outcome.feedback), set(counted))
    # The outcome of one action needs no rewards by place.
    by_place = outcome.rewards if outcome.rewards or len(expected.rewards) > 1 else expected.rewards
    parts: tuple[tuple[FindingKind, str, object, object], ...] = (
        ("deadline", "deadline", outcome.closed_ms, expected.deadline_ms),
        ("why", "why", outcome.why, expected.why),
        ("learn", "learn", outcome.learn, expected.learn),
        ("reward", "reward", outcome.reward, expected.reward),
        ("reward", "rewards by place", by_place, expected.rewards),
        ("reward", "places", outcome.places, len(expected.rewards)),
    )
    for kind, called, logged, right in parts:
        if logged != right:
            yield kind, f"{called} {logged}, the streams give {right}"


def _cited(event: LoggedFeedback, part: Literal["content", "known"]) -> CitedFeedback:
    """Return how an outcome cites a feedback that it carries whole, or only the fields that are known."""
    position = event.position
    return position.topic, position.time_ms, position.partition, position.offset, position.index, getattr(event, part)


def _feedback_message(cited: set[CitedFeedback], right: set[CitedFeedback]) -> str:
    def positions(events: set[CitedFeedback]) -> str:
        shown = [f"{stream}[{partition}]@{offset}.{index}" for stream, _, partition, offset, index, _ in sorted(events)]
        return ", ".join(shown[:5]) + (", …" if len(shown) > 5 else "") or "nothing"

    return f"counts {positions(cited - right)} that does not count, lacks {positions(right - cited)} that does"
