"""The order of the outcomes in ``rewards``: each outbox sends its seqs rising, and closes its windows in one order."""

from collections import Counter
from typing import NamedTuple
from zlib import crc32

from records.outcome import Outcome, outbox_name
from replay.proof.verdict import Findings


class Closing(NamedTuple):
    """Windows close in this order."""

    deadline_ms: int
    event_id: bytes


class OutcomeOrder:
    """The outcomes of ``rewards``, taken in one after the other.

    Attributes
    ----------
    outcomes, repeats
        How many outcomes there are, repeats not counted, and how many repeats.
    closed
        Outcomes by why their window closed.
    """

    def __init__(self, shards: int, findings: Findings) -> None:
        self._shards, self._findings = shards, findings
        self.outcomes = 0
        self.repeats = 0
        self.closed: Counter[str] = Counter()
        self._first: dict[str, Closing] = {}
        self._last: dict[str, Closing] = {}
        self._last_seqs: dict[str, int] = {}

    def take(self, outcome: Outcome) -> bool:
        """Take in an outcome, and tell whether it is no repeat."""
        outbox = outbox_name(outcome.placement, outcome.shard)
        if outcome.outcome_seq <= self._last_seqs.get(outbox, 0):
            self.repeats += 1
            return False
        self._last_seqs[outbox] = outcome.outcome_seq
        self.outcomes += 1
        self.closed[outcome.why] += 1
        closing = Closing(outcome.closed_ms, outcome.event_id.encode())
        self._first.setdefault(outbox, closing)
        if outbox in self._last and closing <= self._last[outbox]:
            self._findings.add(
                "order",
                outcome.event_id,
                f"seq {outcome.outcome_seq} of {outbox} closed at {outcome.closed_ms}, "
                f"its predecessor at {self._last[outbox].deadline_ms}",
            )
        self._last[outbox] = closing
        if outcome.shard != (expected := self._shard_of(outcome.event_id)):
            self._findings.add("shard", outcome.event_id, f"shard {outcome.shard}, expected {expected}")
        return True

    def begins_after(self, placement: str, closing: Closing) -> bool:
        """Tell whether a window closed before the first outcome that is still there of its placement and shard."""
        first = self._first.get(outbox_name(placement, self._shard_of(closing.event_id.decode())))
        return first is None or closing < first

    def _shard_of(self, event_id: str) -> int:
        return crc32(event_id.encode()) % self._shards
