"""Laws 1, 2 and 3 of the join: whatever the schedule, every outcome and its seq are the oracle's.

The hypothesis machine looks for a short failing schedule; the random schedules are longer, and the same at every run.
Many more of them: ``python -m tests.laws.test_join_machine --examples 10000``.
"""

import argparse
import sys
from collections.abc import Callable, Sequence

import pytest
from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from rewards.memory_store import MemoryStore
from tests.laws.join_world import ACTIONS, Action, World, cut_down, random_schedule, run_schedule


def world_of(seed: int) -> World:
    """Return a world in memory of one of several shapes."""
    return World(
        MemoryStore(),
        shards=1 + seed % 2,
        prefix=("t-", "")[seed // 2 % 2],
        close_limit=(500, 500, 1)[seed % 3],
        portion_items=3 + seed % 5,
    )


class JoinMachine(RuleBasedStateMachine):
    """Everything that may happen to the join; see :class:`tests.laws.join_world.World`."""

    world: World | None = None

    def make_world(self, shape: int) -> World:
        return world_of(shape)

    @initialize(shape=st.integers(0, 11))
    def begin(self, shape: int) -> None:
        self.world = self.make_world(shape)

    def teardown(self) -> None:
        if self.world is not None:
            self.world.finish()


def _rule_of(name: str) -> Callable[..., None]:
    sizes = ACTIONS[name][1]
    arguments = st.tuples(*(st.integers(0, size - 1) for size in sizes))

    def act(self: JoinMachine, arguments: tuple[int, ...]) -> None:
        if self.world is not None:
            self.world.do((name, *arguments))

    act.__name__ = name
    decorated: Callable[..., None] = rule(arguments=arguments)(act)
    return decorated


for _name in ACTIONS:
    setattr(JoinMachine, _name, _rule_of(_name))


JoinMachine.TestCase.settings = settings(
    deadline=None, stateful_step_count=40, phases=(Phase.explicit, Phase.reuse, Phase.generate, Phase.shrink)
)
TestJoinMachine = JoinMachine.TestCase


@pytest.mark.parametrize("first", range(0, 300, 50))
def test_random_schedules_give_the_outcomes_and_seqs_of_the_oracle(first: int) -> None:
    for seed in range(first, first + 50):
        run_schedule(world_of(seed), random_schedule(seed, 60 + seed % 200))


def test_random_schedules_reach_what_they_are_for() -> None:
    whys: set[str] = set()
    letters = lives = 0
    for seed in range(60):
        world = world_of(seed)
        verdict = run_schedule(world, random_schedule(seed, 250))
        outcomes = [outcome for each in verdict.outcomes.values() for outcome in each]
        whys |= {outcome.why for outcome in outcomes}
        letters += len(verdict.dead_letters)
        lives += len(outcomes) > len({outcome.event_id for outcome in outcomes})
    assert whys == {"window", "early", "conflicting", "not_activated", "expired"}
    assert letters > 100, "feedback that no window took"
    assert lives > 10, "event ids that were used again"


def fails(seed: int, schedule: Sequence[Action]) -> bool:
    """Tell whether a schedule breaks a law."""
    try:
        run_schedule(world_of(seed), schedule)
    except Exception:
        return True
    return False


def _explain(seed: int, schedule: Sequence[Action]) -> None:
    print(f"seed {seed} breaks a law; what is left of its schedule:")
    shortest = cut_down(schedule, lambda actions: fails(seed, actions))
    for action in shortest:
        print(f"    {action!r},")
    world = world_of(seed)
    try:
        run_schedule(world, shortest)
    except Exception as error:
        for message in sorted(world.finished_logs(), key=lambda each: each.time_ms):
            print(*message)
        print(f"{type(error).__name__}: {error}")


def main(arguments: list[str] | None = None) -> int:
    """Run many random schedules; print the first that breaks a law, cut down."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--examples", type=int, default=1000, help="how many schedules")
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    parser.add_argument("--length", type=int, default=250, help="how many actions a schedule has at most")
    options = parser.parse_args(arguments)
    for seed in range(options.first, options.first + options.examples):
        schedule = random_schedule(seed, 60 + seed % max(1, options.length - 60))
        if fails(seed, schedule):
            _explain(seed, schedule)
            return 1
    print(f"{options.examples} schedules from seed {options.first} on: every outcome and its seq are the oracle's")
    return 0


if __name__ == "__main__":
    sys.exit(main())
