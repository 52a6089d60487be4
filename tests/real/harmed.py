"""A role in which something dies as soon as it is ready: ``python -m tests.real.harmed ROLE CONFIG HARM``."""

import asyncio
import sys
from collections.abc import Callable
from importlib import import_module
from typing import Any

import msgspec
from aiokafka.errors import KafkaError, OffsetOutOfRangeError

import stream.run
from stream.config import Config
from stream.run import RoleParts, leave, run_role


def _thread(parts: RoleParts) -> Any:
    return parts.app.consumer._thread  # type: ignore[union-attr]


def _in_thread(harm: Callable[[Any], Any]) -> Callable[[RoleParts], Any]:
    def act(parts: RoleParts) -> None:
        thread = _thread(parts)
        thread.thread_loop.call_soon_threadsafe(harm, thread._consumer)

    return act


def _cancel(task: "asyncio.Future[Any]") -> None:
    """Cancel a task until it has ended: one that waits at that moment for something that is done may go on."""
    if not task.done():
        task.cancel()
        task.get_loop().call_later(0.02, _cancel, task)


def _out_of_range(consumer: Any) -> None:
    fetcher = consumer._fetcher
    for partition in consumer.assignment():
        fetcher._set_error(partition, OffsetOutOfRangeError({partition: 0}))
    for waiter in list(fetcher._fetch_waiters):
        fetcher._notify(waiter)


def _producer(parts: RoleParts) -> Any:
    role: Any = parts.services[0]
    return role._outcomes.current if hasattr(role, "_outcomes") else role._connections.producer


NEVER_ENDS = "a step that never ends"


async def _never() -> None:
    await asyncio.Event().wait()


def _clock(parts: RoleParts) -> None:
    role: Any = parts.services[0]
    role._clock.tick = _never


HARMS: dict[str, Callable[[RoleParts], Any]] = {
    "fetcher": _in_thread(lambda consumer: _cancel(consumer._fetcher._fetch_task)),
    "coordinator": _in_thread(lambda consumer: _cancel(consumer._coordinator._coordination_task)),
    "coordinator's error": _in_thread(lambda consumer: consumer._coordinator._push_error_to_user(KafkaError("no"))),
    "offset out of range": _in_thread(_out_of_range),
    "metadata": _in_thread(lambda consumer: _cancel(consumer._client._sync_task)),
    "sender": lambda parts: _cancel(_producer(parts)._sender.sender_task),
    "producer": lambda parts: _producer(parts).stop(),
    NEVER_ENDS: _clock,
    "loop": lambda parts: _cancel(next(iter(parts.services[0]._futures))),
    "decide's fetcher": lambda parts: _cancel(parts.services[0]._connection._consumer._fetcher._fetch_task),  # type: ignore[attr-defined]
    "decide's clock": lambda parts: parts.services[0]._connection._control.stop(),  # type: ignore[attr-defined]
}


def main(role: str, config_json: str, harm: str) -> int:
    """Run the role."""
    module: Any = import_module(f"stream.roles.{role}")
    build = module.build

    def harmed(config: Config) -> RoleParts:
        parts: RoleParts = build(config)

        async def act() -> None:
            while not parts.ready():
                await asyncio.sleep(0.05)
            await asyncio.sleep(0.5)
            print("ready", flush=True)
            done = HARMS[harm](parts)
            if asyncio.iscoroutine(done):
                await done

        harming.append(asyncio.get_event_loop().create_task(act()))
        return parts

    harming: list[Any] = []
    if harm == NEVER_ENDS:
        vars(stream.run)["STANDSTILL_S"] = 10.0
    module.build = harmed
    return run_role(msgspec.json.decode(config_json, type=Config), role)


if __name__ == "__main__":
    leave(main(*sys.argv[1:]))
