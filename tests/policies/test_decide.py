"""A request becomes a decision or an error, without a clock and without chance."""

import json
import math
from types import SimpleNamespace

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from policies.decide import (
    Decided,
    LoadedPolicy,
    Opened,
    Refused,
    RequestRules,
    decide,
    event_id_of,
    made_event_id,
    open_request,
    warnings_of,
)
from policies.features import ActionCache
from policies.registry import make
from records.codec import encode
from records.decision import Decision
from records.errors import StateRefused
from records.limits import Limits
from records.rule import Rule

LIMITS = Limits()
RULE = encode(Rule(600.0))
OWN = {"v", "event_id", "pmf", "chosen", "propensity", "ranking", "policy", "policy_version", "expires_at_ms", "rule"}


UNIFORM = LoadedPolicy("front", make("uniform", ""), "0-12345678", "front", RULE)


def opened(raw: bytes, *, now_ms=0, expires_at_ms=1000, overloaded=False, limits=LIMITS, cache=None):
    rules = RequestRules({"front"}, lambda policy: overloaded, (cache or ActionCache(limits)).action, limits)
    return open_request(raw, rules, event_id="made", now_ms=now_ms, expires_at_ms=expires_at_ms)


def decided(raw: bytes, *, now_ms=0, chooser=UNIFORM, **options):
    item = opened(raw, now_ms=now_ms, **options)
    return item if isinstance(item, Refused) else decide(item, chooser, now_ms)


def request(**fields) -> bytes:
    return json.dumps(
        {"placement": "front", "event_id": "e1", "actions": [{"id": "a"}, {"id": "b"}], **fields}
    ).encode()


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=10,
)


@given(unknown=st.dictionaries(st.text(min_size=1), JSON, max_size=4), ids=st.sets(st.text(min_size=1, max_size=8)))
def test_everything_of_the_request_stands_in_the_decision(unknown, ids):
    known = {"placement", "actions", "context", "user_id", "activate", "warnings", *OWN}
    asked = json.loads(request(actions=[{"id": "a"}, *({"id": f"b{one}"} for one in sorted(ids))]))
    asked |= {name: value for name, value in unknown.items() if name not in known}
    answer = decided(json.dumps(asked).encode())
    assert isinstance(answer, Decided)
    decision = json.loads(answer.value)
    assert {name: decision[name] for name in asked} == asked
    assert set(decision) == set(asked) | OWN | ({"warnings"} if set(asked) - known - {"event_id", "v"} else set())


def test_fields_that_nothing_reads_are_named():
    raw = request(
        contextFeatures={"user": {"age": 3}},
        excludedActions=["z"],
        actions=[{"id": "a"}, {"id": "b", "feature": {"x": 1}}, {"id": "c", "feature": {}, "price": 2}],
    )
    decision = json.loads(decided(raw).value)
    assert decision.get("warnings") == [
        "contextFeatures: found an unknown field, which nothing reads; did you mean context?",
        "excludedActions: found an unknown field, which nothing reads; known are "
        "v, event_id, placement, context, actions, top, user_id, activate",
        "actions[1].feature: found an unknown field, which nothing reads; did you mean features?",
        "actions[2].price: found an unknown field, which nothing reads; known are id, features",
    ]
    assert decision["contextFeatures"] == {"user": {"age": 3}}
    assert warnings_of(raw, LIMITS) == decision["warnings"]
    assert "warnings" not in json.loads(decided(request()).value)
    many = json.loads(decided(request(**{f"field{number}" * 50: 1 for number in range(50)})).value)["warnings"]
    assert len(many) == 10
    assert max(map(len, many)) < 300


def test_an_error_carries_an_event_id_that_is_no_text():
    answer = decided(request(event_id=12345))
    assert isinstance(answer, Refused)
    assert json.loads(answer.reply())["event_id"] == "12345"
    assert answer.problem.message == "event_id: found 12345, expected a string or null"


def test_a_caller_cannot_set_the_warnings():
    (warning,) = json.loads(decided(request(warnings=["all is well"])).value)["warnings"]
    assert warning.startswith("warnings: found an unknown field")


def test_bytes_of_fields_pass_through_as_they_came():
    raw = request().replace(b'"e1"', b'"e1", "context": {"x": 1.50, "y": [ 1e2 ]}')
    answer = decided(raw)
    assert b'{"x": 1.50, "y": [ 1e2 ]}' in answer.value


def test_a_caller_cannot_set_what_is_decide_s_own():
    raw = request(pmf=[1.0], chosen="z", propensity=1, rule={}, policy_version="9-x", expires_at_ms=0, ranking=["z"])
    decision = json.loads(decided(raw).value)
    assert (decision["policy_version"], decision["expires_at_ms"], decision["pmf"]) == ("0-12345678", 1000, [0.5, 0.5])
    assert decision["chosen"] in ("a", "b")
    assert decision["rule"] == json.loads(RULE)


