"""Hashes of ids, the same for ever and in any language: who a row belongs to, and what chance it gets in a resample.

The text's UTF-8 bytes, filled up with zeros to 64-bit words (little-endian), go through the finaliser of splitmix64
(Steele, Lea, Flood 2014, Fast splittable pseudorandom number generators, mix64variant13), one word after the other::

    def mix(z):                                     # all numbers are unsigned, of 64 bits
        z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9
        z = (z ^ z >> 27) * 0x94D049BB133111EB
        return z ^ z >> 31

    h = kind                                        # 1 an event, 2 a user, 3 an event that stands for its user
    for word in words: h = mix(h ^ word)
    return mix(h ^ number_of_bytes)

They spread ids. They do not hide them, and it is easy to construct two ids with the same hash.
"""

from typing import TYPE_CHECKING, Any

import pyarrow as pa

from records.splitmix import MIX_1, MIX_2

if TYPE_CHECKING:
    from numpy.typing import NDArray

EVENT, USER, ALONE = 1, 2, 3
"""The kinds of hash: a user and an event of the same name never share one."""
_ONES = 2**64 - 1
_LONG_WORDS = 64
"""A text of more words is hashed by itself: a single one of them must not cost a pass over all rows for each word."""


def event_hash(event_id: str) -> int:
    """Return the hash of an event id.

    >>> event_hash("visit-1"), event_hash("")
    (11404395016289204751, 6238072747940578789)
    """
    return _hash(EVENT, event_id.encode())


def unit_hash(user_id: str | None, event_id: str) -> int:
    """Return the hash of whom a decision was for: of the user, or of the decision itself where none is named.

    An empty user id names nobody.

    >>> unit_hash("ann", "visit-1") == unit_hash("ann", "visit-2"), unit_hash(None, "ann") == unit_hash("ann", "x")
    (True, False)
    """
    return _hash(USER, user_id.encode()) if user_id else _hash(ALONE, event_id.encode())


def event_hashes(event_ids: "pa.Array") -> "pa.UInt64Array":
    """Return :func:`event_hash` of a column of texts, null where it is null."""
    return _hashes(EVENT, event_ids)


def unit_hashes(user_ids: "pa.Array", event_ids: "pa.Array") -> "pa.UInt64Array":
    """Return :func:`unit_hash` of two columns, null where neither names anybody."""
    import pyarrow.compute as pc

    if user_ids.null_count == len(user_ids):
        return _hashes(ALONE, event_ids)
    named = pc.fill_null(pc.not_equal(user_ids, ""), False)
    if pc.all(named).as_py():
        return _hashes(USER, user_ids)
    return pc.if_else(named, _hashes(USER, user_ids), _hashes(ALONE, event_ids))


def _hash(kind: int, content: bytes) -> int:
    hashed = kind
    for start in range(0, len(content), 8):
        hashed = _mix(hashed ^ int.from_bytes(content[start : start + 8], "little"))
    return _mix(hashed ^ len(content))


def _mix(bits: int) -> int:
    bits = (bits ^ bits >> 30) * MIX_1 & _ONES
    bits = (bits ^ bits >> 27) * MIX_2 & _ONES
    return bits ^ bits >> 31


def _hashes(kind: int, texts: "pa.Array") -> "pa.UInt64Array":
    try:
        import numpy as np
    except ModuleNotFoundError:
        # The archive role needs no numpy; it is then slower by this much.
        hashed = [None if text is None else _hash(kind, text.encode()) for text in texts.to_pylist()]
        return pa.array(hashed, pa.uint64())
    texts = texts.cast(pa.large_string())
    if not len(texts):
        return pa.array([], pa.uint64())
    _, ends, content = texts.buffers()
    offsets = np.frombuffer(ends, dtype=np.int64)[texts.offset : texts.offset + len(texts) + 1]
    hashes = _of_bytes(kind, b"" if content is None else content, offsets[:-1], np.diff(offsets))
    return pa.array(hashes, mask=np.asarray(texts.is_null()) if texts.null_count else None)


def _of_bytes(kind: int, content: Any, starts: "NDArray[Any]", sizes: "NDArray[Any]") -> "NDArray[Any]":
    """Return the hashes of pieces of some bytes, a word of all of them at a time."""
    import numpy as np

    first, last = int(starts[0]), int(starts[-1] + sizes[-1])
    # Behind the last text there is nothing that a whole word could be read from.
    padded = np.zeros(last - first + 8, dtype=np.uint8)
    if last > first:
        padded[:-8] = np.frombuffer(content, dtype=np.uint8, count=last - first, offset=first)
    words: NDArray[Any] = np.ndarray(last - first + 1, dtype="<u8", buffer=padded, strides=(1,))
    starts = starts - first
    hashes = np.full(len(starts), kind, dtype=np.uint64)
    short = sizes <= 8 * _LONG_WORDS
    for position in range(0, int(sizes[short].max(initial=0)), 8):
        rows = np.flatnonzero(short & (sizes > position))
        # Bytes that belong to the next text are cut off.
        over = 8 * np.maximum(position + 8 - sizes[rows], 0)
        word = words[starts[rows] + position] & (np.uint64(_ONES) >> over.astype(np.uint64))
        hashes[rows] = _mixed(hashes[rows] ^ word)
    hashes = _mixed(hashes ^ sizes.astype(np.uint64))
    for row in np.flatnonzero(~short).tolist():
        hashes[row] = _hash(kind, padded[starts[row] : starts[row] + sizes[row]].tobytes())
    return hashes


def _mixed(bits: "NDArray[Any]") -> "NDArray[Any]":
    import numpy as np

    bits = (bits ^ (bits >> np.uint64(30))) * np.uint64(MIX_1)
    bits = (bits ^ (bits >> np.uint64(27))) * np.uint64(MIX_2)
    return np.asarray(bits ^ (bits >> np.uint64(31)))
