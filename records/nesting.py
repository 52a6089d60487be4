"""How deeply the lists and objects of a record may lie within each other.

Decoders have limits of their own, which depend on how deep the call stack is: what one role can read, another cannot.
So a depth far below is checked where a record enters, by its bytes.
"""

import re
from itertools import accumulate

from records.errors import BadInput

_ESCAPE = re.compile(rb"\\.", re.DOTALL)
_STRING = re.compile(rb'"[^"]*"')
_MARKS = b'[]{}"'
_OTHERS = bytes(byte for byte in range(256) if byte not in _MARKS)
_STEPS = {mark: step for marks, step in ((b"[{", 1), (b"]}", -1)) for mark in marks}


def depth_of(value: bytes) -> int:
    """Return the largest number of lists and objects of a JSON text that lie within each other.

    >>> depth_of(b'{"a": [1, {"b": "[[["}], "c": []}')
    3
    """
    marks = _STRING.sub(b"", _ESCAPE.sub(b"", value).translate(None, _OTHERS))
    return max(accumulate((_STEPS.get(mark, 0) for mark in marks), initial=0))


def check_depth(value: bytes, limit: int) -> None:
    """Refuse a JSON text that is nested more deeply than ``limit``.

    Raises
    ------
    BadInput
        It is.
    """
    # Most texts have fewer lists and objects than the limit.
    if value.count(b"[") + value.count(b"{") > limit and (depth := depth_of(value)) > limit:
        found = f"lists and objects {depth} deep"
        raise BadInput("too_deep", "value", found, f"at most {limit} within each other")
