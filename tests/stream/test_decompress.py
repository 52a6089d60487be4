"""Batches that hold more than they may: decompressed up to a limit, and handed out as one record."""

import gzip
import struct
from typing import Any

import cramjam
import pytest
from aiokafka.codec import snappy_encode
from aiokafka.errors import CorruptRecordException
from aiokafka.record.default_records import DefaultRecordBatchBuilder
from aiokafka.record.legacy_records import LegacyRecordBatchBuilder

from stream.kafka import decompress
from stream.kafka.consumer import _Records
from stream.kafka.decompress import DECODERS

CODECS = {"gzip": 1, "snappy": 2, "lz4": 3, "zstd": 4}
ENCODERS: dict[str, Any] = {
    "gzip": gzip.compress,
    "snappy": snappy_encode,
    "lz4": cramjam.lz4.compress,
    "zstd": cramjam.zstd.compress,
}


def _batch(codec: str, values: list[bytes]) -> bytes:
    builder = DefaultRecordBatchBuilder(
        magic=2,
        compression_type=CODECS[codec],
        is_transactional=False,
        producer_id=-1,
        producer_epoch=-1,
        base_sequence=-1,
        batch_size=10**9,
    )
    for offset, value in enumerate(values):
        assert builder.append(offset, 1, None, value, []) is not None
    return bytes(builder.build())


def _records(raw: bytes) -> list[bytes | None]:
    records = _Records(raw)
    assert records.has_next()
    return [record.value for record in records.next_batch()]


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("size", [0, 1, 1000, 3_000_000])
def test_what_is_within_the_limit_is_decompressed(codec: str, size: int) -> None:
    data = bytes(size // 2) + bytes(range(256)) * (size // 512)
    assert DECODERS[f"{codec}_decode"](bytes(ENCODERS[codec](data))) == data
    assert _records(_batch(codec, [data, b"x"])) == [data, b"x"]


@pytest.mark.parametrize("codec", CODECS)
def test_a_batch_beyond_the_limit_is_one_record_of_its_bytes(codec: str, monkeypatch: pytest.MonkeyPatch) -> None:
    raw = _batch(codec, [bytes(3_000_000)] * 3)
    monkeypatch.setattr(decompress, "BATCH_BYTES", 8_000_000)
    with pytest.raises(CorruptRecordException):
        DECODERS[f"{codec}_decode"](bytes(ENCODERS[codec](bytes(9_000_000))))
    assert _records(raw) == [raw]


def test_a_batch_of_too_many_records_is_one_record_of_its_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    raw = _batch("gzip", [b"x"] * 11)
    assert len(_records(raw)) == 11
    monkeypatch.setattr(decompress, "BATCH_RECORDS", 10)
    assert _records(raw) == [raw]


@pytest.mark.parametrize("codec", CODECS)
def test_a_damaged_batch_is_one_record_of_its_bytes(codec: str) -> None:
    raw = bytearray(_batch(codec, [b"x" * 1000]))
    raw[61:] = b"nonsense" * 4
    raw[8:12] = struct.pack(">i", len(raw) - 12)
    assert _records(bytes(raw)) == [bytes(raw)]


@pytest.mark.parametrize("magic", [0, 1])
def test_messages_of_older_formats_have_the_limit_too(magic: int, monkeypatch: pytest.MonkeyPatch) -> None:
    builder = LegacyRecordBatchBuilder(magic=magic, compression_type=1, batch_size=10**9)
    builder.append(0, timestamp=1, key=None, value=bytes(3_000_000))
    raw = bytes(builder.build())
    (record,) = _Records(raw).next_batch()
    assert (record.value, record.timestamp, list(record.headers)) == (bytes(3_000_000), magic, [])
    monkeypatch.setattr(decompress, "BATCH_BYTES", 1_000_000)
    assert _records(raw) == [raw]


def _older() -> bytes:
    log = b""
    for offset, (magic, codec) in enumerate([(0, 0), (0, 1), (1, 0), (1, 2)]):
        builder = LegacyRecordBatchBuilder(magic=magic, compression_type=codec, batch_size=10**6)
        assert builder.append(offset if magic == 0 else 0, timestamp=5, key=None, value=b"old") is not None
        log += offset.to_bytes(8, "big") + bytes(builder.build())[8:]
    return log


def _fetched(raw: bytes) -> list[tuple[int, int, bytes, int]]:
    fetched, rows = _Records(raw), []
    while fetched.has_next():
        batch = fetched.next_batch()
        rows += [(record.offset, record.timestamp, record.value, batch.next_offset) for record in batch]
    return rows


def test_older_formats_may_differ_within_one_fetch() -> None:
    """A message of format 0 has no time."""
    times = [0, 0, 5, 5]
    assert _fetched(_older()) == [(offset, times[offset], b"old", offset + 1) for offset in range(4)]


def test_batches_of_today_may_stand_behind_messages_of_older_formats() -> None:
    """As where a cluster was upgraded; the end of a fetch may be cut."""
    new = bytearray(_batch("zstd", [b"new"]))
    new[:8] = (4).to_bytes(8, "big")
    assert _fetched(_older() + bytes(new) + bytes(new)[:70])[-1] == (4, 1, b"new", 5)


def test_an_older_message_whose_codec_nobody_reads_is_one_record_of_its_bytes() -> None:
    builder = LegacyRecordBatchBuilder(magic=0, compression_type=0, batch_size=10**6)
    builder.append(7, timestamp=None, key=None, value=b"framed as in Kafka 0.8")
    raw = bytearray(builder.build())
    raw[17] = CODECS["lz4"]
    batch = _Records(bytes(raw)).next_batch()
    assert [record.value for record in batch] == [bytes(raw)]
    assert batch.next_offset == 8
