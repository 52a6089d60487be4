"""A replay goes through freezes and rebuilds as the live policy did, bit for bit."""

from copy import deepcopy
from typing import Any

import msgspec
import pytest

from policies.controls import FREEZE, SHAPES, UNFREEZE, UNIFORM
from policies.policy import digest, version_name
from policies.registry import make
from records.policy_version import PolicyVersion
from replay.proof.rebuild import Rebuild
from replay.proof.request import Live
from tests.replay.proof.test_rebuild import EXPLORERS
from tests.replay.world import World, busy_world


@pytest.fixture(scope="module")
def sound() -> World:
    return busy_world()


@pytest.fixture
def world(sound: World) -> World:
    return deepcopy(sound)


def replay(world: World, versions: list[PolicyVersion], end: int | None = None) -> Rebuild:
    rebuild = Rebuild("front", world.identity(), versions)
    for message in world.logs["rewards", 0]:
        if end is None or message.offset < end:
            rebuild.until(message.offset)
            rebuild.learn(message)
    rebuild.until(world.logs["rewards", 0][-1].offset + 1 if end is None else end)
    return rebuild


def controlled(world: World, after: int, cut: int, **fields: Any) -> PolicyVersion:
    """Put a version of an operator after the version of a number, with its weights, and drop what came later."""
    former = world.versions[after - 1]
    model = fields.pop("model", world.models[after - 1])
    seqs = replay(world, world.versions[:after], cut).seqs()
    number = former.number + 1
    version = msgspec.structs.replace(
        former,
        number=number,
        version=version_name(number, digest(model)),
        digest=digest(model),
        cut=cut,
        last_seqs=seqs,
        **fields,
    )
    world.versions[after:] = [version]
    world.models[after:] = [model]
    world.live = Live(version, model, version.cut, version.last_seqs)
    return version


def end_of(world: World) -> int:
    return world.logs["rewards", 0][-1].offset + 1


def test_under_a_control_nothing_is_learned_and_verify_goes_through_it(world: World) -> None:
    frozen = controlled(world, 2, world.versions[1].cut, control="freeze", shape=SHAPES[FREEZE])
    world.live = Live(frozen, world.models[-1], end_of(world), replay(world, world.versions).seqs())
    verdict = world.verify()
    assert verdict.ok, verdict.findings
    assert verdict.learned == frozen.examples
    assert verdict.held > 0
    assert verdict.waiting == 0


def test_after_an_unfreeze_it_is_learned_again(world: World) -> None:
    begin, end = world.versions[1].cut, world.versions[3].cut
    controlled(world, 2, begin, control="uniform", shape=SHAPES[UNIFORM])
    unfrozen = controlled(world, 3, end, control="unfreeze", shape=SHAPES[UNFREEZE])
    verdict = world.verify()
    assert verdict.ok, verdict.findings
    assert verdict.waiting > 0
    assert verdict.held > 0
    assert verdict.learned == unfrozen.examples


def test_a_control_that_the_record_does_not_tell_is_found_out(world: World) -> None:
    """The weights stayed, and nothing says why."""
    controlled(world, 2, world.versions[3].cut, control=None)
    assert not world.verify().ok


@pytest.mark.parametrize("arguments", EXPLORERS)
def test_a_rebuild_takes_the_weights_back_to_an_offset_between_two_cuts(world: World, arguments: str) -> None:
    """Also with explorers that keep more state than they save: taking a copy on the way changes nothing."""
    world.arguments = arguments
    world.publish(cut_each=7)
    back_to = (world.versions[1].cut + world.versions[2].cut) // 2
    weights = replay(world, world.versions[:2], back_to).weights()
    versions = world.versions.copy()
    rebuilt = controlled(
        world, 3, world.versions[2].cut, model=weights.model, examples=weights.examples, rebuilt_to=back_to
    )
    again = replay(world, world.versions, rebuilt.cut)
    assert again.digest() == digest(make(world.kind, arguments, weights.model).dump()) == rebuilt.digest
    assert again.taken_back == versions[2].examples - weights.examples > 0
    verdict = world.verify()
    assert verdict.ok, verdict.findings
    assert verdict.taken_back == again.taken_back
    wrong = msgspec.structs.replace(rebuilt, rebuilt_to=world.versions[0].cut)
    world.versions[-1] = wrong
    world.live = world.live._replace(record=wrong)
    assert not world.verify().ok


def test_a_rebuild_of_everything_is_what_the_chain_gives(world: World) -> None:
    cut = end_of(world)
    weights = replay(world, world.versions).weights()
    count = len(world.versions)
    controlled(world, count, cut, model=weights.model, examples=weights.examples, rebuilt_to=cut)
    verdict = world.verify()
    assert verdict.ok, verdict.findings
    assert verdict.waiting == verdict.taken_back == 0


def test_versions_are_followed_as_they_come(world: World) -> None:
    whole = replay(world, world.versions).digest()
    rebuild = Rebuild("front", world.identity(), world.versions[:1])
    coming = world.versions[1:]
    for message in world.logs["rewards", 0]:
        while coming and coming[0].cut <= message.offset:
            rebuild.follow([coming.pop(0)])
        rebuild.until(message.offset)
        rebuild.learn(message)
    rebuild.follow(coming)
    rebuild.until(end_of(world))
    assert rebuild.digest() == whole
