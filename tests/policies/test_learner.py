"""What learning makes of the log, without a log."""

import json
from functools import partial
from typing import Any

import pytest

from policies.learn_position import Position
from policies.learner import Learner
from policies.policy import digest
from policies.publish_schedule import PublishSchedule
from policies.registry import make
from policies.training import OutcomeToLearn, outcomes_in
from policies.unacknowledged import Unacknowledged, highest_seqs
from records.errors import LossDetected, StateRefused
from records.limits import LARGEST_INTEGER
from records.sequence import MAX_GAP

BAG = "--cb_explore_adf --bag 3 -q uA -b 8"
"""An explorer whose workspace holds state that it does not save."""


def outcome(seq: int, *, shard: int = 0, learn: bool = True, reward: Any = None, **fields: Any) -> dict[str, Any]:
    decision = {
        "event_id": f"e{seq}",
        "context": {"user": {"age": seq % 7}},
        "actions": [{"id": "a", "features": {"size": 1}}, {"id": "b", "features": {"size": 2}}],
        "chosen": "ab"[seq % 2],
        "propensity": 0.5,
        **fields,
    }
    reward = float(seq % 3) if reward is None else reward
    record = {
        "v": 1,
        "event_id": f"e{seq}",
        "placement": "front",
        "policy": "front",
        "shard": shard,
        "outcome_seq": seq,
        "revision": 0,
    }
    return {**record, "reward": reward, "learn": learn, "why": "window", "feedback": [], "decision": decision}


def outcomes(*records: dict[str, Any]) -> list[OutcomeToLearn]:
    readable, unreadable = outcomes_in(json.dumps(records).encode())
    assert not unreadable
    return list(readable)


def message(first: int, last: int, **fields: Any) -> list[OutcomeToLearn]:
    return outcomes(*(outcome(seq, **fields) for seq in range(first, last + 1)))


def publish(learner: Learner) -> Position:
    position, model = learner.next()
    learner.publish(position, model)
    return position


@pytest.mark.parametrize("arguments", [BAG, "--cb_explore_adf --epsilon 0.1 -b 8", "--cb_explore_adf --rnd 2 -b 8"])
def test_the_same_cuts_give_the_same_bytes(arguments: str) -> None:
    """Law 4: live, with a restart at each cut, and with messages that came again."""
    live = Learner("front", partial(make, "vw", arguments))
    restarted = Learner("front", partial(make, "vw", arguments))
    for cut in range(4):
        for offset in range(cut * 3, cut * 3 + 3):
            live.take(offset, message(offset * 10 + 1, offset * 10 + 10))
            restarted.take(offset, message(max(1, offset * 10 - 5), offset * 10 + 10))
        position = publish(live)
        saved, model = restarted.next()
        assert saved == position
        assert position.cut == cut * 3 + 3
        assert position.digest == digest(model)
        restarted = Learner("front", partial(make, "vw", arguments), saved, model)


def test_what_was_taken_since_the_last_save_is_taken_again() -> None:
    """After a lost compare-and-set: somebody else published at another cut."""
    winner, loser = Learner("front", partial(make, "vw", BAG)), Learner("front", partial(make, "vw", BAG))
    for offset in range(4):
        taken = message(offset * 5 + 1, offset * 5 + 5)
        loser.take(offset, taken)
        if offset < 2:
            winner.take(offset, taken)
    position, model = winner.next()
    winner.publish(position, model)
    loser.resume(position, model)
    assert (loser.saved, loser.cut, loser.last_seqs, loser.learned) == (position, 4, {"front/0": 20}, 10)
    for offset in (2, 3):
        winner.take(offset, message(offset * 5 + 1, offset * 5 + 5))
    assert winner.next() == loser.next()


