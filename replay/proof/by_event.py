"""All records about each event id, side by side: a sort on disk, so that memory stays bounded.

The logs are read once, topic after topic; what they say about one event id is needed together. SQLite keeps a
private temporary database for it (SQLite documentation, *Temporary Files Used By SQLite*), which spills to disk
beyond its page cache and vanishes with the connection.
"""

import sqlite3
from collections.abc import Iterable, Iterator
from itertools import groupby
from types import TracebackType
from typing import NamedTuple, Self

import msgspec

from records.codec import UNREADABLE, encode, items
from records.decision import decision_head
from records.errors import BadInput
from records.feedback import CountedFeedback, Feedback, feedback
from records.fields import EXTERNAL
from records.message import Message
from records.outcome import Outcome, Why, outbox_name
from records.position import LogPosition
from records.rule import rule_of
from replay.proof.content import bytes_digest, content_digest
from replay.proof.oracle import LoggedDecision, LoggedFeedback

_DECISION, _FEEDBACK, _OUTCOME = range(3)
_ROWS_AT_ONCE = 2000


class _Version(msgspec.Struct):
    """What is read of a decision that an outcome holds; all of it is compared by its digest."""

    policy: str
    policy_version: str


_version = msgspec.json.Decoder(_Version)

CitedFeedback = tuple[str, int, int, int, int, bytes]
"""Stream, log time, partition, offset, index and digest of a feedback that an outcome counts."""


def _version_of(decision: msgspec.Raw) -> tuple[str, str] | None:
    try:
        held = _version.decode(decision)
        return held.policy, held.policy_version
    except UNREADABLE:
        return None


class FoundOutcome(NamedTuple):
    """What a record of ``rewards`` says, and where it stands.

    ``feedback`` names the position and digest of each event that it counts; ``decision`` is the digest of the
    decision that it holds, ``decision_at`` (log time, partition, offset, index) the position that it cites,
    ``consistent``: it cites the topic of decisions, and the version of the decision that it holds.
    """

    outbox: str
    outcome_seq: int
    offset: int
    placement: str
    reward: float
    rewards: tuple[float, ...]
    places: int
    learn: bool
    why: Why
    closed_ms: int
    consistent: bool
    decision_at: tuple[int, int, int, int]
    decision: bytes
    feedback: tuple[CitedFeedback, ...]

    @classmethod
    def of(cls, offset: int, outcome: Outcome, decisions: str) -> Self:
        """Return what an outcome of the message at ``offset`` says; ``decisions`` is the topic that it must cite."""
        position = outcome.decision_position
        held = _version_of(outcome.decision)
        return cls(
            outbox_name(outcome.placement, outcome.shard),
            outcome.outcome_seq,
            offset,
            outcome.placement,
            outcome.reward,
            tuple(outcome.rewards),
            outcome.places,
            outcome.learn,
            outcome.why,
            outcome.closed_ms,
            position.topic == decisions and (outcome.policy, outcome.policy_version) == held,
            (position.time_ms, position.partition, position.offset, position.index),
            content_digest(bytes(outcome.decision)),
            tuple(
                (
                    event.stream,
                    event.time_ms,
                    event.partition,
                    event.offset,
                    event.index,
                    content_digest(bytes(event.event)),
                )
                for event in outcome.feedback
            ),
        )


class Case(NamedTuple):
    """All that the logs hold about one event id."""

    event_id: str
    decisions: list[LoggedDecision]
    feedback: list[LoggedFeedback]
    outcomes: list[FoundOutcome]


class _DecisionRow(NamedTuple):
    placement: str
    shown: tuple[str, ...]
    drawn: bytes
    activate: bool
    expires_at_ms: int | None
    external: bool
    rule: bytes
    content: bytes


class _FeedbackRow(NamedTuple):
    id: str
    value: float
    activate: bool
    action: str | None
    content: bytes
    known: bytes


_pack = msgspec.msgpack.Encoder().encode
_unpack_decision = msgspec.msgpack.Decoder(_DecisionRow).decode
_unpack_feedback = msgspec.msgpack.Decoder(_FeedbackRow).decode
_unpack_outcome = msgspec.msgpack.Decoder(FoundOutcome).decode


