"""What could not be used goes to ``dead-letters``: the bytes as they came, everything else in headers."""

import asyncio
import logging
from collections.abc import Awaitable, Iterable, Sequence
from typing import NamedTuple, Protocol

from aiokafka.errors import KafkaError, MessageSizeTooLargeError

from rewards.join_items import Rejected
from rewards.store import Unusable
from stream import metrics, stopped
from stream.clients import LARGE_MESSAGE_BYTES
from stream.config import Config
from stream.kafka.consumer import header_name_bytes, is_utf8
from stream.retry import say_server_refuses

log = logging.getLogger(__name__)

ROOM_BYTES = 64 * 1024
"""Bytes that a message may need besides its value: headers, key and framing."""
MESSAGE_CHARACTERS = 500
APART = 20
"""So many unusable items of one array have a letter each."""
FIRST_RETRY_S = 0.1
LAST_RETRY_S = 5.0

HEX = "source-hex-"
"""Begins the name of a header whose own name is kept in hex."""

Headers = Sequence[tuple[str, bytes]]


class DeadLetter(NamedTuple):
    """A record that could not be used.

    Attributes
    ----------
    topic, partition, offset, index
        Where it stands (``index`` in its array; 0 for a message that is no array, or no readable one).
    reason
        A code, such as ``not_json``.
    message
        A sentence for people.
    value
        The bytes as they came (of one item of an array: that item's); None for a tombstone.
    key
        The key of the message that it came in.
    headers
        The headers of the message that it came in.
    count
        How many records of one array ``value`` holds, as an array; None: it is one record.
    """

    topic: str
    partition: int
    offset: int
    index: int  # type: ignore[assignment]
    reason: str
    message: str
    value: bytes | None
    key: bytes | None = None
    headers: Headers = ()
    count: int | None = None  # type: ignore[assignment]

    def wire(self, room_bytes: int) -> tuple[bytes | None, list[tuple[str, bytes]]]:
        """Return the value and the headers of the message that holds this letter.

        The source's own headers and key are there under ``source-…``. A value beyond ``room_bytes`` is cut,
        and the header ``cut-from`` holds its whole size; the position says where the rest is.
        """
        headers = [
            ("topic", self.topic.encode()),
            ("partition", str(self.partition).encode()),
            ("offset", str(self.offset).encode()),
            ("index", str(self.index).encode()),
            ("reason", self.reason.encode()),
            ("message", self.message[:MESSAGE_CHARACTERS].encode("utf-8", "replace")),
        ]
        if self.count is not None:
            headers.append(("count", str(self.count).encode()))
        value = self.value
        if value is None:
            headers.append(("tombstone", b"true"))
        elif len(value) > room_bytes:
            headers.append(("cut-from", str(len(value)).encode()))
            value = value[:room_bytes]
        room = ROOM_BYTES // 2
        extra = [("source-key", self.key)] if self.key is not None else []
        for name, content in (*extra, *((_letter_header(name), content) for name, content in self.headers)):
            # A header's content may be null on the wire, whatever the client's types say.
            content = content or b""
            room -= len(name.encode()) + len(content) + 16
            if room < 0:
                headers.append(("source-headers-cut", b"true"))
                break
            headers.append((name, content))
        return value, headers


def _letter_header(name: str) -> str:
    """Return the name under which a letter keeps a header; in hex if it is not UTF-8, or would be taken for hex."""
    kept = f"source-{name}"
    return kept if is_utf8(name) and not kept.startswith(HEX) else HEX + header_name_bytes(name).hex()


REASONS = {
    "removed_unread": "retention removed it before it was read",
    "early": "the feedback lies before the window of its decision opened",
    "late": "the feedback lies after the deadline of its decision",
    "too_many": "more feedback came for this decision than is kept",
    "unknown_decision": "no decision with this event id was logged in time",
}
"""Why no window took a feedback."""


def gathered(letters: Iterable[DeadLetter]) -> list[DeadLetter]:
    """Return letters with those of one array and one reason in one, where they are more than :data:`APART`.

    A letter is larger than a small item: one message of them would make many times its bytes.
    """
    together: dict[tuple[str, int, int, str], list[DeadLetter]] = {}
    for letter in letters:
        together.setdefault((letter.topic, letter.partition, letter.offset, letter.reason), []).append(letter)
    merged: list[DeadLetter] = []
    for own in together.values():
        if len(own) > APART:
            value = b"[" + b",".join(letter.value or b"null" for letter in own) + b"]"
            merged.append(own[0]._replace(value=value, count=len(own)))
        else:
            merged += own
    return merged


