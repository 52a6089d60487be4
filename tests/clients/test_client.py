"""The client: ids, defaults, arrays, retries, shut-down. What it does over Kafka is tested under tests/real."""

import asyncio
import inspect
import json
import os
import subprocess
import sys
import threading
import time
import traceback
import warnings
from collections.abc import Awaitable, Callable, Iterator, Mapping
from datetime import UTC, datetime
from decimal import Decimal
from enum import Enum
from itertools import repeat
from typing import Any
from uuid import UUID

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from bowerbird.fake import FakeLoop
from bowerbird_client import BadInput, BlockingClient, BowerbirdError, BrokerAway, Client, EventIds, NotDecided, valued
from bowerbird_client.answer import answer_of
from bowerbird_client.outgoing import BATCH_BYTES, Outgoing
from records.rule import Reward, StreamReward
from stream.config import Config
from tests.serving import served, tables

CLICKS = Reward(streams={"clicks": StreamReward(weight=1.0), "purchases": StreamReward(value=True)})


def config(**options: Any) -> Config:
    return Config(**tables({"front": served("uniform", window_s=60, reward=CLICKS, activate_on="views")}), **options)


async def until(holds: Callable[[], Awaitable[Any]] | Callable[[], Any]) -> None:
    async with asyncio.timeout(10):
        while not holds():
            await asyncio.sleep(0.001)


def test_event_ids_are_of_version_7_and_rise() -> None:
    times = iter([5, 5, 5, 4, 6])
    ids = EventIds(now_ms=lambda: next(times))
    made = [ids.mint() for _ in range(5)]
    assert made == sorted(set(made))
    assert {UUID(each).version for each in made} == {7}
    assert {UUID(each).variant for each in made} == {"specified in RFC 4122"}
    assert [UUID(each).int >> 80 for each in made] == [5, 5, 5, 5, 6]


def test_a_counter_that_is_full_borrows_the_next_millisecond() -> None:
    ids = EventIds(now_ms=lambda: 7)
    made = [ids.mint() for _ in range(10_000)]
    assert made == sorted(set(made))
    assert UUID(made[-1]).int >> 80 > 7


@pytest.mark.parametrize("client", [Client, BlockingClient])
def test_people_and_frameworks_see_what_a_method_takes(client: type[Client | BlockingClient]) -> None:
    assert [*inspect.signature(client.reward).parameters][:4] == ["self", "event_id", "stream", "action"]
    assert "timeout_s" in inspect.signature(client).parameters
    assert inspect.iscoroutinefunction(client.decide) == (client is Client)
    with pytest.raises(TypeError, match="unexpected keyword argument 'timeout'"):
        client(timeout=1)  # type: ignore[call-arg]


async def test_a_decision_and_its_feedback() -> None:
    loop = FakeLoop(config())
    async with Client(connection=loop.connection()) as client:
        answer = await client.decide("front", ["boots", {"id": "hat"}], {"user": {"age": 34}}, user_id="u1")
        assert answer.decided
        assert answer.chosen == answer.ranking[0]
        assert answer.propensity == 0.5
        assert answer.policy_version == loop.version("front")
        await client.activate(answer.event_id)
        feedback_id = await client.reward(answer.event_id, "purchases", value=2.5, id="order-1")
        assert feedback_id == "order-1"
    decision = loop.records("decisions")[0]
    assert (decision["event_id"], decision["user_id"]) == (answer.event_id, "u1")
    assert loop.records("views")[0]["activate"] is True
    assert loop.records("purchases") == [
        {"v": 1, "id": "order-1", "event_id": answer.event_id, "action": None, "value": 2.5, "activate": None}
    ]


async def test_the_request_says_how_long_it_may_wait() -> None:
    loop = FakeLoop(config())
    async with Client(connection=loop.connection()) as client:
        await client.decide("front", ["boots"], timeout_s=0.8)
        await client.decide("front", ["boots"], timeout_s=1000)
    assert [dict(message.headers)["expires-ms"] for message in loop.messages("decision-requests")] == [b"400", b"60000"]


