"""The records: how places sort, how messages are cut into records, and what is refused."""

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from records.codec import items
from records.decision import decision_head, fingerprint
from records.errors import BadInput
from records.event_id import check_event_id
from records.feedback import feedback
from records.limits import ITEMS_LIMIT
from records.position import LogPosition
from records.rule import rule_of
from records.schemas import RECORDS, schemas

topics = st.from_regex(r"[a-z0-9.-]{1,8}", fullmatch=True)
places = st.builds(
    LogPosition,
    time_ms=st.integers(0, 10**14 - 1) | st.integers(0, 30),
    topic=topics | st.sampled_from(["clicks", "clicks-2", "clicks.x", "click", "clicks2"]),
    partition=st.integers(0, 999_999) | st.integers(0, 12),
    offset=st.integers(0, 10**16 - 1) | st.integers(0, 12),
    index=st.integers(0, 999_999) | st.integers(0, 12),
)


@given(places, places)
def test_keys_of_places_sort_byte_by_byte_as_the_places_do(one: LogPosition, other: LogPosition) -> None:
    assert (one < other) == (one.key().encode() < other.key().encode())
    assert (one == other) == (one.key() == other.key())


@given(places)
def test_a_key_is_read_back(place: LogPosition) -> None:
    assert LogPosition.parse(place.key()) == place


def decision(**changes: Any) -> bytes:
    body: dict[str, Any] = {
        "v": 1,
        "event_id": "e-1",
        "placement": "front",
        "policy": "front",
        "context": {"age": 3},
        "actions": [{"id": "a"}, {"id": "b"}],
        "pmf": [0.25, 0.75],
        "chosen": "b",
        "propensity": 0.75,
        "ranking": ["b", "a"],
        "policy_version": "3-0a1b2c3d",
        "expires_at_ms": 12,
        "rule": {"window_s": 10.0, "reward": {"streams": {"clicks": {"weight": 1.0}}}},
        "unknown": {"kept": True},
    }
    body.update(changes)
    return json.dumps({name: value for name, value in body.items() if value is not ...}).encode()


def click(**changes: Any) -> bytes:
    body: dict[str, Any] = {"v": 1, "event_id": "e-1", "id": "c", "value": 2.5}
    body.update(changes)
    return json.dumps({name: value for name, value in body.items() if value is not ...}).encode()


records = st.dictionaries(st.text(max_size=3), st.integers() | st.text(max_size=5), max_size=3)


@given(st.lists(records, max_size=5), st.sampled_from(["", " ", "\n\t "]))
def test_an_array_is_cut_into_its_records_as_they_came(bodies: list[dict[str, Any]], space: str) -> None:
    message = (space + json.dumps(bodies)).encode()
    assert [json.loads(item) for item in items(message)] == bodies


@given(records)
def test_a_single_record_is_its_own_bytes(body: dict[str, Any]) -> None:
    message = json.dumps(body, ensure_ascii=False).encode(errors="replace")
    assert items(message) == [message]


@pytest.mark.parametrize(
    ("value", "code"),
    [
        (None, "tombstone"),
        (b"[1, 2", "not_json"),
        (b"[1] 2", "not_json"),
        (b"[" * 10_000 + b"]" * 10_000, "too_deep"),
        (b'{"a":' * 201 + b"1" + b"}" * 201, "too_deep"),
        (b'{"event_id": "\xff"}', "not_utf8"),
        (b'["\xc3\x28"]', "not_utf8"),
        ('{"a": "é"}'.encode("latin-1"), "not_utf8"),
    ],
)
def test_a_message_that_cannot_be_cut_is_refused_with_its_reason(value: bytes | None, code: str) -> None:
    with pytest.raises(BadInput) as refused:
        items(value)
    assert refused.value.code == code


@pytest.mark.parametrize(
    ("value", "code", "field"),
    [
        (b"", "not_json", "value"),
        (b"{", "not_json", "value"),
        (b"3", "invalid_field", "value"),
        (b"NaN", "not_json", "value"),
        (b'{"a":' * 10_000, "not_json", "value"),
        (click(event_id=...), "invalid_field", "event_id"),
        (click(event_id=7), "invalid_field", "event_id"),
        (click(event_id=""), "bad_event_id", "event_id"),
        (click(event_id="x" * 129), "bad_event_id", "event_id"),
        (click(event_id="é" * 65), "bad_event_id", "event_id"),
        (click(event_id="a\nb"), "bad_event_id", "event_id"),
        (click(event_id="a\x00b"), "bad_event_id", "event_id"),
        (click(id="x" * 129), "bad_id", "id"),
        (click(id=3), "invalid_field", "id"),
        (click(value="3"), "invalid_field", "value"),
        (click(value=1e7), "invalid_field", "value"),
        (click(value=True), "invalid_field", "value"),
        (b'{"v":1,"event_id":"e","value":NaN}', "not_json", "value"),
        (b'{"v":1,"event_id":"e","value":1e400}', "invalid_field", "value"),
        (click(activate="yes"), "invalid_field", "activate"),
        (click(v=2), "invalid_field", "v"),
    ],
)
def test_bad_feedback_is_refused_with_its_field(value: bytes, code: str, field: str) -> None:
    with pytest.raises(BadInput) as refused:
        feedback(value)
    assert (refused.value.code, refused.value.field) == (code, field)


