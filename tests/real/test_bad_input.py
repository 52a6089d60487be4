"""Bad input over Kafka: each gives its documented error and dead letter, and decide goes on with the next request."""

import asyncio
import json
from typing import Any, NamedTuple

import pytest

from tests.real.asking import request
from tests.real.test_decide import VW, configured, dead_letters, deciding
from tests.serving import served, tables

DEEP = 10_000
VERY_DEEP = 200_000
YEAR_1_MS = -62_135_596_800_000
YEAR_9999_MS = 253_402_300_799_000


class Bad(NamedTuple):
    """A message that must not be decided, and the code of its error; ``replied``: the error can be sent back."""

    name: str
    value: bytes | None
    code: str
    headers: tuple[tuple[str, bytes], ...] = ()
    reply_topic: str = ""


def raw(**fields: Any) -> bytes:
    """Return a request with some fields changed."""
    return json.dumps(request("bad", placement="learned") | fields).encode()


def featured(text: bytes) -> bytes:
    """Return a request whose context holds these bytes."""
    return raw(context="CONTEXT").replace(b'"CONTEXT"', text)


ENVELOPES = [
    Bad("a reply topic of the loop's own", raw(), "reply_topic_not_allowed", reply_topic="decisions"),
    Bad("a reply topic out of the list", raw(), "reply_topic_not_allowed", reply_topic="elsewhere"),
    Bad("a reply topic of Kafka's own", raw(), "reply_topic_not_allowed", reply_topic="__consumer_offsets"),
    Bad("expires-ms -1", raw(), "bad_expires_ms", (("expires-ms", b"-1"),)),
    Bad("expires-ms 10^18", raw(), "bad_expires_ms", (("expires-ms", b"1000000000000000000"),)),
    Bad("expires-ms abc", raw(), "bad_expires_ms", (("expires-ms", b"abc"),)),
    Bad("expires-ms 60001", raw(), "bad_expires_ms", (("expires-ms", b"60001"),)),
    Bad("expires-ms empty", raw(), "bad_expires_ms", (("expires-ms", b""),)),
    Bad("expires-ms not ASCII", raw(), "bad_expires_ms", (("expires-ms", "٣".encode()),)),
]
VALUES = [
    Bad("not JSON", b"{", "not_json"),
    Bad("an empty value", b"", "not_json"),
    Bad("a bare number", b"7", "invalid_field"),
    Bad("a bare string", b'"x"', "invalid_field"),
    Bad("null", b"null", "invalid_field"),
    Bad("a tombstone", None, "tombstone"),
    Bad("not UTF-8", raw(note="N").replace(b"N", b"\xff\xfe"), "not_utf8"),
    Bad("half a surrogate pair", raw().replace(b'"bad"', b'"\\ud800"'), "not_json"),
    Bad("arrays 10,000 deep", b"[" * DEEP, "too_deep"),
    Bad("objects 10,000 deep", b'{"a":' * DEEP + b"1" + b"}" * DEEP, "too_deep"),
    Bad("just under the topic's limit", raw(note="x" * 1_045_000), "too_large"),
    Bad("another version of the format", raw(v=2), "invalid_field"),
    Bad("an event id that is a number", raw(event_id=7), "invalid_field"),
    Bad("an empty event id", raw(event_id=""), "bad_event_id"),
    Bad("an event id of 129 bytes", raw(event_id="x" * 129), "bad_event_id"),
    Bad("an event id with a null byte", raw(event_id="a\0b"), "bad_event_id"),
    Bad("a policy that is a number", raw(placement=7), "invalid_field"),
    Bad("an unknown policy", raw(placement="nobody"), "unknown_placement"),
    Bad("an invalid name of a policy", raw(placement="../x"), "invalid_field"),
    Bad("no actions", raw(actions=[]), "no_actions"),
    Bad("actions that are null", raw(actions=None), "no_actions"),
    Bad("actions that are a number", raw(actions=3), "invalid_field"),
    Bad("501 actions", raw(actions=[{"id": f"a{number}"} for number in range(501)]), "too_many_actions"),
    Bad("two actions with one id", raw(actions=[{"id": "a"}, {"id": "b"}, {"id": "a"}]), "duplicate_action"),
    Bad("an action that is a string", raw(actions=["a"]), "not_an_object"),
    Bad("an action without id", raw(actions=[{"features": {}}]), "id_invalid"),
]
# What kills, leaks or poisons Vowpal Wabbit, as far as a request can bring it.
FEATURES = [
    Bad("a context that is a number", featured(b"5"), "not_an_object"),
    Bad("a context that is an array", featured(b"[]"), "not_an_object"),
    Bad("objects 20,000 deep", featured(b'{"a":' * 20_000 + b"1" + b"}" * 20_000), "too_deep"),
    Bad("a NaN", featured(b'{"x": NaN}'), "not_json"),
    Bad("an infinite feature", featured(b'{"x": 1e999}'), "feature_not_finite"),
    Bad("a feature of 1e10", featured(b'{"x": 1e10}'), "feature_too_large"),
    Bad("a feature of 10^30 as an integer", featured(b'{"x": 1' + b"0" * 30 + b"}"), "feature_too_large"),
    Bad("a feature that is an object", featured(b'{"u": {"x": {"y": 1}}}'), "too_deep"),
    Bad("a list of both", featured(b'{"x": [1, "a"]}'), "list_mixed"),
    Bad("an empty name", featured(b'{"": 1}'), "name_empty"),
    Bad("a name of 129 bytes", featured(b'{"%s": 1}' % (b"x" * 129)), "name_too_long"),
    Bad(
        "1001 features", featured(json.dumps({f"f{number}": 1 for number in range(1001)}).encode()), "too_many_features"
    ),
]


