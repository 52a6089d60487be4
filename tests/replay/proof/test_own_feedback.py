"""Verification where the streams have lost their feedback, and the outcomes carry theirs."""

import json
from typing import Any

import msgspec
import pytest

from records.limits import Limits
from records.outcome import Outcome
from tests.replay.world import World, busy_world


def without_feedback(limit: int = 1000, **starts: int) -> World:
    """Return a world whose streams have lost everything, or all below the given offsets."""
    world = busy_world(limits=Limits(max_feedback=limit))
    for stream in ("clicks", "purchases"):
        for partition in range(2):
            world.starts[stream, partition] = starts.get(stream, 10**6)
    return world


def test_each_outcome_proves_its_own_reward() -> None:
    world = without_feedback()
    bare = world.verify()
    assert not bare.ok
    verdict = world.verify(own_feedback=True)
    assert verdict.ok, verdict.findings
    carrying = [outcome for _, outcome in world.outcomes() if outcome.policy == "front" and outcome.feedback]
    assert verdict.own_feedback == len(carrying) > 10
    assert verdict.identical
    assert verdict.not_verifiable == 0


def test_what_is_left_of_a_stream_is_used_too() -> None:
    verdict = without_feedback(clicks=10).verify(own_feedback=True)
    assert verdict.ok, verdict.findings
    assert verdict.own_feedback > 0


def test_feedback_that_closed_and_was_one_too_many_to_be_carried_proves_nothing() -> None:
    verdict = without_feedback(limit=4).verify(own_feedback=True)
    assert verdict.found == {"not_verifiable": 1}
    assert verdict.not_verifiable == 1


def counting(world: World) -> tuple[int, Outcome]:
    """Return the first outcome of the policy that counts feedback and was not closed by any."""
    return next(
        (index, outcome)
        for index, outcome in world.outcomes()
        if outcome.feedback and outcome.why == "window" and outcome.policy == "front"
    )


def change(world: World, **changes: Any) -> None:
    """Change an outcome."""
    index, outcome = counting(world)
    world.rewrite(index, [msgspec.structs.replace(outcome, **changes)])


@pytest.mark.parametrize(
    ("changes", "finding"),
    [
        ({"reward": 4.5}, "reward"),
        ({"why": "expired"}, "why"),
        ({"learn": False}, "learn"),
        ({"closed_ms": 1}, "deadline"),
    ],
)
def test_a_wrong_outcome_is_found_by_what_it_carries(changes: dict[str, Any], finding: str) -> None:
    world = without_feedback()
    change(world, **changes)
    verdict = world.verify(own_feedback=True)
    assert finding in verdict.found
    assert not verdict.ok


def test_feedback_of_another_event_does_not_count() -> None:
    world = without_feedback()
    _, outcome = counting(world)
    foreign = msgspec.Raw(json.dumps({"event_id": "nobody", "id": "c1"}).encode())
    change(world, feedback=[msgspec.structs.replace(event, event=foreign) for event in outcome.feedback])
    assert "feedback" in world.verify(own_feedback=True).found


def test_a_window_without_its_outcome_is_missing_although_its_feedback_is_gone() -> None:
    world = without_feedback()
    last = max(index for index, outcome in world.outcomes() if outcome.policy == "front")
    del world.logs["rewards", 0][last]
    assert world.verify(own_feedback=True).found.get("missing") == 1