@pytest.mark.parametrize(
    ("value", "field"),
    [
        (decision(pmf=...), "pmf"),
        (decision(propensity=0), "propensity"),
        (decision(propensity=1.5), "propensity"),
        (decision(propensity=None), "propensity"),
        (decision(pmf=["a", 0.75]), "pmf"),
        (decision(propensity=0.25), "propensity"),
        (decision(pmf=[1.0]), "pmf"),
        (decision(pmf=[0.25, 0.25]), "pmf"),
        (decision(pmf=[-0.5, 1.5]), "pmf"),
        (decision(pmf="even"), "pmf"),
        (decision(actions=[]), "pmf"),
        (decision(chosen="c"), "chosen"),
        (decision(actions=[{"id": "b"}, {"id": "b"}]), "chosen"),
        (decision(policy="Front Page"), "policy"),
        (decision(rule=...), "rule"),
        (decision(rule={"early_s": 3}), "rule.window_s"),
        (decision(rule={"window_s": -1}), "rule"),
        (decision(rule={"window_s": 1, "reward": {"clip": [2, 1]}}), "rule"),
        (decision(rule={"window_s": 1, "reward": {"streams": {"clicks": {}}}}), "rule"),
        (decision(event_id="\ud83d"), "event_id"),
    ],
)
def test_a_decision_that_could_not_be_closed_is_refused(value: bytes, field: str) -> None:
    with pytest.raises(BadInput) as refused:
        decision_head(value)
    assert refused.value.field.startswith(field) or refused.value.code in ("not_json", "not_utf8")


def test_a_good_decision_and_good_feedback_pass() -> None:
    head = decision_head(decision())
    assert (head.event_id, head.policy, head.chosen, head.expires_at_ms) == ("e-1", "front", "b", 12)
    assert rule_of(head.rule).reward.streams["clicks"].weight == 1.0
    assert feedback(click()).value == 2.5
    assert feedback(click(id=..., value=..., activate=...)).id is None


@pytest.mark.parametrize("event_id", ["x", "x" * 128, "é" * 64, "a b", "{tag}", "日本"])
def test_any_printable_text_of_128_bytes_is_an_event_id(event_id: str) -> None:
    assert check_event_id(event_id) == event_id


@pytest.mark.parametrize(
    ("change", "same"),
    [
        ({"policy": "other"}, False),
        ({"policy_version": "4-0a1b2c3d"}, False),
        ({"pmf": [0.75, 0.25], "propensity": 0.25}, False),
        ({"chosen": "a", "propensity": 0.25}, False),
        ({"ranking": ["a", "b"]}, True),
        ({"context": {"age": 4}}, True),
        ({"expires_at_ms": 99}, True),
        ({"user_id": "u"}, True),
    ],
)
def test_copies_differ_by_policy_version_pmf_and_chosen_alone(change: dict[str, Any], same: bool) -> None:
    changed = fingerprint(decision_head(decision(**change)))
    assert (changed == fingerprint(decision_head(decision()))) is same


def test_every_record_has_a_schema() -> None:
    document = schemas()
    assert document["records"].keys() == RECORDS.keys()
    assert json.loads(msgspec.json.encode(document)) == document


@pytest.mark.parametrize("moment_ms", [10**40, 2**53, -(2**53)])
def test_a_time_that_no_reader_can_hold_is_refused(moment_ms: int) -> None:
    with pytest.raises(BadInput, match="expires_at_ms"):
        decision_head(decision(expires_at_ms=moment_ms))
    assert decision_head(decision(expires_at_ms=2**53 - 1)).expires_at_ms == 2**53 - 1


@pytest.mark.parametrize("value", [b'[{"a": 1}, NaN]', b'[{"a": 1},]'])
def test_an_array_that_is_not_strict_says_how_many_bytes_are_not_used(value: bytes) -> None:
    with pytest.raises(BadInput) as refused:
        items(value)
    assert refused.value.code == "not_json"
    assert f"{len(value)} bytes of which nothing is used" in str(refused.value)


def test_a_message_has_a_limit_of_records() -> None:
    assert len(items(b"[" + b",".join([b"1"] * ITEMS_LIMIT) + b"]")) == ITEMS_LIMIT
    with pytest.raises(BadInput) as refused:
        items(b"[" + b",".join([b"1"] * (ITEMS_LIMIT + 1)) + b"]")
    assert refused.value.code == "too_many_items"


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("reward", {"close_on": ["x clicks y"]}),
        ("reward", {"close_on": ["clicks\n"]}),
        ("reward", {"streams": {"two words": {"value": True}}}),
        ("activate_on", "clicks\n"),
    ],
)
def test_a_stream_of_a_rule_has_the_name_of_a_stream(field: str, value: Any) -> None:
    """A store keeps several names in one text."""
    with pytest.raises(BadInput, match=rf"rule\.{field}.*of the form '\^\[a-z0-9-\]\{{1,64\}}\$'"):
        rule_of(msgspec.Raw(json.dumps({"window_s": 1, field: value}).encode()))
