"""A message of ``decision-requests`` becomes decisions, a reply and dead letters: opened, read, decided."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from time import perf_counter
from typing import Any, Protocol

from policies.decide import (
    NO_DEAD_LETTER,
    Decided,
    LoadedPolicy,
    Opened,
    Refused,
    RequestRules,
    decide,
    event_id_of,
    made_event_id,
    open_request,
    refused,
)
from policies.features import ActionCache
from records.codec import items
from records.error_reply import Problem
from records.errors import BadInput, StateRefused
from stream import metrics
from stream.clients import LARGE_MESSAGE_BYTES
from stream.config import Config
from stream.kafka.dead_letters import DeadLetter
from stream.role import DECIDE
from stream.roles.appender import ProducerRecord
from stream.roles.envelope import Envelope, Envelopes

log = logging.getLogger(__name__)

LOG_APPEND_TIME = 1
DECISIONS_BYTES = LARGE_MESSAGE_BYTES - 64 * 1024
"""Decisions of one array go into one message up to this size."""
INTERNAL = BadInput("internal_error", "request", "an error of ours", "a decision; it is logged and counted")


@dataclass(slots=True)
class Request:
    """A message of ``decision-requests`` on its way to a reply.

    Attributes
    ----------
    array
        Whether the message is an array, so that the reply is one.
    results
        One for each item of the message, in their order.
    letters
        What of it goes to the dead letters.
    groups
        For each message of ``decisions`` that it makes: the indices of its items.
    items
        Each item as it came and as it was opened, until it is decided.
    seconds
        How long opening and deciding took.
    """

    record: Any
    envelope: Envelope
    array: bool
    results: list[Decided | Refused]
    letters: list[DeadLetter]
    groups: list[list[int]] = field(default_factory=list)
    items: list[tuple[bytes, Opened | Refused]] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def expires_at_ms(self) -> int:
        """The log time beyond which nobody waits for the reply any more."""
        return int(self.record.timestamp) + self.envelope.ttl_ms

    def messages(self) -> list[ProducerRecord]:
        """Return the messages of ``decisions``: one, but for an array that would be too large."""
        group: list[int] = []
        size = 0
        for index, result in enumerate(self.results):
            if isinstance(result, Decided):
                if group and size + len(result.value) > DECISIONS_BYTES:
                    self.groups.append(group)
                    group, size = [], 0
                group.append(index)
                size += len(result.value) + 1
        if group:
            self.groups.append(group)
        return [ProducerRecord(self.record.partition, *self._message(group)) for group in self.groups]

    def _message(self, group: Sequence[int]) -> tuple[bytes | None, bytes]:
        decided = [result for index in group if isinstance(result := self.results[index], Decided)]
        if not self.array:
            return decided[0].event_id.encode(), decided[0].value
        return self.record.key, b"[" + b",".join(one.value for one in decided) + b"]"

    def appended(self, answers: Sequence[Any | None]) -> bool:
        """Take what the broker said of the decisions; tell whether somebody may still wait for the reply."""
        late = 0
        for group, answer in zip(self.groups, answers, strict=True):
            if answer is None:
                self._too_large(group)
            elif answer.timestamp_type != LOG_APPEND_TIME or answer.timestamp > self.expires_at_ms:
                late += len(group)
                metrics.REPLIES.labels("late").inc(len(group))
                for index in group:
                    self._refuse(index, BadInput("expired", "request", "a stalled append", "a decision in time"))
        for result in self.results:
            if isinstance(result, Decided):
                metrics.DECISIONS.labels(result.placement).inc()
        return late < len(self.results)

    def _too_large(self, group: Sequence[int]) -> None:
        error = BadInput("decision_too_large", "value", "a decision", f"at most {DECISIONS_BYTES} bytes")
        for index in group:
            self._refuse(index, error)
        # The whole message once, however many of its items are in the group.
        self.letters.append(_letter(self.record, group[0], error, self.record.value))

    def _refuse(self, index: int, error: BadInput) -> None:
        result = self.results[index]
        if isinstance(result, Decided):
            self.results[index] = refused(error, result.event_id, result.placement)

    def reply(self) -> bytes:
        """Return the reply: a decision is its own, an error says why not; an array has them in their places."""
        parts = [result.value if isinstance(result, Decided) else result.reply() for result in self.results]
        return b"[" + b",".join(parts) + b"]" if self.array else parts[0]

    def give_up(self) -> None:
        """Send the whole message to the dead letters: something failed that nobody foresaw."""
        self.letters = [_letter(self.record, 0, INTERNAL, self.record.value)]

    def key(self) -> bytes | None:
        """Return the reply's key."""
        if self.array or self.results[0].event_id is None:
            return self.record.key  # type: ignore[no-any-return]
        return self.results[0].event_id.encode()


