"""Replaying rewards gives every published version again, and a version decides again what it decided."""

import json
from copy import deepcopy
from typing import Any

import msgspec
import pytest

from policies.draw import draw
from policies.features import decode_action, decode_context
from policies.policy import version_name
from policies.policy_store import PolicyIdentity
from policies.registry import make
from records.limits import Limits
from records.outcome import Outcome
from replay.proof.rebuild import Rebuild
from replay.proof.recompute import Recomputed, decisions_of, recompute, version_number
from tests.policies.asking import pmf_of
from tests.replay.world import ARGUMENTS, Message, World, busy_world, decision

EXPLORERS = [
    "--cb_explore_adf --epsilon 0.1",
    "--cb_explore_adf --bag 3",
    "--cb_explore_adf --cover 3",
    "--cb_explore_adf --squarecb --cb_type mtr",
    "--cb_explore_adf --rnd 2 --epsilon 0.1",
]


@pytest.fixture(scope="module")
def sound() -> World:
    return busy_world()


@pytest.fixture
def world(sound: World) -> World:
    return deepcopy(sound)


def rebuilt(world: World) -> Rebuild:
    rebuild = Rebuild("front", world.identity(), world.versions)
    for message in world.logs["rewards", 0]:
        rebuild.until(message.offset)
        rebuild.learn(message)
    return rebuild


@pytest.mark.parametrize("arguments", EXPLORERS)
def test_every_version_is_rebuilt_bit_for_bit(world: World, arguments: str) -> None:
    """Law 4, also for explorers with state that is not saved: the workspace is reloaded at each cut."""
    world.arguments = arguments
    world.publish(cut_each=7)
    rebuild = Rebuild("front", world.identity(), world.versions)
    names = []
    for message in world.logs["rewards", 0]:
        names += [each.name for each in rebuild.until(message.offset)]
        rebuild.learn(message)
    names += [each.name for each in rebuild.until(world.versions[-1].cut)]
    assert names == [version.version for version in world.versions]
    assert rebuild.unreached == ()


def test_other_cuts_give_another_digest(world: World) -> None:
    """The bagging explorer shows that reloading at the cuts matters."""
    world.arguments = "--cb_explore_adf --bag 3"
    world.publish(cut_each=7)
    at_these_cuts = rebuilt(world).digest()
    del world.versions[0]
    assert rebuilt(world).digest() != at_these_cuts


def test_policy_is_the_version_whose_cut_was_passed(world: World) -> None:
    rebuild = Rebuild("front", world.identity(), world.versions)
    assert rebuild.until(0) == []
    first = world.versions[0]
    for message in world.logs["rewards", 0]:
        if message.offset >= first.cut:
            break
        rebuild.until(message.offset)
        rebuild.learn(message)
    (published,) = rebuild.until(first.cut)
    assert published.published == first
    assert rebuild.digest() == first.digest
    assert published.last_seqs == first.last_seqs
    assert published.examples == first.examples


def test_repeats_are_learned_once(world: World) -> None:
    once = rebuilt(world)
    log = world.logs["rewards", 0]
    for message in list(log[:6]):
        log.append(message._replace(offset=log[-1].offset + 2))
    again = rebuilt(world)
    assert again.examples == once.examples
    assert again.digest() == once.digest()
    assert again.jumps == []


def test_other_policies_and_corrections_are_left_out(world: World) -> None:
    once = rebuilt(world)
    log = world.logs["rewards", 0]
    last = [outcome for _, outcome in world.outcomes() if outcome.policy == "front"][-1]
    corrected = msgspec.structs.replace(last, outcome_seq=last.outcome_seq + 1, revision=1, reward=4.0)
    foreign = msgspec.structs.replace(last, outcome_seq=last.outcome_seq + 1, placement="other")
    far = msgspec.structs.replace(last, outcome_seq=2**53 - 1)
    world.append_outcomes(log[-1].time_ms + 1, [corrected, foreign, far])
    assert rebuilt(world).digest() == once.digest()
    assert rebuilt(world).jumps == []


def test_a_jump_is_told(world: World) -> None:
    index, outcome = next(
        (at, each) for at, each in world.outcomes() if each.placement == "front" and each.outcome_seq == 3
    )
    world.rewrite(index, [])
    (jump,) = rebuilt(world).jumps
    assert jump[:3] == (f"front/{outcome.shard}", 2, 4)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda record: record | {"chosen": "nobody"},
        lambda record: record | {"context": {"taste": {"much": {"too": "deep"}}}},
        lambda record: record | {"propensity": 1e-300},
        lambda record: record | {"actions": []},
    ],
)
def test_what_the_policy_refuses_is_skipped_and_counted(world: World, spoil: Any) -> None:
    """The learner skips it too, so all that follows is the same."""
    index, outcome = next((at, each) for at, each in world.outcomes() if each.placement == "front" and each.learn)
    spoilt = msgspec.structs.replace(outcome, decision=msgspec.Raw(json.dumps(spoil(as_json(outcome))).encode()))
    silent = msgspec.structs.replace(outcome, learn=False)
    world.rewrite(index, [silent])
    world.publish(5)
    unlearned = rebuilt(world)
    world.rewrite(index, [spoilt])
    refusing = rebuilt(world)
    assert refusing.refused == 1
    assert refusing.digest() == unlearned.digest()
    assert refusing.examples == unlearned.examples


