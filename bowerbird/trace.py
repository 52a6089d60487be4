"""Finds in the logs all that belongs to one event id; see :mod:`replay.proof.trace` for what it means."""

import re
from collections.abc import AsyncIterator, Callable
from typing import NamedTuple

import msgspec

from policies.decide import made_event_id
from records.codec import decode, items
from records.decision_request import DecisionRequest
from records.errors import BadInput
from records.message import Message, WholeMessage
from records.outcome import Outcome
from records.policy_version import PolicyVersion
from records.position import LogPosition
from records.versions import versions_in
from replay.proof.by_event import Case, Evidence
from replay.proof.recompute import FoundDecision, decisions_of
from replay.proof.trace import EventLogs, FoundOutcomeRecord, Trace, TracedRecord
from rewards.watermark import shard_watermark
from stream.clients import redis_client
from stream.config import Config
from stream.kafka.dead_letter_log import Letter, read_letter
from stream.kafka.headers import REPLY_TOPIC_HEADERS, first_of_each
from stream.kafka.log import MESSAGES_A_REPORT, LogReader
from stream.kafka.versions_tail import versions_tail
from stream.redis.store import RedisStore

Progress = Callable[[str, int], None]
"""Called while logs are read: the topic, and how many of its messages have been read."""

LONGEST_WAIT_MS = 120_000
"""A request is answered at most so long after its append; generously."""
MADE_EVENT_ID = re.compile(r"[0-9a-f]{32}")

_outcome = msgspec.json.Decoder(Outcome)
_request = msgspec.json.Decoder(DecisionRequest)


class _Span(NamedTuple):
    """The log times at which records of an event id can stand; ``until_ms`` None: up to now."""

    since_ms: int = 0
    until_ms: int | None = None


def _silent(topic: str, read: int) -> None:
    pass


async def trace(config: Config, event_id: str, progress: Progress = _silent) -> Trace:
    """Return all that the logs hold about an event id.

    Parameters
    ----------
    config
        Of the service, which may be running.
    event_id
        Any; of an unknown one the trace is empty.
    progress
        Called with how far the logs have been read.

    Raises
    ------
    StateRefused
        Retention removes what is being read.
    """
    shard = config.shard(event_id)
    redis = redis_client(config)
    try:
        watermark_ms, held_by = shard_watermark(await RedisStore(redis, config.prefix).watermarks(shard))
    finally:
        await redis.aclose()
    async with LogReader(config) as reader:
        return await _Tracing(config, reader, event_id, progress).trace(watermark_ms, held_by)


