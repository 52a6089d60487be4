"""Decompression with a limit: a batch of a megabyte may hold gigabytes of one byte.

aiokafka decompresses whatever comes; here its functions are replaced. A batch beyond a limit cannot be parsed: it comes
as one record with the bytes of the batch (:mod:`stream.kafka.consumer`).
"""

import zlib
from collections.abc import Callable
from typing import Any

import aiokafka.record.default_records
import aiokafka.record.legacy_records
import cramjam
from aiokafka.errors import CorruptRecordException

BATCH_BYTES = 64 * 1024 * 1024
"""What a batch may hold when it is decompressed; a producer fills one of a megabyte, or somewhat more."""
BATCH_RECORDS = 500_000
_FIRST_BYTES = 64 * 1024
_FIRST_RATIO = 8
_TOO_SMALL = "whole buffer"


def _beyond(limit: int) -> CorruptRecordException:
    return CorruptRecordException(f"a batch of more than {limit} bytes when it is decompressed")


def gzip_decode(payload: Any) -> bytes:
    """Decompress gzip, one member after the other."""
    left, parts, size = bytes(payload), list[bytes](), 0
    while left:
        member = zlib.decompressobj(wbits=31)
        parts.append(member.decompress(left, BATCH_BYTES - size + 1))
        size += len(parts[-1])
        if size > BATCH_BYTES:
            raise _beyond(BATCH_BYTES)
        if not member.eof:
            raise CorruptRecordException("a gzip stream that ends too early")
        left = member.unused_data
    return b"".join(parts)


def _into(decompress: Callable[[Any, Any], int]) -> Callable[[Any], bytes]:
    """Return a decoder that works into a buffer, which grows as long as it may."""

    def decode(payload: Any) -> bytes:
        size = max(_FIRST_BYTES, _FIRST_RATIO * len(payload))
        while True:
            buffer = bytearray(min(size, BATCH_BYTES))
            try:
                return bytes(memoryview(buffer)[: decompress(bytes(payload), buffer)])
            except cramjam.DecompressionError as error:
                if _TOO_SMALL not in str(error):
                    raise CorruptRecordException("a batch whose compressed bytes are damaged") from error
                if size >= BATCH_BYTES:
                    raise _beyond(BATCH_BYTES) from None
            size *= _FIRST_RATIO

    return decode


def snappy_decode(payload: Any) -> bytes:
    """Decompress snappy; each block says how large it is."""
    data, blocks = bytes(payload), list[bytes]()
    if data[:8] == b"\x82SNAPPY\x00":
        at = 16
        while at + 4 <= len(data):
            end = at + 4 + int.from_bytes(data[at : at + 4], "big")
            blocks.append(data[at + 4 : end])
            at = end
    else:
        blocks.append(data)
    if sum(cramjam.snappy.decompress_raw_len(block) for block in blocks) > BATCH_BYTES:
        raise _beyond(BATCH_BYTES)
    return b"".join(bytes(cramjam.snappy.decompress_raw(block)) for block in blocks)


DECODERS: dict[str, Callable[[Any], bytes]] = {
    "gzip_decode": gzip_decode,
    "snappy_decode": snappy_decode,
    "lz4_decode": _into(cramjam.lz4.decompress_into),
    "zstd_decode": _into(cramjam.zstd.decompress_into),
}


def install() -> None:
    """Let aiokafka decompress by these functions, also where it is compiled."""
    modules = [aiokafka.record.default_records, aiokafka.record.legacy_records]
    try:
        from aiokafka.record._crecords import default_records, legacy_records
    except ImportError:
        pass
    else:
        modules += [default_records, legacy_records]
    for module in modules:
        for name, decode in DECODERS.items():
            if hasattr(module, name):
                setattr(module, name, decode)
