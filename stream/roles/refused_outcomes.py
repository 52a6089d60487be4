"""The dead letters of the outcomes that the learner cannot use."""

import contextlib
from collections.abc import Sequence
from typing import Any

import msgspec

from policies.learner import Refused
from policies.training import LearnableOutcome, Unreadable
from records.codec import items
from stream.kafka.dead_letters import DeadLetter


def letters_of(message: Any, records: Sequence[Unreadable]) -> list[DeadLetter]:
    """Return the letters for records of a message of ``rewards``."""
    where = message.topic, message.partition, message.offset
    return [DeadLetter(*where, index, error.code, error.message, value, message.key) for index, value, error in records]


def refused_records(value: bytes | None, refused: Sequence[Refused]) -> list[Unreadable]:
    """Return the records of a message that a policy refused."""
    errors = {one[:3]: one.error for one in refused}
    rejected: list[Unreadable] = []
    for index, record in enumerate(items(value)):
        with contextlib.suppress(msgspec.DecodeError):
            outcome = msgspec.json.decode(record, type=LearnableOutcome)
            which = (outcome.outbox, outcome.outcome_seq, outcome.event_id)
            if which in errors:
                rejected.append(Unreadable(index, record, errors.pop(which)))
    return rejected
