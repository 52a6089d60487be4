"""A dead letter is read back as it was written; whatever else the topic holds is no reason to stop."""

import pytest

from stream.config import Config
from stream.kafka.dead_letter_log import Letter, Source, read_letter
from stream.kafka.dead_letters import DeadLetter
from stream.kafka.letter_choice import LetterChoice
from stream.kafka.log import LogRecord


def read_back(written: DeadLetter, room_bytes: int = 1000) -> Letter:
    value, headers = written.wire(room_bytes)
    return read_letter(LogRecord("dead-letters", 1, 34, 5, b"clicks", value, headers))


def test_what_was_written_is_read() -> None:
    headers = [("reply-topic", b"replies.shop"), ("key", b"a header of this name"), ("topic", b"\xff")]
    written = DeadLetter("p-clicks", 2, 17, 3, "not_json", "a sentence", b"\xff\x00", b"visit-1", headers)
    letter = read_back(written)
    assert letter.name == "1@34"
    assert letter.source == Source("p-clicks", 2, 17, 3)
    assert (letter.reason, letter.message, letter.value) == ("not_json", "a sentence", b"\xff\x00")
    assert letter.key == b"visit-1"
    assert ("reply-topic", b"replies.shop") in letter.headers
    assert letter.whole_bytes is None


def test_a_tombstone_and_what_was_cut() -> None:
    assert read_back(DeadLetter("clicks", 0, 0, 0, "tombstone", "", None)).value is None
    cut = read_back(DeadLetter("clicks", 0, 0, 0, "too_large", "", b"x" * 50), room_bytes=10)
    assert (cut.value, cut.whole_bytes) == (b"x" * 10, 50)


@pytest.mark.parametrize("headers", [[], [("topic", b"a")], [("topic", b"a"), ("partition", b"-1"), ("offset", b"x")]])
def test_what_is_no_letter_has_no_source(headers: list[tuple[str, bytes]]) -> None:
    letter = read_letter(LogRecord("dead-letters", 0, 0, 0, None, b"hello", headers))
    assert (letter.source, letter.value) == (None, b"hello")
    assert letter.problem.startswith("not as Bowerbird writes it: no header `")


def test_headers_that_another_program_wrote_hide_nothing() -> None:
    """Nor is a cut that cannot be read taken for none."""
    value, written = DeadLetter("clicks", 0, 7, 0, "not_json", "a sentence", b"x" * 50).wire(10)
    assert read_letter(LogRecord("dead-letters", 0, 0, 0, None, value, written)).problem == ""
    other = [("tombstone", b"true"), *((name, b"ten" if name == "cut-from" else content) for name, content in written)]
    letter = read_letter(LogRecord("dead-letters", 0, 0, 0, None, value, other))
    assert (letter.source, letter.value) == (Source("clicks", 0, 7, 0), b"x" * 10)
    assert letter.problem.endswith("the header `cut-from` holds 'ten', expected a number")


def test_what_is_asked_for() -> None:
    config = Config(prefix="p-")
    letter = read_back(DeadLetter("p-clicks", 0, 0, 0, "late", "", b"{}"))
    assert letter.is_chosen(LetterChoice(), config)
    assert letter.is_chosen(LetterChoice(names=["1@34"], reason="late", topic="clicks"), config)
    assert not letter.is_chosen(LetterChoice(names=["1@35"]), config)
    assert not letter.is_chosen(LetterChoice(reason="early"), config)
    assert not letter.is_chosen(LetterChoice(topic="views"), config)


NAMES = ["shop", "hex-ff", "hex-", "", "two\nlines", "ü", b"\xff\xfe".decode("utf-8", "surrogateescape")]


@pytest.mark.parametrize("name", NAMES)
def test_the_name_of_a_header_comes_back_as_it_was(name: str) -> None:
    written = DeadLetter("clicks", 0, 0, 0, "not_json", "", b"{", None, [(name, b"x")])
    assert read_back(written).headers == [(name, b"x")]


def test_a_name_in_hex_that_is_none_is_left_as_it_is() -> None:
    letter = read_letter(LogRecord("dead-letters", 0, 0, 0, None, b"", [("source-hex-zz", b"x")]))
    assert letter.headers == [("hex-zz", b"x")]