async def test_no_answer_in_time_gives_the_default_and_its_feedback_teaches_nothing() -> None:
    loop = FakeLoop(config())
    loop.answering = False
    async with Client(connection=loop.connection(), timeout_s=0.02) as client:
        answer = await client.decide("front", ["boots", "hat"], default="hat", event_id="visit-1")
        assert (answer.chosen, answer.reason, answer.decided) == ("hat", "timeout", False)
        assert answer.propensity is None
        assert await client.reward(answer.event_id, "clicks") is None
        with pytest.raises(NotDecided, match=r"no reply within 0\.02 s") as missed:
            await client.decide("front", ["boots", "hat"], event_id="visit-2")
        assert (missed.value.code, missed.value.event_id) == ("timeout", "visit-2")
    assert loop.records("clicks") == []


async def test_an_error_reply_gives_the_default_or_an_error_with_its_code() -> None:
    loop = FakeLoop(config())
    async with Client(connection=loop.connection()) as client:
        assert (await client.decide("nobody", ["boots"], default="boots")).reason == "unknown_placement"
        with pytest.raises(NotDecided, match="duplicate_action") as missed:
            await client.decide("front", ["boots", "boots"])
        assert missed.value.code == "duplicate_action"


async def test_a_default_is_one_of_the_actions() -> None:
    loop = FakeLoop(config())
    async with Client(connection=loop.connection(), timeout_s=0.02) as client:
        with pytest.raises(BadInput, match=r"default: found 'cap', expected the id of one of the actions: boots, 7"):
            await client.decide("front", [{"id": "boots"}, 7], default="cap")
        assert loop.messages("decision-requests") == []
        assert (await client.decide("front", [], default="cap")).reason == "no_actions"
        with pytest.raises(BadInput, match=r"default\[1\]: found 'boots' twice, expected each action once"):
            await client.decide("front", ["boots", "hat"], top=2, default=["boots", "boots"])
        with pytest.raises(BadInput, match=r"default: found no id, expected the id of an action for each place"):
            await client.decide("front", ["boots", "hat"], top=2, default=[])
        loop.answering = False
        assert (await client.decide("front", [{"id": "boots"}, 7], default=7)).chosen == "7"
        shown = await client.decide("front", ["boots", "hat", "scarf"], top=2, default=["scarf", "boots"])
        assert (shown.chosen, shown.ranking, shown.decided) == ("scarf", ("scarf", "boots"), False)


async def test_feedback_without_the_value_that_its_rule_needs_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(valued, "MOST_DECISIONS", 2)
    loop = FakeLoop(config())
    async with Client(connection=loop.connection()) as client:
        answers = [await client.decide("front", ["boots", "hat"]) for _ in range(3)]
        for answer in answers[1:]:
            with pytest.raises(
                BadInput, match=r"value: found none, expected a number: .* purchases is worth its value"
            ):
                await client.reward(answer.event_id, "purchases")
        for event_id in (answers[0].event_id, "of another process"):
            assert await client.reward(event_id, "purchases")
        assert await client.reward(answers[1].event_id, "purchases", value=0)
        assert await client.reward(answers[1].event_id, "clicks")
        assert await client.activate(answers[1].event_id, "purchases")
    assert len(loop.records("purchases")) == 4


async def test_a_late_reply_is_dropped() -> None:
    loop = FakeLoop(config())
    connection = loop.connection()
    late: list[Any] = []
    replies = connection.replies

    async def held() -> list[Any]:
        late.extend(await replies())
        if len(late) < 2:
            return []
        handed, late[:] = list(late), []
        return handed

    connection.replies = held  # type: ignore[method-assign]
    async with Client(connection=connection, timeout_s=0.05) as client:
        assert not (await client.decide("front", ["boots"], default="boots")).decided
        answer = await client.decide("front", ["hat"], event_id="second", timeout_s=60)
        assert (answer.event_id, answer.chosen, answer.decided) == ("second", "hat", True)


