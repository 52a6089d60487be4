"""Send dead letters once more after a repair, each once.

What is sent again carries in a header what it was at first, and a record that a topic already holds with that header is
not sent again. All of this is done within transactions of one transactional id: who begins ends the transaction of
another that is still sending, and then reads what that one has committed. So two at the same moment, or one that is
killed and run again, send nothing twice.
"""

import asyncio
from collections.abc import AsyncIterator, Mapping
from hashlib import blake2b
from typing import Any, NamedTuple

from aiokafka import AIOKafkaProducer
from aiokafka.errors import ProducerFenced

from records.errors import StateRefused
from stream import clients
from stream.clients import LARGE_MESSAGE_BYTES
from stream.config import Config
from stream.kafka.consumer import is_utf8
from stream.kafka.dead_letter_log import Letter, Source, letters
from stream.kafka.letter_choice import LetterChoice, ResendOptions
from stream.kafka.log import LogReader
from stream.kafka.send import Appended, Outgoing, append_all, refuse_missing
from stream.shutdown import closed, started

RESENT_HEADER = "resent"
"""On a message that was sent again: topic, partition, offset and index of its first coming, a digest of its bytes."""
TRANSACTIONAL_ID = "bowerbird-resend"
TRANSACTION_MS = 20_000
"""A transaction holds up who reads the topic; Kafka ends it after so long where its program was killed."""
REQUESTS = "decision-requests"
CALLERS_HEADERS = frozenset(
    {"reply-topic", "correlation-id", "expires-ms", "kafka_replyTopic", "kafka_correlationId", RESENT_HEADER}
)
"""Nobody waits any more for the reply to a request that is sent again."""
DECIDED_BY_TIME = frozenset({"late", "early", "too_many"})
"""Reasons that no repair changes: sent again, the feedback only comes later still."""
BATCH_BYTES = 16 * 1024 * 1024
BATCH_LETTERS = 500


class Record(NamedTuple):
    """A record that could not be used.

    Its place does not suffice: in a topic that was deleted and created again, another record has it.
    """

    source: Source
    digest: str

    def header(self) -> bytes:
        """Return what the header :data:`RESENT_HEADER` says."""
        source = self.source
        return f"{source.topic} {source.partition} {source.offset} {source.item} {self.digest}".encode()


def _record(source: Source, value: bytes | None) -> Record:
    return Record(source, blake2b(value or b"", digest_size=8).hexdigest())


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


async def resend(config: Config, reader: LogReader, choice: LetterChoice, options: ResendOptions) -> Resent:
    """Send letters again, each once, to the topic from which it came.

    What time alone decided is sent only where the letters are chosen by their names, or by their reason.

    Raises
    ------
    StateRefused
        Another one has begun meanwhile, which sends what is left; or a topic is not there.
    """
    if options.dry_run:
        sendable, skipped = await _sendable(config, reader, choice, options)
        stood = [Appended(*record.source[:3], letter.time_ms) for record, letter in sendable.items()]
        return Resent(list(zip(sendable.values(), stood, strict=True)), skipped)
    producer: AIOKafkaProducer = await started(
        clients.producer(
            config,
            TRANSACTIONAL_ID,
            transactional_id=config.topic(TRANSACTIONAL_ID),
            transaction_timeout_ms=TRANSACTION_MS,
            max_batch_size=LARGE_MESSAGE_BYTES,
        )
    )
    try:
        sendable, skipped = await _sendable(config, reader, choice, options)
        await refuse_missing(reader, {record.source.topic for record in sendable})
        sent: list[tuple[Letter, Appended]] = []
        async for batch in _batches(config, reader, sendable):
            async with producer.transaction():
                places = await append_all(producer, [_outgoing(letter) for letter in batch])
            sent += zip((letter._replace(value=None) for letter in batch), places, strict=True)
        return Resent(sent, skipped)
    except ProducerFenced:
        # Each batch of aiokafka's holds this error, too, and nothing asks for it there.
        asyncio.get_running_loop().set_exception_handler(_log_unless_fenced)
        found = "another `bowerbird dead-letters resend` that began later"
        raise StateRefused("resend", found, "one at a time", "run the command again when that one has ended") from None
    finally:
        await closed(producer)


def _log_unless_fenced(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    if not isinstance(context.get("exception"), ProducerFenced):
        loop.default_exception_handler(context)


async def _sendable(
    config: Config, reader: LogReader, choice: LetterChoice, options: ResendOptions
) -> tuple[dict[Record, Letter], list[tuple[Letter, str]]]:
    """Return what is to be sent, without values so that never more than a batch of them is held, and what is not."""
    sendable: dict[Record, Letter] = {}
    skipped: list[tuple[Letter, str]] = []
    async for letter in letters(config, reader):
        if not letter.is_chosen(choice, config):
            continue
        problem = _problem(config, letter, by_name=choice.by_name, requests=options.requests)
        bare = letter._replace(value=None)
        if problem is None and letter.source is not None:
            record = _record(letter.source, letter.value)
            if record not in sendable:
                sendable[record] = bare
                continue
            problem = f"the same record as {sendable[record].name}"
        skipped.append((bare, problem or ""))
    again, second = await _seen(reader, sendable)
    skipped += [(sendable.pop(record), "was sent again before") for record in sorted(again)]
    if not options.returned:
        why = "came back after it was sent again (send it once more: --returned)"
        skipped += [(sendable.pop(record), why) for record in sorted(second - again)]
    return sendable, skipped


async def _batches(config: Config, reader: LogReader, sendable: Mapping[Record, Letter]) -> AsyncIterator[list[Letter]]:
    """Yield the letters with their values, some megabytes at a time."""
    batch: list[Letter] = []
    names = {letter.name for letter in sendable.values()}
    async for letter in letters(config, reader):
        if letter.name not in names:
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


async def _seen(reader: LogReader, sendable: Mapping[Record, Letter]) -> tuple[set[Record], set[Record]]:
    """Return which records their topics hold a second time, and which are themselves such a second one."""
    again: set[Record] = set()
    second: set[Record] = set()
    wanted = {record.header(): record for record in sendable}
    for topic in sorted({record.source.topic for record in sendable}):
        partitions = await reader.partitions_of(topic)
        starts = await reader.at(
            partitions, min(letter.time_ms for record, letter in sendable.items() if record.source.topic == topic)
        )
        ends, begins = await reader.ends(partitions), await reader.beginning(partitions)
        for source, _ in sendable:
            if (where := source[:2]) in starts:
                starts[where] = max(begins[where], min(starts[where], source.offset))
        for where in partitions:
            async for message in reader.read(*where, starts[where], ends[where]):
                first = dict(message.headers).get(RESENT_HEADER)
                if first is not None:
                    second.add(_record(Source(*where, message.offset, 0), message.value))
                    if first in wanted:
                        again.add(wanted[first])
    return again, second & set(sendable)


def _outgoing(letter: Letter) -> Outgoing:
    source = letter.source
    assert source is not None
    # aiokafka sends no name that is not UTF-8; nothing in the loop reads such a header, and the letter keeps it.
    headers = [(name, content) for name, content in letter.headers if name not in CALLERS_HEADERS and is_utf8(name)]
    mark = (RESENT_HEADER, _record(source, letter.value).header())
    return Outgoing(source.topic, letter.value, letter.key, [*headers, mark])
