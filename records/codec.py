"""Decode and encode one record, and the records of a message."""

from typing import TypeVar

import msgspec
from msgspec import Raw

from records import json_errors
from records.errors import BadInput
from records.limits import ITEMS_LIMIT, MESSAGE_DEPTH
from records.nesting import check_depth

Decoded = TypeVar("Decoded")
UNREADABLE = (msgspec.DecodeError, RecursionError, UnicodeDecodeError)
"""What decoding raises for bytes that are no such record."""
encode = msgspec.json.Encoder().encode
_items = msgspec.json.Decoder(list[Raw])


def items(value: bytes | None) -> list[bytes]:
    """Return the records of a message: of an array each item, else the message itself.

    Raises
    ------
    BadInput
        The value is a tombstone, is not UTF-8, is no JSON array although it starts as one (then nothing of it is used,
        whatever its items are), has more than :data:`ITEMS_LIMIT` items, or is nested more deeply than
        :data:`MESSAGE_DEPTH`.
    """
    if value is None:
        raise BadInput("tombstone", "value", "null", "a JSON object or an array of them")
    try:
        value.decode()
        check_depth(value, MESSAGE_DEPTH)
        if value.lstrip(b" \t\r\n")[:1] != b"[":
            return [value]
        raws = _items.decode(value)
        if len(raws) > ITEMS_LIMIT:
            size = f"an array of {len(raws)} in {len(value)} bytes"
            raise BadInput("too_many_items", "value", size, f"at most {ITEMS_LIMIT} records in a message")
        return [bytes(item) for item in raws]
    except UnicodeDecodeError as error:
        raise BadInput("not_utf8", "value", repr(value[error.start : error.start + 8]), "UTF-8") from None
    except UNREADABLE as error:
        malformed = f"{len(value)} bytes of which nothing is used ({json_errors.syntax(error)})"
        raise BadInput("not_json", "value", malformed, "a JSON object or an array of them, strict JSON") from None


def decode(decoder: "msgspec.json.Decoder[Decoded]", value: bytes) -> Decoded:
    """Decode one record; an error becomes a :class:`records.errors.BadInput` that names the field."""
    try:
        return decoder.decode(value)
    except msgspec.ValidationError as error:
        problem = json_errors.described(error, value)
        expected = "1" if problem.field == "v" else problem.expected
        raise BadInput("invalid_field", problem.field or "value", problem.found, expected) from None
    except UNREADABLE as error:
        raise BadInput("not_json", "value", json_errors.syntax(error), "a JSON object") from None
