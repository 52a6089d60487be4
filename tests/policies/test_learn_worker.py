"""When the learn worker saves, what it acknowledges, and what it forgets: without a log or a store."""

import json
from functools import partial
from typing import Any

import pytest

from policies import learn_worker
from policies.learn_worker import MOVE_EVERY_MS, LearnWorker
from policies.learner import Learner
from policies.publish_schedule import PublishSchedule
from policies.registry import make
from tests.policies.test_learner import outcome

FAR_MS = 10_000_000.0


def worker_of(*names: str) -> LearnWorker[int]:
    """Return a worker that has loaded these policies, all of partition 1, which never publish for time or number."""
    worker: LearnWorker[int] = LearnWorker(dict.fromkeys(names, 1), {name: [name] for name in names})
    for name in names:
        worker.load(Learner(name, partial(make, "uniform", "")), PublishSchedule(10**9, FAR_MS), 0.0)
    return worker


def give(worker: LearnWorker[int], offset: int, *outcomes: dict[str, Any]) -> None:
    outcomes_read = worker.read(1, offset, json.dumps(outcomes).encode())
    for name, own in outcomes_read.outcomes.items():
        worker.take(name, offset, own)
    worker.taken(1, offset, offset)


def test_a_message_is_sorted_by_policy_and_what_nobody_learns_here_is_counted() -> None:
    worker = worker_of("front", "side")
    others = [outcome(1) | {"placement": "elsewhere"}, outcome(2) | {"placement": "elsewhere"}]
    outcomes_read = worker.read(1, 0, json.dumps([outcome(1), outcome(1) | {"placement": "side"}, *others, 3]).encode())
    assert {name: len(own) for name, own in outcomes_read.outcomes.items()} == {"front": 1, "side": 1}
    assert (outcomes_read.others, [one.index for one in outcomes_read.unreadable]) == (2, [4])
    # The same policy in another partition is nobody's either.
    assert worker.read(2, 0, json.dumps([outcome(1)]).encode()).others == 1


def test_only_seqs_have_moved_so_the_position_is_saved_now_and_then() -> None:
    worker = worker_of("front")
    assert not worker.due("front", MOVE_EVERY_MS)
    give(worker, 0, outcome(1, learn=False))
    assert not worker.due("front", MOVE_EVERY_MS - 1)
    assert worker.due("front", MOVE_EVERY_MS)
    assert worker.moves("front", MOVE_EVERY_MS)
    # A save that found nothing to do counts as none.
    worker.saved("front", MOVE_EVERY_MS, MOVE_EVERY_MS, anything=False)
    assert worker.due("front", MOVE_EVERY_MS)
    worker.saved("front", MOVE_EVERY_MS, MOVE_EVERY_MS, anything=True)
    assert not worker.due("front", 2 * MOVE_EVERY_MS - 1)


def test_what_is_kept_is_bounded_whatever_the_schedule_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(learn_worker, "KEPT_OUTCOMES", 3)
    worker = worker_of("front")
    give(worker, 0, outcome(1), outcome(2))
    assert not worker.due("front", 1.0)
    give(worker, 1, outcome(3))
    assert worker.due("front", 1.0)
    assert worker.moves("front", 1.0)


def test_what_is_acknowledged_is_covered_by_every_policy_of_the_message() -> None:
    worker = worker_of("front", "side")
    give(worker, 0, outcome(1), outcome(1) | {"placement": "side"})
    give(worker, 1, outcome(2))
    assert worker.acknowledgements(1) == []
    for name in ("front", "side"):
        learner = worker.learners[name]
        learner.move(learner.next()[0])
        assert worker.acknowledgements(1) == ([] if name == "front" else [0, 1])


def test_a_partition_that_stands_still_acknowledges_nothing_any_more() -> None:
    worker = worker_of("front")
    give(worker, 0, outcome(1))
    worker.hold(1)
    learner = worker.learners["front"]
    learner.move(learner.next()[0])
    assert worker.acknowledgements(1) == []


def test_a_message_that_was_read_and_not_taken_counts_as_lag() -> None:
    worker = worker_of("front")
    assert worker.next_offset(1) is None
    worker.read(1, 7, b"[]")
    assert (worker.next_offset(1), worker.partitions) == (7, {1})
    worker.taken(1, 7, 7)
    assert worker.next_offset(1) == 8


def test_a_new_assignment_begins_with_nothing() -> None:
    worker = worker_of("front", "side")
    give(worker, 0, outcome(1))
    assert worker.missing({1}) == []
    worker.forget()
    assert worker.missing({1}) == ["front", "side"]
    assert worker.missing({0}) == []
    assert (worker.learners, worker.partitions, worker.acknowledgements(1)) == ({}, set(), [])
