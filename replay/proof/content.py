"""When two records are the same: what their JSON says decides, not its spaces or the order of its fields."""

from hashlib import blake2b

import msgspec

_decode = msgspec.json.Decoder().decode
_encode = msgspec.json.Encoder(order="sorted").encode


def content_digest(record: bytes) -> bytes:
    """Return 16 bytes that stand for what a record says; where it is no JSON, or has numbers beyond 64 bits, its bytes.

    >>> content_digest(b'{"a": 1.50, "b": [2]}') == content_digest(b'{"b":[2],"a":1.5}')
    True
    >>> content_digest(b'{"a": 1}') == content_digest(b'{"a": 1.0}')
    False
    """
    try:
        record = _encode(_decode(record))
    except (msgspec.MsgspecError, RecursionError, UnicodeError, OverflowError):
        record = record.strip(b" \t\r\n")
    return bytes_digest(record)


def bytes_digest(value: bytes) -> bytes:
    """Return 16 bytes that stand for bytes."""
    return blake2b(value, digest_size=16).digest()
