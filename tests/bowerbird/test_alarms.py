"""Every alarm, by figures: what is wrong, since when, and what to do."""

from io import StringIO
from typing import Any

import pytest
from rich.console import Console

from bowerbird.commands.status import screen
from bowerbird.status.alarms import alarms, notes
from bowerbird.status.observer import _fullest
from bowerbird.status.records import (
    Backlog,
    OpenTransaction,
    OpenWindows,
    PolicyStatus,
    RedisMemory,
    ShardWatermark,
    Status,
)
from records.rule import Reward, StreamReward
from stream.config import Config, PlacementConfig, PolicyConfig
from stream.stopped import StoppedPart
from tests.serving import served, tables

NOW_MS = 1_700_000_000_000
CONFIG = Config(**tables({"front": served(publish_ms=500)}))


def backlog(role: str, **fields: Any) -> Backlog:
    return Backlog(**{"role": role, "workers": 1, "messages": 3, "done_per_s": 40.0, "growth_per_s": 0.0, **fields})


def policy(**fields: Any) -> PolicyStatus:
    fine = {
        "name": "front",
        "version": "12-0a1b2c3d",
        "number": 12,
        "by": "learning",
        "control": None,
        "published_ms": NOW_MS - 700,
        "examples": 900,
        "waiting_since_ms": NOW_MS - 400,
        "decisions": 120,
        "by_version": {"12-0a1b2c3d": 120},
        "outcomes": 100,
        "joined": 12,
        "learnable": 100,
        "reward": 0.12,
        "why": {"window": 100},
        "pending": 60,
        "fullest": OpenWindows(placement="home", pending=60, max_pending=1000),
    }
    return PolicyStatus(**{**fine, **fields})


def status(**fields: Any) -> Status:
    fine = {
        "now_ms": NOW_MS,
        "looked_at_s": 300.0,
        "backlogs": [backlog("decide"), backlog("join"), backlog("learn")],
        "watermarks": [ShardWatermark(shard=0, watermark_ms=NOW_MS - 600, held_by="clicks 2")],
        "policies": [policy()],
        "dead_letters": {},
    }
    return Status(**{**fine, **fields})


def shown(seen: Status) -> str:
    return shown_at(110, CONFIG, seen)


def shown_at(width: int, config: Config, seen: Status) -> str:
    console = Console(width=width, file=StringIO(), record=True)
    console.print(screen(config, seen))
    return console.export_text()


def test_all_is_well() -> None:
    assert alarms(CONFIG, status()) == notes(CONFIG, status()) == []
    text = shown(status())
    for part in ("All is well.", "learning", "12.0 %", "0.1200", "12-0a1b2c3d", "clicks[2]", "none"):
        assert part in text


@pytest.mark.parametrize(
    ("fields", "parts"),
    [
        ({"backlogs": [backlog("learn", workers=0)]}, ["No worker runs the role learn", "worker --roles learn"]),
        (
            {"watermarks": [ShardWatermark(shard=0, watermark_ms=NOW_MS - 95_000, held_by="clicks 2")]},
            ["clicks[2] is read only up to 95 s ago", "no window closes"],
        ),
        (
            {"watermarks": [ShardWatermark(shard=0, watermark_ms=0, held_by="views 0")]},
            ["Nothing of views[0] has been read"],
        ),
        ({"watermarks": [ShardWatermark(shard=0, watermark_ms=0, held_by="*")]}, ["not read its inputs even once"]),
        (
            {"watermarks": [ShardWatermark(shard=0, watermark_ms=NOW_MS - 95_000, held_by="*")]},
            ["The join has not been through its inputs for 95 s", "no window closes"],
        ),
        (
            {
                "watermarks": [
                    ShardWatermark(shard=0, watermark_ms=NOW_MS - 95_000, held_by="clicks 2", open_transaction=7)
                ]
            },
            ["transaction in clicks[2] is open since offset 7", "--topic clicks --partition 2 --start-offset 7"],
        ),
        (
            {"transactions": [OpenTransaction(role="decide", topic="decision-requests", partition=1, offset=9)]},
            ["transaction in decision-requests[1] is open since offset 9", "decide reads nothing", "--start-offset 9"],
        ),
        ({"backlogs": [backlog("decide", late=True)]}, ["Requests have waited for the role decide", "quota"]),
        (
            {"backlogs": [backlog("join", strangers=("other-app",))]},
            ["Another program (other-app) is a member of the group bowerbird-join", "End it"],
        ),
        ({"policies": [policy(waiting_since_ms=NOW_MS - 40_000)]}, ["front does not learn", "waited for 40 s"]),
        ({"policies": [policy(problem="policy front in Redis: found x")]}, ["front can't be learned: policy front in"]),
        (
            {"policies": [policy(fullest=OpenWindows(placement="home", pending=950, max_pending=1000))]},
            ["home nearly has too many open windows: 950 of 1000", "max_pending"],
        ),
        ({"missing_topics": ["ticks"]}, ["Topic ticks is missing", "`bowerbird topics create`"]),
        ({"missing_topics": ["dead-letters", "ticks"]}, ["Topics dead-letters, ticks are missing"]),
        (
            {"redis_memory": RedisMemory(used_bytes=95 * 2**20, most_bytes=100 * 2**20)},
            ["Redis nearly is full: 95.0 MiB of 100.0 MiB", "maxmemory"],
        ),
        ({"redis_memory": RedisMemory(used_bytes=2**20, most_bytes=2**20)}, ["Redis is full", "It refuses"]),
        (
            {"backlogs": [backlog("join", messages=9000, growth_per_s=120.0)]},
            ["join falls behind", "9000 messages", "120 more each second"],
        ),
    ],
)
def test_what_is_wrong_is_told_with_what_to_do(fields: dict[str, Any], parts: list[str]) -> None:
    (sentence,) = alarms(CONFIG, status(**fields))
    for part in parts:
        assert part in sentence
    assert "To do" in shown(status(**fields))