def as_json(outcome: Outcome) -> dict[str, Any]:
    record: dict[str, Any] = json.loads(bytes(outcome.decision))
    return record


# A decision again.


def decided(world: World, event_id: str = "visit-new") -> tuple[dict[str, Any], Rebuild]:
    """Return what decide would log for a request now, and the version by which it was decided."""
    rebuild = rebuilt(world)
    rebuild.until(world.versions[-1].cut)
    live = make(world.kind, world.arguments, world.models[-1])
    record = decision(event_id, 7)
    context = decode_context(json.dumps(record["context"]).encode(), Limits())
    actions = [decode_action(json.dumps(each).encode(), Limits()) for each in record["actions"]]
    pmf = pmf_of(live, context, actions)
    drawn = draw("front", event_id, pmf)
    record |= {
        "pmf": pmf,
        "chosen": actions[drawn.chosen].id,
        "propensity": pmf[drawn.chosen],
        "ranking": [actions[index].id for index in drawn.ranking],
        "policy_version": world.versions[-1].version,
    }
    return record, rebuild


def again(record: dict[str, Any], rebuild: Rebuild, number: int, salt: str = "front") -> Recomputed:
    message = Message("decisions", 0, 17, 1_000, json.dumps([{"event_id": "x"}, record]).encode())
    (located,) = decisions_of(message, record["event_id"])
    assert (located.position.offset, located.position.index) == (17, 1)
    return recompute(located, rebuild.policy, version_name(number, rebuild.digest()), salt)


@pytest.fixture
def record_and_version(world: World) -> tuple[dict[str, Any], Rebuild, int]:
    # Everything that was learned is published, so that the rebuilt policy is the live one.
    world.publish(1)
    return *decided(world), len(world.versions)


def test_a_decision_is_recomputed_bit_for_bit(record_and_version: tuple[dict[str, Any], Rebuild, int]) -> None:
    """Law 5."""
    record, rebuild, number = record_and_version
    result = again(record, rebuild, number)
    assert result.ok, result
    assert [part.name for part in result.parts] == ["policy_version", "pmf", "chosen", "propensity", "ranking"]
    assert msgspec.json.decode(msgspec.json.encode(result))["ok"] is True


@pytest.mark.parametrize(
    ("part", "change"),
    [
        ("pmf", lambda record: {"pmf": [record["pmf"][0] * (1 - 2**-52), *record["pmf"][1:]]}),
        ("chosen", lambda record: {"chosen": next(a["id"] for a in record["actions"] if a["id"] != record["chosen"])}),
        ("propensity", lambda record: {"propensity": record["propensity"] * (1 - 2**-52)}),
        ("ranking", lambda record: {"ranking": record["ranking"][::-1]}),
        ("policy_version", lambda record: {"policy_version": "3-00000000"}),
    ],
)
def test_a_decision_that_is_not_what_its_version_decides(
    record_and_version: tuple[dict[str, Any], Rebuild, int], part: str, change: Any
) -> None:
    record, rebuild, number = record_and_version
    result = again(record | change(record), rebuild, number)
    assert not result.ok
    assert [each.name for each in result.parts if not each.identical] == [part]
    assert part in result.reason


def test_another_salt_draws_otherwise(world: World) -> None:
    record, rebuild = decided(world)
    others = [again(record, rebuild, len(world.versions), salt=f"salt {number}") for number in range(8)]
    assert any(not part.identical for each in others for part in each.parts if part.name == "chosen")


def test_version_0_is_computed_from_the_arguments() -> None:
    rebuild = Rebuild("front", PolicyIdentity("vw", ARGUMENTS, "front", ("front",)))
    record = decision("e1") | {"policy_version": version_name(0, rebuild.digest())}
    result = again(record, rebuild, 0)
    assert {part.name: part.identical for part in result.parts}["policy_version"]


def test_an_external_decision_says_why_it_cannot_be_recomputed() -> None:
    rebuild = Rebuild("front", PolicyIdentity("uniform", "", "front", ("front",)))
    result = again(decision("e1") | {"policy_version": "external"}, rebuild, 0)
    assert not result.ok
    assert "another system" in result.reason
    assert result.parts == []


def test_a_decision_whose_features_cannot_be_used() -> None:
    rebuild = Rebuild("front", PolicyIdentity("uniform", "", "front", ("front",)))
    result = again(decision("e1") | {"context": {"a": {"b": {"c": 1}}}}, rebuild, 0)
    assert not result.ok
    assert "cannot be used" in result.reason


@pytest.mark.parametrize("value", [None, b"not json visit", b"[1, 2]", b'{"event_id": "visit"}'])
def test_what_is_no_decision_is_not_found(value: bytes | None) -> None:
    assert decisions_of(Message("decisions", 0, 0, 0, value), "visit") == []


def test_an_escaped_event_id_is_found() -> None:
    value = json.dumps(decision("café"), ensure_ascii=True).encode()
    assert b"caf\\u00e9" in value
    assert len(decisions_of(Message("decisions", 0, 0, 0, value), "café")) == 1


@pytest.mark.parametrize(
    ("name", "number"),
    [("0-0a1b2c3d", 0), ("external", None), ("12", None), ("-1-0a1b2c3d", None), ("٣-0a1b2c3d", None), ("3-0a", None)],
)
def test_numbers_of_versions(name: str, number: int | None) -> None:
    assert version_number(name) == number
