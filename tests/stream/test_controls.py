"""An operator's controls, one by one, over the store in memory: each is a version, and nothing is learned under it."""

import json

import msgspec
import pytest

from policies.controls import FREEZE, UNFREEZE, UNIFORM, Control
from policies.policy_store import MemoryPolicyStore
from policies.publisher import Seen
from records.codec import encode
from records.errors import LossDetected
from records.policy_version import PolicyVersion
from records.versions import versions_in
from tests.laws.learn_world import Operator, World, run_now
from tests.stream.test_publish import append, position, records, save, take_all, version


@pytest.fixture
def world() -> World:
    """Give a world in which three outcomes were learned."""
    made = World(MemoryPolicyStore(), run_now)
    append(made, 3)
    take_all(made.workers[0])
    save(made.workers[0])
    return made


def control(world: World, wanted: Control, number: int = 0) -> bool:
    """Put a control in force, and tell whether a version was published for it."""
    operator = world.operators[number]
    operator.begin(operator.control("left", wanted))
    operator.finish()
    world.check()
    return operator.results[-1].changed


def learned(world: World) -> list[str]:
    saved = world.saved("left")
    assert saved is not None
    return [name for page in json.loads(saved.model or b"[]") for name in page]


@pytest.mark.parametrize("wanted", [FREEZE, UNIFORM])
def test_under_a_control_the_position_moves_and_nothing_is_learned(world: World, wanted: Control) -> None:
    before = learned(world)
    assert control(world, wanted)
    append(world, 4)
    take_all(world.workers[0])
    while save(world.workers[0]) != "moved":
        pass
    assert learned(world) == before
    assert (position(world).number, position(world).cut, position(world).examples) == (2, 7, 3)
    assert control(world, UNFREEZE)
    append(world, 1)
    take_all(world.workers[0])
    while save(world.workers[0]) != "published":
        pass
    assert learned(world) == [*before, "left-0-8"]
    assert [version.control for version in records(world)] == [None, wanted, UNFREEZE, None]


def test_a_control_is_the_next_version_with_the_same_weights(world: World) -> None:
    control(world, FREEZE)
    learned_one, frozen = records(world)
    assert frozen.number == learned_one.number + 1
    assert (frozen.digest, frozen.cut, frozen.last_seqs, frozen.examples) == (
        learned_one.digest,
        learned_one.cut,
        learned_one.last_seqs,
        learned_one.examples,
    )
    assert frozen.version == f"2-{frozen.digest[:8]}"


def test_what_was_taken_and_not_published_is_not_learned_after_a_freeze(world: World) -> None:
    """A learner that has not heard of the freeze loses the compare-and-set."""
    before = learned(world)
    append(world, 2)
    take_all(world.workers[0])
    control(world, FREEZE)
    assert save(world.workers[0]) == "lost"
    assert save(world.workers[0]) == "moved"
    assert learned(world) == before


def test_what_came_while_frozen_is_not_learned_later_wherever_the_learner_was(world: World) -> None:
    """The unfreeze passes it over itself: the learner may have been down all the while."""
    before = learned(world)
    control(world, FREEZE)
    append(world, 5)
    control(world, UNFREEZE)
    append(world, 1)
    take_all(world.workers[0])
    while save(world.workers[0]) != "published":
        pass
    assert learned(world) == [*before, "left-0-9"]
    assert records(world)[2].cut == 8


def test_a_learner_that_did_not_hear_of_the_unfreeze_learns_what_came_after_it(world: World) -> None:
    control(world, FREEZE)
    append(world, 1)
    take_all(world.workers[0])
    save(world.workers[0])
    control(world, UNFREEZE)
    append(world, 1)
    take_all(world.workers[0])
    assert save(world.workers[0]) == "lost"
    assert save(world.workers[0]) == "published"
    assert learned(world)[-1] == "left-0-5"


def test_what_is_in_force_is_not_put_in_force_again(world: World) -> None:
    assert not control(world, UNFREEZE)
    assert control(world, FREEZE)
    assert not control(world, FREEZE)
    assert control(world, UNIFORM)
    assert len(records(world)) == 3