async def test_each_of_many_at_once_gets_its_own_answer() -> None:
    async with Client(connection=FakeLoop(config()).connection(), timeout_s=10) as client:
        answers = await asyncio.gather(*(client.decide("front", [f"a{number}"]) for number in range(100)))
    assert [answer.chosen for answer in answers] == [f"a{number}" for number in range(100)]


async def test_bad_arguments_are_refused_at_once() -> None:
    async with Client(connection=FakeLoop(config()).connection()) as client:
        with pytest.raises(BadInput, match="event_id"):
            await client.decide("front", ["boots"], event_id="a\nb")
        nothing: dict[str, Any] = {"user": {"age": 3, "seen": [1.0, np.float32("nan")]}}
        with pytest.raises(BadInput, match=r"context\.user\.seen\[1\]: found nan, expected a finite number"):
            await client.decide("front", ["boots"], nothing)
        with pytest.raises(BadInput, match=r"context\.user: found set"):
            await client.decide("front", ["boots"], {"user": {1}})
        with pytest.raises(BadInput, match=r"actions\[1\]: found 1\.5, expected a string, or an integer"):
            await client.decide("front", ["boots", 1.5])  # type: ignore[list-item]
        with pytest.raises(BadInput, match="event_id"):
            await client.reward("", "clicks")
        with pytest.raises(BadInput, match="value"):
            await client.reward("visit", "clicks", value=1e7)
        for value in (float("nan"), float("inf"), np.float32("nan"), True, "3"):
            with pytest.raises(BadInput, match="expected a finite number within"):
                await client.reward("visit", "clicks", value=value)  # type: ignore[arg-type]


class Unreadable(Mapping[str, Any]):
    """An object of a caller that raises whatever is asked of it."""

    def __getitem__(self, name: str) -> Any:
        raise KeyError(name)

    def __iter__(self) -> Iterator[str]:
        return iter("a")

    def __len__(self) -> int:
        return 1

    def __repr__(self) -> str:
        raise RuntimeError


def nested(levels: int) -> dict[str, Any]:
    outer: dict[str, Any] = {}
    for _ in range(levels):
        outer = {"a": outer}
    return outer


HOSTILE: dict[str, Any] = {
    "bytes": b"visit",
    "integer": 10**5000,
    "nan": float("nan"),
    "infinite": float("-inf"),
    "objects": np.array([object(), 1], dtype=object),
    "deep": nested(1000),
    "set": {1},
    "time": datetime.now(UTC),
    "decimal": Decimal("1.5"),
    "surrogate": "\ud800",
    "surrogate's name": {"\ud800": 1},
    "pair's name": {("a", "b"): 1},
    "unreadable": Unreadable(),
    "missing": pd.NA,
}
ASKED: dict[str, Callable[[Any], dict[str, Any]]] = {
    "placement": lambda value: {"placement": value},
    "actions[0]": lambda value: {"actions": [value, "hat"]},
    "actions[1].features.item.size": lambda value: {
        "actions": ["hat", {"id": "a", "features": {"item": {"size": value}}}]
    },
    "context": lambda value: {"context": value},
    "context.user.age": lambda value: {"context": {"user": {"age": value}}},
    "default": lambda value: {"default": value},
    "event_id": lambda value: {"event_id": value},
    "user_id": lambda value: {"user_id": value},
    "activate": lambda value: {"activate": value},
    "timeout_s": lambda value: {"timeout_s": value},
}


