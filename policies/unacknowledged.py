"""Which messages of ``rewards`` may be acknowledged: those that saved positions cover."""

from collections import deque
from collections.abc import Mapping, Sequence
from typing import Generic, TypeVar

from policies.learn_position import Position
from policies.training import OutcomeToLearn
from records.sequence import gap_too_large

Message = TypeVar("Message")


class Unacknowledged(Generic[Message]):
    """The messages of one partition that were taken and are not acknowledged, in the order of the log."""

    def __init__(self) -> None:
        self._waiting: deque[tuple[int, Message, Mapping[str, Mapping[str, int]]]] = deque()

    def __len__(self) -> int:
        return len(self._waiting)

    def add(self, offset: int, message: Message, seqs: Mapping[str, Mapping[str, int]]) -> None:
        """Add a message, with the highest seqs in it of each policy that is learned.

        A message that was delivered before takes its place again, and what came after it will come again too.
        """
        while self._waiting and self._waiting[-1][0] >= offset:
            self._waiting.pop()
        self._waiting.append((offset, message, seqs))

    def covered(self, saved: Mapping[str, Position]) -> list[Message]:
        """Take out and return the messages below the first with an outcome that no saved position covers."""
        covered: list[Message] = []
        while self._waiting:
            _, message, seqs = self._waiting[0]
            if not all(saved[name].covers(own) for name, own in seqs.items()):
                break
            covered.append(message)
            self._waiting.popleft()
        return covered


def highest_seqs(outcomes: Sequence[OutcomeToLearn], last: Mapping[str, int]) -> dict[str, int]:
    """Return the highest seq of each outbox that is taken after the last ones; see :meth:`Learner.take`."""
    seqs: dict[str, int] = {}
    for outcome in outcomes:
        outbox = outcome.outbox
        known = seqs.get(outbox, 0)
        far = gap_too_large(max(known, last.get(outbox, 0)), outcome.outcome_seq)
        if not outcome.revision and not far and outcome.outcome_seq > known:
            seqs[outbox] = outcome.outcome_seq
    return seqs
