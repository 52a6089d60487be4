"""Law 8 at decide: whatever a message holds, it is answered, and what is wrong with it becomes a dead letter."""

import json
from types import SimpleNamespace
from typing import Any, cast

import pytest

from policies.policy import make
from rewards.decision import Chooser, Decided
from stream.config import Config, PolicyConfig
from stream.deciding import Request, Requests
from stream.lookup import Lookup

GOOD = {"policy": "front", "actions": [{"id": "a"}, {"id": "b"}]}


def read(value: Any, headers: tuple[tuple[str, bytes], ...] = ()) -> Request:
    """Return what a message of ``decision-requests`` becomes; ``broken`` is a policy that fails as nobody foresaw."""

    def fail(*told: Any) -> list[float]:
        raise RuntimeError("as nobody foresaw")

    choosers = {
        "front": Chooser(make("uniform", ""), "0-00000000", "front", b"{}"),
        "broken": Chooser(cast(Any, SimpleNamespace(predict=fail)), "0-00000000", "broken", b"{}"),
    }
    lookup = cast(Lookup, SimpleNamespace(choosers=choosers, overloaded=lambda policy: False))
    config = Config(policies={"front": PolicyConfig(), "broken": PolicyConfig()})
    raw = value if isinstance(value, bytes) or value is None else json.dumps(value).encode()
    record = SimpleNamespace(
        topic="decision-requests", partition=0, offset=7, timestamp=1000, key=None, value=raw, headers=headers
    )
    return Requests(config, lookup, "cluster").read(record, 1000)


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (None, "tombstone"),
        (b"nonsense", "not_json"),
        (b"\xff", "not_utf8"),
        (GOOD | {"actions": []}, "no_actions"),
        (GOOD | {"policy": "nobody"}, "unknown_policy"),
        (GOOD | {"policy": "broken"}, "internal_error"),
    ],
)
def test_law_8_a_message_that_cannot_be_decided_is_a_dead_letter(value: Any, reason: str) -> None:
    request = read(value)
    assert json.loads(request.reply())["error"]["code"] == reason
    ((told, offset, content),) = [(letter.reason, letter.offset, letter.value) for letter in request.letters]
    assert (told, offset) == (reason, 7)
    assert content == (value if isinstance(value, bytes) or value is None else json.dumps(value).encode())


@pytest.mark.parametrize("policy", ["nobody", "broken"])
def test_law_8_a_bad_item_takes_no_other_item_of_its_array_with_it(policy: str) -> None:
    request = read([GOOD, GOOD | {"policy": policy}, GOOD])
    assert [isinstance(result, Decided) for result in request.results] == [True, False, True]
    assert [letter.index for letter in request.letters] == [1]