def test_a_policy_that_has_learned_nothing_can_be_frozen() -> None:
    world = World(MemoryPolicyStore(), run_now)
    assert control(world, FREEZE)
    append(world, 2)
    take_all(world.workers[0])
    assert save(world.workers[0]) == "moved"
    assert (position(world).number, learned(world)) == (1, [])


@pytest.mark.parametrize("steps", range(12))
def test_of_two_operators_at_once_one_publishes(world: World, steps: int) -> None:
    first, second = world.operators
    first.begin(first.control("left", FREEZE))
    for _ in range(steps):
        first.step()
    second.begin(second.control("left", FREEZE))
    second.finish()
    first.finish()
    world.check()
    assert sorted(operator.results[-1].changed for operator in (first, second)) == [False, True]
    assert {version.number for version in records(world)} == {1, 2}


@pytest.mark.parametrize("next_one", ["learner", "operator"])
def test_the_record_that_an_operator_could_not_write_is_written_by_whoever_comes_next(
    world: World, next_one: str
) -> None:
    """A command that dies between the compare-and-set and the append to `versions`."""
    operator = world.operators[0]
    operator.begin(operator.control("left", FREEZE))
    while position(world).number == 1:
        operator.step()
    operator.die()
    assert [version.number for version in records(world)] == [1]
    if next_one == "operator":
        assert not control(world, FREEZE, 1)
    else:
        append(world, 1)
        take_all(world.workers[0])
        assert save(world.workers[0]) == "lost"
    assert [version.control for version in records(world)] == [None, FREEZE]


def test_outcomes_that_are_missing_are_not_passed_over(world: World) -> None:
    control(world, FREEZE)
    append(world, 2)
    del world.log.messages[3]
    operator = world.operators[0]
    operator.begin(operator.control("left", UNFREEZE))
    with pytest.raises(LossDetected, match="policy rebuild left"):
        operator.finish()
    assert isinstance(operator, Operator)


def test_a_rebuilt_version_settles_what_contradicted_itself() -> None:
    seen = Seen()
    for number, digest in ((1, "a"), (2, "b"), (2, "c")):
        seen.add(version(number, digest))
    assert seen.differing == 2
    rebuilt = version(3, "d", rebuilt_to=5)
    seen.add(rebuilt)
    assert (seen.newest, bool(seen.differing), list(seen.fingerprints)) == (3, False, [3])
    seen.add(version(4, "e"))
    seen.add(rebuilt)
    assert seen.newest == 4, "its own repeat settles nothing"
    seen.add(version(3, "other", rebuilt_to=5))
    assert seen.differing == 3


def test_a_record_that_was_written_again_with_other_spaces_is_the_same_version() -> None:
    seen, record = Seen(), encode(version(1, "a"))
    spaced = json.dumps(json.loads(record), indent=1).encode()
    assert spaced != record
    for value in (record, spaced, b"[" + spaced + b"]"):
        (decoded,) = versions_in(value, {})
        seen.add(decoded)
    assert (seen.newest, seen.differing) == (1, None)


def test_a_version_of_an_older_build_is_read_as_uncontrolled() -> None:
    record = {
        "policy": "left",
        "number": 1,
        "version": "1-00000000",
        "kind": "uniform",
        "arguments": "",
        "salt": "s",
        "placements": ["left"],
    }
    record |= {"cut": 1, "last_seqs": {}, "digest": "00000000", "examples": 0}
    version = msgspec.json.decode(json.dumps(record).encode(), type=PolicyVersion)
    assert (version.control, version.rebuilt_to) == (None, None)


def test_a_number_after_which_none_is_left_is_no_version() -> None:
    forged = encode(version(2**53 - 1, "a"))
    assert list(versions_in(forged, {})) == []
    highest = {"left": 2**53 - 3}
    assert [each.number for each in versions_in(b"[" + forged + b"]", highest)] == [2**53 - 1]
    assert highest == {"left": 2**53 - 1}, "what follows is measured from there"
