"""Every public door, with what nobody should send: an error in our own words, or the thing itself works."""

import json
from collections.abc import Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import bowerbird_client
from bowerbird.fake import FakeLoop
from bowerbird.settings import load
from bowerbird.settings.built_in import BUILT_IN
from bowerbird_client import BlockingClient
from records.errors import BowerbirdError
from records.rule import Reward, StreamReward
from stream.config import Config
from tests.errors.law import broken
from tests.serving import served, tables

STRANGE: list[Any] = [
    *(None, True, "", "x", "\0", "\x1b[2J", "\u202eabc", "🧢" * 400, -1, 0, 1.5, 10**40, 1e308, [], {}, [[[]]]),
    *([None], {"a": None}, {"a": {"b": {"c": 1}}}, ["a", 1], {"": 1}, {"\x07": {"\x00": "\x1b"}}),
]
NESTED = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
REQUEST = {
    "event_id": "visit-1",
    "placement": "front",
    "policy": "front",
    "actions": [{"id": "boots", "features": {"item": {"price": 3.5}}}, {"id": "hat"}],
    "context": {"user": {"age": 34, "tags": ["a", "b"]}},
    "user_id": "u",
    "activate": True,
}
EVENT = {"event_id": "visit-1", "id": "click-1", "value": 1.5, "activate": True}


