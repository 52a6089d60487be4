"""The rows of the archive: one row per record of the log, with its fields as columns and its bytes.

The schema is a promise to other readers of the files (docs/archive.md): columns are added, never changed.
A record that cannot be read as what its topic holds is a row too, with its bytes and the reason in ``problem``.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from itertools import accumulate
from typing import Any, NamedTuple

import msgspec
import pyarrow as pa

from archive.hashes import event_hashes, unit_hashes
from archive.schema import ACTION, COMPUTED, PLACE, SCHEMAS, ArchivedAction
from records.codec import decode, encode, items
from records.decision import Decision
from records.errors import BadInput, shorten
from records.feedback import CountedFeedback, Feedback
from records.log_identity import LogIdentity
from records.message import WholeMessage
from records.outcome import Outcome, parse_outbox
from records.policy_version import PolicyVersion
from records.versions_snapshot import VersionsSnapshot

UNSTORABLE = (ValueError, TypeError, OverflowError, pa.ArrowException, msgspec.MsgspecError)
"""What is raised of a value that its column cannot hold."""

LAST_MS = 253_402_300_799_999

Row = tuple[Any, ...]


class _LoggedDecision(Decision, frozen=True, kw_only=True):
    """A decision whose actions stay bytes: those of many decisions are decoded in one go, see :func:`_actions`."""

    actions: msgspec.Raw  # type: ignore[assignment]


_decision = msgspec.json.Decoder(_LoggedDecision)
_every_action = msgspec.json.Decoder(list[list[ArchivedAction] | None])
_outcome = msgspec.json.Decoder(Outcome)
_event = msgspec.json.Decoder(Feedback)
_version = msgspec.json.Decoder(PolicyVersion)
_identity = msgspec.json.Decoder(LogIdentity)
_snapshot = msgspec.json.Decoder(VersionsSnapshot)


def rows_of(topic: str, message: WholeMessage) -> list[Row]:
    """Return the rows of a message, without what is computed; never raises on account of its bytes.

    Each is in the order of the topic's schema.

    Parameters
    ----------
    topic
        One of :data:`TOPICS`: what the message's topic is without the prefix.
    """
    if topic == "dead-letters":
        return [(*_place(message, 0, None, message.value), *_letter(message))]
    value = message.value
    try:
        records = items(value)
    except BadInput as error:
        return [unreadable(topic, _place(message, 0, None, value), str(error))]
    # What items() hands back is the value itself where that is no array.
    batch = None if len(records) == 1 and records[0] is value else len(records)
    fields = _FIELDS[topic]
    rows: list[Row] = []
    for index, record in enumerate(records):
        place = _place(message, index, batch, record)
        try:
            rows.append((*place, *fields(record)))
        except BadInput as error:
            rows.append(unreadable(topic, place, str(error)))
        except Exception:  # no record may stop the archive, whatever is in it
            rows.append(unreadable(topic, place, f"found something else, expected a record of {topic}"))
    return rows


def table_of(topic: str, rows: Sequence[Row]) -> "pa.Table":
    """Return rows as a table; a row with a value that its column cannot hold becomes one with a ``problem``."""
    try:
        return _table(topic, rows)
    except UNSTORABLE:
        return _table(topic, [_storable(topic, row) for row in rows])


def unreadable(topic: str, place: Row, problem: str) -> Row:
    """Return the row of a record that is not what its topic holds."""
    missing = len(_come(topic)) - len(PLACE)
    return (*place[: len(PLACE) - 1], shorten(problem), *[None] * missing)


class ArchivedMessage(NamedTuple):
    """A message that was read from the archive; its value has the records of the logged one."""

    topic: str
    partition: int
    offset: int
    time_ms: int
    value: bytes | None


MESSAGE_COLUMNS = ("log_time", "offset", "batch", "raw")
"""What :func:`messages_of` reads."""


def messages_of(topic: str, partition: int, rows: "Iterator[pa.RecordBatch]") -> Iterator[ArchivedMessage]:
    """Put the rows of a partition, in their order, together to the messages that they were."""
    records: list[bytes] = []
    for batch in rows:
        times = batch.column("log_time").cast(pa.int64()).to_pylist()
        offsets, sizes, raws = (batch.column(name).to_pylist() for name in ("offset", "batch", "raw"))
        for time_ms, offset, size, raw in zip(times, offsets, sizes, raws, strict=True):
            if size is None:
                yield ArchivedMessage(topic, partition, offset, time_ms, raw)
                continue
            records.append(raw)
            if len(records) == size:
                yield ArchivedMessage(topic, partition, offset, time_ms, b"[" + b",".join(records) + b"]")
                records.clear()


def computed(name: str, user_ids: "pa.Array", event_ids: "pa.Array") -> "pa.Array":
    """Return one of :data:`COMPUTED` of records with these ids."""
    return event_hashes(event_ids) if name == "event_hash" else unit_hashes(user_ids, event_ids)


def _come(topic: str) -> "list[pa.Field]":
    return [field for field in SCHEMAS[topic] if field.name not in COMPUTED]


def _table(topic: str, rows: Sequence[Row]) -> "pa.Table":
    fields = _come(topic)
    columns = zip(*rows, strict=True) if rows else [()] * len(fields)
    arrays = {
        field.name: _actions(column) if field.name == "actions" else pa.array(column, field.type)
        for column, field in zip(columns, fields, strict=True)
    }
    for name in COMPUTED:
        if name in SCHEMAS[topic].names:
            arrays[name] = computed(name, arrays["user_id"], arrays["event_id"])
    return pa.Table.from_arrays(list(arrays.values()), schema=SCHEMAS[topic])


def _actions(column: Sequence[msgspec.Raw | None]) -> "pa.Array":
    """Return the column of actions; made from its parts, which takes half as long as from a dict an action."""
    decoded = _every_action.decode(b"[" + b",".join([b"null" if raw is None else raw for raw in column]) + b"]")
    flat = [action for actions in decoded if actions for action in actions]
    # No JSON holds a NUL; to join and split takes a third of the time of a call for each.
    features = b"\0".join([action.features for action in flat]).split(b"\0") if flat else []
    parts = pa.array([action.id for action in flat], pa.string()), pa.array(features, pa.string())
    ends = accumulate((len(actions or ()) for actions in decoded), initial=0)
    offsets = [end if actions is not None else None for end, actions in zip(ends, [*decoded, ()], strict=True)]
    return pa.ListArray.from_arrays(
        pa.array(offsets, pa.int32()), pa.StructArray.from_arrays(parts, fields=list(ACTION)), type=pa.list_(ACTION)
    )


def _storable(topic: str, row: Row) -> Row:
    try:
        _table(topic, [row])
    except UNSTORABLE:
        return unreadable(topic, row, _unstorable(topic, row))
    return row


def _unstorable(topic: str, row: Row) -> str:
    """Return which field of a record its column cannot hold."""
    for field, value in zip(_come(topic), row, strict=True):
        try:
            _actions([value]) if field.name == "actions" else pa.array([value], field.type)
        except UNSTORABLE:
            return f"{field.name}: found {shorten(repr(value))}, expected what a column of {_kind(field.type)} holds"
    return f"found a value that cannot be stored, expected a record of {topic}"


def _kind(kind: "pa.DataType") -> str:
    """Return the type of a column in words."""
    if pa.types.is_integer(kind):
        return f"integers of {kind.bit_width} bits"
    if pa.types.is_floating(kind):
        return "numbers"
    if pa.types.is_timestamp(kind):
        return "times"
    return "lists" if pa.types.is_nested(kind) else "texts"


def _place(message: WholeMessage, index: int, batch: int | None, raw: bytes | None) -> Row:
    return (
        message.time_ms,
        message.topic,
        message.partition,
        message.offset,
        index,
        batch,
        message.key,
        raw,
        None,
    )


def _decision_fields(record: bytes) -> Row:
    decision = decode(_decision, record)
    return (decision.event_id, decision.placement, decision.policy, decision.policy_version, *_drawn(decision))


def _drawn(decision: _LoggedDecision) -> Row:
    return (
        decision.user_id,
        decision.activate,
        bytes(decision.context),
        decision.actions,
        decision.pmf,
        decision.chosen,
        decision.propensity,
        decision.ranking,
        decision.top,
        [{"action": pick.action, "propensity": pick.propensity} for pick in decision.picks],
        decision.expires_at_ms,
        bytes(decision.rule),
    )


def _outcome_fields(record: bytes) -> Row:
    outcome = decode(_outcome, record)
    decision = decode(_decision, bytes(outcome.decision))
    place = outcome.decision_position
    return (
        outcome.event_id,
        outcome.placement,
        outcome.policy,
        outcome.policy_version,
        outcome.shard,
        outcome.outcome_seq,
        outcome.revision,
        outcome.reward,
        outcome.rewards,
        outcome.places,
        outcome.learn,
        outcome.why,
        _time(outcome.closed_ms),
        list(dict.fromkeys(event.stream for event in outcome.feedback)),
        [_feedback(event) for event in outcome.feedback],
        _time(place.time_ms),
        place.topic,
        place.partition,
        place.offset,
        place.index,
        *_drawn(decision),
    )


def _feedback(counted: CountedFeedback) -> dict[str, Any]:
    event = decode(_event, bytes(counted.event))
    return {
        "stream": counted.stream,
        "log_time": _time(counted.time_ms),
        "partition": counted.partition,
        "offset": counted.offset,
        "index": counted.index,
        "id": event.id,
        "value": event.value,
        "activate": event.activate,
        "event": bytes(counted.event),
    }


def _time(time_ms: int) -> int:
    """Return a time that every reader of Parquet can show: up to the year 9999."""
    if not 0 <= time_ms <= LAST_MS:
        raise BadInput("invalid_field", "time", str(time_ms), f"0 to {LAST_MS} ms since 1970")
    return time_ms


def _version_fields(record: bytes) -> Row:
    try:
        identity = decode(_identity, record)
    except BadInput:
        pass
    else:
        return (identity.log_id, *[None] * (len(_come("versions")) - len(PLACE) - 1))
    if b'"end_offset"' in record:
        # A snapshot repeats what other rows say; its bytes are kept, as those of every record.
        decode(_snapshot, record)
        return (None,) * (len(_come("versions")) - len(PLACE))
    version = decode(_version, record)
    return (
        None,
        version.policy,
        version.number,
        version.version,
        version.kind,
        version.arguments,
        version.salt,
        list(version.placements),
        version.cut,
        [_last_seq(outbox, seq) for outbox, seq in version.last_seqs.items()],
        version.digest,
        version.examples,
        version.partition,
        _time(version.published_ms),
        version.vw_build,
        version.processor,
        version.control,
        encode(version.shape).decode(),
    )


def _letter(message: WholeMessage) -> Row:
    headers = [
        (name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace"), content or b"")
        for name, content in message.headers
    ]
    values = {name: content.decode(errors="replace") for name, content in reversed(headers)}

    def number(name: str, bits: int) -> int | None:
        text = values.get(name, "")
        return int(text) if re.fullmatch(r"[0-9]{1,19}", text) and int(text) < 2 ** (bits - 1) else None

    return (
        values.get("topic"),
        number("partition", 32),
        number("offset", 64),
        number("index", 32),
        values.get("reason"),
        values.get("message"),
        [{"name": name, "content": content} for name, content in headers],
    )


_FIELDS: dict[str, Callable[[bytes], Row]] = {
    "decisions": _decision_fields,
    "rewards": _outcome_fields,
    "versions": _version_fields,
}


def _last_seq(outbox: str, seq: int) -> dict[str, Any]:
    placement, shard = parse_outbox(outbox)
    return {"placement": placement, "shard": shard, "outcome_seq": seq}