@pytest.mark.parametrize("value", HOSTILE.values(), ids=list(HOSTILE))
async def test_a_hostile_value_is_refused_with_its_field_and_nothing_is_sent(value: Any) -> None:
    loop = FakeLoop(config())
    async with Client(connection=loop.connection()) as client:
        for field, asked in ASKED.items():
            with pytest.raises(BadInput) as refused:
                await client.decide(**{"placement": "front", "actions": ["boots", "hat"], **asked(value)})
            assert refused.value.field.startswith(field), refused.value
        for field in ("event_id", "stream", "value", "id", "activate"):
            arguments = {"event_id": "visit", "stream": "clicks", field: value}
            with pytest.raises(BadInput) as refused:
                await client.reward(**arguments)
            assert refused.value.field == field, refused.value
    assert loop.records("decision-requests") == loop.records("clicks") == []


@pytest.mark.parametrize("frame", [pd.DataFrame({"id": ["a"]}), pl.DataFrame({"id": ["a"]}), pa.table({"id": ["a"]})])
async def test_the_columns_of_a_frame_are_no_actions(frame: Any) -> None:
    async with Client(connection=FakeLoop(config()).connection()) as client:
        with pytest.raises(BadInput, match=r"actions: found (DataFrame|Table), expected a list"):
            await client.decide("front", frame)
        answer = await client.decide("front", [str(each) for each in frame["id"]])
        assert answer.chosen == "a"


async def test_what_has_no_end_and_an_id_that_is_none_are_refused() -> None:
    async with Client(connection=FakeLoop(config()).connection()) as client:
        with pytest.raises(BadInput, match="actions: found 200000 or more"):
            await client.decide("front", repeat("boots"))  # type: ignore[arg-type]
        with pytest.raises(BadInput, match="id: found '', expected a name of this event"):
            await client.reward("visit", "clicks", id="")


async def test_a_member_of_an_enumeration_is_its_text() -> None:
    class Shown(str, Enum):  # noqa: UP042
        BOOTS = "boots"

    loop = FakeLoop(config())
    async with Client(connection=loop.connection()) as client:
        answer = await client.decide("front", [Shown.BOOTS], event_id=Shown.BOOTS, activate=np.bool_(True))  # type: ignore[arg-type]
        assert (answer.chosen, answer.event_id) == ("boots", "boots")


async def test_scalars_of_numpy_are_numbers_and_integers_are_ids() -> None:
    loop = FakeLoop(config())
    async with Client(connection=loop.connection()) as client:
        context = {"user": {"age": np.int64(34), "score": np.float32(0.5), "seen": np.array([1, 2])}}
        answer = await client.decide("front", [7, {"id": np.int32(8)}], context, event_id=12345, user_id=42)
        assert answer.chosen in ("7", "8")
        assert answer.event_id == "12345"
        await client.reward(12345, "purchases", value=np.float64(2.5), id=9)
    (asked,) = loop.records("decision-requests")
    assert (asked["event_id"], asked["user_id"]) == ("12345", "42")
    assert asked["context"] == {"user": {"age": 34, "score": 0.5, "seen": [1, 2]}}
    (purchase,) = loop.records("purchases")
    assert (purchase["event_id"], purchase["id"], purchase["value"]) == ("12345", "9", 2.5)


async def test_feedback_goes_in_arrays_and_all_of_it_before_the_end() -> None:
    loop = FakeLoop(config())
    async with Client(connection=loop.connection(), batch_ms=20) as client:
        for number in range(1000):
            await client.reward(f"visit-{number}", "clicks")
    assert [record["event_id"] for record in loop.records("clicks")] == [f"visit-{number}" for number in range(1000)]
    assert len(loop.messages("clicks")) < 20


async def test_a_stream_that_is_not_there_is_refused_at_once() -> None:
    async with Client(connection=FakeLoop(config()).connection()) as client:
        for stream in ("clics", "decisions"):
            with pytest.raises(
                BadInput, match=f"found '{stream}', expected a stream of the service: clicks, purchases"
            ):
                await client.reward("visit", stream)
        await client.flush()


