"""The laws of publishing, one by one, over the store in memory; tests/real runs them over Redis as well."""

import json
from collections.abc import Coroutine
from typing import Any

import msgspec
import pytest

from policies.learn_position import Position
from policies.policy_store import MemoryPolicyStore, PolicyIdentity, Saved
from policies.publisher import KEPT_NUMBERS, Publisher, Seen
from records.errors import StateRefused
from records.policy_version import PolicyVersion
from tests.laws.learn_world import POISON, Worker, World, run_now

CALLS_OF_A_SAVE = {"cas": 2, "append": 4, "answer": 5}
"""After so many steps of a save the compare-and-set, or the append to `versions`, has been done, or answered."""


@pytest.fixture
def world() -> World:
    return World(MemoryPolicyStore(), run_now)


def append(world: World, count: int, policy: str = "left", learn: bool = True, reward: float = 1.0) -> None:
    """Append messages of one outcome each."""
    for _ in range(count):
        world.log.append([world.log.new(policy, 0, learn, reward)])


def take_all(worker: Worker, log_end: int | None = None) -> None:
    end = worker.world.log.end if log_end is None else log_end
    while worker.next_offset < end:
        worker.begin(worker.take())
        worker.finish()


def finish(worker: Worker, work: Coroutine[Any, Any, Any]) -> None:
    worker.begin(work)
    worker.finish()


def save(worker: Worker, name: str = "left", *, move: bool = True) -> str:
    worker.begin(worker.save(name, move=move))
    worker.finish()
    worker.world.check()
    return worker.results[-1]


def save_until(worker: Worker, call: str, name: str = "left") -> None:
    """Save up to the moment at which a call has been done and its answer is on its way."""
    worker.begin(worker.save(name))
    for _ in range(CALLS_OF_A_SAVE[call]):
        worker.step()


def numbers(world: World, name: str = "left") -> list[int]:
    return [version.number for version in records(world, name)]


def records(world: World, name: str = "left") -> list[PolicyVersion]:
    return [msgspec.json.decode(record, type=PolicyVersion) for policy, record in world.versions if policy == name]


def position(world: World, name: str = "left") -> Position:
    saved = world.saved(name)
    assert saved is not None
    return saved.position


def test_a_version_says_what_it_has_learned(world: World) -> None:
    append(world, 3)
    append(world, 1, learn=False)
    append(world, 1, reward=POISON)
    worker = world.workers[0]
    take_all(worker)
    assert save(worker) == "published"
    (version,) = records(world)
    assert (version.number, version.cut, version.last_seqs, version.examples) == (1, 5, {"left/0": 5}, 3)
    assert version.version == f"1-{version.digest[:8]}"
    assert (version.kind, version.arguments, version.salt) == ("ledger", "", "salt")


def test_of_two_learners_one_publishes_and_the_other_goes_on_from_it(world: World) -> None:
    """The compare-and-set."""
    append(world, 4)
    first, second = world.workers
    take_all(first, 2)
    take_all(second)
    assert save(first) == "published"
    assert save(second) == "lost"
    assert numbers(world) == [1]
    assert save(second) == "published"
    assert numbers(world) == [1, 2]
    assert [version.cut for version in records(world)] == [2, 4]


def test_a_position_is_compared_too(world: World) -> None:
    """A zombie's position would go back without it."""
    append(world, 3, learn=False)
    first, second = world.workers
    take_all(first, 1)
    take_all(second)
    assert save(second) == "moved"
    assert save(first) == "lost"
    assert position(world).cut == 3


def test_what_is_acknowledged_is_saved(world: World) -> None:
    """The acknowledgement after the publish."""
    append(world, 2)
    append(world, 1, "right")
    append(world, 1)
    worker = world.workers[0]
    take_all(worker)
    worker.acknowledge()
    assert worker.acknowledged == 0
    save(worker, "left")
    worker.acknowledge()
    assert worker.acknowledged == 2, "the other policy of the partition has saved nothing"
    world.commit(0)
    world.check()
    save(worker, "right")
    worker.acknowledge()
    assert worker.acknowledged == 4


def test_whoever_goes_on_writes_the_record_that_was_not_written(world: World) -> None:
    """The repair of `versions`: a learner dies between the compare-and-set and the append."""
    append(world, 1)
    take_all(world.workers[0])
    first = world.workers[0]
    save_until(first, "cas")
    world.restart(0)
    assert world.saved("left") is not None
    assert numbers(world) == []
    append(world, 1)
    take_all(world.workers[0])
    assert save(world.workers[0]) == "published"
    assert numbers(world) == [1, 2]


