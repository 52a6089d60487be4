"""Read the records of ``dead-letters``. They are sent again by :mod:`stream.kafka.resend`."""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import suppress
from typing import NamedTuple

from stream.config import Config
from stream.kafka.dead_letters import HEX
from stream.kafka.letter_choice import LetterChoice
from stream.kafka.log import LogReader, LogRecord

SOURCE = "source-"
NUMBER_DIGITS = 19
NUMBERS = ("partition", "offset", "index")
SHOWN_BYTES = 40
"""So much of a header that cannot be read is shown."""


class Source(NamedTuple):
    """Where a record stood that could not be used."""

    topic: str
    partition: int
    offset: int
    item: int

    def __str__(self) -> str:
        return f"{self.topic}[{self.partition}]@{self.offset}.{self.item}"


class Letter(NamedTuple):
    """A dead letter.

    Attributes
    ----------
    partition, offset, time_ms
        Its position in ``dead-letters``.
    source
        Where the record stood; None: the headers do not say, so it is no letter of ours.
    problem
        Which headers are missing or cannot be read, in words; empty: none.
    reason, message
        Why it could not be used: a code, and a sentence.
    value, key, headers
        The record's bytes, and the key and the headers of the message that it came in. ``value`` is None without bytes.
    whole_bytes
        The size of the record where its bytes were cut; else None.
    """

    partition: int
    offset: int
    time_ms: int
    source: Source | None
    reason: str
    message: str
    value: bytes | None
    key: bytes | None
    headers: Sequence[tuple[str, bytes]]
    whole_bytes: int | None
    problem: str = ""

    @property
    def name(self) -> str:
        """What this letter is called at the command line."""
        return f"{self.partition}@{self.offset}"

    def is_chosen(self, choice: LetterChoice, config: Config) -> bool:
        """Tell whether this letter is meant."""
        topic = None if self.source is None else self.source.topic
        return (
            (not choice.names or self.name in choice.names)
            and (choice.reason is None or self.reason == choice.reason)
            and (choice.topic is None or topic == config.topic(choice.topic))
        )


def read_letter(record: LogRecord) -> Letter:
    """Return a message of ``dead-letters`` as the letter that it holds."""
    headers: dict[str, bytes] = {}
    for name, content in record.headers:
        headers.setdefault(name, content or b"")
    own_key = f"{SOURCE}key"
    source = None
    partition, offset, index = (_number(headers.get(name, b"")) for name in NUMBERS)
    if "topic" in headers and partition is not None and offset is not None and index is not None:
        source = Source(headers["topic"].decode("utf-8", "replace"), partition, offset, index)
    return Letter(
        record.partition,
        record.offset,
        record.time_ms,
        source,
        headers.get("reason", b"").decode("utf-8", "replace"),
        headers.get("message", b"").decode("utf-8", "replace"),
        record.value,
        headers.get(own_key),
        [
            (_source_name(name), content or b"")
            for name, content in record.headers
            if name.startswith(SOURCE) and name not in (own_key, f"{SOURCE}headers-cut")
        ],
        _number(headers.get("cut-from", b"")),
        _problem_of(headers),
    )


def _problem_of(headers: Mapping[str, bytes]) -> str:
    wrong = [f"no header `{name}`" for name in ("topic", *NUMBERS, "reason") if not headers.get(name)]
    for name in (*NUMBERS, "cut-from"):
        if (content := headers.get(name)) and _number(content) is None:
            text = content[:SHOWN_BYTES].decode("utf-8", "backslashreplace")
            wrong.append(f"the header `{name}` holds {text!r}, expected a number")
    return f"not as Bowerbird writes it: {', '.join(wrong)}" if wrong else ""


def _number(content: bytes) -> int | None:
    """Return the number in a header; None if it is not a number, or longer than any of ours."""
    return int(content) if content.isdigit() and len(content) <= NUMBER_DIGITS else None


def _source_name(name: str) -> str:
    """Return the name that a header had in its message."""
    if name.startswith(HEX):
        # What another program wrote there may be no hex.
        with suppress(ValueError):
            return bytes.fromhex(name.removeprefix(HEX)).decode("utf-8", "surrogateescape")
    return name.removeprefix(SOURCE)


async def letters(config: Config, reader: LogReader, since_ms: int = 0) -> AsyncIterator[Letter]:
    """Yield the letters in ``dead-letters`` from a log time on, partition by partition."""
    async for record in reader.read_since(config.topic("dead-letters"), since_ms):
        yield read_letter(record)
