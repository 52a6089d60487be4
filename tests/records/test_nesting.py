"""How deeply a record may be nested is one limit for every reader, whatever its call stack."""

import json
from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policies.decide import Opened, Refused, RequestRules, open_request
from policies.features import ActionCache
from records.codec import items
from records.errors import BadInput
from records.limits import MESSAGE_DEPTH, RECORD_DEPTH, Limits
from records.nesting import check_depth, depth_of
from records.position import LogPosition
from rewards.join_items import InputMessage, JoinSettings, decode_items
from rewards.outcome import outcome_of
from rewards.store import ClosedWindow, DecisionItem, FeedbackItem, WindowFeedback
from tests.real.loop import decision

Result = TypeVar("Result")
SETTINGS = JoinSettings("decisions", "", 1, lambda event_id: 0)
values = st.recursive(
    st.none() | st.integers() | st.text(st.sampled_from('[]{}"\\,:é\n ')),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(st.sampled_from('[{"\\')), inner, max_size=3),
    max_leaves=30,
)


def nested(depth: int) -> Any:
    value: Any = 1
    for _ in range(depth):
        value = [value]
    return value


def deep(value: Any) -> int:
    """Return the depth of a decoded value: the oracle."""
    if isinstance(value, dict):
        return 1 + max(map(deep, value.values()), default=0)
    return 1 + max(map(deep, value), default=0) if isinstance(value, list) else 0


def at_the_end_of(frames: int, call: Callable[[], Result]) -> Result:
    return call() if not frames else at_the_end_of(frames - 1, call)


@given(value=values, ascii_only=st.booleans(), indent=st.sampled_from([None, 1]))
def test_the_depth_is_that_of_the_decoded_value(value: Any, ascii_only: bool, indent: int | None) -> None:
    text = json.dumps(value, ensure_ascii=ascii_only, indent=indent).encode()
    assert depth_of(text) == deep(value)
    check_depth(text, deep(value))
    if deep(value):
        with pytest.raises(BadInput, match="within each other"):
            check_depth(text, deep(value) - 1)


@given(text=st.binary(max_size=200))
def test_what_is_no_json_has_some_depth(text: bytes) -> None:
    assert depth_of(text) >= 0


def taken(topic: str, body: dict[str, Any]) -> tuple[list[DecisionItem | FeedbackItem], list[str]]:
    decoded: list[DecisionItem | FeedbackItem] = []
    rejected: list[Any] = []
    decode_items(SETTINGS, InputMessage(topic, 0, 0, 1000, json.dumps(body).encode()), decoded, rejected)
    return decoded, [each.error.code for each in rejected]


@pytest.mark.parametrize("frames", [0, 300])
@pytest.mark.parametrize("topic", ["decisions", "clicks"])
def test_what_the_join_takes_becomes_an_outcome_however_deep_the_stack(topic: str, frames: int) -> None:
    """A value at depth n of a field is n + 1 deep in its record."""
    bodies = {"decisions": decision("e"), "clicks": {"event_id": "e"}}
    bodies[topic] |= {"x": nested(RECORD_DEPTH - 1)}
    for name in bodies:
        ((item,), codes) = at_the_end_of(frames, partial(taken, name, bodies[name]))
        assert (item.event_id, codes) == ("e", [])
    click = WindowFeedback(LogPosition(1000, "clicks", 0, 0, 0), json.dumps(bodies["clicks"]).encode())
    body = json.dumps(bodies["decisions"]).encode()
    window = ClosedWindow(1, "e", 2000, LogPosition(1000, "decisions", 0, 0, 0), None, body, (click,))
    assert at_the_end_of(frames, lambda: outcome_of(0, "", window)).event_id == "e"

    bodies[topic] |= {"x": nested(RECORD_DEPTH)}
    assert at_the_end_of(frames, lambda: taken(topic, bodies[topic])) == ([], ["too_deep"])


@pytest.mark.parametrize("frames", [0, 300])
def test_a_request_is_refused_by_the_same_limit(frames: int) -> None:
    def opened(depth: int) -> Opened | Refused:
        request = {"event_id": "e", "placement": "front", "actions": [{"id": "a"}], "x": nested(depth - 1)}
        raw = json.dumps(request).encode()
        rules = RequestRules({"front"}, lambda name: False, ActionCache(Limits()).action, Limits())
        return at_the_end_of(frames, lambda: open_request(raw, rules, event_id="made", now_ms=0, expires_at_ms=1000))

    assert isinstance(opened(RECORD_DEPTH), Opened)
    refused = opened(RECORD_DEPTH + 1)
    assert isinstance(refused, Refused)
    assert (refused.problem.code, refused.event_id) == ("too_deep", "e")


def test_an_item_that_is_too_deep_takes_no_other_with_it() -> None:
    record = {"event_id": "a", "x": nested(RECORD_DEPTH)}
    decoded: list[DecisionItem | FeedbackItem] = []
    rejected: list[Any] = []
    value = json.dumps([record, {"event_id": "b"}]).encode()
    decode_items(SETTINGS, InputMessage("clicks", 0, 0, 1000, value), decoded, rejected)
    assert [item.event_id for item in decoded] == ["b"]
    assert [(each.item, each.error.code) for each in rejected] == [(0, "too_deep")]


def test_a_message_beyond_its_limit_is_refused_as_a_whole() -> None:
    assert items(json.dumps(nested(MESSAGE_DEPTH)).encode())
    with pytest.raises(BadInput, match=f"found lists and objects {MESSAGE_DEPTH + 1} deep"):
        items(json.dumps(nested(MESSAGE_DEPTH + 1)).encode())
