"""Read the records of ``dead-letters``, and send them once more after a repair.

What is sent again carries the place of its first coming in a header, and so does no second one: before anything is
sent, the topics are searched for that header.
"""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import suppress
from typing import NamedTuple

from stream.config import Config
from stream.kafka.consumer import is_utf8
from stream.kafka.dead_letters import HEX
from stream.kafka.letter_choice import LetterChoice, ResendOptions
from stream.kafka.log import LogReader, LogRecord
from stream.kafka.send import Appended, Outgoing, send

RESENT_HEADER = "resent"
"""On a message that was sent again: topic, partition, offset and index of its first coming."""
SOURCE = "source-"
NUMBER_DIGITS = 19
NUMBERS = ("partition", "offset", "index")
SHOWN_BYTES = 40
"""So much of a header that cannot be read is shown."""
REQUESTS = "decision-requests"
CALLERS_HEADERS = frozenset(
    {"reply-topic", "correlation-id", "expires-ms", "kafka_replyTopic", "kafka_correlationId", RESENT_HEADER}
)
"""Nobody waits any more for the reply to a request that is sent again."""
DECIDED_BY_TIME = frozenset({"late", "early", "too_many"})
"""Reasons that no repair changes: sent again, the feedback only comes later still."""


BATCH_BYTES = 16 * 1024 * 1024
BATCH_LETTERS = 500


class Source(NamedTuple):
    """Where a record stood that could not be used."""

    topic: str
    partition: int
    offset: int
    item: int

    def __str__(self) -> str:
        return f"{self.topic}[{self.partition}]@{self.offset}.{self.item}"

    def header(self) -> bytes:
        """Return what the header :data:`RESENT_HEADER` says."""
        return f"{self.topic} {self.partition} {self.offset} {self.item}".encode()


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


class Resent(NamedTuple):
    """What became of letters that were to be sent again.

    Attributes
    ----------
    sent
        Each with the place where it stands now.
    skipped
        Each with the reason, in words.
    """

    sent: list[tuple[Letter, Appended]]
    skipped: list[tuple[Letter, str]]


async def resend(
    config: Config,
    reader: LogReader,
    choice: LetterChoice,
    options: ResendOptions,
) -> Resent:
    """Send letters again, each once, to the topic from which it came.

    What time alone decided is sent only where the letters are chosen by their names, or by their reason.
    """
    # Read twice, so that never more than a batch of values is held.
    sendable: dict[Source, Letter] = {}
    skipped: list[tuple[Letter, str]] = []
    async for letter in letters(config, reader):
        if not letter.is_chosen(choice, config):
            continue
        problem = _problem(config, letter, by_name=choice.by_name, requests=options.requests)
        bare = letter._replace(value=None)
        if problem is None and letter.source is not None:
            if letter.source not in sendable:
                sendable[letter.source] = bare
                continue
            problem = f"the same record as {sendable[letter.source].name}"
        skipped.append((bare, problem or ""))
    again, second = await _seen(reader, sendable)
    skipped += [(sendable.pop(source), "was sent again before") for source in sorted(again)]
    if not options.returned:
        why = "came back after it was sent again (send it once more: --returned)"
        skipped += [(sendable.pop(source), why) for source in sorted(second - again)]
    if options.dry_run:
        stood = [Appended(*source[:3], letter.time_ms) for source, letter in sendable.items()]
        return Resent(list(zip(sendable.values(), stood, strict=True)), skipped)
    sent: list[tuple[Letter, Appended]] = []
    async for batch in _batches(config, reader, sendable):
        places = await send(config, [_outgoing(letter) for letter in batch])
        sent += zip((letter._replace(value=None) for letter in batch), places, strict=True)
    return Resent(sent, skipped)


async def _batches(config: Config, reader: LogReader, sendable: Mapping[Source, Letter]) -> AsyncIterator[list[Letter]]:
    """Yield the letters with their values, some megabytes at a time."""
    batch: list[Letter] = []
    async for letter in letters(config, reader):
        if letter.source is None or letter.source not in sendable or letter.name != sendable[letter.source].name:
            continue
        batch.append(letter)
        if sum(len(each.value or b"") for each in batch) > BATCH_BYTES or len(batch) >= BATCH_LETTERS:
            yield batch
            batch = []
    if batch:
        yield batch


def _problem(config: Config, letter: Letter, *, by_name: bool, requests: bool) -> str | None:
    """Say why a letter is not to be sent again; None: it is."""
    if letter.source is None:
        return f"its headers do not say where it came from ({letter.problem})"
    if letter.value is None:
        return "it is a tombstone"
    if "cut-from" in letter.problem:
        return f"nobody knows whether its bytes were cut ({letter.problem})"
    if letter.reason == "removed_unread":
        return "retention has removed it, and the letter does not hold it"
    if letter.whole_bytes is not None:
        return (
            f"only {len(letter.value)} of its {letter.whole_bytes} bytes are here; the rest stands at {letter.source}"
        )
    if letter.source.topic == config.topic(REQUESTS):
        return None if requests else "nobody waits for the answer to this request (send it all the same: --requests)"
    if letter.source.topic not in {config.topic(name) for name in ("decisions", *config.streams)}:
        return f"{letter.source.topic} is written by the loop alone, or is no stream of the configuration"
    if letter.reason in DECIDED_BY_TIME and not by_name:
        return f"no repair changes it: {letter.reason} (send it all the same: --reason {letter.reason})"
    return None


async def _seen(reader: LogReader, letters: Mapping[Source, Letter]) -> tuple[set[Source], set[Source]]:
    """Return which records their topics hold a second time, and which are themselves such a second one."""
    again: set[Source] = set()
    second: set[Source] = set()
    wanted = {source.header(): source for source in letters}
    for topic in sorted({source.topic for source in letters}):
        partitions = await reader.partitions_of(topic)
        starts = await reader.at(
            partitions, min(letter.time_ms for source, letter in letters.items() if source.topic == topic)
        )
        ends, begins = await reader.ends(partitions), await reader.beginning(partitions)
        for source in letters:
            if (where := source[:2]) in starts:
                starts[where] = max(begins[where], min(starts[where], source.offset))
        for where in partitions:
            async for record in reader.read(*where, starts[where], ends[where]):
                first = dict(record.headers).get(RESENT_HEADER)
                if first is not None:
                    second.add(Source(*where, record.offset, 0))
                    if first in wanted:
                        again.add(wanted[first])
    return again, second & set(letters)


def _outgoing(letter: Letter) -> Outgoing:
    source = letter.source
    assert source is not None
    # aiokafka sends no name that is not UTF-8; nothing in the loop reads such a header, and the letter keeps it.
    headers = [(name, content) for name, content in letter.headers if name not in CALLERS_HEADERS and is_utf8(name)]
    return Outgoing(source.topic, letter.value, letter.key, [*headers, (RESENT_HEADER, source.header())])
