"""The errors of the JSON decoder as a field, what was found and what was expected, in plain words."""

import re
from typing import Any, NamedTuple

import msgspec

from records.errors import shorten

UNKNOWN_FIELD = "a field that is not known"
OTHERWISE = "another value"

_NAMES = {
    "null": "null",
    "str": "a string",
    "int": "an integer",
    "float": "a number",
    "bool": "true or false",
    "array": "a list",
    "object": "an object",
}
_SYNTAX = {
    "Input data was truncated": "it ends too early",
    "trailing characters": "something follows the value",
    "trailing comma in array": "a comma before ]",
    "trailing comma in object": "a comma before }",
    "object keys must be strings": "a name that is no string",
    "expected ':'": "a name without a colon",
    "expected ',' or ']'": "a list without a comma or its ]",
    "expected ',' or '}'": "an object without a comma or its }",
    "invalid number": "an invalid number",
    "invalid character": "a character that is not expected there",
    "expected character": "a character that is not expected there",
    "invalid escape character in string": "an escape that JSON has not",
    "invalid utf-16 surrogate pair": "half a character",
    "unexpected end of escaped utf-16 surrogate pair": "half a character",
    "unexpected end of hex escape": "an escape that is cut short",
    "invalid character in unicode escape": "an escape that JSON has not",
}
_AT = re.compile(r" \(byte (\d+)\)$")
_TYPE = re.compile(r"Expected `([^`]+)`(.*?)(?:, got `?([^`]+)`?)?$", re.DOTALL)
_MISSING = re.compile(r"Object missing required field `([^`]+)`")
_UNKNOWN = re.compile(r"Object contains unknown field `([^`]+)`")
_VALUE = re.compile(r"Invalid (?:enum )?value (.+)", re.DOTALL)
_WHERE = re.compile(r" - at (?:`key` in )?`\$(.*)`$", re.DOTALL)


class Mismatch(NamedTuple):
    """What was wrong: the path of the field (empty: the value itself), what stands there, what may stand there."""

    field: str
    found: str
    expected: str


def described(error: msgspec.ValidationError, raw: bytes = b"") -> Mismatch:
    """Return what a decoder says of a value, in words.

    Parameters
    ----------
    raw
        What was decoded: then a number, a text or the like is shown as it stands there.

    >>> import msgspec
    >>> def error_of(text, kind):
    ...     try:
    ...         msgspec.json.decode(text, type=kind)
    ...     except msgspec.ValidationError as error:
    ...         return tuple(described(error))
    >>> error_of('{"a": "x"}', dict[str, float | None])
    ('[...]', 'a string', 'a number or null')
    >>> error_of('[1]', dict[str, int])
    ('', 'a list', 'an object')
    """
    problem = _described(str(error))
    shown = _shown(raw, problem.field) if problem.found not in ("nothing", UNKNOWN_FIELD) else None
    return problem if shown is None else problem._replace(found=shown)


def syntax(error: Exception) -> str:
    """Return what is wrong with bytes that are no JSON.

    >>> syntax(Exception("Input data was truncated"))
    'text that is no JSON: it ends too early'
    >>> syntax(Exception("JSON is malformed: invalid character (byte 3)"))
    'text that is no JSON: a character that is not expected there, at byte 3'
    """
    if isinstance(error, RecursionError):
        return "JSON that is nested too deeply"
    said = str(error).removeprefix("JSON is malformed: ")
    where = _AT.search(said)
    reason = _SYNTAX.get(_AT.sub("", said), "something that JSON has not")
    return f"text that is no JSON: {reason}" + (f", at byte {where[1]}" if where is not None else "")


def _described(text: str) -> Mismatch:
    where = _WHERE.search(text)
    field, text = (where[1].lstrip("."), text[: where.start()]) if where is not None else ("", text)
    if (missing := _MISSING.match(text)) is not None:
        return Mismatch(f"{field}.{missing[1]}".lstrip("."), "nothing", "a value")
    if (unknown := _UNKNOWN.match(text)) is not None:
        return Mismatch(f"{field}.{unknown[1]}".lstrip("."), UNKNOWN_FIELD, "a known field")
    if (value := _VALUE.match(text)) is not None:
        return Mismatch(field, value[1], "one of the known values")
    if text == "Number out of range":
        return Mismatch(field, "a number beyond double precision", "a finite number")
    if (kind := _TYPE.match(text)) is None:
        return _by_rule(field, text)
    expected = _words(kind[1]) + kind[2].replace("matching regex", "of the form").replace(r"$(?!\\n)'", "$'")
    return Mismatch(field, _words(kind[3]) if kind[3] else OTHERWISE, expected)


def _by_rule(field: str, text: str) -> Mismatch:
    """Return what a rule of ours says, such as ``window_s must be a number, found -1``."""
    rule, _, found = text.partition(", found ")
    name, must, expected = rule.partition(" must be ")
    if not must:
        ours = rule.endswith(" is expected")
        return Mismatch(
            field, found or OTHERWISE, rule.removesuffix(" is expected") if ours else "what this field takes"
        )
    return Mismatch(f"{field}.{name}".lstrip("."), found or OTHERWISE, expected)


def _shown(raw: bytes, field: str) -> str | None:
    """Return what stands at a path as text; None: it cannot be found, or is a list or an object."""
    try:
        value: Any = msgspec.json.decode(raw)
        for name, index in re.findall(r"([^.\[\]]+)|\[(\d+)\]", field):
            value = value[name] if name else value[int(index)]
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, LookupError, TypeError, ValueError):
        return None
    return None if isinstance(value, list | dict) else shorten(msgspec.json.encode(value).decode())


def _words(kinds: str) -> str:
    """Return types as people call them: the last of several after an "or", null at the end.

    >>> _words("null | int | str")
    'an integer, a string or null'
    """
    named = [_NAMES.get(kind.strip(), kind.strip()) for kind in kinds.split("|")]
    named.sort(key="null".__eq__)
    return " or ".join([", ".join(named[:-1]), named[-1]]) if len(named) > 1 else named[0]