class _Tracing:
    def __init__(self, config: Config, reader: LogReader, event_id: str, progress: Progress) -> None:
        self._config, self._reader, self._event_id, self._progress = config, reader, event_id, progress
        self._name = event_id.encode()
        self._dedup_horizon_ms = round(config.dedup_horizon_s * 1000)

    async def trace(self, watermark_ms: int, held_by: str) -> Trace:
        located: list[FoundDecision] = []
        with Evidence(self._dedup_horizon_ms) as evidence:
            async for message in self._naming("decisions", _Span()):
                evidence.decisions(message)
                located += [
                    each._replace(position=self._position(message, each.position.index))
                    for each in decisions_of(message, self._event_id)
                ]
            times = [each.position.time_ms for each in located]
            near = (
                _Span(max(0, min(times) - self._dedup_horizon_ms), max(times) + self._dedup_horizon_ms + 1)
                if times
                else _Span()
            )
            after = _Span(min(times)) if times else _Span()
            for stream in sorted(evidence.streams | set(self._config.streams)):
                async for message in self._naming(stream, near):
                    evidence.feedback(stream, message)
            case = next(
                (case for case in evidence.cases() if case.event_id == self._event_id),
                Case(self._event_id, [], [], []),
            )
        letters = await self._dead_letters(near)
        logs = EventLogs(
            case=case,
            located=located,
            outcomes=await self._outcomes(after, letters) if located else [],
            versions=(
                await self._versions({each.decision.placement for each in located}, after.since_ms) if located else []
            ),
            watermark_ms=watermark_ms,
            dedup_horizon_ms=self._dedup_horizon_ms,
            feedback_limit=self._config.limits.max_feedback,
        )
        traced, lost = logs.decisions()
        return Trace(
            event_id=self._event_id,
            watermark_ms=watermark_ms,
            held_by=held_by,
            requests=await self._requests(
                _Span(max(0, min(times) - LONGEST_WAIT_MS), max(times) + 1) if times else near
            ),
            decisions=traced,
            feedback=lost,
            dead_letters=[_traced(self._config, letter) for letter in letters],
        )

    async def _naming(self, topic: str, span: _Span) -> AsyncIterator[WholeMessage]:
        """Yield the messages of a topic that may name the event id."""
        async for message in self._read(topic, span):
            if self._may_name(message.value):
                yield message

    def _may_name(self, value: bytes | None) -> bool:
        # An escape may hide the id.
        return value is not None and (self._name in value or b"\\" in value)

    async def _read(self, topic: str, span: _Span) -> AsyncIterator[WholeMessage]:
        read = 0
        async for message in self._reader.read_since(self._config.topic(topic), *span):
            yield message
            read += 1
            if read % MESSAGES_A_REPORT == 0:
                self._progress(topic, read)

    async def _requests(self, span: _Span) -> list[TracedRecord]:
        cluster_id = await self._reader.cluster_id()
        # A request that brings no id of its own gets one that is made from its position.
        made = MADE_EVENT_ID.fullmatch(self._event_id) is not None
        requests: list[TracedRecord] = []
        async for message in self._read("decision-requests", span):
            if not made and not self._may_name(message.value):
                continue
            for index, body in _bodies(message):
                try:
                    request = decode(_request, body)
                except BadInput:
                    continue
                where = (message.topic, message.partition, message.offset, index)
                event_id = request.event_id
                if (made_event_id(cluster_id, *where) if event_id is None else event_id) == self._event_id:
                    about = f"for placement {request.placement}, {len(request.actions)} actions; {_reply(message)}"
                    requests.append(TracedRecord(self._position(message, index), about))
        return requests

    async def _outcomes(self, span: _Span, letters: list[Letter]) -> list[FoundOutcomeRecord]:
        refused = {letter.source for letter in letters if letter.source is not None}
        outcomes: list[FoundOutcomeRecord] = []
        async for message in self._naming("rewards", span):
            for index, body in _bodies(message):
                try:
                    outcome = decode(_outcome, body)
                except BadInput:
                    continue
                if outcome.event_id == self._event_id and outcome.revision == 0:
                    where = (message.topic, message.partition, message.offset, index)
                    outcomes.append(FoundOutcomeRecord(self._position(message, index), outcome, where in refused))
        return outcomes

    async def _versions(self, placements: set[str], since_ms: int) -> list[PolicyVersion]:
        """Return the version in force at a log time, and those that were published since, of each policy."""
        topic = self._config.topic("versions")
        where = (topic, 0)
        if not await self._reader.partitions(topic):
            return []
        start = (await self._reader.at([where], since_ms))[where]
        newest = (await versions_tail(self._reader, topic, end=start)).newest()
        versions = [
            logged.version for logged in newest.by_policy.values() if placements.intersection(logged.version.placements)
        ]
        highest = {version.policy: version.number for version in versions}
        async for message in self._read("versions", _Span(since_ms)):
            found = versions_in(message.value, highest)
            versions += [version for version in found if placements.intersection(version.placements)]
        return versions

    async def _dead_letters(self, span: _Span) -> list[Letter]:
        letters: list[Letter] = []
        async for record in self._reader.read_since(self._config.topic("dead-letters"), span.since_ms):
            letter = read_letter(record)
            if letter.key == self._name or _quoted(self._event_id) in (letter.value or b""):
                letters.append(letter)
        return letters

    def _position(self, message: Message, index: int) -> LogPosition:
        topic = self._config.stream_of(message.topic)
        return LogPosition(message.time_ms, topic, message.partition, message.offset, index)


def _reply(message: WholeMessage) -> str:
    headers = first_of_each(message.headers)
    asked = next((headers[name] for name in REPLY_TOPIC_HEADERS if name in headers), None)
    return (
        "reply: none asked for" if asked is None else f"reply: asked for on {asked.decode('utf-8', 'backslashreplace')}"
    )


def _bodies(message: Message) -> list[tuple[int, bytes]]:
    try:
        return list(enumerate(items(message.value)))
    except BadInput:
        return []


def _quoted(event_id: str) -> bytes:
    return msgspec.json.encode(event_id)


def _traced(config: Config, letter: Letter) -> TracedRecord:
    position = LogPosition(letter.time_ms, "dead-letters", letter.partition, letter.offset, 0)
    source = "" if letter.source is None else f" (from {letter.source})"
    return TracedRecord(position, f"{letter.reason or 'no reason'}: {letter.message or letter.problem}{source}")
