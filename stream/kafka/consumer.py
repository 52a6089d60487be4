"""Consumers that read whatever a Kafka client may write; what a transaction has aborted is not read.

aiokafka decodes the names of headers as UTF-8 and fails for good at a record where they are not. Here such a name keeps
its bytes as surrogates (PEP 383), and a batch that cannot be parsed at all comes as one record with the batch's bytes.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

import aiokafka.consumer.fetcher
from aiokafka import AIOKafkaConsumer
from aiokafka.errors import CorruptRecordException, UnsupportedCodecError
from aiokafka.record.default_records import _DefaultRecordBatchPy
from aiokafka.record.memory_records import MemoryRecords
from aiokafka.record.util import decode_varint

from records.errors import WrongConfiguration
from stream.clients import CALL_MS, METADATA_AGE_MS
from stream.kafka import decompress

READ_COMMITTED = "read_committed"
POLL_MS = 100
"""A reader of few messages waits at most so long for the next of them."""
BATCH_HEADER = 12
"""Bytes before a batch's body: its first offset and its length."""
MAGIC_AT = 16
COUNT_AT = 57


def reading(*topics: str, isolation_level: str = READ_COMMITTED, **options: Any) -> AIOKafkaConsumer:
    """Return a consumer; its options are those of :class:`aiokafka.AIOKafkaConsumer`."""
    made = AIOKafkaConsumer(*topics, isolation_level=isolation_level, metadata_max_age_ms=METADATA_AGE_MS, **options)
    limit_calls(made)
    return made


def limit_calls(consumer: AIOKafkaConsumer) -> None:
    """Limit each call of a consumer that is not started yet.

    The limit of what it does as a whole is longer: one as long as a call's would cancel the call at the moment at which
    its connection would be closed, and the next call would wait on the same connection.
    """
    consumer._client._request_timeout_ms = CALL_MS
    consumer._request_timeout_ms = 2 * CALL_MS


def session_refused(session_timeout_s: float) -> WrongConfiguration:
    """Return the refusal of a session time-out that the broker does not take."""
    return WrongConfiguration(
        f"session_timeout_s: the broker refuses {session_timeout_s:g} seconds; see its group.min.session.timeout.ms and"
        " group.max.session.timeout.ms"
    )


def is_utf8(name: str) -> bool:
    """Return whether the name of a header is UTF-8 in the log."""
    return not any("\udc80" <= character <= "\udcff" for character in name)


def header_name_bytes(name: str) -> bytes:
    r"""Return the bytes of a header's name in the log.

    >>> header_name_bytes(b"a\xff".decode("utf-8", "surrogateescape"))
    b'a\xff'
    """
    return name.encode("utf-8", "surrogateescape")


class _Record(NamedTuple):
    """A record as aiokafka's fetcher takes it."""

    offset: int
    timestamp: int
    timestamp_type: int
    key: bytes | None
    value: bytes | None
    headers: list[tuple[str, bytes | None]]
    checksum: None = None


class _Batch:
    """A batch of records; all are parsed before the first is handed out, so that none is handed out in vain."""

    def __init__(self, batch: Any, raw: memoryview) -> None:
        self._batch, self._raw = batch, raw

    def __getattr__(self, name: str) -> Any:
        return getattr(self._batch, name)

    def __next__(self) -> Any:
        return next(self._batch)

    @property
    def next_offset(self) -> int:
        if self._raw[MAGIC_AT] >= 2:
            return int(self._batch.next_offset)
        # aiokafka would look for it inside, also where that cannot be decompressed.
        return int.from_bytes(self._raw[:8], "big") + 1

    def __iter__(self) -> Iterator[Any]:
        try:
            if self._raw[MAGIC_AT] >= 2 and _count(self._raw) > decompress.BATCH_RECORDS:
                raise CorruptRecordException(f"a batch of more than {decompress.BATCH_RECORDS} records")
            records = list(self._batch)
            if self._raw[MAGIC_AT] == 0:
                # The oldest format has no timestamps.
                return iter([_Record(each.offset, 0, 0, each.key, each.value, []) for each in records])
            return iter(records)
        except UnsupportedCodecError:
            # A library that is missing ends the role; of format 0 there is a framing of LZ4 that none of them reads.
            if self._raw[MAGIC_AT] > 0:
                raise
            return iter(_parsed(bytes(self._raw)))
        except Exception:
            return iter(_parsed(bytes(self._raw)))


def _count(raw: memoryview) -> int:
    return int.from_bytes(raw[COUNT_AT : COUNT_AT + 4], "big")


def _parsed(raw: bytes) -> list[_Record]:
    """Return the records of a batch that aiokafka cannot parse."""
    if raw[MAGIC_AT] < 2:
        return [_Record(int.from_bytes(raw[:8], "big"), 0, 1, None, raw, [])]
    batch = _DefaultRecordBatchPy(raw)
    time_ms, time_type = batch.max_timestamp, batch.timestamp_type
    try:
        if _count(memoryview(raw)) > decompress.BATCH_RECORDS:
            raise CorruptRecordException("too many records")
        batch._maybe_uncompress()
        data, position = bytes(batch._buffer), batch._pos
        records: list[_Record] = []
        for _ in range(batch._num_records):
            record, position = _record(batch, data, position)
            records.append(record)
        return records
    except Exception:
        return [_Record(batch.base_offset, time_ms, time_type, None, raw, [])]


def _record(batch: _DefaultRecordBatchPy, data: bytes, position: int) -> tuple[_Record, int]:
    length, position = decode_varint(data, position)
    end = position + length
    position += 1  # attributes, which say nothing
    passed_ms, position = decode_varint(data, position)
    passed, position = decode_varint(data, position)
    key, position = _nullable(data, position, end)
    value, position = _nullable(data, position, end)
    count, position = decode_varint(data, position)
    headers: list[tuple[str, bytes | None]] = []
    for _ in range(count):
        name, position = _nullable(data, position, end)
        content, position = _nullable(data, position, end)
        headers.append(((name or b"").decode("utf-8", "surrogateescape"), content))
    if position != end:
        raise CorruptRecordException(f"{end - position} bytes after the last header")
    time_ms = batch.max_timestamp if batch.timestamp_type else batch.first_timestamp + passed_ms
    return _Record(batch.base_offset + passed, time_ms, batch.timestamp_type, key, value, headers), end


def _nullable(data: bytes, position: int, end: int) -> tuple[bytes | None, int]:
    length, position = decode_varint(data, position)
    if length < 0:
        return None, position
    if position + length > end:
        raise CorruptRecordException(f"{length} bytes announced, {end - position} there")
    return data[position : position + length], position + length


class _Records:
    """What a fetch brought of one partition, batch by batch; the last one may be cut.

    aiokafka takes the format of the first batch for that of all. In the log of a cluster that was upgraded they differ.
    """

    def __init__(self, data: bytes) -> None:
        self._data, self._position = memoryview(data), 0

    def size_in_bytes(self) -> int:
        return len(self._data)

    def has_next(self) -> bool:
        return self._position + BATCH_HEADER <= len(self._data) and self._end() <= len(self._data)

    def next_batch(self) -> _Batch:
        raw = self._data[self._position : self._end()]
        self._position += len(raw)
        return _Batch(MemoryRecords(bytes(raw)).next_batch(), raw)

    def _end(self) -> int:
        length_at = self._position + BATCH_HEADER - 4
        return self._position + BATCH_HEADER + int.from_bytes(self._data[length_at : length_at + 4], "big")


aiokafka.consumer.fetcher.MemoryRecords = _Records
decompress.install()
