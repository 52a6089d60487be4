"""Prove from the log that every outcome is right, and that the live weights are what the log makes of them.

A verification is given everything that the logs hold (it reads nothing itself) and returns a verdict: rewards are
computed again from the raw streams (:mod:`replay.proof.oracle`), every version is learned again
(:mod:`replay.proof.published`).
"""

from typing import Self

import msgspec

from records.codec import decode, items
from records.errors import BadInput
from records.message import Message
from records.outcome import Outcome
from replay.proof.audit import Audit
from replay.proof.by_event import Evidence, FoundOutcome
from replay.proof.order import OutcomeOrder
from replay.proof.published import Weights
from replay.proof.request import DECISIONS, VerificationRequest
from replay.proof.retained import Retained
from replay.proof.verdict import Findings, Verdict

_outcome = msgspec.json.Decoder(Outcome)


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
        self._retained = Retained(request)
        self._order = OutcomeOrder(request.shards, self._findings)

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
        self._retained.note(DECISIONS, message)
        self._evidence.decisions(message)

    def feedback(self, stream: str, message: Message) -> None:
        """Take in a message of a feedback stream; ``stream`` is its topic without the prefix."""
        self._retained.note(stream, message)
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
                if self._order.take(outcome) and self.request.own_feedback:
                    for event in outcome.feedback:
                        if self._retained.is_gone(event.stream, event.time_ms, event.partition, event.offset):
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
        audit = Audit(self.request, self._retained, self._order, self._findings)
        for case in self._evidence.cases():
            audit.take(case)
        for outbox, seq in sorted(audit.unprovable.items()):
            self._findings.add(
                "not_verifiable",
                outbox,
                f"not verifiable before seq {seq + 1}: decisions or feedback of outcomes before it are no longer in"
                " their topics: retention has removed them, or a topic was deleted and made anew",
            )
        counts, figures, weights = self._findings.counts, audit.figures, self._weights
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
            outcomes=self._order.outcomes,
            closed=dict(sorted(self._order.closed.items())),
            learned=weights.learned,
            waiting=weights.waiting,
            refused=weights.refused,
            held=weights.held,
            taken_back=weights.taken_back,
            pending=figures["pending"],
            missing=counts["missing"],
            doubled=counts["doubled"],
            wrong=figures["wrong"],
            repeats=self._order.repeats,
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