@pytest.mark.parametrize("kinds", [ENVELOPES, VALUES, FEATURES], ids=["envelopes", "values", "features"])
def test_law_8_bad_input_is_answered_kept_and_does_not_stop_decide(kafka, redis_server, prefix, kinds):
    async def scenario():
        policies = {"front": served(window_s=1.0), "learned": VW}
        config = configured(kafka, redis_server, prefix, **tables(policies))
        async with deciding(config) as (loop, caller):
            for bad in kinds:
                topic = bad.reply_topic and config.topic(bad.reply_topic)
                sent = await caller.send(bad.value, bad.headers, reply_topic=topic, partition=0)
                good = await caller.ask(request(f"after {bad.name}", placement="learned"), partition=0)
                assert "chosen" in good, bad.name
                if not bad.reply_topic:
                    reply = await caller.reply(sent)
                    assert reply["error"]["code"] == bad.code, (bad.name, reply)
                    assert reply["error"]["message"]
                    assert len(json.dumps(reply)) < 1000
                else:
                    assert sent not in caller.replies
            letters = await dead_letters(loop, len(kinds))
            by_offset = {int(letter["offset"]): letter for letter in letters}
            assert len(letters) == len(kinds)
            for number, bad in enumerate(kinds):
                letter = by_offset[2 * number]
                assert letter["reason"] == bad.code, bad.name
                assert letter["value"] == bad.value, bad.name
                assert (letter["topic"], letter["partition"]) == (config.topic("decision-requests"), "0")
            decided = {decision["event_id"] for decision in await loop.records("decisions")}
            assert decided == {f"after {bad.name}" for bad in kinds}

    asyncio.run(scenario())


def test_features_that_would_alter_an_example_are_decided(kafka, redis_server, prefix):
    async def scenario():
        config = configured(kafka, redis_server, prefix, **tables({"learned": VW}))
        names = ["|user:3", "a b", "a\nb", "x:1", "ü", "1", "262145", "'tag", "\t", "#", "shared", "0:1:0.5"]
        async with deciding(config) as (_, caller):
            for name in names:
                context = {name: {name: 1.5, "text": name, "list": [name, name]}}
                actions = [{"id": f"{name} {number}", "features": {name: number}} for number in range(3)]
                reply = await caller.ask(request(None, placement="learned", context=context, actions=actions))
                assert len(reply["pmf"]) == 3, (name, reply)
                assert reply["context"] == context

    asyncio.run(scenario())


@pytest.mark.parametrize("timestamp_ms", [YEAR_1_MS, YEAR_9999_MS], ids=["year 1", "year 9999"])
def test_a_producer_s_own_time_is_ignored(kafka, redis_server, prefix, timestamp_ms):
    async def scenario():
        async with deciding(configured(kafka, redis_server, prefix)) as (_, caller):
            assert "chosen" in await caller.ask(request("e1"), timestamp_ms=timestamp_ms)

    asyncio.run(scenario())


def test_malformed_shapes_again_and_again_leave_decide_as_it_was(kafka, redis_server, prefix):
    async def scenario():
        config = configured(kafka, redis_server, prefix, **tables({"learned": VW}))
        good = request("good", placement="learned")
        async with deciding(config) as (_, caller):
            first = await caller.ask(good)
            shapes = [bad.value for bad in (*VALUES, *FEATURES) if bad.value and len(bad.value) < 5000]
            last = [await caller.send(value) for _ in range(10) for value in shapes][-1]
            await caller.reply(last)
            again = await caller.ask(good)
            assert (again["pmf"], again["chosen"]) == (first["pmf"], first["chosen"])

    asyncio.run(scenario())