def letter_of(dead: Rejected | Unusable) -> DeadLetter:
    """Return the letter for what the join could not read, or for feedback that no window took."""
    if isinstance(dead, Unusable):
        position = dead.position
        where = (position.topic, position.partition, position.offset, position.index)
        return DeadLetter(*where, dead.reason, REASONS[dead.reason], dead.body, dead.event_id.encode())
    message, error = dead.message, dead.error
    where = (message.topic, message.partition, message.offset, max(dead.item, 0))
    return DeadLetter(*where, error.code, str(error), dead.value, message.key)


class Sends(Protocol):
    """The part of ``AIOKafkaProducer`` that puts a message on its way."""

    async def send(
        self,
        topic: str,
        value: bytes | None = None,
        key: bytes | None = None,
        *,
        headers: list[tuple[str, bytes]] | None = None,
    ) -> Awaitable[object]:
        """Return a future of the acknowledgement."""


class DeadLetters:
    """Writes dead letters with ``acks="all"`` and waits until they are acknowledged.

    Parameters
    ----------
    producer
        Its requests may be as large as a message of ``dead-letters``; not idempotent, since a message that is
        refused would leave a hole in its sequence.
    config
        Names the topic.
    role
        Whose dead letters they are, in the metrics.
    """

    def __init__(self, producer: Sends, config: Config, role: str) -> None:
        self._producer = producer
        self._topic = config.topic("dead-letters")
        self._role = role

    async def send(self, *letters: DeadLetter) -> None:
        """Write letters; return when all are acknowledged.

        While the broker is away it tries again, so the caller holds its input back by waiting. After an
        unclear failure a letter may stand there twice.
        """
        # Each begins whole: what the topic takes may have been changed since the last one.
        waiting = [(letter, LARGE_MESSAGE_BYTES - ROOM_BYTES) for letter in letters]
        retry_s, failures = FIRST_RETRY_S, 0
        while waiting := await self._try(waiting, failures + 1):
            failures += 1
            metrics.broker_failed(self._role)
            await asyncio.sleep(retry_s)
            retry_s = min(2 * retry_s, LAST_RETRY_S)
        if failures:
            stopped.go_on(self._role, self._topic)

    async def _try(self, letters: Iterable[tuple[DeadLetter, int]], attempt: int) -> list[tuple[DeadLetter, int]]:
        """Send letters, each cut to a size; return those that were not acknowledged, and their sizes from now on."""
        sent: list[tuple[DeadLetter, int, Awaitable[object] | BaseException]] = []
        for letter, room_bytes in letters:
            value, headers = letter.wire(room_bytes)
            try:
                future = await self._producer.send(self._topic, value, letter.topic.encode(), headers=headers)
                sent.append((letter, room_bytes, future))
            except (KafkaError, OSError) as error:
                sent.append((letter, room_bytes, error))
        failed: list[tuple[DeadLetter, int]] = []
        for letter, room_bytes, outcome in sent:
            try:
                if isinstance(outcome, BaseException):
                    raise outcome
                await outcome
                metrics.DEAD_LETTERS.labels(self._role, letter.reason).inc()
            except MessageSizeTooLargeError as error:
                say_server_refuses(self._role, self._topic, attempt, error)
                # The topic allows less than it should; a shorter letter is better than none.
                where = f"{self._topic} refuses a dead letter of {letter.topic}[{letter.partition}]@{letter.offset}"
                if room_bytes > ROOM_BYTES:
                    room_bytes = max(room_bytes // 2, ROOM_BYTES)
                    log.warning("%s: it is cut to %d bytes", where, room_bytes)
                else:
                    log.error("%s, although it is cut: set max.message.bytes to %d", where, LARGE_MESSAGE_BYTES)
                failed.append((letter, room_bytes))
            except (KafkaError, OSError) as error:
                say_server_refuses(self._role, self._topic, attempt, error)
                log.warning("a dead letter of %s[%d] waits: %r", letter.topic, letter.partition, error)
                failed.append((letter, room_bytes))
        return failed