def test_an_input_that_is_missing_is_said_once() -> None:
    said = StoppedPart("join", "inputs", "no topic clicks, so no window closes: run `bowerbird topics create`")
    assert len(alarms(CONFIG, status(missing_topics=["clicks"], stopped=[said]))) == 1


def test_what_follows_from_another_fault_is_not_told() -> None:
    """Without a join nothing is read, and without a learner nothing is learned: that is one thing to do each."""
    nobody = [backlog(role, workers=0) for role in ("decide", "join", "learn")]
    old = [ShardWatermark(shard=0, watermark_ms=NOW_MS - 95_000, held_by="clicks 2")]
    seen = status(backlogs=nobody, watermarks=old, policies=[policy(waiting_since_ms=NOW_MS - 95_000)])
    assert len(alarms(CONFIG, seen)) == 3


def test_what_stands_still_is_told_as_its_role_says() -> None:
    """And what follows from it is not: no worker in the group, windows that do not close, nothing learned."""
    sentence = "topic clicks: found id 1, expected id 2; the topic was deleted and made anew: run `bowerbird recover`"
    late = ShardWatermark(shard=0, watermark_ms=NOW_MS - 60_000, held_by="clicks 2")
    seen = status(
        backlogs=[backlog("decide"), backlog("join", workers=0), backlog("learn"), backlog("archive", workers=0)],
        watermarks=[late],
        stopped=[StoppedPart("join", "topic clicks", sentence), StoppedPart("archive", "archive", "no space")],
    )
    assert alarms(CONFIG, seen) == [f"join stands still: {sentence}.", "archive stands still: no space."]
    assert "All is well" not in shown(seen)


def test_what_is_worth_nothing_and_comes_late_is_no_warning() -> None:
    streams = {"views": StreamReward(weight=0.0), "clicks": StreamReward(weight=1.0)}
    front = served(reward=Reward(close_on=("clicks",), streams=streams))
    letters = status(dead_letters={"late of views": 18})
    assert notes(Config(**tables({"front": front})), letters) == []
    (note,) = notes(Config(**tables({"front": front})), status(dead_letters={"late of views": 18, "late of clicks": 1}))
    assert note.startswith("1 record could not be used")
    activating = Config(**tables({"front": front, "other": front.but(activate_on="views")}))
    assert notes(activating, letters) != []


@pytest.mark.parametrize(("control", "says"), [("freeze", "frozen"), ("uniform", "uniform")])
def test_a_control_is_no_fault(control: str, says: str) -> None:
    seen = status(policies=[policy(control=control, by=control, waiting_since_ms=NOW_MS - 95_000)])
    assert alarms(CONFIG, seen) == []
    (note,) = notes(CONFIG, seen)
    assert "policy unfreeze front" in note
    assert says in shown(seen)


@pytest.mark.parametrize(
    ("fields", "gone"),
    [
        ({"messages": 3}, "now"),
        ({"messages": 5000, "growth_per_s": -100.0}, "in 50 s"),
        ({"messages": 500, "growth_per_s": 20.0}, "grows by 20 a second"),
        ({"messages": 500, "growth_per_s": 0.0}, "stands"),
    ],
)
def test_when_a_backlog_will_be_gone(fields: dict[str, Any], gone: str) -> None:
    assert gone in shown(status(backlogs=[backlog("join", **fields)]))


def test_the_archive_waits_for_its_next_file() -> None:
    waits = {"messages": 500, "growth_per_s": 0.0}
    assert "with the next file" in shown(status(backlogs=[backlog("archive", **waits)]))
    assert "stands" in shown(status(backlogs=[backlog("archive", **waits, workers=0)]))
    stuck = status(backlogs=[backlog("archive", **waits)], stopped=[StoppedPart("archive", "archive.url", "no space")])
    assert "with the next file" not in shown(stuck)
    assert shown(stuck).count("stands still") == 2


def test_the_fullest_placement_is_the_one_with_the_largest_share() -> None:
    placements = {"home": PlacementConfig("front", max_pending=1000), "cart": PlacementConfig("front", max_pending=10)}
    config = Config(placements=placements, policies={"front": PolicyConfig()})
    pending = {"home": 500, "cart": 9}
    found = _fullest(config, config.decided_by("front"), pending)
    assert found == OpenWindows(placement="cart", pending=9, max_pending=10)
    assert _fullest(config, (), pending) is None


def test_decisions_that_their_topic_does_not_take_are_an_alarm() -> None:
    (alarm,) = alarms(CONFIG, status(dead_letters={"decision_too_large of decision-requests": 60}))
    assert "60 requests got no decision" in alarm
    assert "`bowerbird check` says which setting to change" in alarm
