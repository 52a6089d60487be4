"""What the logs still hold, and so what can be proved of an outcome."""

from records.message import Message
from replay.proof.by_event import FoundOutcome
from replay.proof.oracle import Expected
from replay.proof.request import DECISIONS, VerificationRequest


class Retained:
    """What decisions and feedback the logs still hold.

    An outcome is provable if the logs hold all that it depends on:

    - **What it cites is there.** A record is gone if its offset lies before the start of its partition, or its log time
      before the first message of its topic: a topic that was deleted and created again holds other messages at the
      same offsets, all of them younger. The outcome must cite a decision and feedback of which nothing is gone.
    - **Nothing else was there that is gone.** The window of the decision must open when the logs were complete. A
      partition that has lost its head is complete from its first message on; decisions are complete when all
      their partitions are, feedback when all partitions of all streams are.

    With ``own_feedback`` the outcome itself proves the feedback that it counts, so neither asks for feedback. Then the
    event that closed a window early must be known: it may have been one too many to be carried, and gone by now.

    A decision without an outcome is judged by the second rule alone.
    """

    def __init__(self, request: VerificationRequest) -> None:
        self._starts, self._own_feedback = request.starts, request.own_feedback
        self._noted_starts: dict[tuple[str, int], int] = {}
        self._oldest_ms: dict[str, int] = {}
        self._complete_from_ms = {"decisions": 0, "feedback": 0}

    def note(self, name: str, message: Message) -> None:
        """Take note of a message of decisions, or of a feedback stream; in the order of its partition."""
        where = (name, message.partition)
        self._oldest_ms[name] = min(message.time_ms, self._oldest_ms.get(name, message.time_ms))
        start = self._starts.get(where, 0)
        # Retention may remove more while it is read.
        if self._noted_starts.get(where) != start:
            self._noted_starts[where] = start
            if start > 0:
                kind = "decisions" if name == DECISIONS else "feedback"
                self._complete_from_ms[kind] = max(self._complete_from_ms[kind], message.time_ms)

    def proves(self, expected: Expected, outcome: FoundOutcome) -> bool:
        """Tell whether the logs hold all that the outcome of a decision depends on."""
        return not (self.lacks_cited(outcome) or self._may_lack_closer(expected, outcome)) and self.is_whole(expected)

    def is_whole(self, expected: Expected) -> bool:
        """Tell whether the logs were complete when the window of a decision opened."""
        return expected.opens_ms >= self._complete_from_ms["decisions"] and (
            self._own_feedback or self._feedback_is_whole(expected)
        )

    def lacks_cited(self, outcome: FoundOutcome) -> bool:
        """Tell whether a decision or feedback is gone that an outcome cites."""
        time_ms, partition, offset, _ = outcome.decision_at
        return self.is_gone(DECISIONS, time_ms, partition, offset) or (
            not self._own_feedback and self._lacks_feedback(outcome)
        )

    def needs_own_feedback(self, expected: Expected, outcome: FoundOutcome) -> bool:
        """Tell whether an outcome is proved only by the feedback that it carries itself."""
        return not self._feedback_is_whole(expected) or self._lacks_feedback(outcome)

    def is_gone(self, name: str, time_ms: int, partition: int, offset: int) -> bool:
        """Tell whether a topic no longer holds the message at a position."""
        start = self._starts.get((name, partition), 0)
        return offset < start or time_ms < self._oldest_ms.get(name, time_ms + 1)

    def _feedback_is_whole(self, expected: Expected) -> bool:
        return expected.opens_ms >= self._complete_from_ms["feedback"]

    def _lacks_feedback(self, outcome: FoundOutcome) -> bool:
        return any(self.is_gone(*event[:4]) for event in outcome.feedback)

    def _may_lack_closer(self, expected: Expected, outcome: FoundOutcome) -> bool:
        closing = expected.decision.rule.reward.close_on
        return (
            self._own_feedback
            and outcome.why == "early"
            and outcome.closed_ms < expected.deadline_ms
            and any(start > 0 and name in closing for (name, _), start in self._starts.items())
        )