class Flaky:
    """Appends, or fails as often as it is set to."""

    def __init__(self, failures: int = 0) -> None:
        self.failures, self.appended = failures, []  # type: ignore[var-annotated]
        self.open = asyncio.Event()
        self.open.set()

    async def append(self, topic: str, value: bytes) -> None:
        await self.open.wait()
        if self.failures:
            self.failures -= 1
            raise BrokerAway("away")
        self.appended.append((topic, json.loads(value)))


async def test_what_was_not_acknowledged_is_sent_again() -> None:
    flaky = Flaky(failures=3)
    outgoing = Outgoing(flaky.append, 0.0, 100)
    await outgoing.add("clicks", b"1")
    await outgoing.flush()
    assert flaky.appended == [("clicks", [1])]
    await outgoing.close()


async def test_a_stream_that_fails_holds_no_other_up() -> None:
    flaky = Flaky()

    async def append(topic: str, value: bytes) -> None:
        if topic == "typos":
            raise BrokerAway("no such topic")
        await flaky.append(topic, value)

    outgoing = Outgoing(append, 0.0, 100)
    await outgoing.add("typos", b"1")
    await outgoing.add("clicks", b"2")
    await until(lambda: flaky.appended == [("clicks", [2])])
    assert outgoing.waiting == 1
    await outgoing.close()


async def test_adding_waits_while_too_much_is_unsent() -> None:
    flaky = Flaky()
    flaky.open.clear()
    outgoing = Outgoing(flaky.append, 0.0, 2)
    await outgoing.add("clicks", b"1")
    await outgoing.add("clicks", b"2")
    third = asyncio.create_task(outgoing.add("clicks", b"3"))
    done, _ = await asyncio.wait([third], timeout=0.05)
    assert not done
    flaky.open.set()
    await asyncio.wait_for(third, 60)
    await outgoing.flush()
    assert [record for _, value in flaky.appended for record in value] == [1, 2, 3]
    await outgoing.close()


async def test_an_array_is_no_larger_than_a_message() -> None:
    flaky = Flaky()
    outgoing = Outgoing(flaky.append, 0.01, 1000)
    record = json.dumps("x" * 15_000).encode()
    for _ in range(100):
        await outgoing.add("clicks", record)
    await outgoing.flush()
    sizes = [len(json.dumps(value)) for _, value in flaky.appended]
    assert sum(len(value) for _, value in flaky.appended) == 100
    assert max(sizes) <= BATCH_BYTES + 1000
    await outgoing.close()


async def test_unsent_feedback_raises_at_the_end() -> None:
    connection = FakeLoop(config()).connection()

    async def append(stream: str, value: bytes) -> None:
        raise BrokerAway("away")

    connection.append = append  # type: ignore[method-assign]
    with pytest.raises(BrokerAway, match="1 feedback of clicks not acknowledged"):
        async with Client(connection=connection, flush_within_s=0.05) as client:
            await client.reward("visit", "clicks")


async def test_an_error_of_the_caller_is_not_hidden_by_ours() -> None:
    connection = FakeLoop(config()).connection()

    async def append(stream: str, value: bytes) -> None:
        raise BrokerAway("away")

    connection.append = append  # type: ignore[method-assign]
    with pytest.raises(KeyError, match="own"):  # noqa: PT012
        async with Client(connection=connection, flush_within_s=0.05) as client:
            await client.reward("visit", "clicks")
            raise KeyError("own")


def test_the_blocking_client_does_the_same() -> None:
    loop = FakeLoop(config())
    with BlockingClient(connection=loop.connection()) as client:
        answer = client.decide("front", ["boots", "hat"], event_id="visit-1")
        client.activate(answer.event_id)
        client.reward(answer.event_id, "purchases", value=3.0)
        client.flush()
        assert len(loop.records("purchases")) == 1
        client.reward(answer.event_id, "clicks")
    client.close()
    assert len(loop.records("clicks")) == 1
    loop.advance(61)
    assert [outcome["reward"] for outcome in loop.records("rewards")] == [4.0]


