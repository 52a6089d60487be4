"""Outcomes in messages of ``rewards``, as they lie in the log."""

import functools
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from records.codec import items
from records.errors import BadInput
from records.message import Message
from replay.evaluation.logs.chunk import Progress
from replay.evaluation.logs.json_outcomes import BLOCK_BYTES, OPTIONAL_FIELDS, field_of, outcome_batch
from replay.evaluation.logs.outcome_source import NUMBERS, OutcomeBatch


class MessageOutcomes:
    """The outcomes in messages of ``rewards``, partition after partition; other messages are counted."""

    def __init__(self, messages: Iterable[Message]) -> None:
        self._messages = messages

    def may_have_lists(self) -> bool:
        """See :class:`replay.evaluation.logs.outcome_source.Outcomes`; only reading everything would tell."""
        return True

    def batches(self, columns: Sequence[str], progress: Progress, first_row: int = 0) -> Iterator[OutcomeBatch]:
        """Yield all outcomes; the source of the messages reports the progress."""
        for first, records, offsets in _grouped(self._messages):
            beheaded = first.offset > 0
            first_row -= len(records)
            read = NUMBERS if first_row >= 0 else columns
            for batch in _readable(records, np.array(offsets, dtype=np.int64), read):
                yield OutcomeBatch(batch, _Offset(first.topic, first.partition), beheaded)


class _Offset(NamedTuple):
    topic: str
    partition: int

    def where(self, offset: int) -> str:
        return f"{self.topic}[{self.partition}], offset {offset}"

    def bad(self, column: str, offset: int, found: str, expected: str) -> BadInput:
        return BadInput("bad_log", f"{self.where(offset)}: {field_of(column)}", found, expected)


def _grouped(messages: Iterable[Message]) -> Iterator[tuple[Message, list[bytes | None], list[int]]]:
    """Yield the records of messages of one partition, the first message of the partition, and the records' offsets."""
    first: Message | None = None
    records: list[bytes | None] = []
    offsets: list[int] = []
    size = 0
    for message in messages:
        if first is None or message.partition != first.partition or size > BLOCK_BYTES:
            if first is not None and records:
                yield first, records, offsets
                records, offsets, size = [], [], 0
            if first is None or message.partition != first.partition:
                first = message
        try:
            found: Sequence[bytes | None] = items(message.value)
        except BadInput:
            found = [None]
        records += found
        offsets += [message.offset] * len(found)
        size += len(message.value or b"")
    if first is not None and records:
        yield first, records, offsets


def _readable(
    records: list[bytes | None], offsets: np.ndarray[Any, Any], columns: Sequence[str]
) -> "Iterator[pa.RecordBatch]":
    """Yield records as rows; one that is no outcome is a row with a problem."""
    # A line break within a record can only be space between its parts.
    lines = [b"" if record is None else record.replace(b"\n", b" ") for record in records]
    if all(line.strip() for line in lines):
        try:
            batch = outcome_batch(b"\n".join(lines) + b"\n", columns, offsets)
        except (pa.ArrowInvalid, msgspec.DecodeError):
            pass
        else:
            yield _with_problems(batch)
            return
    if len(lines) > 1:
        half = len(lines) // 2
        yield from _readable(records[:half], offsets[:half], columns)
        yield from _readable(records[half:], offsets[half:], columns)
        return
    empty = outcome_batch(b"", columns, offsets[:0])
    given = {"offset": pa.array(offsets), "problem": pa.array(["no outcome"])}
    rows = [given.get(field.name, pa.nulls(1, field.type)) for field in empty.schema]
    yield pa.RecordBatch.from_arrays(rows, schema=empty.schema)


def _with_problems(batch: "pa.RecordBatch") -> "pa.RecordBatch":
    needed = {*batch.schema.names} - {"problem", "event_hash", "unit_hash", *OPTIONAL_FIELDS}
    holes = [batch.column(name).is_null() for name in sorted(needed) if batch.column(name).null_count]
    if not holes:
        return batch
    problems = pc.if_else(functools.reduce(pc.or_, holes), pa.scalar("no outcome"), pa.scalar(None, pa.string()))
    return batch.set_column(batch.schema.get_field_index("problem"), "problem", problems)