def test_whoever_loses_a_race_writes_the_record_that_was_not_written(world: World) -> None:
    append(world, 2)
    first, second = world.workers
    take_all(first, 1)
    take_all(second)
    save_until(first, "cas")
    assert save(second) == "lost"
    assert numbers(world) == [1]
    assert save(second) == "published"
    first.finish()
    assert numbers(world) == [1, 2, 1]


@pytest.mark.parametrize("call", ["", *CALLS_OF_A_SAVE])
def test_a_call_that_fails_is_no_loss(world: World, call: str) -> None:
    """Whether it was done or not, what was taken since the last save is learned once."""
    append(world, 2)
    worker = world.workers[0]
    take_all(worker)
    worker.begin(worker.save("left"))
    for _ in range(CALLS_OF_A_SAVE[call] if call else 1):
        worker.step()
    worker.fail()
    append(world, 1)
    take_all(worker)
    while save(worker) != "nothing":
        pass
    append(world, 1)
    take_all(worker)
    assert save(worker) == "published"
    assert position(world).examples == 4


def test_a_position_moves_without_a_new_version(world: World) -> None:
    append(world, 2, learn=False)
    worker = world.workers[0]
    take_all(worker)
    assert save(worker, move=False) == "nothing"
    assert save(worker) == "moved"
    assert save(worker) == "nothing"
    assert (position(world).number, position(world).cut, world.versions) == (0, 2, [])
    append(world, 1)
    take_all(worker)
    assert save(worker, move=False) == "published"
    append(world, 1, learn=False)
    take_all(worker)
    assert save(worker) == "moved"
    assert (position(world).number, position(world).cut) == (1, 4)
    saved = world.saved("left")
    assert saved is not None
    assert json.loads(saved.model or b"null") == [["left-0-3"]]


def test_after_each_publish_the_bytes_are_loaded(world: World) -> None:
    """A live learner, a restarted one and a replay go on from the same, also where some state is not saved."""
    worker = world.workers[0]
    for _ in range(2):
        append(world, 2)
        take_all(worker)
        save(worker)
    saved = world.saved("left")
    assert saved is not None
    assert json.loads(saved.model or b"") == [["left-0-1", "left-0-2"], ["left-0-3", "left-0-4"]]


def forgetful(world: World) -> Saved | None:
    """Publish twice, and return what Redis held after the first time."""
    worker = world.workers[0]
    append(world, 1)
    take_all(worker)
    save(worker)
    before = world.saved("left")
    append(world, 1)
    take_all(worker)
    save(worker)
    worker.acknowledge()
    world.commit(0)
    return before


def forget(world: World, before: Saved | None) -> None:
    """Let the store go back to what it held before."""
    now = world.saved("left")
    assert now is not None
    if before is None:
        forget_everything(world)
    else:
        assert world.run(world.store.save("left", now.position, before))


def forget_everything(world: World) -> None:
    assert isinstance(world.store, MemoryPolicyStore)
    world.store.saved.clear()


def test_a_redis_that_forgot_a_version_is_found_out_at_the_start(world: World) -> None:
    before = forgetful(world)
    forget(world, before)
    world.restart(0)
    with pytest.raises(StateRefused, match=r"version 1, expected version 2.*bowerbird policy rebuild left"):
        save(world.workers[0])


def test_a_redis_that_forgot_everything_is_found_out_at_the_start(world: World) -> None:
    forgetful(world)
    if isinstance(world.store, MemoryPolicyStore):
        forget_everything(world)
        world.restart(0)
        with pytest.raises(StateRefused, match="version 0, expected version 2"):
            save(world.workers[0])


def test_a_redis_that_forgot_a_version_is_missed_while_nothing_is_learned(world: World) -> None:
    before = forgetful(world)
    worker = world.workers[0]
    finish(worker, worker.publishers["left"].compare_saved(worker.worker.learners["left"]))
    forget(world, before)
    with pytest.raises(StateRefused, match=r"version 1, expected version 2.*bowerbird policy rebuild left"):
        finish(worker, worker.publishers["left"].compare_saved(worker.worker.learners["left"]))
    if isinstance(world.store, MemoryPolicyStore):
        forget_everything(world)
        with pytest.raises(StateRefused, match=r"nothing, expected version 2.*bowerbird policy rebuild left"):
            finish(worker, worker.publishers["left"].compare_saved(worker.worker.learners["left"]))