def places(record: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yield the path of every value in a record."""
    yield path
    inside = record.items() if isinstance(record, dict) else enumerate(record) if isinstance(record, list) else ()
    for key, value in inside:
        yield from places(value, (*path, key))


def replaced(record: Any, path: tuple[Any, ...], value: Any) -> Any:
    """Return a record with another value at a path."""
    if not path:
        return value
    copy = deepcopy(record)
    at = copy
    for key in path[:-1]:
        at = at[key]
    at[path[-1]] = value
    return copy


def loop() -> FakeLoop:
    reward = Reward(
        close_on=("purchases",),
        streams={"clicks": StreamReward(weight=1.0), "purchases": StreamReward(value=True)},
    )
    arguments = "--cb_explore_adf --epsilon 0.2 -q uA"
    return FakeLoop(Config(**tables({"front": served("vw", arguments=arguments, window_s=60, reward=reward)})))


def messages(of: FakeLoop) -> list[str]:
    """Return every sentence that the loop has answered or put on a dead letter."""
    letters = [dict(each.headers)["message"].decode() for each in of.messages("dead-letters")]
    replies = [reply for each in of.messages("replies.law") if each.value for reply in _list(json.loads(each.value))]
    return letters + [reply["error"]["message"] for reply in replies if "error" in reply]


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def hold(of: FakeLoop) -> list[str]:
    """Hold all that a loop has said against the law, and return it."""
    texts = messages(of)
    assert not [(text, broken(text)) for text in texts if broken(text)]
    assert all(text.strip() for text in texts)
    return texts


HEADERS = (("reply-topic", b"replies.law"), ("correlation-id", b"1"))


@pytest.mark.parametrize("record", [REQUEST, EVENT], ids=["request", "event"])
def test_a_wrong_value_in_each_field(record: dict[str, Any]) -> None:
    of = loop()
    topic = "decision-requests" if record is REQUEST else "clicks"
    for path in places(record):
        for value in STRANGE:
            of.append(topic, json.dumps(replaced(record, path, value)).encode(), headers=HEADERS)
    of.advance(400)
    assert len(hold(of)) > 20, "hardly anything was refused: is the test broken?"


@given(st.binary(max_size=60) | NESTED.map(lambda value: json.dumps(value).encode()))
def test_any_bytes(value: bytes) -> None:
    of = loop()
    for topic in ("decision-requests", "clicks", "purchases"):
        of.append(topic, value, headers=HEADERS)
        of.append(topic, json.dumps(REQUEST).encode()[: len(value)] + value, headers=HEADERS)
    of.advance(400)
    hold(of)


@given(
    NESTED, st.sampled_from(["actions", "context", "default", "value", "event_id", "stream", "placement", "user_id"])
)
def test_the_client(value: Any, where: str) -> None:
    held(value, where)


SPECIAL: list[Any] = [
    *(np.float32("nan"), np.int64(3), np.array([1.0, np.inf]), np.array(["a"]), b"bytes", object(), {1, 2}, "\ud800"),
    *({("a", "b"): 1}, 3 + 1j, range(3), np.datetime64("2020-01-01"), [], "", "\0", "x" * 5000),
]


@pytest.mark.parametrize(
    "where", ["actions", "context", "default", "value", "event_id", "stream", "placement", "user_id"]
)
def test_the_client_with_what_json_has_not(where: str) -> None:
    for value in [*SPECIAL, *[{"user": {"x": each}} for each in SPECIAL], *[[each, "b"] for each in SPECIAL]]:
        held(value, where)
    circle: list[Any] = []
    circle.append(circle)
    held(circle, where)


def held(value: Any, where: str) -> None:
    """Hand a value to the client, and hold what it raises against the law."""
    with BlockingClient(connection=loop().connection(), timeout_s=0.2) as client:
        try:
            if where in ("value", "stream", "event_id"):
                fields = {"event_id": "visit-1", "stream": "clicks", "value": 1.0, where: value}
                client.reward(fields.pop("event_id"), fields.pop("stream"), **fields)
            else:
                asked = {"placement": "front", "actions": ["a", "b"], "context": {}, where: value}
                client.decide(asked.pop("placement"), asked.pop("actions"), asked.pop("context"), **asked)
        except (bowerbird_client.BadInput, bowerbird_client.NotDecided) as error:
            ours(error)


DOCUMENTS = [
    *("", "\0", "a", "a =", "= 1", "a = 1\na = 2", "[a", "[[a]", "a = [1, 2", "a = {b = 1", 'a = "x', "a = '''x"),
    *(
        'a = "x\ny"',
        'a = "\\q"',
        "a = 1 2",
        "a = 2020-13-01",
        "[a]\n[a]",
        "a.b = 1\na = 2",
        "a = nan",
        "a = 0x",
        "\ufeffa = 1",
    ),
    *("a = 1_", 'a = "\\ud800"', "é = 1", '"\\u0000" = 1', "shards = []", "policies = 1", "limits = []", "archive = 3"),
    *(
        'brokers = "\\u0000"',
        'redis_url = "ftp://x"',
        "[placements.front]\n[policies.front]\nkind = 3",
        '[placements.front]\npolicy = "a b"\n[policies."a b"]',
        "[policies.x]\n[placements.x.reward]",
    ),
    *('[archive]\nurl = "s3://"', '[archive]\nurl = "gs://k:s3cret@@@/?x=%"', "[limits]\nmax_actions = -1"),
    *(
        f'[placements.front]\n[policies.front]\nkind = "vw"\narguments = "{each}"'
        for each in ("--bag 0", "-q", "'", "--f x", "\\u0007")
    ),
]


@pytest.mark.parametrize("document", DOCUMENTS)
def test_a_settings_file(document: str, tmp_path: Path) -> None:
    _settings(document.encode(), tmp_path)


@given(st.integers(0, len(BUILT_IN)), st.integers(0, 40), st.binary(max_size=6))
def test_a_settings_file_with_a_wrong_part(
    tmp_path_factory: pytest.TempPathFactory, at: int, cut: int, put: bytes
) -> None:
    document = BUILT_IN.encode()
    _settings(document[:at] + put + document[at + cut :], tmp_path_factory.getbasetemp())


@given(
    st.dictionaries(
        st.sampled_from(["SHARDS", "POLICIES", "POLICIES__FRONT__KIND", "LIMITS", "X"]), st.text(max_size=9)
    )
)
def test_variables(values: dict[str, str]) -> None:
    _loaded(None, {f"BOWERBIRD_{name}": value for name, value in values.items()})


def _settings(document: bytes, folder: Path) -> None:
    file = folder / "bowerbird.toml"
    file.write_bytes(document)
    _loaded(file, {})


def _loaded(file: Path | None, environment: dict[str, str]) -> None:
    try:
        load(file, environment)
    except BowerbirdError as error:
        ours(error)


def ours(error: Exception) -> None:
    """Hold an error against the law."""
    assert str(error).strip()
    assert not broken(str(error)), str(error)
