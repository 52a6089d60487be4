"""Laws 3, 7 and 8 at decide: what is too old, too much, or cannot be decided is answered and becomes no decision."""

import json
from types import SimpleNamespace
from typing import Any, cast

import pytest

from policies.decide import Decided, LoadedPolicy
from policies.registry import make
from stream.config import Config
from stream.redis.policy_cache import PolicyCache
from stream.roles.deciding import Request, Requests
from tests.serving import served, tables

GOOD = {"placement": "front", "actions": [{"id": "a"}, {"id": "b"}]}


def read(value: Any, *, age_ms: int = 0, expires_ms: bytes | None = None, overloaded: bool = False) -> Request:
    """Return what a message of ``decision-requests`` becomes; ``broken`` is a policy that fails as nobody foresaw."""
    headers = (("expires-ms", expires_ms),) if expires_ms is not None else ()

    def fail(*arguments: Any) -> list[float]:
        raise RuntimeError("as nobody foresaw")

    choosers = {
        "front": LoadedPolicy("front", make("uniform", ""), "0-00000000", "front", b"{}"),
        "broken": LoadedPolicy("broken", cast(Any, SimpleNamespace(predict=fail)), "0-00000000", "broken", b"{}"),
    }
    lookup = cast(PolicyCache, SimpleNamespace(choosers=choosers, overloaded=lambda policy: overloaded))
    config = Config(**tables({"front": served(), "broken": served()}))
    raw = value if isinstance(value, bytes) or value is None else json.dumps(value).encode()
    record = SimpleNamespace(
        topic="decision-requests", partition=0, offset=7, timestamp=1000, key=None, value=raw, headers=headers
    )
    requests = Requests(config, lookup, "cluster")
    request = requests.open(record, 1000 + age_ms)
    requests.decide(request, 1000 + age_ms)
    return request


@pytest.mark.parametrize(
    ("age_ms", "expires_ms", "decides"),
    [
        (0, None, True),
        (1000, None, True),
        (1001, None, False),
        (7, b"7", True),
        (8, b"7", False),
        (9000, b"9000", True),
    ],
)
def test_law_3_a_request_that_nobody_waits_for_any_more_gets_no_decision(
    age_ms: int, expires_ms: bytes | None, decides: bool
) -> None:
    """It is answered and counted, but nothing of it is broken, so it is no dead letter."""
    request = read(GOOD, age_ms=age_ms, expires_ms=expires_ms)
    assert [isinstance(result, Decided) for result in request.results] == [decides]
    assert decides or json.loads(request.reply())["error"]["code"] == "expired"
    assert request.letters == []


def test_law_7_a_policy_with_too_many_pending_decisions_refuses() -> None:
    request = read(GOOD, overloaded=True)
    assert [isinstance(result, Decided) for result in request.results] == [False]
    assert json.loads(request.reply())["error"]["code"] == "overloaded"
    assert request.letters == []


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (None, "tombstone"),
        (b"nonsense", "not_json"),
        (b"\xff", "not_utf8"),
        (GOOD | {"actions": []}, "no_actions"),
        (GOOD | {"placement": "nobody"}, "unknown_placement"),
        (GOOD | {"placement": "broken"}, "internal_error"),
    ],
)
def test_law_8_a_message_that_cannot_be_decided_is_a_dead_letter(value: Any, reason: str) -> None:
    request = read(value)
    assert json.loads(request.reply())["error"]["code"] == reason
    ((letter_reason, offset, content),) = [(letter.reason, letter.offset, letter.value) for letter in request.letters]
    assert (letter_reason, offset) == (reason, 7)
    assert content == (value if isinstance(value, bytes) or value is None else json.dumps(value).encode())


@pytest.mark.parametrize("placement", ["nobody", "broken"])
def test_law_8_a_bad_item_takes_no_other_item_of_its_array_with_it(placement: str) -> None:
    request = read([GOOD, GOOD | {"placement": placement}, GOOD])
    assert [isinstance(result, Decided) for result in request.results] == [True, False, True]
    assert [letter.index for letter in request.letters] == [1]