class Evidence:
    """Collects the records of the logs, in any order, and gives them back by event id.

    Parameters
    ----------
    dedup_horizon_ms
        A decision whose window is longer than half of it is no decision to the join either.

    Attributes
    ----------
    streams
        Every stream that a rule of a decision names; complete once all decisions have been read.
    unusable
        How many records could not be read as what their topic holds.
    """

    def __init__(self, dedup_horizon_ms: int) -> None:
        self.streams: set[str] = set()
        self.unusable = 0
        self._dedup_horizon_ms = dedup_horizon_ms
        self._database = sqlite3.connect("")
        self._database.executescript(
            """
            PRAGMA journal_mode = OFF;
            PRAGMA synchronous = OFF;
            PRAGMA cache_size = -65536;
            CREATE TABLE record (
                event_id BLOB, kind INTEGER, time_ms INTEGER, topic TEXT, partition INTEGER,
                at INTEGER, position INTEGER, body BLOB
            );
            """
        )
        self._rows: list[tuple[bytes, int, int, str, int, int, int, bytes]] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Give back the disk space; nothing can be read any more."""
        self._database.close()

    def decisions(self, message: Message) -> None:
        """Take in a message of ``decisions``."""
        for index, body in self._items(message):
            try:
                head = decision_head(body)
                rule = rule_of(head.rule)
            except BadInput:
                self.unusable += 1
                continue
            if 2 * round(rule.window_s * 1000) > self._dedup_horizon_ms:
                self.unusable += 1
                continue
            self.streams.update(rule.reward.streams, rule.reward.close_on)
            if rule.activate_on is not None:
                self.streams.add(rule.activate_on)
            picks = [(pick.action, pick.propensity) for pick in head.picks]
            drawn = bytes_digest(_pack((head.policy, head.policy_version, bytes(head.pmf), head.chosen, picks)))
            row = _DecisionRow(
                head.placement,
                tuple(head.shown),
                drawn,
                head.activate,
                head.expires_at_ms,
                head.policy_version == EXTERNAL,
                bytes(head.rule),
                content_digest(body),
            )
            position = LogPosition(message.time_ms, "", message.partition, message.offset, index)
            self._add(head.event_id, _DECISION, position, _pack(row))

    def feedback(self, stream: str, message: Message) -> None:
        """Take in a message of a feedback stream; ``stream`` is its topic without the prefix."""
        for index, body in self._items(message):
            try:
                record = feedback(body)
            except BadInput:
                self.unusable += 1
                continue
            self._add_feedback(
                LogPosition(message.time_ms, stream, message.partition, message.offset, index), record, body
            )

    def counted(self, event: CountedFeedback) -> None:
        """Take in feedback as an outcome carries it, whose stream has lost it."""
        body = bytes(event.event)
        try:
            record = feedback(body)
        except BadInput:
            self.unusable += 1
            return
        self._add_feedback(
            LogPosition(event.time_ms, event.stream, event.partition, event.offset, event.index), record, body
        )

    def outcome(self, event_id: str, outcome: FoundOutcome) -> None:
        """Take in an outcome."""
        self._add(
            event_id, _OUTCOME, LogPosition(0, outcome.outbox, 0, outcome.outcome_seq, outcome.offset), _pack(outcome)
        )

    def cases(self) -> Iterator[Case]:
        """Yield what was taken in, an event id at a time; in each list positions rise."""
        self._flush()
        rows = self._database.execute(
            "SELECT event_id, kind, time_ms, topic, partition, at, position, body FROM record "
            "ORDER BY event_id, kind, time_ms, topic, partition, at, position"
        )
        for event_id, group in groupby(rows, key=lambda row: bytes(row[0])):
            yield _case(event_id.decode(), group)

    def contradictions(self) -> Iterator[tuple[str, int]]:
        """Yield (outbox, seq) of what ``rewards`` holds under more than one event id."""
        self._flush()
        yield from self._database.execute(
            "SELECT topic, at FROM record WHERE kind = ? "
            "GROUP BY topic, at HAVING count(DISTINCT event_id) > 1 ORDER BY topic, at",
            (_OUTCOME,),
        )

    def __len__(self) -> int:
        self._flush()
        return int(self._database.execute("SELECT count(*) FROM record").fetchone()[0])

    def _items(self, message: Message) -> Iterable[tuple[int, bytes]]:
        try:
            return enumerate(items(message.value))
        except BadInput:
            self.unusable += 1
            return ()

    def _add_feedback(self, position: LogPosition, record: Feedback, body: bytes) -> None:
        by_position = f"{position.topic}-{position.partition}-{position.offset}-{position.index}"
        identity = by_position if record.id is None else record.id
        known = content_digest(encode(record))
        row = _FeedbackRow(
            identity, record.value or 0.0, bool(record.activate), record.action, content_digest(body), known
        )
        self._add(record.event_id, _FEEDBACK, position, _pack(row))

    def _add(self, event_id: str, kind: int, position: LogPosition, body: bytes) -> None:
        where = (position.time_ms, position.topic, position.partition, position.offset, position.index)
        self._rows.append((event_id.encode(), kind, *where, body))
        if len(self._rows) >= _ROWS_AT_ONCE:
            self._flush()

    def _flush(self) -> None:
        self._database.executemany("INSERT INTO record VALUES (?, ?, ?, ?, ?, ?, ?, ?)", self._rows)
        self._rows.clear()


def _case(event_id: str, rows: Iterable[tuple[bytes, int, int, str, int, int, int, bytes]]) -> Case:
    case = Case(event_id, [], [], [])
    for _, kind, time_ms, topic, partition, offset, index, body in rows:
        position = LogPosition(time_ms, topic, partition, offset, index)
        if kind == _DECISION:
            decision = _unpack_decision(body)
            case.decisions.append(
                LoggedDecision(
                    position,
                    decision.placement,
                    decision.shown,
                    decision.drawn,
                    decision.activate,
                    decision.expires_at_ms,
                    decision.external,
                    rule_of(msgspec.Raw(decision.rule)),
                    decision.content,
                )
            )
        elif kind == _FEEDBACK:
            event = _unpack_feedback(body)
            case.feedback.append(LoggedFeedback(position, *event))
        else:
            case.outcomes.append(_unpack_outcome(body))
    return case