def _letter(record: Any, index: int, error: BadInput | Problem, value: bytes | None) -> DeadLetter:
    return DeadLetter(
        record.topic,
        record.partition,
        record.offset,
        index,
        error.code,
        error.message,
        value,
        record.key,
        record.headers,
    )


class Policies(Protocol):
    """What deciding asks for: the versions in use, and whether too much waits. See `PolicyCache`."""

    choosers: dict[str, LoadedPolicy]

    def overloaded(self, policy: str) -> bool:
        """Tell whether more decisions of a policy wait for their window than may."""
        ...


class Requests:
    """Makes of each message what is to be appended and answered; waits for nothing.

    Parameters
    ----------
    policies
        What they decide with.
    cluster_id
        Goes into the event ids that are made here.
    """

    def __init__(self, config: Config, policies: Policies, cluster_id: str) -> None:
        self._config, self._policies, self._cluster_id = config, policies, cluster_id
        self._envelopes = Envelopes(config)
        self._catalogue = ActionCache(config.limits)

    def open(self, record: Any, now_ms: int) -> Request:
        """Return a message with its items decoded and validated; whatever it holds, nothing is raised."""
        started = perf_counter()
        request = Request(record, self._envelopes.open(record.headers), False, [], [])
        try:
            self._open_items(request, now_ms)
        except BadInput as error:
            self._refuse_all(request, error)
        except Exception:
            self._unexpected(record)
            self._refuse_all(request, INTERNAL)
        request.seconds = perf_counter() - started
        return request

    async def read(self, batch: Sequence[Request]) -> None:
        """Read what the decisions of a batch need besides its requests, all at once: nothing so far."""

    def decide(self, request: Request, now_ms: int) -> None:
        """Make the decisions and errors of a message that was opened; nothing is raised."""
        started = perf_counter()
        try:
            self._decide_items(request, now_ms)
        except Exception:
            self._unexpected(request.record)
            self._refuse_all(request, INTERNAL)
        for result in request.results:
            placement = result.placement if result.placement in self._config.placements else metrics.OTHER
            metrics.REQUESTS.labels(placement).inc()
            if isinstance(result, Refused):
                metrics.REQUEST_ERRORS.labels(placement, result.problem.code).inc()
        metrics.PREDICT_SECONDS.observe(request.seconds + perf_counter() - started)

    def _open_items(self, request: Request, now_ms: int) -> None:
        record = request.record
        parts = items(record.value)
        request.array = record.value.lstrip(b" \t\r\n")[:1] == b"["
        if (problem := request.envelope.problem) is not None:
            request.results = [refused(problem, event_id_of(raw)) for raw in parts]
            request.letters = [_letter(record, 0, problem, record.value)]
            return
        expires_at_ms = request.expires_at_ms
        for index, raw in enumerate(parts):
            request.items.append((raw, self._open_item(record, index, raw, now_ms, expires_at_ms)))

    def _open_item(self, record: Any, index: int, raw: bytes, now_ms: int, expires_at_ms: int) -> Opened | Refused:
        try:
            policies, limits = self._policies, self._config.limits
            rules = RequestRules(policies.choosers, policies.overloaded, self._catalogue.action, limits)
            event_id = made_event_id(self._cluster_id, record.topic, record.partition, record.offset, index)
            return open_request(raw, rules, event_id=event_id, now_ms=now_ms, expires_at_ms=expires_at_ms)
        except Exception:
            self._unexpected(record)
            return refused(INTERNAL, event_id_of(raw))

    def _decide_items(self, request: Request, now_ms: int) -> None:
        for index, (raw, item) in enumerate(request.items):
            result = item if isinstance(item, Refused) else self._decide_item(request.record, item, now_ms)
            request.results.append(result)
            if isinstance(result, Refused) and result.problem.code not in NO_DEAD_LETTER:
                request.letters.append(_letter(request.record, index, result.problem, raw))
        request.items = []

    def _decide_item(self, record: Any, opened: Opened, now_ms: int) -> Decided | Refused:
        try:
            return decide(opened, self._policies.choosers[opened.placement], now_ms)
        except StateRefused as error:
            log.error("%s", error)
            return opened.refused(BadInput("policy_unusable", "policy", str(error), "a policy that predicts"))
        except Exception:
            self._unexpected(record)
            return opened.refused(INTERNAL)

    @staticmethod
    def _unexpected(record: Any) -> None:
        metrics.UNEXPECTED_ERRORS.labels(DECIDE).inc()
        log.exception("deciding %s[%d] at %d failed", record.topic, record.partition, record.offset)

    @staticmethod
    def _refuse_all(request: Request, error: BadInput) -> None:
        request.array, request.items = False, []
        request.results = [refused(error)]
        request.letters = [_letter(request.record, 0, error, request.record.value)]
