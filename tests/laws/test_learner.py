"""Law 1 at the learner: every outcome once, by its seq."""

import pytest

from policies.errors import LossDetected
from rewards.learner import Learner, OutcomeToLearn, outcomes_in
from tests.laws.learn_world import Ledger, RewardsLog


def learner(log_start: int = 0) -> Learner:
    return Learner("left", "ledger", "", log_start=log_start, make_policy=Ledger)


def outcomes(*seqs: int, shard: int = 0) -> list[OutcomeToLearn]:
    """Return outcomes with these seqs of a shard."""
    log = RewardsLog()
    told = [log.new("left", shard, True) for _ in range(max(seqs))]
    log.append([told[seq - 1] for seq in seqs])
    read, unreadable = outcomes_in(log.value(0))
    assert not unreadable
    return list(read)


def learned(found: Learner) -> list[str]:
    assert isinstance(found.policy, Ledger)
    return found.policy.pages[-1]


def test_law_1_an_outcome_that_comes_again_is_not_learned_again() -> None:
    """In the same message, in a later one, and after more was learned."""
    one = learner()
    assert one.take(0, outcomes(1, 2, 2, 1)).repeats == 2
    assert one.take(1, outcomes(2, 3)).repeats == 1
    assert one.take(2, outcomes(1, 2, 3)).repeats == 3
    assert one.take(3, outcomes(1, shard=1)).repeats == 0
    assert learned(one) == ["left-0-1", "left-0-2", "left-0-3", "left-1-1"]
    assert (one.last_seqs, one.examples, one.cut) == ({0: 3, 1: 1}, 4, 4)


@pytest.mark.parametrize("seqs", [(3,), (2, 4), (1, 2, 5)])
def test_law_1_a_missing_outcome_stops_the_learner_before_it_takes_anything(seqs: tuple[int, ...]) -> None:
    one = learner()
    one.take(0, outcomes(1))
    with pytest.raises(LossDetected, match=f"seq {seqs[-1]}"):
        one.take(1, outcomes(*seqs))
    assert (learned(one), one.last_seqs, one.cut) == (["left-0-1"], {0: 1}, 1)


def test_a_log_without_its_head_begins_where_it_begins() -> None:
    one = learner(log_start=7)
    one.take(7, outcomes(5, 6))
    assert one.last_seqs == {0: 6}
    with pytest.raises(LossDetected):
        one.take(8, outcomes(8))
