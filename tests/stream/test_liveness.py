"""The guard of a role's process."""

import asyncio
import contextlib
import subprocess
import sys
import types

import mode
import pytest

from stream.config import Config
from stream.liveness import LIMIT_S, Guard, Pulse, RoleDiedError, Standstill, dead_client
from stream.redis.policy_cache import PolicyCache
from stream.roles.decide import Decide

HANGS = """
import asyncio, sys, time
import mode
from stream import liveness, run
from stream.run import RoleParts, run_role
from stream.config import Config
from stream.liveness import Pulse

liveness.LEAVE_S = liveness.FROZEN_S = 1.0

class Hangs(mode.Service):
    async def on_started(self):
        if sys.argv[1] == "frozen":
            asyncio.get_running_loop().call_later(0.1, time.sleep, 60)
        else:
            self.add_future(self.fail())

    async def fail(self):
        raise RuntimeError("a fault")

    async def on_stop(self):
        await asyncio.sleep(60)

module = type(sys)("stream.roles.learn")
module.build = lambda config: RoleParts([Hangs()], None, lambda: True, Pulse())
sys.modules["stream.roles.learn"] = module
sys.exit(run_role(Config(), "learn"))
"""


@pytest.mark.parametrize(
    ("how", "sentence"), [("stop", "does not stop within 1 s"), ("frozen", "has stood still for 1 s")]
)
def test_a_process_that_hangs_is_ended(how: str, sentence: str) -> None:
    done = subprocess.run([sys.executable, "-c", HANGS, how], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 1, done.stderr
    assert sentence in done.stderr


def test_health_is_what_was_done_lately() -> None:
    now = 0.0
    pulse = Pulse(lambda: now)
    now = LIMIT_S
    healthy = [pulse.healthy]
    pulse.polled()
    now += 1
    healthy.append(pulse.healthy)
    pulse.stepped()
    healthy.append(pulse.healthy)
    assert healthy == [True, False, True]
    assert pulse.ages() == (1.0, 0.0)


def test_a_role_that_does_nothing_without_an_excuse_is_started_again() -> None:
    now, joined, failures, stopped = 0.0, True, 0, False
    pulse = Pulse(lambda: now)
    check = Standstill(pulse, lambda: joined, lambda: failures, lambda: stopped).longer_than(60)
    seen: list[tuple[str, bool]] = []

    def after(what: str, seconds: float = 61.0) -> None:
        nonlocal now
        now += seconds
        seen.append((what, check() is not None))

    pulse.stepped()
    after("a step", 59.0)
    after("no step")
    pulse.stepped()
    after("a step again", 0.0)
    failures = 1
    after("a server has failed")
    after("and is there")
    pulse.stepped()
    stopped = True
    after("a part stands with a sentence")
    stopped = False
    after("and goes on", 59.0)
    after("but does nothing", 2.0)
    pulse.stepped()
    joined = False
    after("not in the group", 59.0)
    pulse.stepped()
    after("for long", 2.0)
    assert [what for what, over in seen if over] == ["no step", "and is there", "but does nothing", "for long"]


async def test_a_client_whose_task_has_ended_is_dead() -> None:
    task = asyncio.create_task(asyncio.sleep(60))
    client = types.SimpleNamespace(_closed=False, _sender=types.SimpleNamespace(sender_task=task))
    assert dead_client("the producer", None) is None
    assert dead_client("the producer", client) is None
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait({task})
    assert dead_client("the producer", client) == "the producer: its task for sending has ended"
    client._closed = True
    assert dead_client("the producer", client) == "the producer is closed"


async def test_what_is_dead_twice_in_a_row_ends_the_role() -> None:
    answers = iter(["it", None, "it", "other", "other", None, None])
    guard = Guard([], [lambda: next(answers)])
    looking = asyncio.ensure_future(guard._look.fun(guard))
    await asyncio.wait({looking}, timeout=60)
    looking.cancel()
    await asyncio.wait({looking})
    assert not looking.cancelled()
    assert repr(looking.exception()) == repr(RoleDiedError("other"))


async def test_a_role_ends_also_when_a_cancellation_gets_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    async def run(lookup: PolicyCache) -> None:
        for _ in range(3):
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.sleep(60)

    monkeypatch.setattr(PolicyCache, "run", run)
    role = Decide(Config(brokers="127.0.0.1:1", redis_url="redis://127.0.0.1:1"))
    await role.start()
    await asyncio.sleep(0.1)
    stopping = asyncio.create_task(role.stop())
    done, _ = await asyncio.wait({stopping}, timeout=30)
    stopping.cancel()
    assert done


async def test_a_task_that_ends_while_its_service_runs_is_dead() -> None:
    class Role(mode.Service):
        async def on_start(self) -> None:
            self.work = self.add_future(asyncio.sleep(60))

    role = Role()
    await role.start()
    guard = Guard([role], [])
    assert guard.dead() is None
    await asyncio.sleep(0)
    role.work.cancel()
    await asyncio.wait({role.work})
    assert "a task of the role has ended" in (guard.dead() or "")
    await role.stop()
    assert guard.dead() is None
