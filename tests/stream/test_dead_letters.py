"""What a dead letter says on the wire, and that it is written in the end."""

import asyncio
import json

from aiokafka.errors import KafkaConnectionError, MessageSizeTooLargeError
from hypothesis import given
from hypothesis import strategies as st

from stream.config import Config
from stream.kafka import dead_letters
from stream.kafka.dead_letters import APART, ROOM_BYTES, DeadLetter, DeadLetters, gathered

LETTER = DeadLetter("clicks", 2, 7, 1, "not_json", "value: found x", b"\xff", b"key", (("a", b"1"),))


def test_the_value_is_as_it_came_and_the_rest_stands_in_headers():
    value, headers = LETTER.wire(1000)
    assert value == b"\xff"
    assert dict(headers) == {
        "topic": b"clicks",
        "partition": b"2",
        "offset": b"7",
        "index": b"1",
        "reason": b"not_json",
        "message": b"value: found x",
        "source-key": b"key",
        "source-a": b"1",
    }


def test_a_tombstone_stays_one():
    value, headers = LETTER._replace(value=None).wire(1000)
    assert value is None
    assert dict(headers)["tombstone"] == b"true"


@given(
    size=st.integers(0, 5000),
    headers=st.lists(st.tuples(st.text(max_size=20), st.binary(max_size=50_000) | st.none()), max_size=5),
)
def test_a_letter_always_fits(size, headers):
    value, wire_headers = LETTER._replace(value=b"x" * size, headers=headers).wire(1000)
    assert len(value or b"") == min(size, 1000)
    assert ("cut-from" in dict(wire_headers)) == (size > 1000)
    assert sum(len(name.encode()) + len(content) for name, content in wire_headers) < ROOM_BYTES


class Broker:
    """Fails as often as it is set to, then takes everything."""

    def __init__(self, failures):
        self.failures = list(failures)
        self.taken = []

    async def send(self, topic, value=None, key=None, *, headers=None):
        answer = asyncio.get_running_loop().create_future()
        if self.failures:
            failure, late = self.failures.pop(0)
            if not late:
                raise failure
            answer.set_exception(failure)
        else:
            self.taken.append((topic, key, value, dict(headers)["index"]))
            answer.set_result(None)
        return answer


def test_letters_are_sent_again_until_the_broker_has_them(monkeypatch):
    monkeypatch.setattr(dead_letters, "FIRST_RETRY_S", 0.0)
    broker = Broker([(KafkaConnectionError(), False), (KafkaConnectionError(), True), (OSError(), True)])
    letters = DeadLetters(broker, Config(prefix="p-"), "join")
    asyncio.run(letters.send(LETTER, LETTER._replace(index=2)))
    assert sorted(index for *_, index in broker.taken) == [b"1", b"2"]
    assert {(topic, key) for topic, key, *_ in broker.taken} == {("p-dead-letters", b"clicks")}


def test_a_topic_that_takes_less_than_it_should_gets_shorter_letters(monkeypatch):
    monkeypatch.setattr(dead_letters, "FIRST_RETRY_S", 0.0)
    broker = Broker([(MessageSizeTooLargeError(), True)] * 3)
    asyncio.run(DeadLetters(broker, Config(), "join").send(LETTER._replace(value=b"x" * 4_000_000)))
    ((_, _, value, _),) = broker.taken
    assert 0 < len(value) < 4_000_000


def test_when_the_topic_takes_what_it_should_again_letters_are_whole_again(monkeypatch):
    monkeypatch.setattr(dead_letters, "FIRST_RETRY_S", 0.0)
    monkeypatch.setattr(dead_letters, "LAST_RETRY_S", 0.0)
    broker = Broker([(MessageSizeTooLargeError(), True)] * 10)
    letters = DeadLetters(broker, Config(), "join")
    for _ in range(2):
        asyncio.run(letters.send(LETTER._replace(value=b"x" * 4_000_000)))
    assert [len(value) for _, _, value, _ in broker.taken] == [ROOM_BYTES, 4_000_000]


def test_many_bad_items_of_one_array_are_one_letter():
    """Each item is there in its order, and an array of few has a letter for each."""
    many = [LETTER._replace(index=index, value=b"%d" % index) for index in range(APART + 1)]
    few = [LETTER._replace(offset=8, index=index) for index in range(APART)]
    other = LETTER._replace(index=3, reason="too_large")
    merged = gathered([*many, *few, other])
    assert merged[1:] == [*few, other]
    value, headers = merged[0].wire(1000)
    assert json.loads(value or b"") == list(range(APART + 1))
    by_name = dict(headers)
    assert (by_name["count"], by_name["index"], by_name["reason"]) == (b"21", b"0", b"not_json")
