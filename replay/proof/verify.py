"""Prove from the log that every outcome is right, and that the live weights are what the log makes of them.

A verification is given everything that the logs hold (it reads nothing itself) and returns a verdict: rewards are
computed again from the raw streams (:mod:`replay.proof.oracle`), every version is learned again
(:mod:`replay.proof.published`).
"""

from collections import Counter
from typing import Literal, NamedTuple, Self
from zlib import crc32

import msgspec

from records.codec import decode, items
from records.errors import BadInput
from records.message import Message
from records.outcome import Outcome, outbox_name
from replay.proof.by_event import Case, CitedFeedback, Evidence, FoundOutcome
from replay.proof.oracle import Expected, LoggedFeedback, expected_outcomes
from replay.proof.published import Weights
from replay.proof.request import VerificationRequest
from replay.proof.verdict import FindingKind, Findings, Verdict

DECISIONS = "decisions"

_outcome = msgspec.json.Decoder(Outcome)


class _Closing(NamedTuple):
    """Windows close in this order."""

    deadline_ms: int
    event_id: bytes


class Verification:
    """Takes in the logs, in this order: ``versions``, ``decisions``, each of :attr:`streams`, ``rewards``.

    Partitions of one topic may come in any order, the messages of a partition in theirs. A context manager:
    what it collects is kept in a temporary database.
    """

    def __init__(self, request: VerificationRequest) -> None:
        self.request = request
        self._findings = Findings()
        self._evidence = Evidence(request.dedup_horizon_ms)
        self._weights = Weights(request, self._findings)
        self._figures: Counter[str] = Counter()
        self._closed: Counter[str] = Counter()
        self._first: dict[str, _Closing] = {}
        self._last: dict[str, _Closing] = {}
        self._last_seqs: dict[str, int] = {}
        self._begun: dict[tuple[str, int], int] = {}
        self._oldest_ms: dict[str, int] = {}
        self._complete_from_ms = {"decisions": 0, "feedback": 0}
        self._unprovable: dict[str, int] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._evidence.close()

    @property
    def streams(self) -> set[str]:
        """The streams that the rules of the decisions name; complete once the decisions are read."""
        return self._evidence.streams

    def versions(self, message: Message) -> None:
        """Take in a message of ``versions``."""
        self._weights.versions(message)

    def decisions(self, message: Message) -> None:
        """Take in a message of ``decisions``, of any policy."""
        self._note_start(DECISIONS, message)
        self._evidence.decisions(message)

    def feedback(self, stream: str, message: Message) -> None:
        """Take in a message of a feedback stream; ``stream`` is its topic without the prefix."""
        self._note_start(stream, message)
        self._evidence.feedback(stream, message)

    def rewards(self, message: Message) -> None:
        """Take in a message of the policy's partition of ``rewards``."""
        self._weights.rewards(message)
        try:
            records = items(message.value)
        except BadInput as error:
            self._unreadable(message, 0, error)
            return
        cited = message.topic.removesuffix("rewards") + DECISIONS
        for index, record in enumerate(records):
            try:
                outcome = decode(_outcome, record)
            except BadInput as error:
                self._unreadable(message, index, error)
                continue
            if outcome.placement in self.request.identity.placements and outcome.revision == 0:
                self._evidence.outcome(outcome.event_id, FoundOutcome.of(message.offset, outcome, cited))
                if self._count(outcome) and self.request.own_feedback:
                    for event in outcome.feedback:
                        if self._is_removed(event.stream, event.time_ms, event.partition, event.offset):
                            self._evidence.counted(event)

    def verdict(self) -> Verdict:
        """Return what was found, once all logs have been read."""
        self._weights.finish()
        for sentence in self.request.lost:
            self._findings.add("state", "the join's state in Redis", f"{sentence}; run `bowerbird recover`")
        for outbox, seq in self._evidence.contradictions():
            self._findings.add(
                "contradiction",
                f"seq {seq} of {outbox}",
                "has two different outcomes in `rewards`",
            )
        for case in self._evidence.cases():
            self._audit(case)
        for outbox, seq in sorted(self._unprovable.items()):
            self._findings.add(
                "not_verifiable",
                outbox,
                f"not verifiable before seq {seq + 1}: decisions or feedback of outcomes before it are no longer in"
                " their topics: retention has removed them, or a topic was deleted and made anew",
            )
        counts, figures, weights = self._findings.counts, self._figures, self._weights
        live = self.request.live.record
        identical = weights.live_digest == weights.recomputed_digest != "" and not (
            counts["digest"] or counts["live"] or counts["cut"] or counts["versions"]
        )
        return Verdict(
            policy=self.request.policy,
            ok=not counts,
            watermark_ms=self.request.watermark_ms,
            decisions=figures["decisions"],
            external=figures["external"],
            copies=figures["copies"],
            outcomes=figures["outcomes"],
            closed=dict(sorted(self._closed.items())),
            learned=weights.learned,
            waiting=weights.waiting,
            refused=weights.refused,
            held=weights.held,
            taken_back=weights.taken_back,
            pending=figures["pending"],
            missing=counts["missing"],
            doubled=counts["doubled"],
            wrong=figures["wrong"],
            repeats=figures["repeats"],
            own_feedback=figures["own_feedback"],
            not_verifiable=figures["not_verifiable"],
            unusable=self._evidence.unusable,
            versions=len(weights.rebuilt),
            live_version=live.version if live else "version 0",
            live_digest=weights.live_digest,
            recomputed_digest=weights.recomputed_digest,
            identical=identical,
            found={kind: counts[kind] for kind in sorted(counts)},
            findings=self._findings.shown,
        )

    def _unreadable(self, message: Message, index: int, error: BadInput) -> None:
        self._findings.add("unreadable", f"rewards, offset {message.offset}, index {index}", str(error))

    def _note_start(self, name: str, message: Message) -> None:
        """Note from when on a log is complete that has lost its head: from its first message."""
        where = (name, message.partition)
        self._oldest_ms[name] = min(message.time_ms, self._oldest_ms.get(name, message.time_ms))
        start = self.request.starts.get(where, 0)
        # Retention may remove more while it is read.
        if self._begun.get(where) != start:
            self._begun[where] = start
            if start > 0:
                kind = "decisions" if name == DECISIONS else "feedback"
                self._complete_from_ms[kind] = max(self._complete_from_ms[kind], message.time_ms)

    def _count(self, outcome: Outcome) -> bool:
        """Count an outcome, and tell whether it is no repeat."""
        outbox = outbox_name(outcome.placement, outcome.shard)
        if outcome.outcome_seq <= self._last_seqs.get(outbox, 0):
            self._figures["repeats"] += 1
            return False
        self._last_seqs[outbox] = outcome.outcome_seq
        self._figures["outcomes"] += 1
        self._closed[outcome.why] += 1
        closing = _Closing(outcome.closed_ms, outcome.event_id.encode())
        self._first.setdefault(outbox, closing)
        if outbox in self._last and closing <= self._last[outbox]:
            self._findings.add(
                "order",
                outcome.event_id,
                f"seq {outcome.outcome_seq} of {outbox} closed at {outcome.closed_ms}, "
                f"its predecessor at {self._last[outbox].deadline_ms}",
            )
        self._last[outbox] = closing
        expected_shard = crc32(outcome.event_id.encode()) % self.request.shards
        if outcome.shard != expected_shard:
            self._findings.add("shard", outcome.event_id, f"shard {outcome.shard}, expected {expected_shard}")
        return True

    def _audit(self, case: Case) -> None:
        request = self.request
        expected = expected_outcomes(
            case.decisions,
            case.feedback,
            dedup_horizon_ms=request.dedup_horizon_ms,
            feedback_limit=request.limits.max_feedback,
        )
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
        of_decision: dict[int, list[FoundOutcome]] = {}
        for outcome in first_of.values():
            number = self._decision_of(outcome, expected)
            if number is not None:
                of_decision.setdefault(number, []).append(outcome)
            elif self._cites_removed(outcome):
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

    def _decision_of(self, outcome: FoundOutcome, expected: list[Expected]) -> int | None:
        """Return the number of the decision within whose time the outcome's decision lies."""
        decided_ms = outcome.decision_at[0]
        for number, each in enumerate(expected):
            first_ms = each.decision.place.time_ms
            if first_ms <= decided_ms <= first_ms + self.request.dedup_horizon_ms:
                return number
        return None

    def _judge(self, event_id: str, expected: Expected, outcomes: list[FoundOutcome]) -> None:
        figures = self._figures
        if expected.decision.placement in self.request.identity.placements:
            figures["decisions"] += 1
            figures["external"] += expected.decision.external
            figures["copies"] += expected.copies
            if not outcomes:
                self._judge_absent(event_id, expected)
        if not outcomes:
            return
        outcomes = sorted(outcomes, key=lambda outcome: (outcome.offset, outcome.outcome_seq))
        for outcome in outcomes[1:]:
            self._findings.add(
                "doubled",
                event_id,
                f"has seq {outcomes[0].outcome_seq} of {outcomes[0].outbox} and "
                f"seq {outcome.outcome_seq} of {outcome.outbox}",
            )
        if (
            self._cites_removed(outcomes[0])
            or not self._is_provable(expected)
            or self._closer_is_removed(expected, outcomes[0])
        ):
            self._not_provable(outcomes[0])
            return
        figures["own_feedback"] += expected.opens_ms < self._complete_from_ms["feedback"] or self._carries(outcomes[0])
        differences = self._differences(expected, outcomes[0])
        figures["wrong"] += bool(differences)
        for kind, message in differences:
            self._findings.add(kind, event_id, f"seq {outcomes[0].outcome_seq} of {outcomes[0].outbox}: {message}")

    def _judge_absent(self, event_id: str, expected: Expected) -> None:
        request = self.request
        if expected.deadline_ms >= request.watermark_ms:
            self._figures["pending"] += 1
            return
        first = self._first.get(outbox_name(expected.decision.placement, crc32(event_id.encode()) % request.shards))
        closing = _Closing(expected.deadline_ms, event_id.encode())
        head_gone = request.rewards_start > 0 and (first is None or closing < first)
        if head_gone or not self._is_provable(expected):
            self._figures["not_verifiable"] += 1
            return
        self._findings.add(
            "missing",
            event_id,
            f"its window closed at {expected.deadline_ms}, the join has read to {request.watermark_ms}, "
            "and there is no outcome"
            + ("; the join still holds outcomes that it has not sent: is it running?" if request.unsent else ""),
        )

    def _differences(self, expected: Expected, outcome: FoundOutcome) -> list[tuple[FindingKind, str]]:
        decision = expected.decision
        place = decision.place
        at = (place.time_ms, place.partition, place.offset, place.index)
        counted, known = (sorted(_cited(event, each) for event in expected.counted) for each in ("content", "known"))
        differences: list[tuple[FindingKind, str]] = []
        if decision.placement != outcome.placement:
            differences.append(("decision", f"of {outcome.placement}, the decision is of {decision.placement}"))
        if not outcome.consistent:
            differences.append(("decision", "another topic, policy or version than that of the decision in it"))
        if outcome.decision_at != at:
            differences.append(("decision", f"cites the decision at {outcome.decision_at}, the first is at {at}"))
        elif outcome.decision != decision.content:
            differences.append(("decision", "the decision in it is not the logged one"))
        if sorted(outcome.feedback) not in (counted, known):
            differences.append(("feedback", _feedback_message(set(outcome.feedback), set(counted))))
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
                differences.append((kind, f"{called} {logged}, the streams give {right}"))
        return differences

    def _is_provable(self, expected: Expected) -> bool:
        """Tell whether the logs hold all that the outcome of a decision depends on, as far as it is asked for."""
        complete = self._complete_from_ms
        return expected.opens_ms >= complete["decisions"] and (
            self.request.own_feedback or expected.opens_ms >= complete["feedback"]
        )

    def _cites_removed(self, outcome: FoundOutcome) -> bool:
        time_ms, partition, offset, _ = outcome.decision_at
        if self._is_removed(DECISIONS, time_ms, partition, offset):
            return True
        return not self.request.own_feedback and self._carries(outcome)

    def _closer_is_removed(self, expected: Expected, outcome: FoundOutcome) -> bool:
        """Tell whether what closed a window early may be feedback that closed, but was one too many to be carried."""
        closing = expected.decision.rule.reward.close_on
        return (
            self.request.own_feedback
            and outcome.why == "early"
            and outcome.closed_ms < expected.deadline_ms
            and any(start > 0 and name in closing for (name, _), start in self.request.starts.items())
        )

    def _carries(self, outcome: FoundOutcome) -> bool:
        """Tell whether an outcome counts feedback that only the outcome itself still holds."""
        return any(self._is_removed(*event[:4]) for event in outcome.feedback)

    def _is_removed(self, name: str, time_ms: int, partition: int, offset: int) -> bool:
        """Tell whether a topic holds no more what stood at a place: it lies before its start, or before all of it.

        A topic that was deleted and created anew holds other messages at the same offsets, all of them younger.
        """
        start = self.request.starts.get((name, partition), 0)
        return offset < start or time_ms < self._oldest_ms.get(name, time_ms + 1)

    def _not_provable(self, outcome: FoundOutcome) -> None:
        self._figures["not_verifiable"] += 1
        self._unprovable[outcome.outbox] = max(self._unprovable.get(outcome.outbox, 0), outcome.outcome_seq)


def _cited(event: LoggedFeedback, part: Literal["content", "known"]) -> CitedFeedback:
    """Return how an outcome cites a feedback that it carries whole, or only the fields that are known."""
    place = event.place
    return place.topic, place.time_ms, place.partition, place.offset, place.index, getattr(event, part)


def _feedback_message(cited: set[CitedFeedback], right: set[CitedFeedback]) -> str:
    def places(events: set[CitedFeedback]) -> str:
        shown = [f"{stream}[{partition}]@{offset}.{index}" for stream, _, partition, offset, index, _ in sorted(events)]
        return ", ".join(shown[:5]) + (", …" if len(shown) > 5 else "") or "nothing"

    return f"counts {places(cited - right)} that does not count, lacks {places(right - cited)} that does"