def test_a_redis_that_forgot_a_version_is_found_out_by_a_lost_race(world: World) -> None:
    before = forgetful(world)
    forget(world, before)
    append(world, 1)
    take_all(world.workers[0])
    with pytest.raises(StateRefused, match="forgotten"):
        save(world.workers[0])


def test_two_records_of_one_number_that_differ_are_found_out_after_each_own_record(world: World) -> None:
    """A learner that goes on from a forgotten state publishes a number that was given already."""
    first, second = world.workers
    append(world, 1)
    take_all(first)
    save(first)
    take_all(second)
    assert save(second) == "nothing"
    before = world.saved("left")
    append(world, 1)
    take_all(first)
    save_until(first, "cas")
    assert before is not None
    forget(world, before)
    append(world, 1)
    take_all(second)
    second.begin(second.save("left"))
    for _ in range(CALLS_OF_A_SAVE["cas"]):
        second.step()
    with pytest.raises(StateRefused, match=r"forgotten|another one of this number"):
        first.finish()
    with pytest.raises(StateRefused, match="two records of version 2 that differ"):
        second.finish()


def test_what_could_not_be_compared_is_compared_before_the_next_publish(world: World) -> None:
    first, second = world.workers
    append(world, 1)
    take_all(first)
    save(first)
    take_all(second)
    before = world.saved("left")
    append(world, 1)
    take_all(first)
    save(first)
    forget(world, before)
    append(world, 1)
    take_all(second)
    save_until(second, "answer")
    second.fail()
    append(world, 1)
    take_all(second)
    with pytest.raises(StateRefused, match="two records of version 2 that differ"):
        save(second)
    assert position(world).number == 2


@pytest.mark.parametrize("steps", range(1, 8))
def test_a_publish_during_a_start_is_no_loss(world: World, steps: int) -> None:
    """`versions` is read before Redis is asked, so that it cannot seem to be ahead."""
    first, second = world.workers
    append(world, 3)
    take_all(first, 1)
    save(first)
    take_all(first, 2)
    second.begin(second.take())
    for _ in range(steps):
        second.step()
    save(first)
    second.finish()
    take_all(second)
    assert save(second) in ("published", "lost")


@pytest.mark.parametrize(
    ("identity", "what"),
    [
        (PolicyIdentity("other", "", "salt", ("left",)), "kind"),
        (PolicyIdentity("ledger", "--more", "salt", ("left",)), "arguments"),
        (PolicyIdentity("ledger", "", "pepper", ("left",)), "salt"),
        (PolicyIdentity("ledger", "", "salt", ("left", "right")), "placements"),
    ],
)
def test_another_policy_under_the_same_name_is_refused(world: World, identity: PolicyIdentity, what: str) -> None:
    append(world, 1)
    worker = world.workers[0]
    take_all(worker)
    save(worker)
    publisher = Publisher("left", identity, world.store, worker.versions)
    stepped = Publisher("left", identity, world.stepped, worker.versions)
    with pytest.raises(StateRefused, match=f"{what} of policy left.*another name"):
        world.run(publisher.compare_identity())
    with pytest.raises(StateRefused, match=f"{what} of policy left"):
        finish(worker, stepped.load())
    world.run(Publisher("left", world.identity("left"), world.store, worker.versions).compare_identity())


def test_versions_is_read_from_where_it_was_compared(world: World) -> None:
    """A start does not read all versions of all times."""
    worker = world.workers[0]
    append(world, 1, "right")
    take_all(worker)
    for _ in range(3):
        append(world, 1)
        take_all(worker)
        save(worker)
    save(worker, "right")
    world.restart(0)
    worker = world.workers[0]
    append(world, 1)
    take_all(worker)
    assert sorted(worker.versions.seen("left").fingerprints) == [3]
    assert sorted(worker.versions.seen("right").fingerprints) == [1]
    assert save(worker) == "published"


def version(number: int, digest: str, rebuilt_to: int | None = None) -> PolicyVersion:
    return PolicyVersion(
        policy="left",
        placements=("left",),
        number=number,
        version=f"{number}-{digest}",
        kind="uniform",
        arguments="",
        salt="s",
        cut=number,
        last_seqs={},
        digest=digest,
        examples=0,
        rebuilt_to=rebuilt_to,
    )


def test_of_the_newest_versions_only_is_remembered_what_they_were() -> None:
    seen = Seen()
    for number in range(1, 2 * KEPT_NUMBERS):
        seen.add(version(number, str(number)))
    assert len(seen.fingerprints) == KEPT_NUMBERS
    assert seen.newest == 2 * KEPT_NUMBERS - 1
    assert seen.differing is None
