"""What becomes of a message when the broker has said what it did with its decisions."""

import asyncio
import json
import time
from types import SimpleNamespace
from typing import Any, cast

from redis.asyncio import Redis

from policies.decide import Decided, LoadedPolicy
from policies.registry import make
from stream.config import Config
from stream.redis.policy_cache import PolicyCache
from stream.roles.decide import _Connection
from stream.roles.deciding import DECISIONS_BYTES, Request, Requests
from stream.roles.envelope import Envelope
from stream.roles.turn import TURN_S
from tests.serving import served, tables

TTL_MS = 100


def message(*results, array=False):
    record = SimpleNamespace(
        topic="decision-requests", partition=2, offset=7, timestamp=1000, key=b"k", value=b"{}", headers=()
    )
    return Request(record, Envelope("replies.a", (), TTL_MS, None), array, list(results), [])


def decision(event_id, size=10):
    return Decided(event_id, "front", b'{"event_id":"%s","chosen":"a","x":"%s"}' % (event_id.encode(), b"x" * size))


def answer(timestamp, timestamp_type=1):
    return SimpleNamespace(timestamp=timestamp, timestamp_type=timestamp_type, offset=0)


def test_a_decision_in_time_is_its_own_reply():
    one = decision("e1")
    request = message(one)
    assert request.messages() == [(2, b"e1", one.value)]
    assert request.appended([answer(1000 + TTL_MS)])
    assert (request.key(), request.reply()) == (b"e1", one.value)


def test_law_3_a_decision_whose_log_time_lies_beyond_its_expiry_is_not_replied():
    request = message(decision("e1"))
    request.messages()
    assert not request.appended([answer(1001 + TTL_MS)])


def test_law_3_nothing_is_replied_where_the_log_time_is_not_known():
    request = message(decision("e1"))
    request.messages()
    assert not request.appended([answer(1000, timestamp_type=0)])


def test_an_array_goes_into_as_few_messages_as_fit_and_late_ones_are_errors_in_their_places():
    parts = [decision(f"e{number}", DECISIONS_BYTES // 3) for number in range(4)]
    request = message(*parts, array=True)
    messages = request.messages()
    assert [len(json.loads(one.value)) for one in messages] == [2, 2]
    assert all(one.partition == 2 and one.key == b"k" and len(one.value) <= DECISIONS_BYTES for one in messages)
    assert request.appended([answer(1000), answer(1001 + TTL_MS)])
    reply = json.loads(request.reply())
    assert [part["event_id"] for part in reply] == ["e0", "e1", "e2", "e3"]
    assert ["chosen" in part for part in reply] == [True, True, False, False]
    assert reply[2]["error"]["code"] == "expired"


def test_a_decision_that_is_too_large_for_its_topic_is_an_error_and_a_dead_letter():
    request = message(decision("e1"))
    request.messages()
    assert request.appended([None])
    assert json.loads(request.reply())["error"]["code"] == "decision_too_large"
    assert [(letter.reason, letter.offset) for letter in request.letters] == [("decision_too_large", 7)]


def test_version_0_is_in_use_until_redis_tells_otherwise():
    config = Config(**tables({"front": served()}))
    lookup = PolicyCache(config, cast(Redis, None))
    assert lookup.choosers["front"].version.startswith("0-")
    assert not lookup.overloaded("front")


async def test_the_loop_turns_while_very_many_requests_are_decided():
    connection = _Connection.__new__(_Connection)
    connection._clock = cast(Any, SimpleNamespace(now_ms=lambda: 7))
    turns = 0

    async def others():
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    async def read(batch):
        at_reading.append(turns)

    def opened(record, now_ms):
        time.sleep(TURN_S)
        return [record, now_ms]

    def decide(request, now_ms):
        time.sleep(TURN_S)
        request.append(now_ms)

    at_reading: list[int] = []
    steps = SimpleNamespace(open=opened, read=read, decide=decide)
    background = asyncio.create_task(others())
    results: list[Any] = list(await connection._decided(cast(Any, steps), range(5)))
    background.cancel()
    assert results == [[number, 7, 7] for number in range(5)]
    assert at_reading[0] >= 5
    assert turns >= at_reading[0] + 5


async def test_a_batch_is_read_once_and_decided_by_the_versions_that_are_in_use_then():
    """What was opened holds no version: the one in use may be replaced, and closed, while the batch is read."""
    config = Config(**tables({"front": served()}))
    lookup = SimpleNamespace(choosers={}, overloaded=lambda policy: False)
    lookup.choosers["front"] = LoadedPolicy("front", cast(Any, SimpleNamespace()), "1-00000000", "front", b"{}")
    requests = Requests(config, cast(Any, lookup), "cluster")
    reads: list[Any] = []

    async def read(batch):
        reads.append(list(batch))
        await asyncio.sleep(0)
        lookup.choosers["front"] = LoadedPolicy("front", make("uniform", ""), "2-00000000", "front", b"{}")

    requests.read = read  # type: ignore[method-assign]
    connection = _Connection.__new__(_Connection)
    connection._clock = cast(Any, SimpleNamespace(now_ms=lambda: 1000))
    values = [
        b'{"placement": "front", "actions": [{"id": "a"}]}',
        b"nonsense",
        b'[{"placement": "front", "actions": []}]',
    ]
    records = [
        SimpleNamespace(topic="t", partition=0, offset=n, timestamp=1000, key=None, value=value, headers=())
        for n, value in enumerate(values)
    ]
    batch = await connection._decided(requests, records)
    assert reads == [batch]
    replies = [json.loads(request.reply()) for request in batch]
    assert replies[0]["policy_version"] == "2-00000000"
    assert replies[1]["error"]["code"] == "not_json"
    assert [part["error"]["code"] for part in replies[2]] == ["no_actions"]
    assert [[letter.reason for letter in request.letters] for request in batch] == [[], ["not_json"], ["no_actions"]]