def test_a_jump_is_a_loss_and_nothing_of_its_message_is_taken() -> None:
    learner = Learner("front", partial(make, "vw", BAG))
    learner.take(0, message(1, 3))
    before = learner.next()
    with pytest.raises(
        LossDetected, match="found seq 6, expected seq 5; outcomes are missing: run `bowerbird policy rebuild"
    ):
        learner.take(1, outcomes(outcome(4), outcome(6)))
    assert learner.next() == before
    with pytest.raises(LossDetected, match=r"front/1.*found seq 2, expected seq 1"):
        learner.take(1, message(2, 3, shard=1))
    learner.take(1, message(4, 6))
    assert learner.last_seqs == {"front/0": 6}


def test_a_log_that_lost_its_head_begins_with_any_seq() -> None:
    learner = Learner("front", partial(make, "vw", BAG), log_start=7)
    assert learner.take(7, message(41, 45)).learned == 5
    with pytest.raises(LossDetected):
        learner.take(8, message(47, 48))


def test_what_cannot_be_learned_is_skipped_and_counted() -> None:
    clean, dirty = Learner("front", partial(make, "vw", BAG)), Learner("front", partial(make, "vw", BAG))
    bad = [
        outcome(2, chosen="nobody"),
        outcome(3, propensity=0.0),
        outcome(4, reward=1e7),
        outcome(5, context={"user": {"age": {"deep": 1}}}),
        outcome(6, actions="none"),
        outcome(7, propensity="half"),
    ]
    taken = dirty.take(0, outcomes(outcome(1), *bad, outcome(8, learn=False), outcome(9)))
    assert [(one.outbox, one.outcome_seq) for one in taken.refused] == [("front/0", seq) for seq in range(2, 8)]
    assert (taken.learned, taken.not_learned, taken.repeats) == (2, 1, 0)
    unlearned = [outcome(seq, learn=False) for seq in range(2, 9)]
    clean.take(0, outcomes(outcome(1), *unlearned, outcome(9)))
    assert clean.next() == dirty.next()


