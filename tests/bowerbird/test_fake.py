"""The fake loop: what a user's test sees of deciding, joining and learning, without a server."""

import json
import runpy
import sys
from pathlib import Path
from typing import Any

import pytest

from bowerbird.fake import FakeLoop
from bowerbird_client import BlockingClient
from records.errors import WrongConfiguration
from records.rule import Reward, StreamReward
from stream.config import Config
from tests.serving import served, tables

EXAMPLES = Path(__file__).parent.parent.parent / "examples"
VW = "--cb_explore_adf --epsilon 0.1 -q uI --learning_rate 1"
REWARD = Reward(
    default=-1.0,
    close_on=("purchases",),
    streams={"clicks": StreamReward(weight=1.0, aggregate="max"), "purchases": StreamReward(value=True)},
)


def loop_of(kind: str = "uniform", arguments: str = "", **options: Any) -> FakeLoop:
    policy = served(kind, arguments, window_s=60, reward=REWARD, **options.pop("policy", {}))
    return FakeLoop(Config(**tables({"front": policy}), **options))


def ask(loop: FakeLoop, *event_ids: str, reply_topic: str = "replies.test", **fields: Any) -> Any:
    """Ask without a client, and return the reply."""
    requests = [
        {"event_id": each, "placement": "front", "actions": [{"id": "a"}, {"id": "b"}], **fields} for each in event_ids
    ]
    headers = [("reply-topic", reply_topic.encode()), ("correlation-id", b"7")]
    value = json.dumps(requests[0] if len(requests) == 1 else requests).encode()
    loop.append("decision-requests", value, headers=headers)
    message = loop.replies(reply_topic)[-1]
    assert message.headers == (("correlation-id", b"7"),)
    return json.loads(message.value or b"")


def tell(loop: FakeLoop, stream: str, event_id: str, **fields: Any) -> None:
    loop.append(stream, json.dumps({"event_id": event_id, **fields}).encode())


def test_windows_close_when_time_goes_on_and_not_before() -> None:
    loop = loop_of()
    ask(loop, "visit-1", "visit-2")
    tell(loop, "clicks", "visit-1", id="c1")
    tell(loop, "clicks", "visit-1", id="c2")
    loop.advance(59)
    assert loop.records("rewards") == []
    loop.advance(2)
    by_event = {outcome["event_id"]: outcome for outcome in loop.records("rewards")}
    assert [(by_event[each]["reward"], by_event[each]["why"]) for each in ("visit-1", "visit-2")] == [
        (1.0, "window"),
        (-1.0, "window"),
    ]
    assert sorted(outcome["outcome_seq"] for outcome in by_event.values()) == [1, 2]


def test_a_closing_stream_closes_early() -> None:
    loop = loop_of()
    ask(loop, "visit-1")
    tell(loop, "purchases", "visit-1", value=7.5)
    loop.advance(0.01)
    assert [(outcome["reward"], outcome["why"]) for outcome in loop.records("rewards")] == [(7.5, "early")]


def test_late_unknown_and_broken_feedback_lies_in_the_dead_letters() -> None:
    loop = loop_of()
    ask(loop, "visit-1")
    loop.advance(61)
    tell(loop, "clicks", "visit-1")
    tell(loop, "clicks", "nobody")
    loop.append("clicks", b"{not json")
    loop.advance(300)
    letters = [dict(message.headers)["reason"] for message in loop.messages("dead-letters")]
    assert sorted(letters) == [b"late", b"not_json", b"unknown_decision"]
    assert b"{not json" in [message.value for message in loop.messages("dead-letters")]


def test_a_bad_request_gets_its_error_and_a_dead_letter() -> None:
    loop = loop_of()
    assert ask(loop, "visit-1", placement="nobody")["error"]["code"] == "unknown_placement"
    (letter,) = loop.messages("dead-letters")
    assert dict(letter.headers)["reason"] == b"unknown_placement"
    assert loop.records("decisions") == []


