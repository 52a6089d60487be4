"""Records that a person hands to a command: one JSON object, an object a line, or an array of them."""

import sys
from pathlib import Path
from typing import NamedTuple

import msgspec
from msgspec import Raw

from records.codec import items
from records.errors import BadInput, WrongConfiguration
from records.json_errors import described, syntax

STANDARD_INPUT = "-"

_object = msgspec.json.Decoder(dict[str, Raw])


class Records(NamedTuple):
    """The bytes of each record, and whether they came as one that stands alone."""

    bodies: list[bytes]
    alone: bool


def read(source: str) -> Records:
    """Return the records of a file; ``-`` is the standard input.

    Raises
    ------
    WrongConfiguration
        It cannot be read, holds no record, or holds something that is no JSON object.
    """
    if source == STANDARD_INPUT:
        return records_of(sys.stdin.buffer.read(), "standard input")
    try:
        return records_of(Path(source).read_bytes(), source)
    except OSError as error:
        raise WrongConfiguration(
            f"FILE: found {source}, which can't be read ({error.strerror}), expected a file or - for the standard input"
        ) from None


def records_of(document: bytes, name: str) -> Records:
    r"""Return the records of a document; ``name`` is what errors call it.

    >>> records_of(b'{"a": 1}\n\n{"a": 2}\n', "a file").bodies
    [b'{"a": 1}', b'{"a": 2}']
    """
    document = document.strip()
    if document.startswith(b"["):
        try:
            bodies = [(f"item {number}", body) for number, body in enumerate(items(document), 1)]
        except BadInput as error:
            raise WrongConfiguration(f"{name}: {error.message}") from None
    elif _problem(document) is None:
        return Records([document], True)
    else:
        lines = enumerate(document.splitlines(), 1)
        bodies = [(f"line {number}", line.strip()) for number, line in lines if line.strip()]
    for place, body in bodies:
        if (problem := _problem(body)) is not None:
            raise WrongConfiguration(f"{name}, {place}: found {problem}, expected a JSON object")
    if not bodies:
        raise WrongConfiguration(f"{name}: found nothing, expected a JSON object, one a line, or an array of them")
    return Records([body for _, body in bodies], False)


def _problem(body: bytes) -> str | None:
    try:
        body.decode()
        _object.decode(body)
    except UnicodeDecodeError:
        return "bytes that are not UTF-8"
    except msgspec.ValidationError as error:
        return described(error, body).found
    except (msgspec.DecodeError, RecursionError) as error:
        return syntax(error)
    return None
