"""When the learn worker saves, what it acknowledges, and what it forgets: without a log or a store."""

import json
from functools import partial
from typing import Any

import pytest

from policies import learn_worker
from policies.learn_worker import MOVE_EVERY_MS, LearnWorker, Load, Save, Take
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
    worker.offer(1, offset, json.dumps(outcomes).encode(), offset)
    for work in worker.work(1, 0.0):
        if isinstance(work, Take):
            worker.take(work)


def test_a_message_is_sorted_by_policy_and_what_nobody_learns_here_is_counted() -> None:
    worker = worker_of("front", "side")
    others = [outcome(1) | {"placement": "elsewhere"}, outcome(2) | {"placement": "elsewhere"}]
    value = json.dumps([outcome(1), outcome(1) | {"placement": "side"}, *others, 3]).encode()
    offered = worker.offer(1, 0, value, 0)
    assert (offered.others, [one.index for one in offered.unreadable]) == (2, [4])
    takes = []
    for work in worker.work(1, 0.0):
        assert isinstance(work, Take)
        takes.append((work.name, len(work.outcomes)))
        worker.take(work)
    assert takes == [("front", 1), ("side", 1)]
    # The same policy in another partition is nobody's either.
    assert worker.offer(2, 0, json.dumps([outcome(1)]).encode(), 0).others == 1
    assert list(worker.work(2, 0.0)) == []


def test_all_policies_of_a_partition_are_loaded_before_a_message_is_taken() -> None:
    worker: LearnWorker[int] = LearnWorker({"front": 1, "side": 1, "else": 2}, {"front": ["front"], "side": ["side"]})
    worker.offer(1, 0, json.dumps([outcome(1)]).encode(), 0)
    done = []
    for work in worker.work(1, 0.0):
        done.append(work[:1])
        if isinstance(work, Load):
            worker.load(Learner(work.name, partial(make, "uniform", "")), PublishSchedule(1, 0), 0.0)
        elif isinstance(work, Take):
            worker.take(work)
    assert done == [("front",), ("side",), ("front",), ("front",)]


def test_what_could_not_be_taken_is_taken_when_it_is_asked_for_again() -> None:
    worker = worker_of("front")
    worker.offer(1, 0, json.dumps([outcome(1)]).encode(), 0)
    assert [work[0] for work, _ in zip(worker.work(1, 0.0), range(2), strict=False)] == ["front", "front"]
    give(worker, 0, outcome(1))
    assert worker.learners["front"].last_seqs == {"front/0": 1}


def test_only_seqs_have_moved_so_the_position_is_saved_now_and_then() -> None:
    worker = worker_of("front")
    assert worker.save_due("front", MOVE_EVERY_MS) is None
    give(worker, 0, outcome(1, learn=False))
    assert worker.save_due("front", MOVE_EVERY_MS - 1) is None
    assert worker.save_due("front", MOVE_EVERY_MS) == Save("front", move=True)
    # A save that found nothing to do counts as none.
    worker.saved("front", MOVE_EVERY_MS, MOVE_EVERY_MS, anything=False)
    assert worker.save_due("front", MOVE_EVERY_MS) is not None
    worker.saved("front", MOVE_EVERY_MS, MOVE_EVERY_MS, anything=True)
    assert worker.save_due("front", 2 * MOVE_EVERY_MS - 1) is None


def test_what_is_kept_is_bounded_whatever_the_schedule_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(learn_worker, "KEPT_OUTCOMES", 3)
    worker = worker_of("front")
    give(worker, 0, outcome(1), outcome(2))
    assert worker.save_due("front", 1.0) is None
    give(worker, 1, outcome(3))
    assert worker.save_due("front", 1.0) == Save("front", move=True)


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
    worker.offer(1, 1, json.dumps([outcome(2)]).encode(), 1)
    worker.hold(1)
    assert list(worker.work(1, 0.0)) == []
    learner = worker.learners["front"]
    learner.move(learner.next()[0])
    assert worker.acknowledgements(1) == []


def test_a_message_that_was_read_and_not_taken_counts_as_lag() -> None:
    worker = worker_of("front")
    assert worker.next_offset(1) is None
    worker.offer(1, 7, b"[]", 7)
    assert (worker.next_offset(1), worker.partitions) == (7, {1})
    assert list(worker.work(1, 0.0)) == []
    assert worker.next_offset(1) == 8


def test_a_new_assignment_begins_with_nothing() -> None:
    worker = worker_of("front", "side")
    give(worker, 0, outcome(1))
    assert worker.missing({1}) == []
    worker.forget()
    assert worker.missing({1}) == ["front", "side"]
    assert worker.missing({0}) == []
    assert (worker.learners, worker.partitions, worker.acknowledgements(1)) == ({}, set(), [])