def test_a_seq_that_no_join_has_given_is_passed_over() -> None:
    """Else one record of another program would end a policy: nothing can follow the largest number."""
    learner = Learner("front", partial(make, "vw", BAG))
    assert (LARGEST_INTEGER // MAX_GAP) > 9_000_000, "a chain of forged ones must be as long"
    messages = [(outcome(1), outcome(2**53 - 1)), (outcome(2),), (outcome(3 + 10**9),)]
    assert [highest_seqs(outcomes(*message), {}) for message in messages] == [{"front/0": 1}, {"front/0": 2}, {}]
    results = [learner.take(offset, outcomes(*message)) for offset, message in enumerate(messages)]
    assert [one.error.code for taken in results for one in taken.contradicting] == ["seq_too_high"] * 2
    assert learner.next()[0].last_seqs == {"front/0": 2}
    with pytest.raises(LossDetected):
        learner.take(3, outcomes(outcome(2 + 10**9)))


def test_an_outcome_in_the_place_of_another_is_told_from_a_repeat() -> None:
    learner = Learner("front", partial(make, "vw", BAG))
    forged = outcome(2) | {"event_id": "forged"}
    taken = learner.take(0, outcomes(outcome(1), forged, outcome(2), outcome(1)))
    assert (taken.learned, taken.repeats) == (2, 2)
    assert len(taken.contradicting) == 1
    (contradiction,) = taken.contradicting
    assert (contradiction.outcome_seq, contradiction.event_id, contradiction.error.code) == (
        2,
        outcome(2)["event_id"],
        "seq_taken",
    )
    assert "'forged'" in str(contradiction.error)
    # Of a seq from before the learner's start nothing is known.
    learner = Learner("front", partial(make, "vw", BAG), learner.next()[0], learner.policy.dump())
    assert not learner.take(1, outcomes(outcome(2))).contradicting
    learner.take(2, message(3, 1003))
    assert not learner.take(3, outcomes(outcome(3) | {"event_id": "forgotten"})).contradicting
    assert learner.take(3, outcomes(outcome(4) | {"event_id": "other"})).contradicting


def test_seqs_begin_with_1() -> None:
    readable, unreadable = outcomes_in(json.dumps([outcome(1), outcome(0)]).encode())
    assert [each.outcome_seq for each in readable] == [1]
    assert [each.index for each in unreadable] == [1]


def test_records_that_are_no_outcomes_are_told_apart() -> None:
    readable, unreadable = outcomes_in(json.dumps([outcome(1), {"outcome_seq": 2}, 3, outcome(2)]).encode())
    assert [one.outcome_seq for one in readable] == [1, 2]
    assert [(one.index, one.error.code) for one in unreadable] == [(1, "invalid_field"), (2, "invalid_field")]
    for value in (b"", b"{", b"\xff", None, b"[" * 100_000):
        readable, unreadable = outcomes_in(value)
        assert not readable
        assert [one.index for one in unreadable] == [0]


def test_a_single_outcome_need_not_be_an_array() -> None:
    readable, unreadable = outcomes_in(json.dumps(outcome(1)).encode())
    assert [one.outcome_seq for one in readable] == [1]
    assert not unreadable


def test_a_position_without_learning_keeps_the_version() -> None:
    learner = Learner("front", partial(make, "vw", BAG))
    version_0 = learner.saved
    learner.take(3, message(1, 5, learn=False))
    position, _ = learner.next()
    assert (learner.moved, position) == (True, Position(0, version_0.digest, 4, {"front/0": 5}, 0))
    learner.move(position)
    assert (learner.moved, learner.saved) == (False, position)
    even = Learner("even", partial(make, "uniform", ""))
    even.take(0, message(1, 5))
    assert even.next()[0].number == 0


def test_corrections_are_no_lessons() -> None:
    learner = Learner("front", partial(make, "vw", BAG))
    learner.take(0, outcomes(outcome(1), {**outcome(1), "revision": 1}))
    assert learner.examples == 1
    assert highest_seqs(outcomes({**outcome(9), "revision": 1}), {}) == {}


def test_only_the_head_is_acknowledged() -> None:
    waiting: Unacknowledged[str] = Unacknowledged()
    waiting.add(1, "one", {"front": {"front/0": 5}})
    waiting.add(2, "two", {"side": {"front/0": 2}})
    waiting.add(3, "three", {})
    saved = {"front": Position(0, ""), "side": Position(1, "", 3, {"front/0": 9})}
    assert waiting.covered(saved) == []
    saved["front"] = Position(1, "", 2, {"front/0": 5})
    assert waiting.covered(saved) == ["one", "two", "three"]
    waiting.add(4, "four", {"front": {"front/0": 6}})
    waiting.add(5, "five", {"front": {"front/0": 7}})
    waiting.add(4, "four again", {"front": {"front/0": 6}})
    assert len(waiting) == 1


def test_publishing_takes_a_fifth_of_the_time_at_most() -> None:
    cadence = PublishSchedule(examples=10, interval_ms=500)
    assert cadence.due(0, 10)
    cadence.published(0, 100)
    assert not cadence.due(499, 1000)
    assert cadence.due(500, 10)
    cadence.published(500, 501)
    assert not cadence.due(505, 1)
    assert not cadence.due(1004, 9)
    assert cadence.due(1005, 9)
    assert not cadence.due(1010, 0)


def test_a_publish_that_waited_for_a_server_does_not_delay_the_next_for_long() -> None:
    cadence = PublishSchedule(examples=10, interval_ms=500)
    assert cadence.due(0, 10)
    cadence.published(0, 4_900)
    assert not cadence.due(7_399, 10)
    assert cadence.due(7_400, 10)


def test_what_cannot_be_loaded_names_the_command_for_this_very_policy() -> None:
    with pytest.raises(StateRefused, match=r"of policy front: .*`bowerbird policy rebuild front`"):
        Learner("front", partial(make, "vw", BAG), Position(1, digest(b"junk")), b"junk")