def test_a_blocking_client_that_cannot_connect_leaves_no_thread() -> None:
    before = threading.active_count()
    with pytest.raises(BrokerAway, match=r"127\.0\.0\.1:1 did not answer .*: start it, or correct brokers") as raised:
        BlockingClient("127.0.0.1:1")
    assert "aiokafka" not in "".join(traceback.format_exception(raised.value))
    assert threading.active_count() == before


@pytest.mark.parametrize(
    ("options", "field"),
    [
        ({"timeout_s": 0}, "timeout_s: found 0"),
        ({"timeout_s": -1.0}, "timeout_s: found -1.0"),
        ({"timeout_s": float("nan")}, "timeout_s: found nan"),
        ({"brokers": ""}, "brokers: found ''"),
        ({"brokers": "http://127.0.0.1:9092"}, "brokers: found 'http"),
        ({"reply_topic": "re plies"}, "reply_topic: found 're plies'"),
        ({"reply_topic": ""}, "reply_topic: found ''"),
        ({"reply_topic": ".."}, "reply_topic: found '..'"),
        ({"reply_topic": "decisions"}, "reply_topic: found 'decisions'"),
        ({"prefix": "a b"}, "prefix: found 'a b'"),
        ({"prefix": None}, "prefix: found None"),
        ({"most_waiting": 0}, "most_waiting: found 0"),
        ({"most_waiting": None}, "most_waiting: found None"),
        ({"batch_ms": -5}, "batch_ms: found -5"),
        ({"batch_ms": "x"}, "batch_ms: found 'x'"),
        ({"flush_within_s": "1"}, "flush_within_s: found '1'"),
        ({"properties": "abc"}, "properties: found str"),
        ({"properties": {"bootstrap.servers": "a:1"}}, r"properties: found bootstrap\.servers, expected those that"),
        ({"properties": {"group.id": ""}}, r"properties: found group\.id"),
    ],
)
def test_what_a_client_cannot_be_made_with_is_refused_at_once(options: dict[str, Any], field: str) -> None:
    with pytest.raises(BadInput, match=field):
        Client(**options)


def test_a_property_that_librdkafka_does_not_know_is_refused_at_once() -> None:
    with pytest.raises(BadInput, match=r'properties: found No such configuration property: "sasl\.password\.of\.mine"'):
        BlockingClient(properties={"sasl.password.of.mine": "secret"})


async def test_a_client_that_is_not_open_says_so() -> None:
    """What it took would be lost."""
    client = Client(connection=FakeLoop(config()).connection())
    for state in ("not open: use it within `async with`", "closed: open another one"):
        for call in (client.decide("front", ["boots"]), client.reward("visit", "clicks"), client.flush()):
            with pytest.raises(BowerbirdError, match=f"the client is {state}"):
                await call
        if state.startswith("not"):
            async with client:
                pass
    with pytest.raises(BowerbirdError, match="the client is closed, and is opened once"):
        await client.__aenter__()
    await client.__aexit__(None, None, None)
    blocking = BlockingClient(connection=FakeLoop(config()).connection())
    blocking.close()
    with pytest.raises(BowerbirdError, match="the client is closed"):
        blocking.reward("visit", "clicks")


def test_a_forked_process_opens_a_client_of_its_own() -> None:
    """It would wait for ever for a thread that it does not have, also at its end."""
    with BlockingClient(connection=FakeLoop(config()).connection()) as client:
        read, write = os.pipe()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # the fork of a process with threads
            child = os.fork()
        if not child:
            try:
                client.reward("visit", "clicks")
            except BowerbirdError as error:
                os.write(write, str(error).encode())
            client.close()
            os._exit(0)
        os.close(write)
        assert os.read(read, 1000) == b"the client was opened by another process: open one in each, after the fork"
        os.close(read)
        assert os.waitpid(child, 0)[1] == 0
        assert client.reward("visit", "clicks")


