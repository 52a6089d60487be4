"""What the learner says of outcomes and partitions that it cannot go on with."""

import contextlib
from collections.abc import Sequence

import msgspec

from policies.learner import Refused
from policies.training import LearnableOutcome
from records.codec import items
from records.errors import BadInput


def refused_records(value: bytes | None, refused: Sequence[Refused]) -> list[tuple[int, BadInput, bytes | None]]:
    """Return index, reason and bytes of the outcomes of a message that a policy refused."""
    errors = {one[:3]: one.error for one in refused}
    rejected: list[tuple[int, BadInput, bytes | None]] = []
    for index, record in enumerate(items(value)):
        with contextlib.suppress(msgspec.DecodeError):
            outcome = msgspec.json.decode(record, type=LearnableOutcome)
            which = (outcome.outbox, outcome.outcome_seq, outcome.event_id)
            if which in errors:
                rejected.append((index, errors.pop(which), record))
    return rejected


def unexpected(number: int, error: Exception) -> str:
    """Return why a partition stands still after an error that nothing foresaw."""
    return (
        f"rewards[{number}] stands still after an unexpected {type(error).__name__}, which the log shows: start the"
        " role again (`bowerbird worker --roles learn`)"
    )
