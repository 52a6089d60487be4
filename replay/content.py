"""When two records are the same: their bytes decide, not the white space around them."""

from hashlib import blake2b


def content_digest(record: bytes) -> bytes:
    """Return 16 bytes that stand for a record's bytes, whatever white space is around them."""
    return blake2b(record.strip(b" \t\r\n"), digest_size=16).digest()
