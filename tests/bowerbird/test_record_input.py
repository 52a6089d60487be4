"""What a person passes to a command as records, and the message for what is not a record."""

import pytest

from bowerbird.record_input import records_of
from records.errors import WrongConfiguration


@pytest.mark.parametrize(
    ("document", "bodies", "alone"),
    [
        (b'{"a": 1}', [b'{"a": 1}'], True),
        (b'\n{\n "a": 1\n}\n', [b'{\n "a": 1\n}'], True),
        (b'{"a": 1}\n\n {"a": 2}\r\n', [b'{"a": 1}', b'{"a": 2}'], False),
        (b'[{"a": 1}, {"a": 1.00}]', [b'{"a": 1}', b'{"a": 1.00}'], False),
    ],
)
def test_the_bytes_stay_as_they_are(document: bytes, bodies: list[bytes], alone: bool) -> None:
    assert records_of(document, "f") == (bodies, alone)


@pytest.mark.parametrize(
    ("document", "message"),
    [
        (b"", "f: found nothing"),
        (b"[]", "f: found nothing"),
        (b"[1, 2", "f: value: found"),
        (b'[{"a": 1}, 2]', "f, item 2: found 2, expected a JSON object"),
        (b'{"a": 1}\n{"a"\n', "f, line 2: found"),
        (b'{"a": "\xff"}', "f, line 1: found bytes that are not UTF-8"),
        (b"[" * 100_000, "f: value: found"),
        (b'{"a":' * 100_000, "f, line 1: found"),
    ],
)
def test_what_is_no_record_is_told_with_its_place(document: bytes, message: str) -> None:
    with pytest.raises(WrongConfiguration, match=r"expected (a JSON object|at most 200 within each other)") as wrong:
        records_of(document, "f")
    assert str(wrong.value).startswith(message)
