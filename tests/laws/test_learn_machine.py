"""Law 4: whatever happens between publish, `versions` and acknowledgement, saved weights are a replay of `rewards`.

Two learners, two policies in one partition, both owners of it at times, and two operators who freeze and unfreeze; any
of them may die, or a call of it fail, between any two steps.
"""

import sys

import hypothesis.strategies as st
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from policies.controls import FREEZE, UNFREEZE, UNIFORM, Control
from policies.policy_store import MemoryPolicyStore
from tests.laws.learn_world import NAMES, POISON, SHARED, Ledger, World, run_now

workers = st.integers(0, 1)
names = st.sampled_from(NAMES)
End = tuple[str, int]
ends = st.tuples(st.sampled_from(("done", "done", "done", "waits", "waits", "fails", "dies")), st.integers(0, 13))
"""How far a worker gets with what it does: to the end, or so many steps, and then it waits, or its call fails, or it
dies."""


THOROUGH = settings(max_examples=200, stateful_step_count=30)


class LearnMachine(RuleBasedStateMachine):
    """Two learners over the store in memory."""

    def __init__(self) -> None:
        super().__init__()
        self.world = self.make_world()

    def make_world(self) -> World:
        return World(MemoryPolicyStore(), run_now, SHARED)

    @rule(
        name=names,
        kinds=st.lists(st.tuples(st.integers(0, 1), st.sampled_from("LLLnp")), min_size=1, max_size=4),
        hole=st.integers(0, 1),
    )
    def append(self, name: str, kinds: list[tuple[int, str]], hole: int) -> None:
        log = self.world.log
        rewards = {"L": 1.0, "n": 1.0, "p": POISON}
        log.append([log.new(name, shard, kind != "n", rewards[kind]) for shard, kind in kinds], hole)

    @precondition(lambda self: self.world.log.messages)
    @rule(data=st.data())
    def append_repeat(self, data: st.DataObject) -> None:
        """An emitter that was in doubt sends what it has sent before; a message holds one placement's outcomes."""
        log = self.world.log
        log.append(log.messages[data.draw(st.sampled_from(sorted(log.messages)))])

    @rule(number=workers, count=st.integers(1, 4), end=ends)
    def take(self, number: int, count: int, end: End) -> None:
        """Take messages; the last one perhaps not to its end."""
        worker = self.world.workers[number]
        worker.finish()
        for _ in range(count - 1):
            worker.begin(worker.take())
            worker.finish()
        worker.begin(worker.take())
        self._until(number, end)

    @rule(number=workers, name=names, move=st.booleans(), end=ends)
    def save(self, number: int, name: str, move: bool, end: End) -> None:
        """Save, perhaps not to its end."""
        worker = self.world.workers[number]
        worker.finish()
        worker.begin(worker.save(name, move=move))
        self._until(number, end)

    @rule(number=workers, name=names, wanted=st.sampled_from((FREEZE, UNIFORM, UNFREEZE, UNFREEZE)), end=ends)
    def control(self, number: int, name: str, wanted: Control, end: End) -> None:
        """Freeze, draw uniformly, or end that; perhaps not to its end."""
        operator = self.world.operators[number]
        operator.finish()
        operator.begin(operator.control(name, wanted))
        how, steps = end
        if how == "done":
            operator.finish()
        for _ in range(steps):
            operator.step()
        if how == "fails":
            operator.fail()
        elif how == "dies":
            operator.die()

    @rule(number=workers, steps=st.integers(1, 8))
    def step_operator(self, number: int, steps: int) -> None:
        """Go on with what an operator began."""
        for _ in range(steps):
            self.world.operators[number].step()

    def _until(self, number: int, end: End) -> None:
        how, steps = end
        worker = self.world.workers[number]
        if how == "done":
            worker.finish()
        for _ in range(steps):
            worker.step()
        if how == "fails":
            worker.fail()
        elif how == "dies":
            self.world.restart(number)

    @rule(number=workers)
    def learn_all(self, number: int) -> None:
        """Take and save all there is."""
        worker = self.world.workers[number]
        worker.finish()
        while worker.next_offset < self.world.log.end:
            worker.begin(worker.take())
            worker.finish()
        for name in NAMES:
            worker.begin(worker.save(name))
            worker.finish()

    @rule(number=workers, steps=st.integers(1, 8))
    def step(self, number: int, steps: int) -> None:
        """Go on with what was begun."""
        for _ in range(steps):
            self.world.workers[number].step()

    @rule(number=workers, commit=st.booleans())
    def acknowledge(self, number: int, commit: bool) -> None:
        """Acknowledge what may be; the broker hears of it now, later or never."""
        worker = self.world.workers[number]
        worker.acknowledge()
        if commit:
            self.world.commit(number)

    @rule(number=workers, former=st.sampled_from(("notices", "goes on", "goes on")))
    def rebalance(self, number: int, former: str) -> None:
        """Give the partition to a worker, which reads from what is acknowledged; the former may go on for a while."""
        if number != self.world.owner:
            self.world.owner = number
            self.world.restart(number)
            if former == "notices":
                self.world.restart(1 - number)

    @invariant()
    def laws(self) -> None:
        self.world.check()

    def teardown(self) -> None:
        """At the end, one learner that starts anew reads all of it."""
        world = self.world
        for process in (*world.operators, *world.workers):
            process.finish()
        world.check()
        world.owner = 0
        world.restart(0)
        worker = world.workers[0]
        while worker.next_offset < world.log.end:
            worker.begin(worker.take())
            worker.finish()
        for name in NAMES:
            worker.begin(worker.save(name))
            worker.finish()
        worker.acknowledge()
        world.commit(0)
        world.check()
        assert world.committed == world.log.end
        for name in NAMES:
            own = [
                outcome
                for outcomes in world.log.messages.values()
                for outcome in outcomes
                if outcome.placement in world.learns[name]
            ]
            saved = world.saved(name)
            held = world.held(name)
            expected = {outcome.name for outcome in own if outcome.learn and outcome.reward != POISON} - held
            learned = [one for page in Ledger(model=saved.model).pages for one in page] if saved and saved.model else []
            assert sorted(learned) == sorted(expected)


def test_saved_weights_are_a_replay_of_the_log() -> None:
    """Law 4, over the store in memory."""
    run_state_machine_as_test(LearnMachine, settings=THOROUGH)


if __name__ == "__main__":
    count = int(sys.argv[sys.argv.index("--examples") + 1]) if "--examples" in sys.argv else 1000
    run_state_machine_as_test(
        LearnMachine,
        settings=settings(max_examples=count, stateful_step_count=60, deadline=None, derandomize=False),
    )
