"""The door: JSON bytes become typed, bounded features, or an error that names the field."""

import dataclasses
import math
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from policies.features import ActionCache, decode_action, decode_context
from records.errors import BadInput
from records.limits import FEATURE_LIMIT, Limits

LIMITS = Limits()
TIGHT = Limits(max_features=5, max_name_bytes=8, max_string_bytes=10, max_list=3, max_request_bytes=4096)

names = st.text(min_size=1, max_size=20)
numbers = st.floats(-9.9e9, 9.9e9) | st.integers(-(10**9), 10**9)
scalars = numbers | st.booleans() | st.text(max_size=40)
values = scalars | st.lists(st.floats(-9.9e9, 9.9e9), max_size=5) | st.lists(st.text(max_size=10), max_size=5)
namespaces = st.dictionaries(names, values | st.none(), max_size=6)
documents = st.dictionaries(names, namespaces | st.none(), max_size=4) | namespaces


def expected(document: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Say in other words what a valid document holds."""
    present = {name: value for name, value in document.items() if value is not None}
    if present and not any(isinstance(value, dict) for value in present.values()):
        return {"f": present}
    by_namespace = {
        namespace: {name: value for name, value in inside.items() if value is not None}
        for namespace, inside in present.items()
    }
    return {namespace: inside for namespace, inside in by_namespace.items() if inside}


@given(documents)
def test_what_is_valid_is_decoded(document: dict[str, Any]) -> None:
    raw = msgspec.json.encode(document)
    assert decode_context(raw, LIMITS) == expected(document)
    assert decode_context(b" " + raw + b"\n" * 3000, LIMITS) == expected(document), "the careful way differs"
    action = msgspec.json.encode({"id": "a", "features": document, "colour": ["unknown"]})
    assert decode_action(action, LIMITS).features == expected(document)


@given(st.recursive(scalars | st.none(), lambda deeper: st.lists(deeper) | st.dictionaries(st.text(), deeper)))
def test_whatever_json_is_found_is_decoded_or_refused(document: Any) -> None:
    raw = msgspec.json.encode(document)
    for limits in (LIMITS, TIGHT):
        refused = ""
        try:
            features = decode_context(raw, limits)
        except BadInput as error:
            refused = error.field
        if refused:
            assert refused.startswith("context")
            continue
        count = 0
        for namespace, inside in features.items():
            assert inside
            assert 0 < len(namespace.encode()) <= limits.max_name_bytes
            for name, value in inside.items():
                assert 0 < len(name.encode()) <= limits.max_name_bytes
                items = value if isinstance(value, list) else [value]
                assert len(items) <= limits.max_list
                count += max(1, len(items)) if isinstance(value, list) else 1
                for item in items:
                    if isinstance(item, str):
                        assert len(item.encode()) <= limits.max_string_bytes
                    else:
                        assert math.isfinite(item)
                        assert abs(item) < FEATURE_LIMIT
        assert count <= limits.max_features + sum(value == [] for ns in features.values() for value in ns.values())


@given(st.binary(max_size=200))
def test_whatever_bytes_are_found_are_decoded_or_refused(raw: bytes) -> None:
    for decode in (decode_context, decode_action):
        message = ""
        try:
            decode(raw, LIMITS)
        except BadInput as error:
            message = str(error)
        assert len(message) < 400


REFUSED = {
    b"": "not_json",
    b"{": "not_json",
    b'{"a": NaN}': "not_json",
    b'{"a": Infinity}': "not_json",
    b'{"a": 1} x': "not_json",
    b'\xef\xbb\xbf{"a": 1}': "not_json",
    b'{"a": "\xff"}': "not_utf8",
    b'{"a": "\\ud800"}': "not_json",
    b"[]": "not_an_object",
    b"1": "not_an_object",
    b'"c"': "not_an_object",
    b"true": "not_an_object",
    b'{"a": 1e400}': "feature_not_finite",
    b'{"a": -1e400}': "feature_not_finite",
    b'{"a": 1e10}': "feature_too_large",
    b'{"u": {"a": -10000000000}}': "feature_too_large",
    b'{"u": {"a": [1, 2e10]}}': "feature_too_large",
    b'{"a": ' + b"9" * 400 + b"}": "feature_too_large",
    b'{"a": ' + b"9" * 100_000 + b"}": "feature_not_finite",
    b'{"u": {"a": {"b": 1}}}': "too_deep",
    b'{"u": {"a": [[1]]}}': "list_invalid",
    b'{"u": {"a": [true]}}': "list_invalid",
    b'{"u": {"a": [1, "x"]}}': "list_mixed",
    b'{"u": {"a": 1}, "b": 2}': "features_mixed",
    b'{"": 1}': "name_empty",
    b'{"u": {"": 1}}': "name_empty",
    b'{"": {"a": 1}}': "name_empty",
    b'{"%s": 1}' % (b"n" * 129): "name_too_long",
    b'{"%s": 1}' % ("é" * 65).encode(): "name_too_long",
    b'{"%s": {"a": 1}}' % (b"n" * 129): "name_too_long",
    b'{"a": "%s"}' % (b"s" * 1025): "string_too_long",
    b'{"a": ["%s"]}' % (b"s" * 1025): "string_too_long",
    b'{"a": [%s]}' % b",".join([b"1"] * 1001): "list_too_long",
    b'{"a": [%s], "b": [%s]}' % (b",".join([b"1"] * 600), b",".join([b"1"] * 600)): "too_many_features",
    b"{%s}" % b",".join(b'"n%d":1' % number for number in range(1001)): "too_many_features",
    b'{"a": "%s"}' % (b"s" * 262_144): "too_large",
    b"[" * 10_000: "too_deep",
    b'{"a":' * 10_000: "too_deep",
    b'{"a":' + b"[" * 10_000: "too_deep",
    b'{"a":' * 10_000 + b"1" + b"}" * 10_000: "too_deep",
}


@pytest.mark.parametrize(("raw", "code"), REFUSED.items(), ids=[f"{raw[:24]!r}" for raw in REFUSED])
def test_what_is_no_feature_is_refused_by_its_name(raw: bytes, code: str) -> None:
    with pytest.raises(BadInput) as refused:
        decode_context(raw, LIMITS)
    assert refused.value.code == code
    assert refused.value.field.startswith("context")
    if raw[:1] == b"{" and len(raw) < 200_000:
        with pytest.raises(BadInput) as refused:
            decode_action(b'{"id": "a", "features": ' + raw + b"}", LIMITS, "actions[3]")
        assert refused.value.code in (code, "not_json")
        assert refused.value.field.startswith("actions[3]")


def test_the_error_names_the_very_feature() -> None:
    with pytest.raises(BadInput) as refused:
        decode_context(b'{"user": {"age": 1e11, "x": 1}}', LIMITS)
    assert refused.value.field == "context.user.age"
    with pytest.raises(BadInput) as refused:
        decode_action(b'{"id": "a", "features": {"item": {"tags": ["x", 1]}}}', LIMITS, "actions[3]")
    assert refused.value.field == "actions[3].features.item.tags[1]"


@pytest.mark.parametrize(
    ("raw", "code"),
    [
        (b"{}", "id_invalid"),
        (b'{"id": 7}', "id_invalid"),
        (b'{"id": null}', "id_invalid"),
        (b'{"id": ""}', "id_empty"),
        (b'{"id": "%s"}' % (b"i" * 129), "id_too_long"),
        (b'{"id": "a", "features": [1]}', "not_an_object"),
        (b'["a"]', "not_an_object"),
        (b'{"id": "a", "more": ' + b"[" * 10_000 + b"]" * 10_000 + b"}", "too_deep"),
    ],
)
def test_what_is_no_action_is_refused(raw: bytes, code: str) -> None:
    with pytest.raises(BadInput) as refused:
        decode_action(raw, LIMITS, "actions[3]")
    assert refused.value.code == code
    assert refused.value.field.startswith("actions[3]")


def test_every_limit_is_a_setting() -> None:
    assert decode_context(b'{"a": "%s"}' % (b"s" * 1025), dataclasses.replace(LIMITS, max_string_bytes=1025))
    with pytest.raises(BadInput, match="too_many_features"):
        decode_context(b'{"a":1,"b":1,"c":1,"d":1,"e":1,"f":1}', TIGHT)
    with pytest.raises(BadInput, match="name_too_long"):
        decode_context(b'{"ninebytes":1}', TIGHT)
    with pytest.raises(BadInput, match="string_too_long"):
        decode_context(b'{"a":"elevenbytes"}', TIGHT)


def test_the_same_bytes_give_the_same_action() -> None:
    catalogue = ActionCache(LIMITS)
    raws = [b'{"id": "a%d", "features": {"price": %d}}' % (number, number) for number in range(10)]
    first = catalogue.actions(raws)
    assert [action.id for action in first] == [f"a{number}" for number in range(10)]
    assert all(one is other for one, other in zip(first, catalogue.actions(raws), strict=True))
    assert catalogue.action(raws[3], "actions[3]") is first[3]
    raws_as_decoded = msgspec.json.decode(b"[" + b",".join(raws) + b"]", type=list[msgspec.Raw])
    assert all(one is other for one, other in zip(first, catalogue.actions(raws_as_decoded), strict=True))
    assert first[0] != decode_action(raws[0], LIMITS), "actions are compared by identity"


def test_an_error_names_the_action_wherever_it_stands() -> None:
    catalogue = ActionCache(LIMITS)
    for bad in (b'{"id": 1}', b'{"id": "a"}\0', b"\0"):
        with pytest.raises(BadInput) as refused:
            catalogue.actions([b'{"id": "a"}', bad], "actions")
        assert refused.value.field.startswith("actions[1]")
    assert catalogue.actions([]) == []


def test_the_catalogue_is_bounded_by_number_and_by_bytes() -> None:
    catalogue = ActionCache(LIMITS, size=100, max_bytes=10_000)
    for number in range(1000):
        catalogue.action(b'{"id": "a%d", "features": {"name": "%s"}}' % (number, b"x" * (number % 900)), "action")
        assert len(catalogue) <= 100
    assert sum(len(raw) for raw in catalogue._actions._young | catalogue._actions._old) <= 10_000