def test_too_many_that_wait_are_overloaded() -> None:
    loop = loop_of(policy={"max_pending": 2})
    assert [ask(loop, f"visit-{number}").get("error", {}).get("code") for number in range(4)] == [
        None,
        None,
        None,
        "overloaded",
    ]


def test_what_is_learned_decides() -> None:
    loop = loop_of("vw", VW)
    first = loop.version("front")
    with BlockingClient(connection=loop.connection(), batch_ms=0) as client:
        for _ in range(60):
            answer = client.decide(
                "front", [{"id": each, "features": {"item": {each: 1}}} for each in ("hat", "boots")]
            )
            if answer.chosen == "hat":
                client.reward(answer.event_id, "purchases", value=1.0)
                client.flush()
            loop.advance(61)
        assert loop.version("front") != first
        pmf = loop.records("decisions")[-1]["pmf"]
    assert pmf[0] > 0.9
    versions = [record for record in loop.records("versions") if "policy" in record]
    assert [version["number"] for version in versions] == list(range(1, len(versions) + 1))
    assert versions[-1]["version"] == loop.version("front")


def test_the_same_request_gets_the_same_decision() -> None:
    chosen = {ask(loop_of(), "visit-1")["chosen"] for _ in range(3)}
    assert len(chosen) == 1


def test_shards_and_a_prefix_make_no_difference() -> None:
    plain, other = loop_of(), loop_of(shards=4, prefix="x-")
    for loop, topic in ((plain, "replies.test"), (other, "x-replies.test")):
        ask(loop, *(f"visit-{number}" for number in range(8)), reply_topic=topic)
        tell(loop, "clicks", "visit-3")
        loop.advance(61)
    rewards = [
        sorted((each["event_id"], each["reward"]) for each in loop.records("rewards")) for loop in (plain, other)
    ]
    assert rewards[0] == rewards[1]
    assert len(rewards[0]) == 8


def test_more_windows_than_one_call_closes() -> None:
    loop = loop_of()
    for start in range(0, 1200, 300):
        ask(loop, *(f"visit-{number}" for number in range(start, start + 300)))
    loop.advance(61)
    assert len(loop.records("rewards")) == 1200


def test_a_topic_that_is_not_there_is_named() -> None:
    with pytest.raises(WrongConfiguration, match=r"found clics, expected one .* clicks"):
        tell(loop_of(), "clics", "visit-1")


def test_a_reply_topic_must_be_allowed() -> None:
    loop = loop_of()
    loop.append(
        "decision-requests", b'{"placement":"front","actions":[{"id":"a"}]}', headers=[("reply-topic", b"rewards")]
    )
    assert loop.records("rewards") == []
    assert dict(loop.messages("dead-letters")[0].headers)["reason"] == b"reply_topic_not_allowed"


def test_the_shop_needs_no_server_and_learns(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """One visitor in three clicks by chance, which makes 50 of 100 four standard deviations."""
    learned = 0
    for seed in ("1", "2", "3"):
        if learned == 2:
            break
        monkeypatch.setattr(sys, "argv", ["shop.py", "--fake", "--seed", seed])
        runpy.run_path(str(EXAMPLES / "shop.py"), run_name="__main__")
        clicked = [int(line.split()[2]) for line in capsys.readouterr().out.splitlines()[:4]]
        learned += clicked[-1] >= 50
    assert learned >= 2


def test_the_shop_names_the_placement_that_a_service_lacks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "bowerbird.toml").write_text('[policies.banner]\nkind = "uniform"\n[placements.banner]\n')
    monkeypatch.setenv("BOWERBIRD_CONFIG", str(tmp_path / "bowerbird.toml"))
    monkeypatch.setattr(sys, "argv", ["shop.py"])
    with pytest.raises(SystemExit):
        runpy.run_path(str(EXAMPLES / "shop.py"), run_name="__main__")
    assert "the settings have no placement `front`" in capsys.readouterr().err