async def test_an_array_that_its_topic_refuses_goes_in_parts_that_fit() -> None:
    appended: list[list[int]] = []

    async def append(topic: str, value: bytes) -> None:
        records = json.loads(value)
        if len(records) > 2 or 13 in records:
            raise BadInput("too_large", "value", f"{len(value)} bytes", "less")
        appended.append(records)

    outgoing = Outgoing(append, 0.0, 100)
    for number in range(10, 17):
        await outgoing.add("clicks", b"%d" % number)
    with pytest.raises(BadInput, match="too_large"):
        await outgoing.flush()
    assert sorted(record for records in appended for record in records) == [10, 11, 12, 14, 15, 16]
    await outgoing.close()


async def test_while_the_broker_is_away_it_is_asked_once_and_feedback_waits() -> None:
    connection = FakeLoop(config()).connection()
    asked = 0

    async def streams() -> Any:
        nonlocal asked
        asked += 1
        await asyncio.sleep(0.05)
        raise BrokerAway("away")

    connection.streams = streams  # type: ignore[method-assign]
    client = await Client(connection=connection, flush_within_s=0.3).__aenter__()
    await asyncio.gather(*(client.reward(f"visit-{number}", "clicks") for number in range(20)))
    assert asked == 1
    # It waits here: the broker is not asked for each.
    for number in range(20):
        await client.reward(f"visit-{number}", "clicks")
    assert asked < 20
    with pytest.raises(BrokerAway, match="40 feedback of clicks not acknowledged and dropped"):
        await client.__aexit__(None, None, None)


def test_closing_while_threads_call_loses_nothing_and_ends_them() -> None:
    """Feedback whose call returned is in the log; later calls raise."""
    loop = FakeLoop(config())
    client = BlockingClient(connection=loop.connection(), batch_ms=1)
    sent: list[str] = []
    ended: list[str] = []

    def work(number: int) -> None:
        try:
            for turn in range(100_000):
                client.reward(f"visit-{number}-{turn}", "clicks")
                sent.append(f"visit-{number}-{turn}")
        except BowerbirdError as error:
            ended.append(str(error))

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    while len(sent) < 200:
        time.sleep(0.001)
    client.close()
    for thread in threads:
        thread.join(30)
    assert len(ended) == 8
    assert set(sent) <= {record["event_id"] for record in loop.records("clicks")}


async def test_closing_answers_who_still_waits() -> None:
    loop = FakeLoop(config())
    loop.answering = False
    client = await Client(connection=loop.connection(), timeout_s=60).__aenter__()
    waiting = asyncio.create_task(client.decide("front", ["boots", "hat"], default="hat"))
    await asyncio.sleep(0.01)
    await client.__aexit__(None, None, None)
    answer = await asyncio.wait_for(waiting, 30)
    assert (answer.chosen, answer.reason) == ("hat", "broker_away")


async def test_a_client_that_is_cancelled_twice_while_it_closes_still_closes_its_connection() -> None:
    connection = FakeLoop(config()).connection()
    closing, closed = asyncio.Event(), asyncio.Event()

    async def close(*error: object) -> None:
        closing.set()
        await asyncio.sleep(0.05)
        closed.set()

    connection.__aexit__ = close  # type: ignore[assignment, method-assign]
    client = await Client(connection=connection).__aenter__()
    leaving = asyncio.create_task(client.__aexit__(None, None, None))
    await closing.wait()
    for _ in range(2):
        leaving.cancel()
        await asyncio.sleep(0)
    with pytest.raises(asyncio.CancelledError):
        await leaving
    await asyncio.wait_for(closed.wait(), 30)