@given(event_id=st.text(min_size=1, max_size=30), actions=st.integers(1, 20))
def test_law_5_the_same_request_and_version_make_the_same_bytes(event_id, actions):
    raw = request(event_id=event_id, actions=[{"id": str(number)} for number in range(actions)])
    first, second = decided(raw), decided(raw)
    assert first == second
    if isinstance(first, Decided):
        decision = msgspec.json.decode(first.value, type=Decision)
        ids = [json.loads(bytes(action))["id"] for action in decision.actions]
        assert decision.propensity == decision.pmf[ids.index(decision.chosen)]
        assert decision.ranking[0] == decision.chosen
        assert sorted(decision.ranking) == sorted(ids)
        assert math.isclose(math.fsum(decision.pmf), 1.0)


def test_a_request_without_event_id_gets_the_made_one():
    for raw in (request(event_id=None), request().replace(b'"event_id": "e1", ', b"")):
        assert json.loads(decided(raw).value)["event_id"] == "made"


@given(st.tuples(st.text(), st.text(), st.integers(0), st.integers(0), st.integers(0)))
def test_made_event_ids_are_names_of_places(place):
    cluster_id, topic, partition, offset, index = place
    made = made_event_id(*place)
    assert made == made_event_id(*place)
    assert len(made) == 32
    assert made != made_event_id(cluster_id, topic, partition, offset, index + 1)
    assert made != made_event_id(cluster_id, topic, partition, offset + 1, index)
    assert made != made_event_id(cluster_id, topic, partition + 1, offset, index)
    assert made != made_event_id(cluster_id + "x", topic, partition, offset, index)


def test_law_3_what_is_too_old_is_expired_and_its_last_moment_is_not():
    assert isinstance(decided(request(), now_ms=1000, expires_at_ms=1000), Decided)
    answer = decided(request(), now_ms=1001, expires_at_ms=1000)
    assert (answer.event_id, answer.placement, answer.problem.code) == ("e1", "front", "expired")


def test_law_7_an_overloaded_policy_says_so():
    assert decided(request(), overloaded=True).problem.code == "overloaded"


def test_an_error_names_event_id_and_policy_where_they_can_be_read():
    answer = decided(request(actions=[{"id": "a"}, {"id": "a"}]))
    assert (answer.event_id, answer.placement, answer.problem.code) == ("e1", "front", "duplicate_action")
    assert answer.problem.field == "actions[1].id"
    assert json.loads(answer.reply())["error"]["code"] == "duplicate_action"
    assert decided(b'{"event_id": 7}').event_id == "7"
    assert decided(b'{"event_id": [7]}').event_id is None


def test_limits_are_settings():
    assert decided(request(), limits=Limits(max_actions=1)).problem.code == "too_many_actions"
    assert decided(request(), limits=Limits(max_request_bytes=10)).problem.code == "too_large"


@given(
    st.binary(max_size=200)
    | st.text(max_size=200).map(str.encode)
    | JSON.map(lambda document: json.dumps(document).encode())
)
def test_law_8_whatever_comes_is_answered(raw):
    answer = decided(raw)
    assert isinstance(answer, Refused)
    assert json.loads(answer.reply())["error"]["code"]
    event_id_of(raw)


@given(field=st.sampled_from(["v", "event_id", "placement", "context", "actions", "user_id", "activate"]), value=JSON)
def test_law_8_whatever_stands_in_a_field_is_decided_or_refused(field, value):
    assert isinstance(decided(request(**{field: value})), Decided | Refused)


def test_a_spoilt_policy_is_not_the_request_s_fault():
    def spoilt(question):
        raise StateRefused("pmf", "nan", "numbers", "run `bowerbird policy rebuild NAME`")

    chooser = LoadedPolicy("front", SimpleNamespace(predict=spoilt), "1-x", "s", RULE)
    with pytest.raises(StateRefused, match=r"pmf of policy front: .*`bowerbird policy rebuild front`"):
        decided(request(), chooser=chooser)


@given(
    ids=st.lists(st.sampled_from("abcdefgh"), min_size=2, max_size=8, unique=True),
    contexts=st.lists(st.dictionaries(st.sampled_from(["age", "city"]), st.integers(0, 9)), min_size=1, max_size=6),
    order=st.randoms(use_true_random=False),
)
def test_law_5_a_decision_is_the_same_however_a_batch_is_opened_and_decided(ids, contexts, order):
    """Opened together and decided later, in any order and twice: the bytes are those of each request alone."""
    chooser = LoadedPolicy("front", make("vw", "--cb_explore_adf --epsilon 0.2"), "0-12345678", "front", RULE)
    actions = [{"id": name, "features": {"x": number}} for number, name in enumerate(ids)]
    batch = [request(event_id=f"e{n}", context=each, actions=actions) for n, each in enumerate(contexts)]
    alone = [decided(raw, chooser=chooser) for raw in batch]
    cache = ActionCache(LIMITS)
    items = [opened(raw, cache=cache) for raw in batch]
    for _ in range(2):
        places = list(range(len(items)))
        order.shuffle(places)
        assert {place: decide(items[place], chooser, 0) for place in places} == dict(enumerate(alone))
    chooser.policy.close()


def test_law_3_a_request_that_expires_between_opening_and_deciding_is_not_decided():
    item = opened(request(), now_ms=1000)
    assert isinstance(item, Opened)
    assert isinstance(decide(item, UNIFORM, 1000), Decided)
    answer = decide(item, UNIFORM, 1001)
    assert isinstance(answer, Refused)
    assert (answer.event_id, answer.placement, answer.problem.code) == ("e1", "front", "expired")