INTERRUPTED = """
import asyncio, os, signal, threading
from bowerbird_client import BlockingClient
from tests.clients.test_client import FakeLoop, config

# A shell that starts something in the background lets it ignore the signal.
signal.signal(signal.SIGINT, signal.default_int_handler)
connection, appending = FakeLoop(config()).connection(), threading.Event()

async def never(stream, value):
    appending.set()
    await asyncio.sleep(3600)

def interrupt():
    appending.wait()
    os.kill(os.getpid(), signal.SIGINT)

connection.append = never
client = BlockingClient(connection=connection, flush_within_s=3600)
client.reward("visit", "clicks")
interrupter = threading.Thread(target=interrupt)
interrupter.start()
try:
    client.close()
except KeyboardInterrupt:
    client.close()
    interrupter.join()
    print("interrupted", [thread.name for thread in threading.enumerate()])
"""


def test_ctrl_c_ends_a_client_that_closes() -> None:
    done = subprocess.run([sys.executable, "-c", INTERRUPTED], capture_output=True, text=True, timeout=120, check=True)
    assert done.stdout == "interrupted ['MainThread']\n", done


@pytest.mark.parametrize(
    "broken",
    [
        {"warnings": [{"x": 1}]},
        {"chosen": {}},
        {"chosen": "cap"},
        {"ranking": []},
        {"ranking": "hat"},
        {"propensity": 0},
        {"propensity": "x"},
        {"propensity": float("nan")},
        {"policy_version": None},
        {"picks": [{"propensity": 2}]},
        {"error": {}},
    ],
    ids=str,
)
def test_a_reply_that_is_none_of_the_contract_is_no_answer(broken: dict[str, Any]) -> None:
    reply = {"chosen": "hat", "ranking": ["hat"], "propensity": 0.5, "policy_version": "1-a", "rule": {}}
    assert answer_of("visit", json.dumps(reply).encode())[0].chosen == "hat"
    with pytest.raises(NotDecided, match=r"bad_reply"):
        answer_of("visit", json.dumps({**reply, **broken}).encode())


class FailsAsAnArray:
    def tolist(self) -> Any:
        raise OSError


@pytest.mark.parametrize("field", ["actions", "default", "context"])
async def test_an_object_that_fails_when_it_is_read_is_refused_with_its_field(field: str) -> None:
    async with Client(connection=FakeLoop(config()).connection()) as client:
        for value in (FailsAsAnArray(), np.ndarray):
            asked: dict[str, Any] = {"placement": "front", "actions": ["boots"], field: value}
            with pytest.raises(BadInput) as refused:
                await client.decide(**asked)
            assert refused.value.field in (field, "request"), refused.value


async def test_a_default_fills_no_more_than_the_places() -> None:
    async with Client(connection=FakeLoop(config()).connection()) as client:
        with pytest.raises(BadInput, match="default: found 2 ids, expected at most 1"):
            await client.decide("front", ["boots", "hat"], default=["hat", "boots"])
        with pytest.raises(BadInput, match="event_id: found 'default-1', expected one that does not begin with"):
            await client.decide("front", ["boots"], event_id="default-1")


async def test_closing_waits_for_feedback_that_is_on_its_way() -> None:
    loop = FakeLoop(config())
    connection = loop.connection()
    streams, known = connection.streams, asyncio.Event()

    async def held() -> Any:
        await known.wait()
        return await streams()

    connection.streams = held  # type: ignore[method-assign]
    client = await Client(connection=connection).__aenter__()
    call = asyncio.create_task(client.reward("visit", "clicks"))
    await asyncio.sleep(0.01)
    closing = asyncio.create_task(client.__aexit__(None, None, None))
    await asyncio.sleep(0.01)
    known.set()
    (event_id,) = await asyncio.gather(call, return_exceptions=True)
    assert isinstance(event_id, str), event_id
    await closing
    assert [record["event_id"] for record in loop.records("clicks")] == ["visit"]
